"""A real server and the commands for drawings, as a user types them in two shells, at a tiny size."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from server_process import REPOSITORY, ServerProcess, wait_for_step

from backend.appearance.mesh_files import read_mesh_file
from backend.render.portable_rasteriser import PortableRasteriser
from backend.sketches.drawing import ready_drawings
from backend.sketches.overlay import sketch_scores
from backend.sketches.view_argument import parse_view, read_sketch

ROCKET = REPOSITORY / "examples" / "drawings" / "orange-rocket.svg"
TINY = ("--quality", "draft", "--texture-size", "128", "--faces", "4000")


@pytest.fixture
def server(tmp_path):
    server = ServerProcess(tmp_path)
    server.environment["SKETCHBRIDGE_SERVER"] = server.address
    server.start()
    yield server
    assert server.terminate() == 0
    server.close()


def told(server, *arguments):
    """What a command tells programs."""
    done = subprocess.run(
        [sys.executable, "-m", "backend", *arguments, "--json"], cwd=server.folder, env=server.environment,
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def photograph_the_rocket(path):
    """The same lines on paper under uneven light, as a JPEG: a rocket is alike from the front and from the left."""
    picture = Image.new("L", (800, 800), 255)
    for stroke in re.findall(r'points="([^"]+)"', ROCKET.read_text()):
        points = [tuple(2 * float(number) for number in pair.split(",")) for pair in stroke.split()]
        ImageDraw.Draw(picture).line(points, fill=0, width=8, joint="curve")
    light = np.linspace(0.95, 0.5, 800)[None, :]
    paper = light * np.where(np.asarray(picture) < 128, 0.4, 1.0)
    Image.fromarray((paper * 255).astype(np.uint8)).save(path, quality=90)


@pytest.mark.slow
def test_drawings_are_submitted_steered_and_fitted(server):
    photograph_the_rocket(server.folder / "photo.jpg")
    views = ("--view", f"front={ROCKET}", "--view", "left=photo.jpg")
    submitted = told(server, "submit", "sketch", "an orange rocket", *views, "--steps", "40", *TINY)
    job = submitted[-1]["job"]
    client = server.client()
    wait_for_step(client, job, 1)

    (steered,) = told(server, "steer", job, "--add-view", "right=photo.jpg", "--view-weight", "left=0.5")
    watched = told(server, "watch", job)
    told(server, "fetch", job, "-o", "rocket.glb")

    assert steered["updates"] == 1
    assert watched[-1]["status"] == "finished"
    notices = " ".join(notice for each in watched for notice in each.get("notices", ()))
    assert re.search(r"how well the drawings fit: front: IoU 0\.\d\d; left: IoU 0\.\d\d; right: IoU 0\.\d\d", notices)
    texts = [f"front={ROCKET}", f"left={server.folder}/photo.jpg"]
    drawings = ready_drawings([read_sketch(parse_view(text)) for text in texts])
    scores = sketch_scores(PortableRasteriser(), read_mesh_file(server.folder / "rocket.glb").mesh, drawings)
    assert min(each.silhouette_iou for each in scores) > 0.9, scores
