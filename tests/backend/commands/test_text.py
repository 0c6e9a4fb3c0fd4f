"""`sketchbridge text` as a whole, with a fake job: options, exit codes, interruption, resumption, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fake_job import FakeJob
from typed_command import messages, only_run, sketchbridge

from backend import machine
from backend.commands import job_steps, mesh_job
from backend.commands import text as text_module
from backend.errors import MissingModel, OutputNotWritable

FAKE_COMMAND = Path(__file__).with_name("fake_command.py")


@pytest.fixture(autouse=True)
def _a_fake_job_in_an_empty_folder(an_empty_folder, nothing_is_rendered, monkeypatch):
    monkeypatch.setattr(text_module, "TextToMesh", FakeJob)


def events_of(result):
    return [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]


def test_a_sentence_becomes_a_mesh_and_a_run_folder():
    result = sketchbridge("text", "a red mushroom", "-o", "mushroom.glb", "--steps", 20)

    assert result.exit_code == 0, result.output
    assert Path("mushroom.glb").read_bytes()[:4] == b"glTF"
    run = only_run()
    assert run.name.endswith("-a-red-mushroom")
    assert {path.name for path in run.iterdir()} >= {
        "settings.json",
        "versions.json",
        "metrics.jsonl",
        "tensorboard",
        "previews",
        "checkpoints",
        "turntable.gif",
        "contact_sheet.png",
        "mesh.glb",
        "report.html",
        "log.txt",
    }
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 20
    settings = json.loads((run / "settings.json").read_text())
    assert settings["settings"]["prompt"] == "a red mushroom"
    assert settings["settings"]["seed"] == 0
    assert settings["resolved"]["steps"] == 20
    versions = json.loads((run / "versions.json").read_text())
    assert {"sketchbridge", "python", "torch", "diffusers", "numba", "platform", "device", "rasteriser"} <= set(
        versions
    )


def test_json_mode_tells_the_whole_story_on_stdout():
    result = sketchbridge("text", "a long sentence", "--steps", 20, "--json")

    events = events_of(result)
    kinds = [event["event"] for event in events]
    assert result.exit_code == 0
    assert kinds[0] == "doing"
    assert kinds.index("started") < kinds.index("progress") < kinds.index("finished") == len(kinds) - 1
    assert {"notice", "preview"} <= set(kinds)
    assert events[kinds.index("started")] == {
        "event": "started",
        "prompt": "a long sentence",
        "run_dir": str(only_run().absolute()),
        "total_steps": 20,
        "first_step": 1,
        "prior": "embedded",
        "device": "cpu",
        "rasteriser": "portable",
    }
    assert any("ignores the end" in event.get("text", "") for event in events)
    finished = events[-1]
    assert finished["is_complete"]
    assert Path(finished["mesh"]) == only_run().absolute() / "mesh.glb"
    assert Path(finished["report"]).exists()


def test_ctrl_c_leaves_an_unfinished_mesh_and_resuming_ends_like_an_unbroken_run(monkeypatch):
    sketchbridge("text", "a cone", "-o", "unbroken.glb", "--steps", 20, "--run-dir", "elsewhere/runs")

    monkeypatch.setattr(FakeJob, "interrupt_at", 7)
    stopped = sketchbridge("text", "a cone", "-o", "cone.glb", "--steps", 20)
    assert stopped.exit_code == 130
    assert "stopped after step 7 of 20" in messages(stopped)
    assert "cone.glb is unfinished" in messages(stopped)
    assert f"sketchbridge text --resume {only_run()}" in messages(stopped)
    unfinished = Path("cone.glb").read_bytes()

    monkeypatch.setattr(FakeJob, "interrupt_at", None)
    resumed = sketchbridge("text", "--resume", only_run())
    assert resumed.exit_code == 0, resumed.output
    assert unfinished != Path("unbroken.glb").read_bytes()
    assert Path("cone.glb").read_bytes() == Path("unbroken.glb").read_bytes()
    steps = [json.loads(line)["step"] for line in (only_run() / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))


def test_stopping_before_there_is_a_surface_still_keeps_the_checkpoint(monkeypatch):
    monkeypatch.setattr(FakeJob, "interrupt_at", 3)
    monkeypatch.setattr(FakeJob, "has_surface", False)

    result = sketchbridge("text", "a cone", "-o", "cone.glb")

    assert result.exit_code == 130
    assert "there is no mesh so far: the surface is empty" in messages(result)
    assert f"--resume {only_run()}" in messages(result)
    assert not Path("cone.glb").exists()
    assert (only_run() / "checkpoints/step-000003").is_dir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_to_a_real_process_can_be_resumed(number):
    arguments = ["text", "a cone", "-o", "cone.glb", "--steps", "100000", "--json"]
    with subprocess.Popen(
        [sys.executable, str(FAKE_COMMAND), *arguments], stdout=subprocess.PIPE, text=True, env=with_source_on_path()
    ) as process:
        wait_for_event(process, "progress")
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 130

    finished = json.loads(rest.splitlines()[-1])
    assert finished["event"] == "finished"
    assert not finished["is_complete"]
    assert finished["resume_command"] == f"sketchbridge text --resume {only_run()}"
    assert Path("cone.glb").exists()
    checkpoints = [path.name for path in (only_run() / "checkpoints").iterdir()]
    assert f"step-{finished['step']:06d}" in checkpoints


def test_kill_minus_nine_leaves_a_run_that_can_be_resumed():
    arguments = ["text", "a cone", "--steps", "100000", "--json"]
    with subprocess.Popen(
        [sys.executable, str(FAKE_COMMAND), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=with_source_on_path(FAKE_SECONDS_PER_STEP="0", FAKE_SECONDS_BETWEEN_CHECKPOINTS="0"),
    ) as process:
        wait_for_event(process, "progress")
        time.sleep(0.5)  # somewhere in the middle of writing one of many checkpoints
        process.kill()

    settings = json.loads((only_run() / "settings.json").read_text())
    settings["settings"]["steps"] = 1  # nothing is left to do but to deliver
    (only_run() / "settings.json").write_text(json.dumps(settings))
    result = sketchbridge("text", "--resume", only_run(), "--json")

    assert result.exit_code == 0, result.output
    assert (only_run() / "mesh.glb").exists()


def with_source_on_path(**changes):
    source = str(Path(text_module.__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]), **changes}


def wait_for_event(process, kind):
    for line in process.stdout:
        if json.loads(line)["event"] == kind:
            return
    pytest.fail(f"the process ended without the event {kind}")


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a cone", "--steps", -5], "steps must be from 1"),
        (["a cone", "--texture-size", 1], "texture size must be from 64"),
        (["a cone", "--bridge-start", 1.5], "bridge start must be a number from 0 to 1"),
        (["   "], "the prompt is empty"),
        (["--seed", 3], "say what to make"),
        (["--resume", "nowhere"], "there is no folder nowhere"),
        (["a cone", "--resume", "nowhere"], "so the prompt cannot be given with it"),
        (["a cone", "--run-dir", __file__], "is a file"),
        (["--resume", "nowhere", "--seed", 3, "--run-dir", "x"], "--seed, --run-dir cannot be given with it"),
        (["a cone", "-o", "cone.xyz"], "cone.xyz"),
        (["a cone", "-o", "."], "names no format"),
        (["a cone", "-o", f"{__file__}/cone.glb"], "is a file, not a folder"),
    ],
)
def test_bad_input_has_one_sentence_and_exit_code_2(arguments, words):
    result = sketchbridge("text", *arguments)

    assert result.exit_code == 2
    assert words in messages(result)
    assert "error:" in messages(result)
    assert "Traceback" not in messages(result)
    assert result.stdout == ""
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_bad_input_in_json_mode_is_an_event():
    result = sketchbridge("text", "a cone", "--steps", 0, "--json")

    (failed,) = events_of(result)
    assert result.exit_code == 2
    assert (failed["event"], failed["kind"], failed["exit_code"]) == ("failed", "BadInput", 2)
    assert "steps must be from 1" in failed["message"]


def test_words_without_quotes_and_unknown_options_get_help():
    result = sketchbridge("text", "a", "red", "mushroom")
    assert result.exit_code == 2
    assert 'sketchbridge text "a red mushroom"' in messages(result)

    result = sketchbridge("text", "a cone", "--qualty", "high")
    assert result.exit_code == 2
    assert "--qualty" in messages(result)


def test_an_error_before_the_first_step_leaves_no_litter(monkeypatch):
    def missing(settings, notice):
        raise MissingModel("there is no model at nowhere/model; known mirrors are ...")

    monkeypatch.setattr(text_module, "TextToMesh", missing)
    result = sketchbridge("text", "a cone", "--prior", "nowhere/model")

    assert result.exit_code == 2
    assert "known mirrors are" in messages(result)
    assert list(Path("runs").iterdir()) == []


def test_a_bug_keeps_its_traceback_and_the_way_to_go_on(monkeypatch):
    monkeypatch.setattr(job_steps, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(FakeJob, "fail_at", 4)

    result = sketchbridge("text", "a cone")

    assert result.exit_code == 1
    assert "ValueError: a bug" in messages(result)
    assert "bug in sketchbridge" in messages(result)
    assert f"sketchbridge text --resume {only_run()}" in messages(result)
    assert "Traceback" in (only_run() / "log.txt").read_text()


def test_a_lack_of_memory_is_no_bug(monkeypatch):
    monkeypatch.setattr(FakeJob, "fail_at", 2)
    monkeypatch.setattr(FakeJob, "failure", torch.OutOfMemoryError("CUDA out of memory."))

    result = sketchbridge("text", "a cone")

    assert result.exit_code == 2
    assert "--quality draft" in messages(result)


def test_an_output_that_cannot_be_written_at_the_end_leaves_the_mesh_in_the_run_folder(monkeypatch):
    really_write = mesh_job.write_mesh

    def write_mesh(path, *rest, **options):
        if Path(path).name == "cone.glb":
            raise OutputNotWritable("No space left on device")
        return really_write(path, *rest, **options)

    monkeypatch.setattr(mesh_job, "write_mesh", write_mesh)
    result = sketchbridge("text", "a cone", "-o", "cone.glb")

    assert result.exit_code == 2
    assert "No space left on device" in messages(result)
    assert f"The mesh is in {only_run() / 'mesh.glb'}" in messages(result)
    assert (only_run() / "mesh.glb").exists()
    assert (only_run() / "report.html").exists()


def test_foreign_and_damaged_folders_are_told_apart():
    sketchbridge("text", "a cone", "--steps", 3)
    Path("foreign").mkdir()

    assert "it has no settings.json" in messages(sketchbridge("text", "--resume", "foreign"))

    settings = json.loads((only_run() / "settings.json").read_text())
    settings["settings"]["colour"] = "red"
    (only_run() / "settings.json").write_text(json.dumps(settings))
    assert "unknown setting 'colour'" in messages(sketchbridge("text", "--resume", only_run()))

    del settings["settings"]["colour"]
    (only_run() / "settings.json").write_text(json.dumps({**settings, "task": "knitting"}))
    assert "task 'knitting'" in messages(sketchbridge("text", "--resume", only_run()))

    (only_run() / "settings.json").write_text(json.dumps(settings))
    shutil.rmtree(only_run() / "checkpoints")
    result = sketchbridge("text", "--resume", only_run())
    assert "holds no checkpoint" in messages(result)
    assert result.exit_code == 2


def test_a_run_can_be_resumed_from_another_folder_with_its_own_paths(monkeypatch):
    Path("shape.stl").write_bytes(b"not read by the fake job")
    monkeypatch.setattr(FakeJob, "interrupt_at", 3)
    sketchbridge("text", "a cone", "--init-mesh", "shape.stl", "-o", "cone.glb")
    monkeypatch.setattr(FakeJob, "interrupt_at", None)
    here, run = Path.cwd(), only_run()
    Path("cone.glb").unlink()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    result = sketchbridge("text", "--resume", Path("..") / run)

    assert result.exit_code == 0, result.output
    assert (here / "cone.glb").exists()
    assert json.loads((here / run / "settings.json").read_text())["settings"]["init_mesh"] == str(here / "shape.stl")


def test_kernels_that_must_be_compiled_are_announced(monkeypatch):
    states = [machine.KernelState("backend.render.portable_kernels", 5, 0, Path())]
    monkeypatch.setattr(machine, "compiled_kernels", lambda: states)

    assert "compiling kernels, once on this machine" in messages(sketchbridge("text", "a cone", "--steps", 2))
