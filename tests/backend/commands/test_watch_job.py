"""A job that is watched, over a real socket: what is shown and saved, how it ends, lost servers, Ctrl+C."""

import os
import signal
import threading

import numpy as np
import pytest
import trimesh
from fake_job_server import FakeJobServer, png
from heard_output import Heard

from backend.commands import server_connection, watch_job
from backend.commands.exit_codes import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_JOB_FAILED,
    EXIT_NOT_FINISHED,
    EXIT_STOPPED,
    EXIT_UNREACHABLE,
)
from backend.commands.server_connection import ServerOptions
from backend.commands.watch_job import WatchWishes, run_watch_command
from examples import CORNERS, full_snapshot, job_state, progress
from protocol.client import Timing
from protocol.messages import Failed, Preview, WatchJob

FINISHED = job_state(status="finished", step=250, total_steps=250)
MOVED_UP = (CORNERS + np.array([0, 0, 2], np.float32)).astype(np.float32)


@pytest.fixture(autouse=True)
def _quick_clients(monkeypatch):
    timing = Timing(heartbeat=0.1, lost_after=0.6, hello=2.0, first_retry=0.05, longest_retry=0.1)
    run = server_connection.run_client_command
    monkeypatch.setattr(watch_job, "run_client_command", lambda *given: run(*given, timing=timing))


def watch(server, output, job="red", **wishes):
    options = ServerOptions(server.address, as_json=output.as_json)
    return run_watch_command(options, job, WatchWishes(**wishes), output)


def interrupt(server, output):
    """Ctrl+C, as soon as the job is shown."""

    def send():
        server.wait_for(lambda: output.text or output.events)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()


def test_a_job_is_shown_with_stage_step_and_time_left_until_it_has_ended():
    output = Heard()
    with FakeJobServer(job_state()) as server:
        server.news["red-mushroom-7f3a"] = [progress(seconds_left=30.0, notices=("the lattice grows",)), FINISHED]
        code = watch(server, output)

    assert code == EXIT_DONE
    assert "a red mushroom  red-mushroom-7f3a, text" in output.text
    assert "bridge step 120/250, 4.5 steps/s, 0:30 left" in output.text
    assert "notice the lattice grows" in output.text
    assert "sketchbridge fetch red-mushroom-7f3a -o result.glb" in output.text
    assert output.lines.getvalue() == ""


def test_only_progress_is_asked_for_where_no_frames_are_saved():
    with FakeJobServer(job_state()) as server:
        server.news["red-mushroom-7f3a"] = [FINISHED]
        watch(server, Heard())

    assert server.of(WatchJob)[0].channels == ("progress",)


def test_programs_get_one_object_per_line():
    output = Heard(as_json=True)
    with FakeJobServer(job_state()) as server:
        server.news["red-mushroom-7f3a"] = [progress(), FINISHED]
        watch(server, output)

    states = [each["status"] for each in output.events if each["event"] == "state"]
    told = next(each for each in output.events if each["event"] == "progress")
    assert states[-1] == "finished"
    assert (told["step"], told["stage"], told["seconds_left"]) == (120, "bridge", None)
    assert output.text == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [("finished", EXIT_DONE), ("cancelled", EXIT_NOT_FINISHED), ("failed", EXIT_JOB_FAILED)],
)
def test_the_exit_code_says_how_the_job_ended(status, code):
    with FakeJobServer(job_state(status=status)) as server:
        assert watch(server, Heard()) == code


def test_why_a_job_failed_is_asked_for_and_said():
    output = Heard()
    failure = Failed(job="any", code="out-of-memory", sentence="Take a [smaller] texture.", log_id="log-17")
    with FakeJobServer(job_state()) as server:
        server.results["red-mushroom-7f3a"] = failure
        server.news["red-mushroom-7f3a"] = [job_state(status="failed")]
        code = watch(server, output)

    assert code == EXIT_JOB_FAILED
    assert "failed: Take a [smaller] texture. (out-of-memory; log-17 in the server's log)" in output.text


@pytest.mark.parametrize("mesh_format", ["glb", "ply"])
def test_frames_are_saved_by_step_with_their_previews(mesh_format, tmp_path):
    snapshot = full_snapshot(step=118, positions=MOVED_UP, colours=np.full((4, 3), 255, np.uint8))
    previews = [Preview(job="any", step=118, view=view, picture=png([1, 2, 3])) for view in ("front", "../../etc")]
    output = Heard()
    with FakeJobServer(job_state()) as server:
        server.news["red-mushroom-7f3a"] = [snapshot, *previews, FINISHED]
        watch(server, output, save_frames=tmp_path / "frames", frame_format=mesh_format, frames_per_second=5.0)

    asked = server.of(WatchJob)[0]
    assert set(asked.channels) == {"progress", "mesh", "colours", "preview"}
    assert asked.snapshots_per_second == 5.0
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"step-000118-view-1.png", "step-000118-view-2.png", f"step-000118.{mesh_format}"}
    (mesh,) = trimesh.load_scene(tmp_path / "frames" / f"step-000118.{mesh_format}").geometry.values()
    assert mesh.bounds[:, 1].tolist() == [2, 3]  # upwards, which is Y in files
    assert f"frames in {tmp_path / 'frames'}" in output.text


