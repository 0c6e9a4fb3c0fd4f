"""What all commands that run a job share: a job in a run folder that survives whatever happens.

A command says in a `Task` what is its own, and in a `Product` what all that end in the same share.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import machine, warm_up
from backend.checkpoint import Checkpoint
from backend.commands.displays import Display, JobResult, JobStart, JsonLinesDisplay, TerminalDisplay
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_BUG, EXIT_DONE, EXIT_STOPPED
from backend.commands.job_steps import Delivery, Job, Product, Progress, explained, finish_report, optimise
from backend.commands.stop_signals import StopSignals
from backend.config import JobSettings
from backend.errors import BadInput, DamagedRun, SketchbridgeError
from backend.run_folder import RunFolder

TASK_NAMES = ("text", "texture", "sketch", "image", "edit", "paint", "illusion")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What one command has of its own."""

    name: str
    """Of the command, and of the task in the run folder; one of TASK_NAMES."""
    settings_class: type[JobSettings]
    product: Product
    make_job: Callable[[Any, Callable[[str], None]], Job]
    """From settings and a function that is told notices."""
    needed: tuple[str, ...]
    """Settings that a new run cannot do without."""
    what_is_needed: str
    """Said when they are missing: what to say, with an example."""
    file_settings: tuple[str, ...] = ()
    """The settings that name files that are read, meshes or pictures."""


@dataclass(frozen=True)
class JobCommand:
    """What the command line asked for."""

    settings: dict[str, Any]
    """The settings that were given; those left out keep their defaults."""
    output: Path | None = None
    run_dir: Path | None = None
    resume: Path | None = None

    def check(self, task: Task) -> None:
        """Raises BadInput where options do not go together."""
        if self.resume is None:
            if any(name not in self.settings for name in task.needed):
                raise BadInput(
                    f"{task.what_is_needed}; or go on with a run: sketchbridge {task.name} --resume RUN_FOLDER"
                )
            return
        given = [*self.settings, *(["run_dir"] if self.run_dir is not None else [])]
        if given:
            names = ", ".join(
                f"the {name.replace('_', ' ')}" if name in task.needed else "--" + name.replace("_", "-")
                for name in given
            )
            raise BadInput(
                f"--resume goes on with the run's own settings, so {names} cannot be given with it "
                "(-o and --json can); start a new run for other settings"
            )


def run_job_command(task: Task, command: JobCommand, as_json: bool = False) -> int:
    """Runs the job and shows it. Returns the exit code; errors are shown, not raised."""
    with StopSignals() as stop:
        display: Display = JsonLinesDisplay() if as_json else TerminalDisplay(lambda: stop.is_requested)
        with display:
            return _run_showing_errors(task, command, display, stop)


def _run_showing_errors(task: Task, command: JobCommand, display: Display, stop: StopSignals) -> int:
    run: RunFolder | None = None
    try:
        run, checkpoint, settings = _open(task, command, display)
        return _run(task, run, checkpoint, settings, command.output or run.output, display, stop)
    except KeyboardInterrupt as interrupt:
        display.failed(interrupt, EXIT_STOPPED, _resume_command(run))
        _discard_if_nothing_happened(run)
        return EXIT_STOPPED
    except Exception as error:
        _log.exception("the job failed")  # into the run's log.txt, whose handler takes everything of ours
        error = explained(error, task.product.smaller)
        if isinstance(error, SketchbridgeError):
            # A run that cannot be resumed is not to be resumed.
            display.failed(error, EXIT_BAD_INPUT, None if isinstance(error, DamagedRun) else _resume_command(run))
            _discard_if_nothing_happened(run)
            return EXIT_BAD_INPUT
        display.failed(error, EXIT_BUG, _resume_command(run))
        return EXIT_BUG
    finally:
        if run is not None:
            run.close()


def _open(task: Task, command: JobCommand, display: Display) -> tuple[RunFolder, Checkpoint | None, JobSettings]:
    """A new run folder, or the one to resume with the checkpoint to go on from.

    Everything that can be found out before the work begins is found out here: settings, output path, disk space.
    """
    command.check(task)
    if command.output is not None:
        task.product.check_output(command.output)
    if command.resume is None:
        settings = task.settings_class(**_with_absolute_paths(task, command.settings))
        _check_input_is_kept(task, settings, command.output)
        run = RunFolder.create(
            command.run_dir,
            task=task.name,
            title=settings.title,
            settings=settings.to_json(),
            resolved=settings.resolved_to_json(),
            output=command.output,
        )
        run.tell = display.notice
        return run, None, settings

    run = RunFolder.open(command.resume)
    run.tell = display.notice
    try:
        _check_task(task, run)
        try:
            settings = task.settings_class.from_json(run.settings)
        except BadInput as error:
            raise DamagedRun(f"the settings of {run.path} cannot be used: {error}") from error
        if command.output is None and run.output is not None:
            task.product.check_output(run.output)
        _check_input_is_kept(task, settings, command.output or run.output)
        return run, run.rewind(), settings
    except BaseException:
        run.close()
        raise


def _check_task(task: Task, run: RunFolder) -> None:
    if run.task == task.name:
        return
    if run.task in TASK_NAMES:
        raise BadInput(f"{run.path} is a run of another command; go on with: {_how_to_resume(run)}")
    raise DamagedRun(f"{run.path} is a run of the task {run.task!r}, not of {task.name!r}")


