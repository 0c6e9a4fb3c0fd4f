"""What `sketchbridge texture` has of its own, with a fake job; what it shares with `text` is in test_text."""

import json
from pathlib import Path

import pytest
from fake_job import FakeJob
from typed_command import messages, only_run, sketchbridge

from backend.commands import text as text_module
from backend.commands import texture as texture_module


@pytest.fixture(autouse=True)
def _a_fake_job_in_an_empty_folder(an_empty_folder, nothing_is_rendered, monkeypatch):
    monkeypatch.setattr(texture_module, "TextureMesh", FakeJob)
    monkeypatch.setattr(text_module, "TextToMesh", FakeJob)


def test_a_mesh_and_a_sentence_become_a_run_of_their_own_task():
    result = sketchbridge("texture", "mug.obj", "a red mug", "-o", "red.glb", "--up", "z", "--quality", "draft")

    assert result.exit_code == 0, result.output
    assert Path("red.glb").read_bytes()[:4] == b"glTF"
    record = json.loads((only_run() / "settings.json").read_text())
    assert only_run().name.endswith("-a-red-mug")
    assert record["task"] == "texture"
    assert record["settings"]["mesh"] == str(Path("mug.obj").absolute())
    assert record["settings"]["up"] == "z"
    assert record["resolved"]["steps"] == 100
    assert "surface" not in record["resolved"]
    assert {"turntable.gif", "report.html"} <= {path.name for path in only_run().iterdir()}


def test_a_stopped_run_says_how_to_go_on_and_does(monkeypatch):
    sketchbridge("texture", "mug.obj", "a mug", "-o", "unbroken.glb", "--steps", 20, "--run-dir", "elsewhere")
    monkeypatch.setattr(FakeJob, "interrupt_at", 7)

    stopped = sketchbridge("texture", "mug.obj", "a mug", "-o", "mug.glb", "--steps", 20)

    assert stopped.exit_code == 130
    assert f"sketchbridge texture --resume {only_run()}" in messages(stopped)

    monkeypatch.setattr(FakeJob, "interrupt_at", None)
    assert sketchbridge("texture", "--resume", only_run()).exit_code == 0
    assert Path("mug.glb").read_bytes() == Path("unbroken.glb").read_bytes()


@pytest.mark.parametrize(
    ("made_by", "resumed_by"),
    [(["texture", "mug.obj", "a mug"], "text"), (["text", "a mug"], "texture")],
)
def test_a_run_of_the_other_command_is_told_how_to_be_resumed(made_by, resumed_by):
    sketchbridge(*made_by, "--steps", 3)

    result = sketchbridge(resumed_by, "--resume", only_run())

    assert result.exit_code == 2
    assert f"go on with: sketchbridge {made_by[0]} --resume {only_run()}" in messages(result)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mug.obj"], "say which mesh and what it is to look like"),
        (["--seed", 3], "sketchbridge texture --resume RUN_FOLDER"),
        (["mug.obj", "  "], "the prompt is empty"),
        (["mug.obj", "a mug", "--steps", 0], "steps must be from 1"),
        (["mug.obj", "a mug", "-o", "mug.xyz"], "mug.xyz"),
        (["mug.obj", "a mug", "-o", "./mug.obj"], "is the mesh that the run reads; choose another name"),
        (["mug.obj", "a mug", "--resume", "nowhere"], "so the mesh, the prompt cannot be given with it"),
    ],
)
def test_bad_input_has_one_sentence_and_exit_code_2(arguments, words):
    result = sketchbridge("texture", *arguments)

    assert result.exit_code == 2
    assert words in messages(result)
    assert "Traceback" not in messages(result)
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_words_without_quotes_and_axes_that_there_are_not_get_help():
    result = sketchbridge("texture", "mug.obj", "a", "red", "mug")
    assert result.exit_code == 2
    assert 'sketchbridge texture mug.obj "a red mug"' in messages(result)

    result = sketchbridge("texture", "mug.obj", "a mug", "--up", "x")
    assert result.exit_code == 2
    assert "'x' is not one of 'y', 'z'" in messages(result)
