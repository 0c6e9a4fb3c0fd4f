"""Every example runs, in an empty folder, at a tiny size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh
from fake_job_server import FakeJobServer, textured_result
from PIL import Image

from examples import job_state, progress
from protocol.messages import SubmitJob

REPOSITORY = Path(__file__).parent.parent.parent
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def run(example, folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / example), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_text_to_mesh(tmp_path):
    printed = run("01_text_to_mesh.py", tmp_path, "10")

    assert "10/10 " in printed
    assert trimesh.load(tmp_path / "mushroom.glb").area > 0
    assert Image.open(tmp_path / "mushroom.png").size == (256, 256)


def test_render_a_mesh(tmp_path):
    trimesh.creation.torus(2.0, 0.5).export(tmp_path / "torus.stl")

    run("02_render_a_mesh.py", tmp_path, "torus.stl", "out.png")

    picture = Image.open(tmp_path / "out.png").convert("L")
    assert picture.size == (6 * 192, 192)
    assert picture.getextrema()[0] < 200  # something darker than the white background


def test_texture_a_mesh(tmp_path):
    trimesh.creation.icosphere(2, radius=5.0).export(tmp_path / "ball.stl")

    printed = run("03_texture_a_mesh.py", tmp_path, "ball.stl", "a red ball", "10")

    assert "10/10 " in printed
    assert trimesh.load(tmp_path / "textured.glb").bounds[1] == pytest.approx([5, 5, 5], abs=0.1)
    assert Image.open(tmp_path / "textured.png").size == (4 * 256, 256)


def test_a_client_from_the_specification_alone(tmp_path):
    with FakeJobServer() as server:
        server.news["new"] = [progress(), job_state(status="finished")]
        server.results["new"] = textured_result()
        printed = run("04_wire_client.py", tmp_path, server.address, "a mug", "250")

    assert printed.splitlines() == ["120/250 bridge"]
    assert server.of(SubmitJob)[0].settings.steps == 250
    # The wire's (x, y, z) is OBJ's (x, z, -y).
    assert trimesh.load(tmp_path / "mesh.obj").bounds.tolist() == [[0, 0, -1], [1, 1, 0]]
    lines = (REPOSITORY / "examples" / "04_wire_client.py").read_text().splitlines()
    assert len(lines) <= 40
    assert not [line for line in lines if "import" in line and ("protocol" in line or "backend" in line)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_say_what_one_will_see(path):
    text = path.read_text()

    assert text.startswith('"""')
    assert len(text.splitlines()) < 75


def test_every_example_is_run_here():
    tested = Path(__file__).read_text()

    assert EXAMPLES
    assert all(path.name in tested for path in EXAMPLES)