def _check_input_is_kept(task: Task, settings: JobSettings, output: Path | None) -> None:
    """A run that is resumed reads its file again."""
    files = (getattr(settings, name) for name in task.file_settings)
    if output is not None and output.expanduser().resolve() in [Path(file).resolve() for file in files if file]:
        raise BadInput(f"-o {output} is the {task.product.name} that the run reads; choose another name for the result")


def _with_absolute_paths(task: Task, settings: dict[str, Any]) -> dict[str, Any]:
    """So that a run can be resumed from another folder. A prior that is no folder here is an id on the hub."""
    changed = dict(settings)
    for name in settings.keys() & set(task.file_settings):
        changed[name] = str(Path(settings[name]).expanduser().absolute())
    if "prior" in settings and settings["prior"] != "embedded" and Path(settings["prior"]).expanduser().is_dir():
        changed["prior"] = str(Path(settings["prior"]).expanduser().absolute())
    return changed


def _run(
    task: Task,
    run: RunFolder,
    checkpoint: Checkpoint | None,
    settings: JobSettings,
    output: Path | None,
    display: Display,
    stop: StopSignals,
) -> int:
    display.doing("loading the prior")
    started = time.perf_counter()
    job = task.make_job(settings, run.notice)
    _log.info("job set up in %.2f s", time.perf_counter() - started)
    run.write_versions(_versions(job, settings))
    display.started(
        JobStart(
            prompt=settings.title,
            run_dir=run.path.absolute(),
            total_steps=job.total_steps,
            first_step=1 if checkpoint is None else checkpoint.step + 1,
            prior=settings.prior,
            device=str(job.device),
            rasteriser=_rasteriser_name(job),
        )
    )
    if task.product.needs_kernels and job.device.type == "cpu" and warm_up.kernels_must_compile():
        run.notice("compiling kernels, once on this machine: about half a minute")
        display.doing("compiling kernels")
        warm_up.compile_kernels()

    display.doing("making the first step" if checkpoint is None else "going on")
    progress = optimise(job, run, display, stop, checkpoint)
    if progress.is_complete:
        delivery = task.product.deliver(job, run, display, progress, output)
        if delivery.problem is not None:
            raise delivery.problem
        display.finished(_result(run, progress, delivery))
        return EXIT_DONE

    run.notice(f"stopped after step {progress.step} of {progress.total}", progress.step)
    display.finished(_result(run, progress, _deliver_unfinished(task.product, job, run, display, progress, output)))
    return EXIT_STOPPED


def _deliver_unfinished(
    product: Product, job: Job, run: RunFolder, display: Display, progress: Progress, output: Path | None
) -> Delivery | None:
    """The result so far. The checkpoint is on the disk already, so that nothing that fails here loses anything."""
    try:
        delivery = product.deliver(job, run, display, progress, output)
    except SketchbridgeError as error:
        run.notice(f"there is no {product.name} so far: {error}", progress.step)
        finish_report(run, progress)
        return None
    if delivery.problem is not None:
        run.notice(str(delivery.problem), progress.step)
    elif output is not None:
        run.notice(
            f"{output} is unfinished: the {product.name} after step {progress.step} of {progress.total}", progress.step
        )
    return delivery


def _result(run: RunFolder, progress: Progress, delivery: Delivery | None) -> JobResult:
    return JobResult(
        is_complete=progress.is_complete,
        step=progress.step,
        total=progress.total,
        seconds=progress.elapsed_seconds + (delivery.seconds if delivery is not None else 0.0),
        faces=delivery.faces if delivery is not None else 0,
        run_dir=run.path.absolute(),
        mesh=delivery.mesh.absolute() if delivery is not None and delivery.mesh is not None else None,
        report=delivery.report.absolute() if delivery is not None and delivery.report is not None else None,
        turntable=delivery.turntable.absolute() if delivery is not None and delivery.turntable is not None else None,
        resume_command=None if progress.is_complete else _resume_command(run),
        pictures=tuple(path.absolute() for path in delivery.pictures) if delivery is not None else (),
        sheet=delivery.sheet.absolute() if delivery is not None and delivery.sheet is not None else None,
    )


def _rasteriser_name(job: Job) -> str | None:
    """None for a job that renders nothing."""
    rasteriser = getattr(job, "rasteriser", None)
    return rasteriser.name if rasteriser is not None else None


def _versions(job: Job, settings: JobSettings) -> dict[str, Any]:
    rasteriser = _rasteriser_name(job)
    return {
        **machine.versions_record(),
        "device": str(job.device),
        **({} if rasteriser is None else {"rasteriser": rasteriser}),
        "prior": settings.prior,
        "prior_fingerprint": machine.prior_fingerprint(settings.prior),
    }


def _resume_command(run: RunFolder | None) -> str | None:
    """What to type to go on; None where there is no checkpoint."""
    if run is None or run.checkpoint_step is None:
        return None
    return _how_to_resume(run)


def _how_to_resume(run: RunFolder) -> str:
    return f"sketchbridge {run.task} --resume {shlex.quote(str(run.path))}"


def _discard_if_nothing_happened(run: RunFolder | None) -> None:
    """Leaves no litter behind a job that failed or was stopped before its first step."""
    if run is not None and run.is_untouched:
        run.discard()
