"""How a job shows itself: a live line in a terminal, plain lines in a log, or JSON lines for other programs."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from backend.commands.json_values import json_value
from backend.errors import SketchbridgeError
from backend.readable import readable_pace, readable_seconds

SECONDS_BETWEEN_JSON_PROGRESS = 0.25
SECONDS_BETWEEN_PLAIN_PROGRESS = 10.0


@dataclass(frozen=True)
class JobStart:
    """What is about to run."""

    prompt: str
    run_dir: Path
    total_steps: int
    first_step: int
    """1, or the step after the checkpoint of a resumed run."""
    prior: str
    device: str
    rasteriser: str | None
    """None for a job that renders nothing."""


@dataclass(frozen=True)
class JobProgress:
    """One step was made."""

    stage: str
    step: int
    total: int
    steps_per_second: float
    seconds_left: float
    gradient_norm: float | None
    """None where nothing is optimised."""
    faces: int | None
    """None for a job that makes pictures."""


@dataclass(frozen=True)
class JobResult:
    """What lies on the disk now."""

    is_complete: bool
    step: int
    total: int
    seconds: float
    """Time the job has run, over all its resumptions, with the finishing of its result."""
    faces: int
    run_dir: Path
    mesh: Path | None
    """The mesh where the user wanted it, or in the run folder; None if there is none."""
    report: Path | None
    turntable: Path | None
    """Or another animation."""
    resume_command: str | None
    """How to go on, for a job that was stopped."""
    pictures: tuple[Path, ...] = ()
    """Of a job that makes pictures; where the user wanted them, or in the run folder."""
    sheet: Path | None = None
    """Several pictures or views in one."""


@runtime_checkable  # for the type checker of the tests
class Display(Protocol):
    """Shows one job. Used as a context manager around it."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *exception: object) -> None: ...
    def doing(self, what: str) -> None:
        """A part without steps begins, such as `loading the prior`."""

    def started(self, start: JobStart) -> None: ...
    def progress(self, progress: JobProgress) -> None: ...
    def notice(self, text: str) -> None: ...
    def preview(self, path: Path, step: int) -> None: ...
    def finished(self, result: JobResult) -> None: ...
    def failed(self, error: BaseException, exit_code: int, resume_command: str | None) -> None:
        """The job ended without a result; KeyboardInterrupt if the user stopped it at once."""


class TerminalDisplay:
    """One live line under the notices; where there is no terminal, a plain line every ten seconds.

    Everything goes to stderr, but the paths of the results, one per line: `mesh=$(sketchbridge text ...)` works.
    """

    def __init__(
        self,
        is_stopping: Callable[[], bool] = lambda: False,
        console: Console | None = None,
        output: io.TextIOBase | None = None,
    ) -> None:
        """`is_stopping` is asked at each redraw, so that Ctrl+C shows at once though the step goes on."""
        self._console = console or Console(stderr=True, highlight=False)
        self._output = output
        self._is_stopping = is_stopping
        self._doing: str | None = None
        self._progress: JobProgress | None = None
        self._spinner = Spinner("dots")
        self._last_plain_line = -math.inf
        self._live = Live(console=self._console, get_renderable=self._live_line, refresh_per_second=8, transient=True)

    def __enter__(self) -> TerminalDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def doing(self, what: str) -> None:
        self._doing, self._progress = what, None
        if not self._console.is_terminal:
            self._console.print(f"{what} ...", markup=False)

    def started(self, start: JobStart) -> None:
        self._doing = None
        rasteriser = f"{start.rasteriser} rasteriser, " if start.rasteriser is not None else ""
        resumed = f", going on at step {start.first_step}" if start.first_step > 1 else ""
        self._console.print(
            f"[bold]{escape(start.prompt)}[/bold]  "
            f"[dim]{escape(start.prior)} prior, {start.device}, {rasteriser}{start.total_steps} steps{resumed}[/dim]"
        )
        self._console.print(f"[dim]run folder[/dim] {escape(str(start.run_dir))}", soft_wrap=True)

    def progress(self, progress: JobProgress) -> None:
        self._doing, self._progress = None, progress
        now = time.monotonic()
        if not self._console.is_terminal and (
            now - self._last_plain_line >= SECONDS_BETWEEN_PLAIN_PROGRESS or progress.step == progress.total
        ):
            self._last_plain_line = now
            self._console.print(_plain_progress(progress), markup=False, soft_wrap=True)

    def notice(self, text: str) -> None:
        self._console.print(f"[yellow]notice[/yellow] {escape(text)}", soft_wrap=True)

    def preview(self, path: Path, step: int) -> None:
        if step == 1:
            self._console.print(f"[dim]previews in[/dim] {escape(str(path.parent))}", soft_wrap=True)

    def finished(self, result: JobResult) -> None:
        self._live.stop()
        title = (
            f"[bold green]done[/bold green] in {readable_seconds(result.seconds)}"
            if result.is_complete
            else f"[bold yellow]stopped[/bold yellow] after step {result.step} of {result.total}"
        )
        rows = Table.grid(padding=(0, 2))
        unfinished = "" if result.is_complete else " [yellow](unfinished)[/yellow]"
        for path in result.pictures:
            rows.add_row("picture", f"{escape(_short(path))}{unfinished}")
        if result.mesh is not None:
            rows.add_row("mesh", f"{escape(_short(result.mesh))}  [dim]{result.faces:,} faces[/dim]{unfinished}")
        animation = "turntable" if result.mesh is not None else "turn"
        for name, file in (
            ("sheet", result.sheet),
            (animation, result.turntable),
            ("report", result.report),
            ("run", result.run_dir),
        ):
            if file is not None:
                rows.add_row(name, escape(_short(file)))
        if result.resume_command is not None:
            rows.add_row("go on", f"[bold]{escape(result.resume_command)}[/bold]")
        self._console.print(title)
        self._console.print(rows, soft_wrap=True)
        if not (self._output or sys.stdout).isatty():
            for path in (*result.pictures, *([result.mesh] if result.mesh is not None else [])):
                print(path, file=self._output or sys.stdout)

    def failed(self, error: BaseException, exit_code: int, resume_command: str | None) -> None:
        self._live.stop()
        print_error(self._console, error)
        if resume_command is not None:
            self._console.print(f"go on with  [bold]{escape(resume_command)}[/bold]", soft_wrap=True)

    def _live_line(self) -> ConsoleRenderable:
        stopping = Text("stopping after this step; Ctrl+C again stops at once", "yellow")
        lines: list[ConsoleRenderable] = []
        if self._progress is not None:
            lines.append(self._progress_line(self._progress))
        elif self._doing is not None:
            self._spinner.update(text=f" {self._doing}")
            lines.append(self._spinner)
        if self._is_stopping() and self._doing is None:
            lines.append(stopping)
        return Group(*lines)

    def _progress_line(self, progress: JobProgress) -> ConsoleRenderable:
        line = Table.grid(padding=(0, 1), expand=False)
        bar = ProgressBar(total=progress.total, completed=progress.step, width=24)
        cells: list[ConsoleRenderable] = [
            Text(progress.stage, "bold cyan"),
            bar,
            Text(f"{progress.step}/{progress.total}"),
            Text(readable_pace(progress.steps_per_second), "green"),
            Text(f"{readable_seconds(progress.seconds_left)} left", "green"),
        ]
        if progress.gradient_norm is not None:
            cells.append(Text(f"|g| {progress.gradient_norm:.3g}", "dim"))
        if progress.faces is not None:
            cells.append(Text(f"{progress.faces:,} faces", "dim"))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        return line


