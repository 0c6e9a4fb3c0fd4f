"""`sketchbridge text` with the embedded prior, as a user types it, at a tiny size."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image
from typer.testing import CliRunner

from backend.appearance.mesh_files import read_mesh_file
from backend.cli import app
from backend.geometry.unwrap import uv_overlap_fraction

REPOSITORY = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TINY = ("--quality", "draft", "--steps", "30", "--texture-size", "256", "--bridge-start", "0.8", "--json")


def sketchbridge(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = sketchbridge("text", "a red mushroom", "-o", "mushroom.glb", *TINY, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_events_tell_the_whole_story(finished_run):
    _, events = finished_run

    kinds = [event["event"] for event in events]
    assert kinds.count("started") == 1
    assert kinds[-1] == "finished"
    assert "progress" in kinds
    assert "preview" in kinds


def test_the_mesh_is_closed_in_one_piece_with_its_texture(finished_run):
    folder, _ = finished_run
    read = read_mesh_file(folder / "mushroom.glb")
    merged = trimesh.Trimesh(read.mesh.positions.numpy(), read.mesh.faces.numpy(), process=False)
    merged.merge_vertices()

    assert merged.is_watertight
    assert len(merged.split()) == 1
    assert read.base_colour.shape == (256, 256, 3)
    assert 0 <= read.uv.min() <= read.uv.max() <= 1
    assert uv_overlap_fraction(read.uv.numpy(), read.mesh.faces.numpy(), 256) == 0


def test_thirty_steps_are_enough_to_turn_red(finished_run):
    folder, _ = finished_run
    colours = read_mesh_file(folder / "mushroom.glb").base_colour.float().mean(dim=(0, 1))

    assert colours[0] > colours[1] + 20
    assert colours[0] > colours[2] + 20


def test_the_run_folder_holds_all_that_was_promised(finished_run):
    folder, _ = finished_run
    (run,) = (folder / "runs").iterdir()

    assert re.fullmatch(r"\d{4}-\d\d-\d\d-a-red-mushroom", run.name)
    assert json.loads((run / "settings.json").read_text())
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 30
    assert list((run / "previews").glob("*.png"))
    assert Image.open(run / "turntable.gif").n_frames > 8
    report = (run / "report.html").read_text()
    assert "a red mushroom" in report
    assert 'src="http' not in report  # self-contained


def test_a_run_stopped_by_ctrl_c_resumes_to_the_mesh_of_an_unbroken_one(finished_run, tmp_path):
    unbroken = read_mesh_file(finished_run[0] / "mushroom.glb")
    running = subprocess.Popen(
        [sys.executable, "-m", "backend", "text", "a red mushroom", "-o", "stopped.glb", *TINY],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        # A test run in the background of a script hands on that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in running.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["step"] >= 8:
            running.send_signal(signal.SIGINT)
            break
    running.communicate(timeout=300)
    (run,) = (tmp_path / "runs").iterdir()

    assert running.returncode == 130
    assert (tmp_path / "stopped.glb").exists()

    done = sketchbridge("text", "--resume", str(run), "-o", "resumed.glb", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    resumed = read_mesh_file(tmp_path / "resumed.glb")
    assert torch.equal(resumed.mesh.positions, unbroken.mesh.positions)
    assert torch.equal(resumed.base_colour, unbroken.base_colour)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "a mug", "-o", "mug.xyz"], r"\.xyz.*\.glb"),
        (["text", "a mug", "--steps", "-3"], "steps.*-3"),
        (["text", "a mug", "--prior", "no/such/folder"], "no folder"),
        (["text", "a mug", "--init-mesh", "missing.stl"], "missing.stl"),
        (["text", "--resume", "nowhere"], "nowhere"),
        (["text"], "What to make, in quotes"),
        (["text", "a mug", "--texture-size", "9999999"], "texture.size"),
    ],
)
def test_bad_input_is_told_in_a_sentence_without_a_traceback(arguments, message, tmp_path):
    done = sketchbridge(*arguments, folder=tmp_path)
    said = " ".join((done.stdout + done.stderr).split())

    assert done.returncode == 2
    assert re.search(message, said), said
    assert "Traceback" not in said


def test_doctor_finds_this_machine_fit(tmp_path):
    done = sketchbridge("doctor", folder=tmp_path)

    assert done.returncode == 0, done.stdout
    assert "embedded prior" in done.stdout.lower()


README_COMMANDS = re.findall(
    r"^ +(?:\.venv/bin/)?sketchbridge (.+)$",
    # The commands for a server have a test of their own.
    (REPOSITORY / "README.md").read_text().partition("## Run it as a server")[0],
    re.MULTILINE,
)


def test_the_readme_shows_options_that_exist():
    """Of every command, those too that cannot be run here because they download a model."""
    assert len(README_COMMANDS) >= 5
    for line in README_COMMANDS:
        command = shlex.split(line)
        shown = CliRunner().invoke(app, [command[0], "--help"]).output
        for option in (word for word in command if word.startswith("--")):
            assert option in shown, f"{option} of the README's `{line}` is not in the help"


def test_the_commands_of_the_readme_run(tmp_path):
    """In their order, with few steps; the torus that one of them begins with is made here."""
    trimesh.creation.torus(0.6, 0.25).export(tmp_path / "torus.stl")
    shutil.copytree(REPOSITORY / "examples" / "drawings", tmp_path / "examples" / "drawings")
    for line in (line for line in README_COMMANDS if "--prior" not in line):
        command = shlex.split(line)
        if "--resume" in command:
            command[-1] = str(next((tmp_path / "runs").glob("*-a-blue-rocket")))  # the README's has another date
        elif command[0] != "doctor":
            command += ["--steps", "2"]
        if command[0] in ("text", "texture", "sketch") and "--resume" not in command:
            command += ["--texture-size", "64", "--quality", "draft"]

        done = sketchbridge(*command, folder=tmp_path)

        assert done.returncode == 0, f"{line}: {done.stdout} {done.stderr}"
    made = {path.name for path in tmp_path.glob("*.*")}
    assert made >= {"rocket.glb", "tree.obj", "donut.glb", "red-rocket.glb", "mug.glb", "mushroom.png", "blue.png"}