def test_a_lost_server_is_told_of_at_once_and_the_job_is_picked_up_again(tmp_path):
    """The server dies after the first snapshot; the one that follows it at the same address knows the job."""
    first = FakeJobServer(job_state())
    first.news["red-mushroom-7f3a"] = [full_snapshot(step=118), progress(step=119)]
    second = []

    def replace():
        first.wait_for(lambda: (tmp_path / "step-000118.glb").exists())
        first.close()
        after.wait(10)
        server = FakeJobServer(job_state(), address=first.address)
        server.news["red-mushroom-7f3a"] = [full_snapshot(step=130, number=1), FINISHED]
        second.append(server)

    output, after = Heard(), threading.Event()
    said = output.said.write

    def write(text):
        if "trying again" in text:
            after.set()
        return said(text)

    output.said.write = write
    replacing = threading.Thread(target=replace)
    replacing.start()
    code = watch(first, output, save_frames=tmp_path)
    replacing.join()
    second[0].close()

    assert after.is_set()  # before the new server was there
    assert code == EXIT_DONE
    assert "connected to" in output.text
    assert (tmp_path / "step-000130.glb").exists()
    assert len(second[0].of(WatchJob)) == 1


def test_a_server_that_stays_away_too_long_is_exit_code_4():
    server = FakeJobServer(job_state())
    closing = threading.Thread(target=lambda: (server.wait_for(lambda: server.of(WatchJob)), server.close()))
    closing.start()
    output = Heard()

    code = watch(server, output, give_up_after_seconds=0.5)

    closing.join()
    assert code == EXIT_UNREACHABLE
    assert "has been away for 0.5 s; the job may go on there" in output.text


def test_a_job_that_is_gone_after_a_lost_connection_ends_the_watch():
    with FakeJobServer(job_state()) as server:

        def forget():
            server.wait_for(lambda: server.of(WatchJob))
            server.jobs.clear()
            server.forget_clients()

        forgetting = threading.Thread(target=forget)
        forgetting.start()
        output = Heard()
        code = watch(server, output)
        forgetting.join()

    assert code == EXIT_BAD_INPUT
    assert "there is no job red-mushroom-7f3a" in output.text


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_the_job_running_and_says_so(as_json):
    output = Heard(as_json)
    with FakeJobServer(job_state()) as server:
        interrupt(server, output)
        code = watch(server, output)

    assert code == EXIT_STOPPED
    assert not [message for message, _ in server.heard if type(message).__name__ == "CancelJob"]
    if as_json:
        assert output.events[-1] == {"event": "left", "job": "red-mushroom-7f3a", "status": "running"}
    else:
        assert "the job goes on; watch it again with: sketchbridge watch red-mushroom-7f3a" in output.text


def test_what_happens_to_a_job_is_said_in_words():
    output = Heard()
    states = [
        job_state(status="queued", queue_position=2),
        job_state(status="queued", queue_position=1),
        job_state(restarts=1),
        job_state(restarts=1, updates=1),
        job_state(restarts=1, updates=1, status="paused", step=40, sentence="paused by [you]"),
    ]
    display = watch_job.watch_display(output)
    before = None
    with display:
        for state in states:
            display.state(state, before)
            before = state

    lines = output.text.splitlines()
    assert lines[1:] == [
        "queued, 2 jobs are before it ...",
        "queued, one job is before it ...",
        "running ...",
        "notice its worker was lost; it goes on from its last checkpoint",
        "notice update 1 is accepted",
        "paused after step 40; it goes on with: sketchbridge resume red-mushroom-7f3a ...",
        "notice paused by [you]",
    ]


def test_why_a_worker_was_lost_is_said_once_and_each_time():
    output = Heard()
    sentence = "Its worker was not heard of in time; it begins anew."
    states = [job_state(), job_state(restarts=1, sentence=sentence), job_state(restarts=2, sentence=sentence)]
    display = watch_job.watch_display(output)
    with display:
        for before, state in zip([None, *states], states, strict=False):
            display.state(state, before)

    assert output.text.splitlines()[2:] == [f"notice {sentence}"] * 2


def test_what_comes_after_the_steps_is_said_once_without_a_pace():
    output = Heard()
    display = watch_job.watch_display(output)
    with display:
        for stage in ("unwrapping", "unwrapping", "baking textures"):
            display.progress(progress(step=250, stage=stage, steps_per_second=0.0))

    assert output.text.splitlines() == ["unwrapping ...", "baking textures ..."]


def test_a_full_disk_ends_the_watch_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "backend.durable_files.write_whole_file",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    output = Heard()
    with FakeJobServer(job_state()) as server:
        server.news["red-mushroom-7f3a"] = [full_snapshot(), FINISHED]
        code = watch(server, output, save_frames=tmp_path)

    assert code == EXIT_BAD_INPUT
    assert "step-000118.glb cannot be written: No space left on device" in output.text