class JsonLinesDisplay:
    """One JSON object per line on stdout, and nothing else there: what libraries print goes to stderr.

    Each has `event`: started, doing, progress (at most four a second), notice, preview, finished or failed.
    """

    def __init__(self, stream: io.TextIOBase | None = None) -> None:
        self._given_stream = stream
        self._stream: Any = stream
        self._resources = contextlib.ExitStack()
        self._last_progress = -math.inf

    def __enter__(self) -> JsonLinesDisplay:
        if self._given_stream is None:
            self._stream = self._resources.enter_context(_stdout_for_us_alone())
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()
        self._stream = self._given_stream

    def doing(self, what: str) -> None:
        self._emit("doing", what=what)

    def started(self, start: JobStart) -> None:
        self._emit("started", **asdict(start))

    def progress(self, progress: JobProgress) -> None:
        now = time.monotonic()
        # The last step is always told: a program that waits for step == total must not wait for ever.
        if now - self._last_progress >= SECONDS_BETWEEN_JSON_PROGRESS or progress.step == progress.total:
            self._last_progress = now
            self._emit("progress", **asdict(progress))

    def notice(self, text: str) -> None:
        self._emit("notice", text=text)

    def preview(self, path: Path, step: int) -> None:
        self._emit("preview", step=step, file=path)

    def finished(self, result: JobResult) -> None:
        self._emit("finished", **asdict(result))

    def failed(self, error: BaseException, exit_code: int, resume_command: str | None) -> None:
        message = str(error) or type(error).__name__
        self._emit(
            "failed", kind=type(error).__name__, message=message, exit_code=exit_code, resume_command=resume_command
        )
        print_error(Console(stderr=True, highlight=False), error)

    def _emit(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **json_value(fields)})
        try:
            print(line, file=self._stream or sys.stdout, flush=True)
        except BrokenPipeError:
            # The reader has gone. The job is worth more than its progress: it goes on without a listener.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, (self._stream or sys.stdout).fileno())
            os.close(nowhere)


@contextmanager
def _stdout_for_us_alone() -> Iterator[Any]:
    """The real stdout as a stream of our own; while it is open, everybody else's stdout is stderr, C libraries' too."""
    try:
        descriptor = sys.stdout.fileno()
        kept = os.dup(descriptor)
    except (OSError, io.UnsupportedOperation):  # captured by a test, or no stdout at all
        ours = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield ours
        return
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), descriptor)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as ours:
            yield ours
    finally:
        sys.stdout.flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def print_error(console: Console, error: BaseException) -> None:
    """One sentence for what the user can change; a traceback for what is our fault."""
    if isinstance(error, SketchbridgeError):
        console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
    elif isinstance(error, KeyboardInterrupt):
        console.print("[bold yellow]stopped[/bold yellow]")
    else:
        console.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True, style="dim")
        console.print(
            f"[bold red]error:[/bold red] {escape(type(error).__name__)}: {escape(str(error))}. "
            "This is a bug in sketchbridge; the lines above tell its developers where",
            soft_wrap=True,
        )


def _plain_progress(progress: JobProgress) -> str:
    return (
        f"{progress.stage} step {progress.step}/{progress.total}, {readable_pace(progress.steps_per_second)}, "
        f"{readable_seconds(progress.seconds_left)} left"
        + (f", gradient norm {progress.gradient_norm:.3g}" if progress.gradient_norm is not None else "")
        + (f", {progress.faces:,} faces" if progress.faces is not None else "")
    )


def _short(path: Path) -> str:
    """The path as the user would type it here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
