"""The steps of one job, whatever it makes: they are recorded, shown and saved until it is done or stopped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.checkpoint import Checkpoint
from backend.commands.displays import Display, JobProgress
from backend.errors import DamagedRun, OutputNotWritable, SketchbridgeError
from backend.report import write_report
from backend.run_folder import RunFolder

SECONDS_BETWEEN_CHECKPOINTS = 30.0
FIRST_SECONDS_BETWEEN_PREVIEWS = 5.0
PREVIEW_INTERVAL_GROWTH = 1.1  # a job of 5 minutes keeps about 20 previews, one of 5 hours about 300
MOST_SECONDS_BETWEEN_PREVIEWS = 60.0


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
    def gradient_norm(self) -> float | None: ...  # None where nothing is optimised
    @property
    def losses(self) -> dict[str, float]: ...
    @property
    def timestep_range(self) -> tuple[int, int]: ...
    @property
    def notices(self) -> tuple[str, ...]: ...
    @property
    def seconds(self) -> dict[str, float]: ...  # per part of the step


@runtime_checkable
class MeshStep(JobStep, Protocol):
    """The same of a job that makes a mesh."""

    @property
    def face_count(self) -> int: ...


@runtime_checkable  # for the type checker of the tests
class Job(Protocol):
    """A task that has been set up: it makes steps and can be saved between two of them. How it ends is its kind's."""

    @property
    def total_steps(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def steps(self) -> Iterator[Any]: ...  # of JobStep; closing the iterator cancels
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...
    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None: ...
    def preview(self) -> UInt8[Tensor, "views height width 3"]: ...


@runtime_checkable  # for the type checker of the tests
class StopRequest(Protocol):
    """Whether a job is to stop between two steps; `StopSignals`, or what listens to somebody else."""

    @property
    def is_requested(self) -> bool: ...
    def asking_first(self) -> AbstractContextManager[None]: ...  # inside, a signal only asks


@runtime_checkable  # for the type checker of the tests
class StepDisplay(Protocol):
    """What `optimise` needs of a `Display`."""

    def doing(self, what: str) -> None: ...
    def progress(self, progress: JobProgress) -> None: ...
    def preview(self, path: Path, step: int) -> None: ...


@dataclass(frozen=True)
class BetweenSteps:
    """What else is done while the steps are made."""

    before_step: Callable[[int], None] = lambda steps_done: None
    """Called before the first step and after each, the last one too; may ask to stop, and change the job."""
    after_step: Callable[[JobStep, JobProgress], None] = lambda step, progress: None
    after_checkpoint: Callable[[int], None] = lambda step: None
    seconds_between_checkpoints: float | None = None
    """None for `SECONDS_BETWEEN_CHECKPOINTS`."""


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
    """What the end of a job has put on the disk."""

    report: Path | None
    seconds: float
    """From the last step to here."""
    problem: OutputNotWritable | None
    """Why the result is not where the user wanted it."""
    mesh: Path | None = None
    """Where the user wanted it, else in the run folder; None for a job that makes pictures."""
    faces: int = 0
    turntable: Path | None = None
    """Or another animation."""
    pictures: tuple[Path, ...] = ()
    """Where the user wanted them, else in the run folder."""
    sheet: Path | None = None
    """Several pictures or views in one."""


@dataclass(frozen=True)
class Product:
    """What a kind of job ends in."""

    name: str
    """`mesh` or `picture`."""
    deliver: Callable[[Any, RunFolder, Display, Progress, Path | None], Delivery]
    """Writes the result of a job to the run folder, and to where the user wants it."""
    check_output: Callable[[Path], None]
    """Finds out whether it can be written there."""
    smaller: str
    """The options that make a job need less memory, each followed by a comma and a space; empty if there are none."""
    needs_kernels: bool
    """Whether numba's kernels are used, which are compiled once on a machine."""


def optimise(
    job: Job,
    run: RunFolder,
    display: StepDisplay,
    stop: StopRequest,
    checkpoint: Checkpoint | None = None,
    between: BetweenSteps | None = None,
) -> Progress:
    """Makes the steps of a job, from the beginning or after `checkpoint`, until it is done or the user stops it.

    Metrics of every step, previews and checkpoints go to the run folder. The last thing written is a checkpoint, so
    that nothing is lost whatever happens later.
    """
    between = between or BetweenSteps()
    wanted = between.seconds_between_checkpoints
    seconds_between_checkpoints = SECONDS_BETWEEN_CHECKPOINTS if wanted is None else wanted
    if checkpoint is not None:
        _restore(job, checkpoint)
    step_number = checkpoint.step if checkpoint is not None else 0
    elapsed_before = checkpoint.elapsed_seconds if checkpoint is not None else 0.0
    started = time.monotonic()

    def save(step: int) -> bool:
        tensors, metadata = job.state()
        elapsed_seconds = elapsed_before + time.monotonic() - started
        is_saved = run.save_checkpoint(Checkpoint(step, elapsed_seconds, tensors, metadata))
        if is_saved:
            between.after_checkpoint(step)
        return is_saved

    pace = _Pace()
    previews = _PreviewSchedule(started)
    last_checkpoint = started
    is_saved = checkpoint is not None
    steps = job.steps()
    try:
        with stop.asking_first():
            between.before_step(step_number)
            while not stop.is_requested and (step := next(steps, None)) is not None:
                now = time.monotonic()
                step_number, is_saved = step.number, False
                progress = _record(step, run, pace.after_step(now), elapsed_before + now - started)
                display.progress(progress)
                between.after_step(step, progress)
                if previews.is_due(now):
                    path = run.add_preview(job.preview().cpu().numpy(), step.number)
                    if path is not None:
                        display.preview(path, step.number)
                if now - last_checkpoint >= seconds_between_checkpoints:
                    is_saved = save(step.number)
                    last_checkpoint = time.monotonic()
                between.before_step(step.number)
            if not is_saved and step_number > 0:
                display.doing("saving a checkpoint")
                save(step_number)
    finally:
        close = getattr(steps, "close", None)  # a generator has it; a plain iterator needs none
        if close is not None:
            close()
    return Progress(step_number, job.total_steps, elapsed_before + time.monotonic() - started)


def finish_report(run: RunFolder, progress: Progress) -> Path | None:
    """Writes report.html; None, with a notice, if the disk does not let it."""
    try:
        return write_report(run, progress.step, progress.total, progress.elapsed_seconds)
    except OSError as error:
        run.notice(f"the report could not be written ({error.strerror or error})")
        return None


def _restore(job: Job, checkpoint: Checkpoint) -> None:
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
    faces = step.face_count if isinstance(step, MeshStep) else None
    run.add_metrics(
        {
            "step": step.number,
            "stage": step.stage,
            "gradient_norm": step.gradient_norm,
            "losses": step.losses,
            **({} if faces is None else {"faces": faces}),
            "timestep_range": list(step.timestep_range),
            "steps_per_second": steps_per_second,
            "elapsed_seconds": elapsed_seconds,
            "seconds": step.seconds,
        }
    )
    for text in step.notices:
        run.notice(text, step.number)
    seconds_left = (step.total - step.number) / steps_per_second if steps_per_second > 0 else float("inf")
    return JobProgress(step.stage, step.number, step.total, steps_per_second, seconds_left, step.gradient_norm, faces)


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


def explained(error: Exception, smaller: str) -> Exception:
    """The error itself, or for a lack of memory one that says what helps.

    Args:
        smaller: The options that make such a job smaller, each followed by a comma; see `Product`.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return SketchbridgeError(
            f"the GPU has too little memory for this job ({str(error).splitlines()[0]}). What helps: {smaller}"
            "closing other programs that use the GPU, --device cpu, or a smaller prior"
        )
    if isinstance(error, MemoryError):
        return SketchbridgeError(
            f"this machine has too little memory for the job. What helps: {smaller}closing other programs"
        )
    return error
