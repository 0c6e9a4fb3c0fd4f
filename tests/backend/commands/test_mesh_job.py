"""The steps of a job are recorded and saved, it can be stopped and resumed, and no disk makes it lose its mesh."""

import errno
import itertools
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_job import FACES, FakeJob

from backend.commands import job_steps, mesh_job
from backend.commands.displays import JsonLinesDisplay
from backend.commands.job_steps import Progress, optimise
from backend.commands.mesh_job import deliver
from backend.commands.stop_signals import StopSignals
from backend.errors import DamagedRun, OutputNotWritable
from backend.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    with RunFolder.create(tmp_path, task="text", title="x", settings={"prompt": "x"}) as created:
        yield created


class RecordingDisplay(JsonLinesDisplay):
    """Keeps the events instead of writing them."""

    def __init__(self):
        super().__init__()
        self.events = []

    def __enter__(self):
        return self

    def _emit(self, event, **fields):
        self.events.append((event, fields))

    def of(self, kind):
        return [fields for event, fields in self.events if event == kind]


def a_job(steps=20, seed=0, **changes):
    job = FakeJob(SimpleNamespace(steps=steps, seed=seed, prompt="x"))
    for name, value in changes.items():
        setattr(job, name, value)
    return job


def optimise_with(job, run, checkpoint=None):
    display = RecordingDisplay()
    with StopSignals() as stop:
        return optimise(job, run, display, stop, checkpoint), display


