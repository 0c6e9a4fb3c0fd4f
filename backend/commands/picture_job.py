"""How a job ends that makes pictures: they are written, with a sheet of them, an animation and the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from backend.commands.displays import Display
from backend.commands.job_steps import Delivery, Job, Product, Progress, finish_report
from backend.errors import OutputNotWritable
from backend.pictures import FinishedPictures, check_folder_output, check_picture_output, write_picture
from backend.run_folder import RunFolder
from backend.turntable import write_gif

ANIMATION_NAME = "turn.gif"
FRAMES_PER_SECOND = 20.0

_log = logging.getLogger(__name__)


@runtime_checkable  # for the type checker of the tests
class PictureJob(Job, Protocol):
    """A job that ends in pictures."""

    def finish(self, progress: Callable[[str], None]) -> FinishedPictures: ...


Layout = Callable[[Path, str], Path]
"""Where a file of some name goes, for what the user gave as output."""


def beside(output: Path, name: str) -> Path:
    """For a file that the user named: `mug.png` itself, or `mug-0.png`, `mug-sheet.png`."""
    return output if name == "" else output.with_name(f"{output.stem}-{name}{output.suffix}")


def inside(output: Path, name: str) -> Path:
    """For a folder that the user named: `picture.png` and others in it."""
    return output / f"{name}.png"


def deliver_file(
    job: PictureJob, run: RunFolder, display: Display, progress: Progress, output: Path | None
) -> Delivery:
    """See `_deliver`; `output` is a file, or what the names of several files are made from."""
    return _deliver(job, run, display, progress, output, beside)


def deliver_folder(
    job: PictureJob, run: RunFolder, display: Display, progress: Progress, output: Path | None
) -> Delivery:
    """See `_deliver`; `output` is a folder, which gets everything."""
    return _deliver(job, run, display, progress, output, inside)


def _deliver(
    job: PictureJob, run: RunFolder, display: Display, progress: Progress, output: Path | None, layout: Layout
) -> Delivery:
    """Turns the state of a job into pictures and writes them, with the report.

    They go to the run folder first and to `output` second, so that a full disk or a folder that has vanished meanwhile
    costs nothing.

    Raises:
        OutputNotWritable: Neither of the two could be written.
    """
    display.doing("finishing the pictures")
    started = time.perf_counter()
    finished = job.finish(display.doing)
    display.doing("writing the pictures")
    delivered, problem = _write_twice(run, finished, output, layout)
    report = finish_report(run, progress)
    seconds = time.perf_counter() - started
    _log.info("%d pictures on disk %.2f s after the last step", len(delivered.pictures), seconds)
    return Delivery(
        report,
        seconds,
        problem,
        turntable=delivered.animation,
        pictures=delivered.pictures,
        sheet=delivered.sheet,
    )


@dataclass(frozen=True)
class _Written:
    """Paths of what was written."""

    pictures: tuple[Path, ...]
    sheet: Path | None
    animation: Path | None


def _write_twice(
    run: RunFolder, finished: FinishedPictures, output: Path | None, layout: Layout
) -> tuple[_Written, OutputNotWritable | None]:
    """Returns the best place that the pictures went to, and what was wrong with the one the user wanted.

    Raises:
        OutputNotWritable: Neither place could be written.
    """
    in_run, run_problem = _Written((), None, None), None
    run_output = run.path if layout is inside else run.path / "picture.png"
    try:
        in_run = _write(finished, run_output, layout, with_sheet=True)
    except OSError as error:
        run_problem = error
        run.notice(f"the pictures could not be written to {run.path} ({error.strerror or error})")
    if output is not None:
        try:
            # Before and after is for the report; who names one file wants one.
            with_sheet = layout is inside or len(finished.pictures) > 1
            return _write(finished, output.expanduser(), layout, with_sheet), None
        except OSError as error:
            if run_problem is None:
                reason = error.strerror or error
                place = in_run.pictures[0] if len(in_run.pictures) == 1 else run.path
                what = "picture is" if len(in_run.pictures) == 1 else "pictures are"
                return in_run, OutputNotWritable(f"{output} could not be written ({reason}). The {what} in {place}")
            run_problem = error
    if run_problem is not None:
        raise OutputNotWritable(f"the pictures could not be written anywhere ({run_problem})") from run_problem
    return in_run, None


def _write(finished: FinishedPictures, output: Path, layout: Layout, with_sheet: bool) -> _Written:
    paths = {layout(output, name): picture for name, picture in finished.pictures.items()}
    for path, picture in paths.items():
        write_picture(path, picture)
    sheet = animation = None
    if finished.sheet is not None and with_sheet:
        sheet = layout(output, finished.sheet_name)
        write_picture(sheet, finished.sheet)
    if finished.frames is not None:
        animation = next(iter(paths)).with_name(ANIMATION_NAME)
        write_gif(animation, finished.frames, FRAMES_PER_SECOND)
    return _Written(tuple(paths), sheet, animation)


PICTURES = Product(
    name="picture",
    deliver=deliver_file,
    check_output=check_picture_output,
    smaller="a smaller --count, ",
    needs_kernels=False,
)
PICTURE = replace(PICTURES, smaller="")
PICTURE_FOLDER = Product(
    name="picture",
    deliver=deliver_folder,
    check_output=check_folder_output,
    smaller="fewer prompts, ",
    needs_kernels=False,
)
