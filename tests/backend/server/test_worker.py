"""Real worker processes on tiny jobs with the embedded prior; the test is the server at the other end of the link."""

import io
import json
import os
import re
import signal
import time

import numpy as np
import pytest
import trimesh
from PIL import Image
from worker_process import PATIENCE_SECONDS, ServerSide, add_update, job_folder

from backend.checkpoint import newest_checkpoint_step
from backend.geometry.signed_distance import nearest_on_mesh
from backend.server.configuration import EMBEDDED_PRIOR
from backend.server.message_files import read_message
from protocol.geometry import InputMesh
from protocol.messages import Finished, MeshSnapshot, Preview, Progress, SketchChange, SubmitJob, UpdateJob
from protocol.settings import Placement, Settings
from protocol.sketches import PresetCamera, Sketch

pytestmark = pytest.mark.slow

BALL = Placement(centre=(10.0, -20.0, 3.0), radius_metres=1.8)


def submit(task="text", steps=8, **fields):
    settings = Settings(quality="draft", steps=steps, texture_size=64, faces=400, device="cpu", rasteriser="portable")
    return SubmitJob(key="a-key-of-a-test", task=task, prompt="a red mushroom", settings=settings, **fields)


def egg(colour=(20, 60, 220)):
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.8)
    mesh.apply_scale([1.0, 0.7, 1.4])
    mesh.apply_translation(BALL.centre)
    return InputMesh(
        positions=np.asarray(mesh.vertices, np.float32),
        faces=np.asarray(mesh.faces, np.int32),
        colours=np.full((len(mesh.vertices), 3), colour, np.uint8),
    ), mesh


def ellipse(view, half_width):
    """An outline 0.8 of the picture high; of one that is very wide only pieces are in the picture."""
    turn = np.linspace(0, 2 * np.pi, 40) + 0.01
    points = np.stack([0.5 + half_width * np.cos(turn), 0.5 + 0.4 * np.sin(turn)], axis=1)
    return Sketch(
        name=view,
        camera=PresetCamera(view=view if view in ("front", "left") else "top"),
        drawn="outline",
        points=points.astype(np.float32),
        stroke_lengths=np.array([40], np.int32),
    )


