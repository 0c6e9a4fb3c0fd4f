"""`sketchbridge text`: a textured mesh from a sentence, in a run folder that survives whatever happens."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import machine, warm_up
from backend.appearance.mesh_files import check_output_path
from backend.checkpoint import Checkpoint
from backend.commands.displays import Display, JobResult, JobStart, JsonLinesDisplay, TerminalDisplay
from backend.commands.mesh_job import Delivery, MeshJob, Progress, deliver, explained, finish_report, optimise
from backend.commands.stop_signals import StopSignals
from backend.config import TextToMeshSettings
from backend.errors import BadInput, DamagedRun, SketchbridgeError
from backend.run_folder import RunFolder
from backend.tasks.text_to_mesh import TextToMesh

TASK_NAME = "text"
EXIT_DONE = 0
EXIT_BUG = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 130  # 128 + SIGINT, as shells say it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextCommand:
    """What the command line asked for."""

    settings: dict[str, Any]
    """The settings that were given; those left out keep their defaults."""
    output: Path | None = None
    run_dir: Path | None = None
    resume: Path | None = None

    def check(self) -> None:
        """Raises BadInput where options do not go together."""
        if self.resume is None:
            if "prompt" not in self.settings:
                raise BadInput(
                    'say what to make, such as: sketchbridge text "a red mushroom" -o mushroom.glb; '
                    "or go on with a run: sketchbridge text --resume RUN_FOLDER"
                )
            return
        given = [*self.settings, *(["run_dir"] if self.run_dir is not None else [])]
        if given:
            names = ", ".join("the prompt" if name == "prompt" else "--" + name.replace("_", "-") for name in given)
            raise BadInput(
                f"--resume goes on with the run's own settings, so {names} cannot be given with it "
                "(-o and --json can); start a new run for other settings"
            )


def run_text_command(command: TextCommand, as_json: bool = False) -> int:
    """Runs the job and shows it. Returns the exit code; errors are shown, not raised."""
    with StopSignals() as stop:
        display: Display = JsonLinesDisplay() if as_json else TerminalDisplay(lambda: stop.is_requested)
        with display:
            return _run_showing_errors(command, display, stop)


def _run_showing_errors(command: TextCommand, display: Display, stop: StopSignals) -> int:
    run: RunFolder | None = None
    try:
        run, checkpoint, settings = _open(command, display)
        return _run(run, checkpoint, settings, command.output or run.output, display, stop)
    except KeyboardInterrupt as interrupt:
        display.failed(interrupt, EXIT_STOPPED, _resume_command(run))
        _discard_if_nothing_happened(run)
        return EXIT_STOPPED
    except Exception as error:
        _log.exception("the job failed")  # into the run's log.txt, whose handler takes everything of ours
        error = explained(error)
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


def _open(command: TextCommand, display: Display) -> tuple[RunFolder, Checkpoint | None, TextToMeshSettings]:
    """A new run folder, or the one to resume with the checkpoint to go on from.

    Everything that can be found out before the work begins is found out here: settings, output path, disk space.
    """
    command.check()
    if command.output is not None:
        check_output_path(command.output)
    if command.resume is None:
        settings = TextToMeshSettings(**_with_absolute_paths(command.settings))
        run = RunFolder.create(
            command.run_dir,
            task=TASK_NAME,
            title=settings.prompt,
            settings=settings.to_json(),
            resolved=dataclasses.asdict(settings.resolve()),
            output=command.output,
        )
        run.tell = display.notice
        return run, None, settings

    run = RunFolder.open(command.resume)
    run.tell = display.notice
    try:
        if run.task != TASK_NAME:
            raise DamagedRun(f"{run.path} is a run of the task {run.task!r}, not of {TASK_NAME!r}")
        try:
            settings = TextToMeshSettings.from_json(run.settings)
        except BadInput as error:
            raise DamagedRun(f"the settings of {run.path} cannot be used: {error}") from error
        if command.output is None and run.output is not None:
            check_output_path(run.output)
        return run, run.rewind(), settings
    except BaseException:
        run.close()
        raise


def _with_absolute_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """So that a run can be resumed from another folder. A prior that is no folder here is an id on the hub."""
    changed = dict(settings)
    if "init_mesh" in settings:
        changed["init_mesh"] = str(Path(settings["init_mesh"]).expanduser().absolute())
    if "prior" in settings and settings["prior"] != "embedded" and Path(settings["prior"]).expanduser().is_dir():
        changed["prior"] = str(Path(settings["prior"]).expanduser().absolute())
    return changed


def _run(
    run: RunFolder,
    checkpoint: Checkpoint | None,
    settings: TextToMeshSettings,
    output: Path | None,
    display: Display,
    stop: StopSignals,
) -> int:
    display.doing("loading the prior")
    started = time.perf_counter()
    job = TextToMesh(settings, run.notice)
    _log.info("job set up in %.2f s", time.perf_counter() - started)
    run.write_versions(_versions(job, settings))
    display.started(
        JobStart(
            prompt=settings.prompt,
            run_dir=run.path.absolute(),
            total_steps=job.total_steps,
            first_step=1 if checkpoint is None else checkpoint.step + 1,
            prior=settings.prior,
            device=str(job.device),
            rasteriser=job.rasteriser.name,
        )
    )
    if job.device.type == "cpu" and warm_up.kernels_must_compile():
        run.notice("compiling kernels, once on this machine: about half a minute")
        display.doing("compiling kernels")
        warm_up.compile_kernels()

    display.doing("making the first step" if checkpoint is None else "going on")
    progress = optimise(job, run, display, stop, checkpoint)
    if progress.is_complete:
        delivery = deliver(job, run, display, progress, output)
        if delivery.problem is not None:
            raise delivery.problem
        display.finished(_result(run, progress, delivery))
        return EXIT_DONE

    run.notice(f"stopped after step {progress.step} of {progress.total}", progress.step)
    display.finished(_result(run, progress, _deliver_unfinished(job, run, display, progress, output)))
    return EXIT_STOPPED


def _deliver_unfinished(
    job: MeshJob, run: RunFolder, display: Display, progress: Progress, output: Path | None
) -> Delivery | None:
    """The mesh so far. The checkpoint is on the disk already, so that nothing that fails here loses anything."""
    try:
        delivery = deliver(job, run, display, progress, output)
    except SketchbridgeError as error:
        run.notice(f"there is no mesh so far: {error}", progress.step)
        finish_report(run, progress)
        return None
    if delivery.problem is not None:
        run.notice(str(delivery.problem), progress.step)
    elif output is not None:
        run.notice(f"{output} is unfinished: the mesh after step {progress.step} of {progress.total}", progress.step)
    return delivery


def _result(run: RunFolder, progress: Progress, delivery: Delivery | None) -> JobResult:
    return JobResult(
        is_complete=progress.is_complete,
        step=progress.step,
        total=progress.total,
        seconds=progress.elapsed_seconds + (delivery.seconds if delivery is not None else 0.0),
        faces=delivery.faces if delivery is not None else 0,
        run_dir=run.path.absolute(),
        mesh=delivery.mesh.absolute() if delivery is not None else None,
        report=delivery.report.absolute() if delivery is not None and delivery.report is not None else None,
        turntable=delivery.turntable.absolute() if delivery is not None and delivery.turntable is not None else None,
        resume_command=None if progress.is_complete else _resume_command(run),
    )


def _versions(job: MeshJob, settings: TextToMeshSettings) -> dict[str, Any]:
    return {
        **machine.versions_record(),
        "device": str(job.device),
        "rasteriser": job.rasteriser.name,
        "prior": settings.prior,
        "prior_fingerprint": machine.prior_fingerprint(settings.prior),
    }


def _resume_command(run: RunFolder | None) -> str | None:
    """What to type to go on; None where there is no checkpoint."""
    if run is None or run.checkpoint_step is None:
        return None
    return f"sketchbridge text --resume {shlex.quote(str(run.path))}"


def _discard_if_nothing_happened(run: RunFolder | None) -> None:
    """Leaves no litter behind a job that failed or was stopped before its first step."""
    if run is not None and run.is_untouched:
        run.discard()
