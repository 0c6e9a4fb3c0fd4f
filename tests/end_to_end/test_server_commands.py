"""A real server and the client's commands, as a user types them in two shells, at a tiny size."""

import json
import re
import shlex
import signal
import subprocess
import sys

import pytest
import trimesh
from server_process import REPOSITORY, ServerProcess

from backend.appearance.mesh_files import read_mesh_file

TINY = ("--quality", "draft", "--texture-size", "128")


class Shells(ServerProcess):
    """One server, and commands for it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.environment["SKETCHBRIDGE_SERVER"] = self.address

    def run(self, *arguments):
        return subprocess.run(
            self._command(arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=500, check=False,
        )  # fmt: skip

    def objects(self, *arguments):
        """What a command tells programs."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def watch(self, *arguments):
        """A watch in a shell of its own."""
        return subprocess.Popen(
            self._command(("watch", *arguments, "--json")), cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A test run in the background of a script hands on that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def _command(self, arguments):
        return [sys.executable, "-m", "backend", *arguments]


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    both = Shells(tmp_path_factory.mktemp("shells"))
    both.start()
    yield both
    assert both.terminate() == 0
    both.close()


def until(watching, is_it):
    """Reads what a watch tells until this is it."""
    for line in watching.stdout:
        event = json.loads(line)
        if is_it(event):
            return event
    raise AssertionError(watching.communicate())


def until_step(watching, step):
    return until(watching, lambda event: event["event"] == "progress" and event["step"] >= step)


def until_status(watching, status):
    return until(watching, lambda event: event["event"] == "state" and event["status"] == status)


@pytest.mark.slow
def test_a_job_is_submitted_watched_steered_paused_resumed_and_fetched(shells):
    # Long enough for the commands below, each of which has to import what it needs, to meet it running.
    (submitted, last) = shells.objects("submit", "text", "a red mushroom", "--steps", "75", *TINY)
    job = last["job"]
    assert submitted["job"] == job
    watching = shells.watch(job[:6], "--save-frames", "frames", "--frames-per-second", "20")
    until_step(watching, 2)

    (steered,) = shells.objects("steer", job, "--prompt", "a blue mushroom", "--more-steps", "5")
    (partial,) = shells.objects("fetch", job, "--partial", "-o", "partial.glb")
    shells.objects("pause", job)
    until_status(watching, "paused")
    too_early = shells.run("fetch", job, "-o", "early.glb")
    shells.objects("resume", job)
    fetched = shells.run("fetch", job, "--wait", "-o", "mushroom.glb")
    watching.communicate(timeout=300)

    assert steered["updates"] == 1
    assert partial["is_partial"]
    assert trimesh.load(shells.folder / "partial.glb").area > 0
    assert too_early.returncode == 3
    assert fetched.returncode == 0, fetched.stderr
    assert watching.returncode == 0
    made = read_mesh_file(shells.folder / "mushroom.glb")
    assert made.base_colour.shape == (128, 128, 3)
    frames = sorted((shells.folder / "frames").glob("*.glb"))
    assert len(frames) >= 3
    assert trimesh.load(frames[0]).area > 0
    (state,) = [each for each in shells.objects("jobs") if each["job"] == job]
    assert (state["status"], state["step"], state["total_steps"]) == ("finished", 80, 80)
    assert shells.objects("status")[0]["jobs"]["finished"] >= 1


@pytest.mark.slow
def test_a_watch_goes_on_over_a_server_that_is_started_anew(shells):
    job = shells.objects("submit", "text", "a blue mug", "--steps", "12", *TINY)[-1]["job"]
    watching = shells.watch(job)
    before = until_step(watching, 3)["step"]

    assert shells.terminate() == 0
    shells.start()
    told = [json.loads(line) for line in watching.communicate(timeout=300)[0].splitlines()]

    assert watching.returncode == 0
    connections = [each["state"] for each in told if each["event"] == "connection"]
    assert connections[0] == "lost"
    assert connections[-1] == "connected"
    assert told[-1]["status"] == "finished"
    assert told[-1]["step"] == 12
    assert max(each["step"] for each in told if each["event"] == "progress") > before


@pytest.mark.slow
def test_ctrl_c_ends_the_watching_and_not_the_job(shells):
    # So many that a shell on a busy machine begins to watch before they are done.
    job = shells.objects("submit", "image", "a red mushroom", "--steps", "200")[-1]["job"]
    watching = shells.watch(job)
    until_step(watching, 1)

    watching.send_signal(signal.SIGINT)
    told, _ = watching.communicate(timeout=60)
    done = shells.run("fetch", job, "--wait", "-o", "mushroom.png")

    assert watching.returncode == 130
    assert json.loads(told.splitlines()[-1])["event"] == "left"
    assert done.returncode == 0, done.stderr
    assert (shells.folder / "mushroom.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_texture_job_gives_back_the_mesh_where_it_was(shells):
    trimesh.creation.box((1, 2, 3)).apply_translation((10, 20, 30)).export(shells.folder / "box.stl")

    done = shells.run("submit", "texture", "box.stl", "a red box", "--steps", "4", *TINY, "--wait", "-o", "red.glb")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "red.glb\n"
    bounds = read_mesh_file(shells.folder / "red.glb").mesh.positions
    assert bounds.min(dim=0).values.tolist() == pytest.approx([9.5, 19, 28.5], abs=1e-4)
    assert bounds.max(dim=0).values.tolist() == pytest.approx([10.5, 21, 31.5], abs=1e-4)


@pytest.mark.slow
def test_the_example_of_the_specification_works_with_a_real_server(shells):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "04_wire_client.py"), shells.address, "a red cone", "4"],
        cwd=shells.folder, env=shells.environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "4/4" in done.stdout
    assert trimesh.load(shells.folder / "mesh.obj").area > 0


def test_the_commands_of_the_readme_run_between_two_shells(shells):
    """In their order, with the job's id for JOB and fewer steps; the fixture has started the server."""
    section = (REPOSITORY / "README.md").read_text().partition("## Run it as a server")[2].partition("## ")[0]
    commands = [shlex.split(line) for line in re.findall(r"^ +\.venv/bin/sketchbridge (.+)$", section, re.MULTILINE)]
    assert [command[0] for command in commands] == ["serve", "submit", "jobs", "steer", "watch", "fetch"]
    job = ""
    for command in commands[1:]:
        # Enough steps for the job to be running when it is steered.
        more = ["--steps", "60", *TINY] if command[0] == "submit" else []

        done = shells.run(*(job if word == "JOB" else word for word in command), *more)

        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        if command[0] == "submit":
            job = json.loads(shells.run("jobs", "--json").stdout.splitlines()[0])["job"]
    assert trimesh.load(shells.folder / "mushroom.glb").area > 0
    assert list((shells.folder / "frames").iterdir())
