"""One job from its first step to files on disk: its steps are recorded, shown and saved, its mesh is delivered."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.appearance.bake import FinishedMesh
from backend.appearance.mesh_files import write_mesh
from backend.checkpoint import Checkpoint
from backend.commands.displays import Display, JobProgress
from backend.commands.stop_signals import StopSignals
from backend.errors import DamagedRun, OutputNotWritable, SketchbridgeError
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import TextureImages
from backend.report import write_report
from backend.run_folder import RunFolder
from backend.turntable import render_turntable, write_contact_sheet, write_gif

SECONDS_BETWEEN_CHECKPOINTS = 30.0
FIRST_SECONDS_BETWEEN_PREVIEWS = 5.0
PREVIEW_INTERVAL_GROWTH = 1.1  # a job of 5 minutes keeps about 20 previews, one of 5 hours about 300
MOST_SECONDS_BETWEEN_PREVIEWS = 60.0
RUN_MESH_NAME = "mesh.glb"

_log = logging.getLogger(__name__)


@runtime_checkable  # for the type checker of the tests
class JobStep(Protocol):
    """What a job tells about a step that it has made."""

    @property
    def number(self) -> int: ...  # from 1
    @property
    def total(self) -> int: ...
    @property
    def stage(self) -> str: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def losses(self) -> dict[str, float]: ...
    @property
    def face_count(self) -> int: ...
    @property
    def timestep_range(self) -> tuple[int, int]: ...
    @property
    def notices(self) -> tuple[str, ...]: ...
    @property
    def seconds(self) -> dict[str, float]: ...  # per part of the step


@runtime_checkable  # for the type checker of the tests
class MeshJob(Protocol):
    """A task that has been set up: it makes steps, can be saved between two of them, and ends in a mesh."""

    @property
    def total_steps(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def rasteriser(self) -> Rasteriser: ...
    def steps(self) -> Iterator[Any]: ...  # of JobStep; closing the iterator cancels
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...
    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None: ...
    def preview(self, view_count: int = 4, resolution: int = 256) -> UInt8[Tensor, "views height width 3"]: ...
    def finish(self, progress: Callable[[str], None]) -> FinishedMesh: ...


@dataclass(frozen=True)
class Progress:
    """How far a job came."""

    step: int
    total: int
    elapsed_seconds: float
    """Over all resumptions."""

    @property
    def is_complete(self) -> bool:
        return self.step >= self.total


@dataclass(frozen=True)
class Delivery:
    """What `deliver` has put on the disk."""

    mesh: Path
    """Where the user wanted it, else in the run folder."""
    faces: int
    turntable: Path | None
    report: Path | None
    seconds: float
    """From the last step to here."""
    problem: OutputNotWritable | None
    """Why the mesh is not where the user wanted it."""


def optimise(
    job: MeshJob, run: RunFolder, display: Display, stop: StopSignals, checkpoint: Checkpoint | None = None
) -> Progress:
    """Makes the steps of a job, from the beginning or after `checkpoint`, until it is done or the user stops it.

    Metrics of every step, previews and checkpoints go to the run folder. The last thing written is a checkpoint, so
    that nothing is lost whatever happens later.
    """
    if checkpoint is not None:
        _restore(job, checkpoint)
    step_number = checkpoint.step if checkpoint is not None else 0
    elapsed_before = checkpoint.elapsed_seconds if checkpoint is not None else 0.0
    started = time.monotonic()

    def save(step: int) -> bool:
        tensors, metadata = job.state()
        return run.save_checkpoint(Checkpoint(step, elapsed_before + time.monotonic() - started, tensors, metadata))

    pace = _Pace()
    previews = _PreviewSchedule(started)
    last_checkpoint = started
    is_saved = checkpoint is not None
    steps = job.steps()
    try:
        with stop.asking_first():
            for step in steps:
                now = time.monotonic()
                step_number, is_saved = step.number, False
                progress = _record(step, run, pace.after_step(now), elapsed_before + now - started)
                display.progress(progress)
                if previews.is_due(now):
                    path = run.add_preview(job.preview().cpu().numpy(), step.number)
                    if path is not None:
                        display.preview(path, step.number)
                if now - last_checkpoint >= SECONDS_BETWEEN_CHECKPOINTS:
                    is_saved = save(step.number)
                    last_checkpoint = time.monotonic()
                if stop.is_requested:
                    break
            if not is_saved and step_number > 0:
                display.doing("saving a checkpoint")
                save(step_number)
    finally:
        close = getattr(steps, "close", None)  # a generator has it; a plain iterator needs none
        if close is not None:
            close()
    return Progress(step_number, job.total_steps, elapsed_before + time.monotonic() - started)


def deliver(job: MeshJob, run: RunFolder, display: Display, progress: Progress, output: Path | None) -> Delivery:
    """Turns the state of a job into a textured mesh and writes it, with its turntable and the report.

    The mesh goes to the run folder first and to `output` second, so that a full disk or a folder that has vanished
    meanwhile costs nothing.

    Raises:
        OutputNotWritable: Neither of the two could be written.
    """
    display.doing("finishing the mesh")
    started = time.perf_counter()
    finished = job.finish(display.doing)
    for note in finished.report.notes:
        run.notice(note, progress.step)
    display.doing("writing the mesh")
    mesh_path, problem = _write_meshes(run, finished, output)
    _log.info("mesh with %d faces on disk %.2f s after the last step", len(finished.mesh.faces), _since(started))
    _log.info("seconds of finishing: %s", finished.report.seconds)

    display.doing("rendering the turntable")
    turntable = _write_turntable(run, finished, job)
    report = finish_report(run, progress)
    return Delivery(mesh_path, len(finished.mesh.faces), turntable, report, _since(started), problem)


def finish_report(run: RunFolder, progress: Progress) -> Path | None:
    """Writes report.html; None, with a notice, if the disk does not let it."""
    try:
        return write_report(run, progress.step, progress.total, progress.elapsed_seconds)
    except OSError as error:
        run.notice(f"the report could not be written ({error.strerror or error})")
        return None


def _restore(job: MeshJob, checkpoint: Checkpoint) -> None:
    try:
        job.load_state(checkpoint.tensors, checkpoint.metadata)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        # The hash was right, so that it is what some sketchbridge wrote: of another version, or for other settings.
        reason = " ".join(str(error).split())  # torch writes several lines
        raise DamagedRun(
            f"the checkpoint of step {checkpoint.step} does not fit this job ({type(error).__name__}: {reason}); "
            "resume it with the version that made it (see versions.json), or start the run again"
        ) from error


def _record(step: JobStep, run: RunFolder, steps_per_second: float, elapsed_seconds: float) -> JobProgress:
    """Keeps a step and says how far the job is."""
    run.add_metrics(
        {
            "step": step.number,
            "stage": step.stage,
            "gradient_norm": step.gradient_norm,
            "losses": step.losses,
            "faces": step.face_count,
            "timestep_range": list(step.timestep_range),
            "steps_per_second": steps_per_second,
            "elapsed_seconds": elapsed_seconds,
            "seconds": step.seconds,
        }
    )
    for text in step.notices:
        run.notice(text, step.number)
    seconds_left = (step.total - step.number) / steps_per_second if steps_per_second > 0 else float("inf")
    return JobProgress(
        step.stage, step.number, step.total, steps_per_second, seconds_left, step.gradient_norm, step.face_count
    )


def _write_meshes(run: RunFolder, finished: FinishedMesh, output: Path | None) -> tuple[Path, OutputNotWritable | None]:
    """Writes the mesh twice. Returns the best place it went to, and what was wrong with the one the user wanted.

    Raises:
        OutputNotWritable: Neither place could be written.
    """
    run_mesh = run.path / RUN_MESH_NAME
    run_problem: Exception | None = None
    try:
        write_mesh(run_mesh, finished)
    except (OSError, OutputNotWritable) as error:
        run_problem = error
        run.notice(f"{run_mesh} could not be written ({error})")

    if output is not None:
        try:
            write_mesh(output, finished)
            return output, None
        except (OSError, OutputNotWritable) as error:
            if run_problem is None:
                problem = OutputNotWritable(f"{output} could not be written ({error}). The mesh is in {run_mesh}")
                return run_mesh, problem
            run_problem = error
    if run_problem is not None:
        raise OutputNotWritable(f"the mesh could not be written anywhere ({run_problem})") from run_problem
    return run_mesh, None


def _write_turntable(run: RunFolder, finished: FinishedMesh, job: MeshJob) -> Path | None:
    """turntable.gif and contact_sheet.png; None, with a notice, where disk or memory is too small for them."""
    path = run.path / "turntable.gif"
    try:
        # A finished mesh is on the CPU, the rasteriser may be on the GPU.
        appearance = TextureImages(
            finished.uv.to(job.device), finished.base_colour.to(job.device), finished.normals.to(job.device)
        )
        frames = render_turntable(job.rasteriser, finished.mesh.to(job.device), appearance)
        write_contact_sheet(run.path / "contact_sheet.png", frames)
        write_gif(path, frames)
    except (OSError, MemoryError, torch.OutOfMemoryError) as error:
        run.notice(f"the turntable could not be made ({error})")
        return None
    return path


class _Pace:
    """Steps per second over the last steps: resolution, and with it the cost of a step, grows during a job."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=30)

    def after_step(self, now: float) -> float:
        """Zero until there are two steps: the first one compiles and warms up, which would tell nothing."""
        self._times.append(now)
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)


class _PreviewSchedule:
    """One preview after the first step, then at growing intervals."""

    def __init__(self, started: float) -> None:
        self._next = started
        self._interval = FIRST_SECONDS_BETWEEN_PREVIEWS

    def is_due(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + self._interval
        self._interval = min(self._interval * PREVIEW_INTERVAL_GROWTH, MOST_SECONDS_BETWEEN_PREVIEWS)
        return True


def _since(started: float) -> float:
    return time.perf_counter() - started


def explained(error: Exception) -> Exception:
    """The error itself, or for a lack of memory one that says what helps."""
    if isinstance(error, torch.OutOfMemoryError):
        return SketchbridgeError(
            f"the GPU has too little memory for this job ({str(error).splitlines()[0]}). What helps: --quality draft, "
            "closing other programs that use the GPU, --device cpu, or a smaller prior"
        )
    if isinstance(error, MemoryError):
        return SketchbridgeError(
            "this machine has too little memory for the job. What helps: --quality draft, --texture-size 512, "
            "closing other programs"
        )
    return error
