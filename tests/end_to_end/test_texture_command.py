"""`sketchbridge texture` with the embedded prior, as a user types it, at a tiny size."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals

from backend.appearance.mesh_files import read_mesh_file

REPOSITORY = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TINY = ("--steps", "20", "--texture-size", "128", "--json")


def command(*arguments):
    return [sys.executable, "-m", "backend", "texture", *arguments]


def texture(*arguments, folder):
    return subprocess.run(
        command(*arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False
    )


def write_tube(path):
    """Open at both ends, twice as long as wide, away from the origin, with a UV map of its own."""
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, 4, 9))
    positions = np.stack([np.sin(angle) + 10, height + 20, np.cos(angle) + 30], axis=-1).reshape(-1, 3)
    number = np.arange(25 * 9).reshape(9, 25)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    uv = np.stack([angle / (2 * np.pi), height / 4], axis=-1).reshape(-1, 2)
    trimesh.Trimesh(positions, faces, process=False, visual=TextureVisuals(uv=uv)).export(path)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_tube(folder / "tube.glb")
    done = texture("tube.glb", "a red vase", "-o", "vase.glb", *TINY, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_mesh_is_the_one_that_was_given_with_a_red_texture(finished_run):
    folder, events = finished_run
    given, made = read_mesh_file(folder / "tube.glb"), read_mesh_file(folder / "vase.glb")

    assert events[-1]["event"] == "finished"
    assert torch.equal(made.mesh.positions, given.mesh.positions)
    assert torch.equal(made.mesh.faces, given.mesh.faces)
    torch.testing.assert_close(made.uv, given.uv, atol=1e-6, rtol=0)
    red, green, blue = made.base_colour.float().mean(dim=(0, 1))
    assert red > green + 10
    assert red > blue + 10


def test_the_run_folder_holds_all_that_was_promised(finished_run):
    (run,) = (finished_run[0] / "runs").iterdir()

    assert len((run / "metrics.jsonl").read_text().splitlines()) == 20
    assert list((run / "previews").glob("*.png"))
    assert Image.open(run / "turntable.gif").n_frames > 8
    assert "a red vase" in (run / "report.html").read_text()


def test_a_run_stopped_by_ctrl_c_resumes_to_the_texture_of_an_unbroken_one(finished_run, tmp_path):
    unbroken = read_mesh_file(finished_run[0] / "vase.glb")
    write_tube(tmp_path / "tube.glb")
    running = subprocess.Popen(
        command("tube.glb", "a red vase", "-o", "vase.glb", *TINY),
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        # A test run in the background of a script hands on that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in running.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["step"] >= 5:
            running.send_signal(signal.SIGINT)
            break
    running.communicate(timeout=300)
    (run,) = (tmp_path / "runs").iterdir()
    assert running.returncode == 130

    done = texture("--resume", str(run), folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert torch.equal(read_mesh_file(tmp_path / "vase.glb").base_colour, unbroken.base_colour)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.stl", "a mug"], r"there is no file .*missing\.stl"),
        (["points.ply", "a mug"], "holds no faces"),
        (["points.ply"], "say which mesh and what it is to look like"),
    ],
)
def test_bad_input_is_told_in_a_sentence_without_a_traceback(arguments, message, tmp_path):
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")

    done = texture(*arguments, folder=tmp_path)
    said = " ".join((done.stdout + done.stderr).split())

    assert done.returncode == 2
    assert re.search(message, said), said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("runs/*"))