def numbers_of(run):
    """The metrics without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in ("elapsed_seconds", "steps_per_second")}
        for line in run.metrics()
    ]


def test_every_step_is_recorded_and_the_end_is_saved(run):
    job = a_job(steps=20)

    progress, display = optimise_with(job, run)

    assert (progress.step, progress.total, progress.is_complete) == (20, 20, True)
    assert [line["step"] for line in run.metrics()] == list(range(1, 21))
    assert run.metrics()[19]["stage"] == "bridge"
    assert run.notices()[0]["text"] == "the lattice grows to 64 cells a side"
    assert run.notices()[0]["step"] == 5
    assert run.checkpoint_step == 20
    assert run.previews()[0][0] == 1
    assert display.of("preview")[0]["step"] == 1
    assert display.of("progress")[-1]["step"] == 20
    assert job.is_closed


def test_ctrl_c_finishes_the_step_and_saves(run):
    job = a_job(interrupt_at=8)

    progress, _ = optimise_with(job, run)

    assert (progress.step, progress.is_complete) == (8, False)
    assert run.checkpoint_step == 8
    assert len(run.metrics()) == 8
    assert job.is_closed


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_checkpoint(run, monkeypatch):
    monkeypatch.setattr(job_steps, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    job = a_job(interrupt_at=8)
    really_random = torch.randn

    def second_signal(*arguments, **options):
        if job.step == 7:  # inside step 8, right after the first one
            os.kill(os.getpid(), signal.SIGINT)
        return really_random(*arguments, **options)

    monkeypatch.setattr(torch, "randn", second_signal)
    with pytest.raises(KeyboardInterrupt):
        optimise_with(job, run)

    assert run.rewind().step == 7
    assert job.is_closed


def test_a_resumed_job_ends_like_an_unbroken_one(run, tmp_path):
    unbroken = a_job(seed=3)
    with RunFolder.create(tmp_path, task="text", title="x", settings={}) as other:
        optimise_with(unbroken, other)
        expected = numbers_of(other)

    optimise_with(a_job(seed=3, interrupt_at=7), run)
    # Three steps further, then killed: they are recorded, but in no checkpoint.
    for step in (8, 9, 10):
        run.add_metrics({"step": step, "gradient_norm": 99.0})
    resumed = a_job(seed=3)
    progress, display = optimise_with(resumed, run, run.rewind())

    assert progress.is_complete
    assert torch.equal(resumed.positions, unbroken.positions)
    assert numbers_of(run) == expected
    assert display.of("progress")[0]["step"] == 8


def test_time_adds_up_over_resumptions(run):
    optimise_with(a_job(interrupt_at=7, seconds_per_step=0.01), run)
    first = run.rewind().elapsed_seconds

    progress, _ = optimise_with(a_job(seconds_per_step=0.01), run, run.rewind())

    assert first >= 0.07
    assert progress.elapsed_seconds >= first + 13 * 0.01
    assert run.metrics()[7]["elapsed_seconds"] > first


def test_resuming_a_finished_job_makes_no_step(run):
    optimise_with(a_job(), run)

    progress, _ = optimise_with(a_job(), run, run.rewind())

    assert progress.is_complete
    assert len(run.metrics()) == 20


def test_a_checkpoint_of_another_job_is_told_apart(run):
    optimise_with(a_job(interrupt_at=3), run)
    checkpoint = run.rewind()
    checkpoint.tensors.pop("random")

    with pytest.raises(DamagedRun, match="step 3 does not fit this job"):
        optimise_with(a_job(), run, checkpoint)


def test_a_failing_step_leaves_the_last_checkpoint(run, monkeypatch):
    monkeypatch.setattr(job_steps, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    job = a_job(fail_at=6)

    with pytest.raises(ValueError, match="a bug"):
        optimise_with(job, run)

    assert run.rewind().step == 5


def test_a_failed_checkpoint_is_tried_again(run, monkeypatch):
    tries = []

    def no_space_at_first(checkpoint):
        tries.append(checkpoint.step)
        return len(tries) > 2

    monkeypatch.setattr(job_steps, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(run, "save_checkpoint", no_space_at_first)
    optimise_with(a_job(steps=4), run)

    assert tries == [1, 2, 3, 4]  # and none twice at the end: step 4 is saved


def test_previews_come_at_growing_intervals():
    schedule = job_steps._PreviewSchedule(started=0.0)

    due = [second for second in range(0, 300) if schedule.is_due(float(second))]

    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert due[0] == 0
    assert gaps[0] == 5
    assert gaps == sorted(gaps)
    assert 15 <= len(due) <= 25


def test_the_pace_follows_the_last_steps():
    pace = job_steps._Pace()

    assert pace.after_step(0.0) == 0.0
    for step in range(1, 100):
        last = pace.after_step(0.1 * step)
    assert last == pytest.approx(10.0)
    for step in range(1, 40):
        last = pace.after_step(9.9 + 0.5 * step)
    assert last == pytest.approx(2.0)


# ---------------------------------------------------------------------- delivery


@pytest.fixture
def written(monkeypatch):
    """Replaces the mesh writer and the turntable. Paths put into `fails` cannot be written."""
    record = SimpleNamespace(paths=[], fails=set())

    def write_mesh(path, finished):
        if path in record.fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text(str(finished.mesh.positions.tolist()))
        record.paths.append(path)

    monkeypatch.setattr(mesh_job, "write_mesh", write_mesh)
    frames = np.zeros((40, 16, 16, 3), dtype=np.uint8)
    monkeypatch.setattr(mesh_job, "render_turntable", lambda *arguments: frames)
    return record


def deliver_with(run, output, **changes):
    display = RecordingDisplay()
    job = a_job(**changes)
    return deliver(job, run, display, Progress(20, 20, 9.0), output), display


def test_the_mesh_goes_to_the_run_folder_and_to_the_user(run, written, tmp_path):
    delivery, display = deliver_with(run, tmp_path / "out.glb")

    assert written.paths == [run.path / "mesh.glb", tmp_path / "out.glb"]
    assert delivery.mesh == tmp_path / "out.glb"
    assert delivery.faces == len(FACES)
    assert delivery.problem is None
    assert {"turntable.gif", "contact_sheet.png", "report.html"} <= {path.name for path in run.path.iterdir()}
    assert {"what": "unwrapping"} in display.of("doing")
    assert [entry["text"] for entry in run.notices()] == ["odd"]  # what the finishing had to say


def test_an_output_that_has_become_unwritable_leaves_the_mesh_in_the_run_folder(run, written, tmp_path):
    written.fails = {tmp_path / "out.glb"}

    delivery, _ = deliver_with(run, tmp_path / "out.glb")

    assert delivery.mesh == run.path / "mesh.glb"
    assert "No space left on device" in str(delivery.problem)
    assert f"The mesh is in {run.path / 'mesh.glb'}" in str(delivery.problem)
    assert delivery.report is not None


def test_a_full_disk_under_the_run_folder_still_gives_the_user_the_mesh(run, written, tmp_path):
    written.fails = {run.path / "mesh.glb"}

    delivery, _ = deliver_with(run, tmp_path / "out.glb")

    assert delivery.mesh == tmp_path / "out.glb"
    assert delivery.problem is None
    assert "mesh.glb could not be written" in run.notices()[-1]["text"]


def test_when_nothing_can_be_written_it_is_an_error(run, written, tmp_path):
    written.fails = {run.path / "mesh.glb", tmp_path / "out.glb"}
    with pytest.raises(OutputNotWritable, match="could not be written anywhere"):
        deliver_with(run, tmp_path / "out.glb")

    with pytest.raises(OutputNotWritable, match="could not be written anywhere"):
        deliver_with(run, None)


def test_turntable_and_report_may_fail(run, written, tmp_path, monkeypatch):
    def no_space(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mesh_job, "write_gif", no_space)
    monkeypatch.setattr(job_steps, "write_report", no_space)

    delivery, _ = deliver_with(run, tmp_path / "out.glb")

    assert (delivery.turntable, delivery.report) == (None, None)
    assert ["turntable" in entry["text"] for entry in run.notices()[-2:]] == [True, False]
    assert ["report" in entry["text"] for entry in run.notices()[-2:]] == [False, True]


def test_lack_of_memory_says_what_helps():
    explained = job_steps.explained(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), smaller="--quality draft"
    )

    assert "--quality draft" in str(explained)
    assert "Tried to allocate 2 GiB" in str(explained)
    assert job_steps.explained(KeyError("x"), smaller="").args == ("x",)