def update(**changes):
    return UpdateJob(job="job-1", key="a-key-of-a-test", **changes)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With one worker that all tests share which do not kill it: importing and loading take longest."""
    side = ServerSide(tmp_path_factory.mktemp("link"))
    side.start()
    yield side
    side.close()


@pytest.fixture
def own_server(tmp_path):
    side = ServerSide(tmp_path)
    yield side
    side.close()


def test_a_job_ends_with_a_textured_mesh_in_the_clients_scene(server, tmp_path):
    folder = job_folder(tmp_path / "job", submit(placement=BALL))

    server.run(folder)
    finished_event = server.until("finished")

    started = next(each for each in server.heard if isinstance(each, dict) and each["event"] == "started")
    beats = [each["step"] for each in server.heard if isinstance(each, dict) and each["event"] == "beat"]
    assert (started["total_steps"], started["step"], started["device"]) == (8, 0, "cpu")
    assert set(range(9)) <= set(beats)
    assert beats == sorted(beats)
    assert {"loading", "SDS"} <= {each.stage for each in server.heard_of(Progress)}
    result = read_message(folder / "result.message")
    assert (finished_event["step"], result.step, result.is_partial) == (8, 8, False)
    assert np.abs(result.mesh.positions - BALL.centre).max() <= 1.8 / 0.9  # the lattice's half side
    assert 100 < len(result.mesh.faces) <= 400
    assert Image.open(io.BytesIO(result.textures[0].picture)).size == (64, 64)


def test_nothing_is_made_for_nobody(server, tmp_path):
    server.run(job_folder(tmp_path / "job", submit(steps=3)))

    server.until("finished")

    assert server.heard_of(MeshSnapshot) == []
    assert server.heard_of(Preview) == []


def test_watchers_get_snapshots_that_build_on_each_other_and_a_preview(server, tmp_path):
    server.run(job_folder(tmp_path / "job", submit(placement=BALL)))
    server.order("demand", per_second=100.0, mesh=True, colours=True, preview=True)

    server.until("finished")

    snapshots = server.heard_of(MeshSnapshot)
    assert [each.step for each in snapshots] == list(range(1, 9))
    assert snapshots[0].is_full
    numbers = [each.number for each in snapshots]
    assert numbers == sorted(set(numbers))
    full = {each.number for each in snapshots if each.is_full}
    assert all(each.builds_on in full for each in snapshots if not each.is_full)
    assert all(len(each.colours) == len(each.positions) for each in snapshots)
    assert np.abs(snapshots[0].positions - BALL.centre).max() <= 2.0
    preview = Image.open(io.BytesIO(server.heard_of(Preview)[0].picture))
    assert preview.size == (256, 256)


def test_a_paused_job_goes_on_where_it_was(server, tmp_path):
    folder = job_folder(tmp_path / "job", submit())
    server.run(folder)
    server.until("beat", lambda event: event["step"] >= 2)

    server.order("pause")
    paused = server.until("paused")
    server.run(folder)
    started = server.until("started")
    server.until("finished")

    assert 2 <= paused["step"] < 8
    assert started["step"] == paused["step"]


def test_a_partial_result_is_the_mesh_of_now_with_colours_at_its_vertices(server, tmp_path):
    server.run(job_folder(tmp_path / "job", submit(placement=BALL)))
    server.until("beat", lambda event: event["step"] >= 1)

    server.order("fetch", token="abc-1")
    partial = server.until_partial("abc-1")
    server.order("cancel", keep=False)
    cancelled = server.until("cancelled")

    assert isinstance(partial, Finished)
    assert partial.is_partial
    assert partial.step >= 1
    assert len(partial.mesh.colours) == len(partial.mesh.positions)
    assert partial.textures == ()
    assert cancelled["has_result"] is False
    assert not (tmp_path / "job" / "result.message").exists()


def test_a_cancelled_job_keeps_what_is_there_if_asked(server, tmp_path):
    folder = job_folder(tmp_path / "job", submit())
    server.run(folder)
    server.until("beat", lambda event: event["step"] >= 3)

    server.order("cancel", keep=True)
    cancelled = server.until("cancelled")

    result = read_message(folder / "result.message")
    assert cancelled["has_result"] is True
    assert result.is_partial
    assert result.step == cancelled["step"] < 8


def test_an_edited_mesh_is_in_the_snapshot_that_follows_at_once(server, tmp_path):
    mesh, shape = egg()
    folder = job_folder(tmp_path / "job", submit(placement=BALL))
    server.run(folder)
    server.order("demand", per_second=0.01, mesh=True, colours=True, preview=False)
    server.until("beat", lambda event: event["step"] >= 2)

    add_update(folder, 1, update(mesh=mesh, more_steps=2))
    server.order("update", number=1)
    taken = server.until("update_taken")
    steps = server.until("steps")
    server.until("finished", lambda event: event["step"] == 10)

    snapshot = server.heard_of(MeshSnapshot)[0]
    assert steps["total_steps"] == 10
    assert snapshot.step == taken["step"]
    points = snapshot.positions.astype(np.float64)
    distances = np.linalg.norm(nearest_on_mesh(shape.vertices, shape.faces, points) - points, axis=1)
    assert distances.max() < 2 / 32 * 1.8 / 0.9 / 2  # half a cell of 32, in metres of the scene
    assert np.abs(snapshot.colours.astype(int) - [20, 60, 220]).mean() < 4


def test_a_texture_job_keeps_the_clients_mesh(server, tmp_path):
    mesh, _ = egg()
    folder = job_folder(tmp_path / "job", submit("texture", steps=2, mesh=mesh))

    server.run(folder)
    server.until("finished")

    result = read_message(folder / "result.message").mesh
    assert np.array_equal(result.positions, mesh.positions[result.source_vertices])


def test_a_picture_is_drawn_and_seen_on_the_way(server, tmp_path):
    folder = job_folder(tmp_path / "job", submit("image", steps=3))

    server.run(folder)
    server.order("demand", per_second=5.0, mesh=True, colours=True, preview=True)
    server.until("finished")

    result = read_message(folder / "result.message")
    side = EMBEDDED_PRIOR.resolution
    assert Image.open(io.BytesIO(result.pictures[0].picture)).size == (side, side)
    assert result.mesh is None
    assert len(server.heard_of(Preview)) >= 1


def test_a_job_that_cannot_be_done_says_why_and_the_worker_takes_the_next(server, tmp_path):
    flat = InputMesh(
        positions=np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), faces=np.array([[0, 1, 2]], np.int32)
    )
    server.run(job_folder(tmp_path / "flat", submit(mesh=flat)))
    said = {"event": ""}
    while said["event"] != "failed":
        assert server.socket.poll(PATIENCE_SECONDS * 1000)
        said = server.next_said()
        said = said if isinstance(said, dict) else {"event": ""}

    server.run(job_folder(tmp_path / "good", submit("image", steps=1)))
    server.until("finished")

    assert said["code"] == "bad-mesh"
    assert said["sentence"] == "none of the 1 faces of the mesh has an area"


def test_a_full_disk_at_a_checkpoint_is_told_and_the_job_goes_on(server, tmp_path):
    folder = job_folder(tmp_path / "job", submit(steps=4))
    (folder / "run").mkdir()
    (folder / "run" / "checkpoints").write_text("a file where the folder should be, which no user may write through")

    server.run(folder, checkpoint_seconds=0.0)
    server.until("finished")

    notices = [each["sentence"] for each in server.heard if isinstance(each, dict) and each["event"] == "notice"]
    assert sum("could not be written" in each for each in notices) >= 4
    assert not any(str(tmp_path) in each for each in notices)
    assert read_message(folder / "result.message").step == 4


def test_a_killed_worker_leaves_what_another_ends_as_if_nothing_had_happened(own_server, tmp_path):
    mesh, _ = egg()
    change = update(mesh=mesh, prompt="a blue mushroom", guidance_scale=8.0, more_steps=2)
    folder = job_folder(tmp_path / "killed", submit(placement=BALL))
    worker = own_server.start()
    own_server.run(folder)
    own_server.until("beat", lambda event: event["step"] >= 2)
    own_server.order("pause")
    saved = own_server.until("paused")["step"]  # the only checkpoint
    own_server.run(folder)
    own_server.until("beat", lambda event: event["step"] >= saved + 1)
    add_update(folder, 1, change)
    own_server.order("update", number=1)
    taken = own_server.until("update_taken")["step"]
    own_server.until("beat", lambda event: event["step"] >= taken + 1)
    worker.kill()
    worker.wait()

    own_server.start()
    own_server.run(folder, updates=1)
    assert own_server.until("started")["step"] == saved
    assert own_server.until("update_taken")["step"] == taken
    assert own_server.until("finished")["step"] == 10

    # Undisturbed: the journal says beforehand at which step the update is to be taken.
    unbroken = job_folder(tmp_path / "unbroken", submit(placement=BALL), change)
    (unbroken / "run").mkdir()
    (unbroken / "run" / "updates.jsonl").write_text(json.dumps({"number": 1, "step": taken}) + "\n")
    own_server.run(unbroken, updates=1)
    own_server.until("finished")
    broken_result, result = (read_message(each / "result.message") for each in (folder, unbroken))
    assert saved < taken
    assert broken_result.mesh == result.mesh
    assert broken_result.textures == result.textures


@pytest.mark.parametrize("is_saved_before", [True, False], ids=["before", "after"])
def test_a_killed_sketch_job_goes_on_with_the_sketches_that_it_had(own_server, tmp_path, is_saved_before):
    """The only checkpoint is of before or of after the change of the sketches."""
    asked = {"task": "sketch", "sketches": (ellipse("front", 0.2),), "placement": BALL}
    change = update(
        add_sketches=(ellipse("left", 0.1), ellipse("lost", 7.0)),
        sketch_weights=(SketchChange(name="front", weight=0.5),),
    )
    folder = job_folder(tmp_path / "killed", submit(**asked))
    worker = own_server.start()
    own_server.run(folder)

    def pause_and_go_on(updates):
        own_server.order("pause")
        saved = own_server.until("paused")["step"]
        own_server.run(folder, updates=updates)
        return saved

    own_server.until("beat", lambda event: event["step"] >= 1)
    saved = pause_and_go_on(0) if is_saved_before else None
    own_server.until("beat", lambda event: event["step"] >= (saved or 0) + 1)
    add_update(folder, 1, change)
    own_server.order("update", number=1)
    taken = own_server.until("update_taken")["step"]
    notices = [each["sentence"] for each in own_server.heard if isinstance(each, dict) and each["event"] == "notice"]
    saved = saved or pause_and_go_on(1)
    own_server.until("beat", lambda event: event["step"] >= max(saved, taken) + 1)
    worker.kill()
    worker.wait()

    own_server.start()
    own_server.run(folder, updates=1)
    assert own_server.until("started")["step"] == saved
    own_server.until("finished")

    # Undisturbed: the journal says beforehand at which step the update is to be taken.
    unbroken = job_folder(tmp_path / "unbroken", submit(**asked), change)
    (unbroken / "run").mkdir()
    (unbroken / "run" / "updates.jsonl").write_text(json.dumps({"number": 1, "step": taken}) + "\n")
    own_server.run(unbroken, updates=1)
    own_server.until("finished")
    fits = [each["sentence"] for each in own_server.heard if isinstance(each, dict) and each["event"] == "notice"]
    broken_result, result = (read_message(each / "result.message") for each in (folder, unbroken))
    assert (saved < taken) if is_saved_before else (saved >= taken)
    assert any("left out: the outline of the sketch lost cannot be closed" in each for each in notices)
    assert re.search(r"how well the drawings fit: front: IoU 0\.\d\d; left: IoU 0\.\d\d$", fits[-1])
    assert broken_result.mesh == result.mesh
    assert broken_result.textures == result.textures


def test_sigterm_saves_the_job_and_ends_well(own_server, tmp_path):
    folder = job_folder(tmp_path / "job", submit())
    worker = own_server.start()
    own_server.run(folder)
    own_server.until("beat", lambda event: event["step"] >= 2)

    worker.send_signal(signal.SIGTERM)
    checkpointed = own_server.until("checkpointed")

    assert worker.wait(PATIENCE_SECONDS) == 0
    assert (folder / "run" / "checkpoints" / f"step-{checkpointed['step']:06d}").is_dir()


def test_a_worker_whose_server_is_gone_saves_the_job_and_ends(own_server, tmp_path):
    """Between server and worker stands a process that ends: the worker's parent, as the server is."""
    folder = job_folder(tmp_path / "job", submit(steps=400))
    worker = own_server.start_under_a_parent()
    own_server.run(folder)
    own_server.until("beat", lambda event: event["step"] >= 2)

    own_server.workers[-1].kill()

    deadline = time.monotonic() + PATIENCE_SECONDS
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_alive(worker)
    assert newest_checkpoint_step(folder / "run" / "checkpoints") is not None


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
