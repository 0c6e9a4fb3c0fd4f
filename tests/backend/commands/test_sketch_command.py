"""What `sketchbridge sketch` has of its own, with a fake job; what it shares with `text` is in test_text."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_job import FakeJob
from typed_command import messages, only_run, sketchbridge

from backend.commands import sketch as sketch_module
from backend.sketches.overlay import SketchScore


class FakeSketchJob(FakeJob):
    """A fake job that fits its two drawings in a known way."""

    def scores(self):
        return [SketchScore("front", 0.934, None), SketchScore("left,lines", None, 0.5)]

    def overlays(self):
        return [np.full((16, 16, 3), grey, dtype=np.uint8) for grey in (60, 200)]


@pytest.fixture(autouse=True)
def _a_fake_job_in_an_empty_folder(an_empty_folder, nothing_is_rendered, monkeypatch):
    monkeypatch.setattr(sketch_module, "SketchToMesh", FakeSketchJob)


TWO_VIEWS = ("--view", "front=mug.png", "--view", "left,lines@mug.svg")


def test_drawings_and_a_sentence_become_a_run_whose_report_shows_how_they_fit():
    result = sketchbridge("sketch", "a red mug", *TWO_VIEWS, "-o", "mug.glb", "--quality", "draft")

    assert result.exit_code == 0, result.output
    assert Path("mug.glb").read_bytes()[:4] == b"glTF"
    record = json.loads((only_run() / "settings.json").read_text())
    here = Path.cwd()
    assert record["task"] == "sketch"
    assert record["settings"]["views"] == [f"front={here}/mug.png", f"left,lines@{here}/mug.svg"]
    assert record["resolved"]["sketches"]["outline_weight"]["start"] > 0
    kept = json.loads((only_run() / "sketches.json").read_text())
    assert [each["caption"] for each in kept] == ["front: IoU 0.93", "left,lines: 50 % of the lines met"]
    page = (only_run() / "report.html").read_text()
    assert page.count("<figcaption>front: IoU 0.93</figcaption>") == 1
    assert "how well the drawings fit: front: IoU 0.93; left,lines: 50 % of the lines met" in messages(result)


def test_a_mesh_alone_is_a_sketch_in_3d(monkeypatch):
    monkeypatch.setattr(FakeSketchJob, "scores", lambda job: [])

    result = sketchbridge("sketch", "a blue car", "--mesh", "blockout.obj", "--to-real", "-o", "car.glb")

    assert result.exit_code == 0, result.output
    settings = json.loads((only_run() / "settings.json").read_text())["settings"]
    assert (settings["views"], settings["to_real"]) == ([], True)
    assert settings["mesh"] == str(Path.cwd() / "blockout.obj")
    assert not (only_run() / "sketches.json").exists()
    assert "how well the drawings fit" not in messages(result)


def test_a_stopped_run_says_how_to_go_on_and_does(monkeypatch):
    monkeypatch.setattr(FakeJob, "interrupt_at", 7)

    stopped = sketchbridge("sketch", "a mug", *TWO_VIEWS, "-o", "mug.glb", "--steps", 20)

    assert stopped.exit_code == 130
    assert f"sketchbridge sketch --resume {only_run()}" in messages(stopped)

    monkeypatch.setattr(FakeJob, "interrupt_at", None)
    assert sketchbridge("sketch", "--resume", only_run()).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a mug",), "say what to make and from where it was drawn"),
        (("a mug", "--view", "mug.png"), "names no file; write front=mug.png"),
        (("a mug", "--view", "front=a.png", "--view", "front=b.png"), "two drawings are given for front"),
        (("a mug", "--view", "front=a.png", "--strength", "0.5"), "give --mesh too"),
        (("a mug", "--view", "front=a.png", "--mesh", "a.glb", "-o", "a.glb"), "is the mesh that the run reads"),
        (
            ("a mug", "--view", "front=a.png", "--mesh", "a.glb", "--lock", "m.ply", "-o", "m.ply"),
            "is the mesh that the run reads",
        ),
    ],
)
def test_what_is_wrong_is_said_before_a_run_is_made(arguments, message):
    result = sketchbridge("sketch", *arguments)

    assert result.exit_code == 2
    assert message in messages(result)
    assert not Path("runs").exists()


def test_without_a_fake_a_missing_drawing_is_told(monkeypatch):
    from backend.tasks.sketch_to_mesh import SketchToMesh

    monkeypatch.setattr(sketch_module, "SketchToMesh", SketchToMesh)

    result = sketchbridge("sketch", "a mug", "--view", "front=mug.png")

    assert result.exit_code == 2
    assert "there is no picture" in messages(result)
    assert list(Path("runs").iterdir()) == []
