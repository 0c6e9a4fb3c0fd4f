"""`image`, `edit`, `paint` and `illusion` with the embedded prior and few steps: files, run folders, bad input."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typed_command import messages, only_run, sketchbridge

from backend.commands import picture_job
from backend.optimise_pictures import PictureOptimisation


@pytest.fixture(autouse=True)
def _a_picture_in_an_empty_folder(an_empty_folder):
    Image.new("RGB", (40, 30), (200, 60, 60)).save("mug.png")


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def stop_after(step, monkeypatch):
    """Ctrl+C while a step is being made."""
    really = PictureOptimisation._make_step

    def make_step(self):
        if self.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return really(self)

    monkeypatch.setattr(PictureOptimisation, "_make_step", make_step)


def test_a_sentence_becomes_a_picture_and_a_run_folder():
    result = sketchbridge("image", "a red mushroom", "-o", "mushroom.png", "--steps", 3)

    assert result.exit_code == 0, result.output
    assert read("mushroom.png").shape == (128, 128, 3)
    assert result.stdout.strip() == str(Path("mushroom.png").absolute())
    run = only_run()
    assert (read(run / "picture.png") == read("mushroom.png")).all()
    assert {path.name for path in run.iterdir()} >= {"settings.json", "metrics.jsonl", "report.html", "checkpoints"}
    assert "rasteriser" not in json.loads((run / "versions.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["SDS", "SDS", "SDS"]  # 2 of 3 steps are less than three quarters
    assert "faces" not in lines[0]
    record = json.loads((run / "settings.json").read_text())
    assert (record["task"], record["resolved"]["steps"], record["resolved"]["variable"]) == ("image", 3, "latent")
    report = (run / "report.html").read_text()
    assert "<h1>a red mushroom</h1>" in report
    assert '<a href="picture.png">' in report
    assert "<b>gradient norm</b>" in report
    assert "<b>faces</b>" not in report


def test_several_get_names_of_their_own_a_sheet_and_json_events():
    result = sketchbridge(
        "image", "a red mug", "-o", "new/mug.jpg", "--count", 3, "--method", "ddim", "--steps", 2, "--json"
    )

    events = [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]
    assert result.exit_code == 0, result.output
    started = next(event for event in events if event["event"] == "started")
    assert (started["rasteriser"], started["total_steps"]) == (None, 2)
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[-1]["stage"], progress[-1]["gradient_norm"], progress[-1]["faces"]) == ("DDIM", None, None)
    finished = events[-1]
    assert finished["pictures"] == [str(Path(f"new/mug-{number}.jpg").absolute()) for number in range(3)]
    assert finished["sheet"] == str(Path("new/mug-sheet.jpg").absolute())
    assert finished["mesh"] is None
    assert read("new/mug-sheet.jpg").shape == (256, 256, 3)
    assert {"picture-0.png", "picture-2.png", "picture-sheet.png"} <= {path.name for path in only_run().iterdir()}


@pytest.mark.parametrize("method", ["sds", "nfsd", "csd", "vsd", "full-bridge", "vsd-full-bridge"])
def test_every_method_draws(method):
    result = sketchbridge("image", "a cone", "-o", "a.png", "--method", method, "--steps", 2, "--bridge-start", 0.5)

    assert result.exit_code == 0, result.output
    assert read("a.png").std() > 0


def test_ctrl_c_leaves_an_unfinished_picture_and_resuming_ends_like_an_unbroken_run(monkeypatch):
    sketchbridge(
        "image", "a cone", "-o", "unbroken.png", "--steps", 4, "--run-dir", "elsewhere", "--variable", "pixels"
    )
    with monkeypatch.context() as interrupted:
        stop_after(2, interrupted)
        stopped = sketchbridge("image", "a cone", "-o", "cone.png", "--steps", 4, "--variable", "pixels")

    assert stopped.exit_code == 130
    assert "cone.png is unfinished: the picture after step 2 of 4" in messages(stopped)
    assert f"sketchbridge image --resume {only_run()}" in messages(stopped)
    unfinished = read("cone.png")

    assert "go on with: sketchbridge image --resume" in messages(sketchbridge("paint", "--resume", only_run()))
    resumed = sketchbridge("image", "--resume", only_run())

    assert resumed.exit_code == 0, resumed.output
    assert (read("cone.png") == read("unbroken.png")).all()
    assert (unfinished != read("unbroken.png")).any()


def test_an_edit_keeps_before_and_after_in_the_run_folder():
    result = sketchbridge(
        "edit", "mug.png", "--from", "a red mug", "--to", "a blue mug", "-o", "blue.png", "--steps", 2
    )

    assert result.exit_code == 0, result.output
    assert "its middle square is used" in messages(result)
    assert not Path("blue-sheet.png").exists()
    sheet = read(only_run() / "picture-sheet.png")
    assert sheet.shape == (128, 256, 3)
    assert (sheet[:, 128:] == read("blue.png")).all()
    record = json.loads((only_run() / "settings.json").read_text())
    assert record["settings"]["picture"] == str(Path("mug.png").absolute())
    assert json.loads((only_run() / "metrics.jsonl").read_text().splitlines()[0])["stage"] == "DDS"


def test_a_painting_becomes_real_by_stage_two_alone():
    result = sketchbridge("paint", "mug.png", "a red mug", "-o", "real.png", "--steps", 2)

    assert result.exit_code == 0, result.output
    assert read("real.png").shape == (128, 128, 3)
    assert {json.loads(line)["stage"] for line in (only_run() / "metrics.jsonl").read_text().splitlines()} == {"bridge"}


@pytest.mark.parametrize(("transform", "names"), [("rotate-180", {"picture"}), ("overlay", {"base", "rotator"})])
def test_an_illusion_fills_a_folder(transform, names):
    result = sketchbridge("illusion", "a cone", "a mug", "--transform", transform, "-o", "out", "--steps", 2)

    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out").iterdir()} == {f"{name}.png" for name in names} | {
        "views.png",
        "turn.gif",
    }
    assert read("out/views.png").shape == (128, 256, 3)
    assert Image.open("out/turn.gif").n_frames > 10
    assert only_run().name.endswith("-a-cone-a-mug")
    report = (only_run() / "report.html").read_text()
    assert "<h1>a cone / a mug</h1>" in report
    assert "data:image/gif" in report


def test_an_output_that_cannot_be_written_at_the_end_leaves_the_picture_in_the_run_folder(monkeypatch):
    really = picture_job.write_picture

    def write_picture(path, picture):
        if path.name == "a.png":
            raise OSError(28, "No space left on device")
        really(path, picture)

    monkeypatch.setattr(picture_job, "write_picture", write_picture)
    result = sketchbridge("image", "a cone", "-o", "a.png", "--method", "ddim", "--steps", 1)

    assert result.exit_code == 2
    expected = f"a.png could not be written (No space left on device). The picture is in {only_run() / 'picture.png'}"
    assert expected in messages(result)
    assert (only_run() / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["image", "--steps", 3], "say what to draw, such as: sketchbridge image"),
        (["image", "a", "red", "cone"], 'put the prompt in quotes: sketchbridge image "a red cone"'),
        (["image", "a cone", "-o", "cone.glb"], "names no format that pictures can be written in"),
        (["image", "a cone", "-o", "."], "is a folder; name a file in it"),
        (["image", "a cone", "--count", 0], "count must be from 1 to 64"),
        (["image", "a cone", "--method", "dds"], "dds"),
        (["image", "a cone", "--resume", "nowhere"], "the prompt cannot be given with it"),
        (["edit", "mug.png", "--to", "a mug"], "say which picture, what it shows and what it is to show"),
        (["edit", "mug.png", "a", "mug"], "put each prompt in quotes"),
        (["edit", "no.png", "--from", "a", "--to", "b"], "there is no picture"),
        (["edit", "mug.png", "--from", "a", "--to", "b", "-o", "mug.png"], "is the picture that the run reads"),
        (["edit", "--from", "a", "--resume", "nowhere"], "the source prompt cannot be given with it"),
        (["paint", "mug.png"], "say which painting and what it shows"),
        (["paint", "mug.png", "a", "mug"], 'sketchbridge paint mug.png "a mug"'),
        (["paint", "a mug", "mug.png"], 'the picture comes first, then the prompt: sketchbridge paint mug.png "a mug"'),
        (["paint", __file__, "a mug"], "is no picture that can be read"),
        (["illusion", "a cone"], "say what to see before and after the turn"),
        (["illusion", "a", "b", "c"], "rotate-180 shows 2 prompts, one for each view; got 3"),
        (["illusion", "a", "b", "-o", "mug.png"], "is a file; give a folder"),
        (["illusion", "a", "b", "--transform", "melt"], "melt"),
    ],
)
def test_bad_input_has_one_sentence_and_exit_code_2(arguments, words):
    result = sketchbridge(*arguments)

    assert result.exit_code == 2
    assert words in messages(result)
    assert "Traceback" not in messages(result)
    assert result.stdout == ""
    assert not Path("runs").exists() or not any(Path("runs").iterdir())
