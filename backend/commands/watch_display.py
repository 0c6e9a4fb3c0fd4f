"""How a job on a server shows itself: as a local one does, or as JSON lines."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.markup import escape

from backend.commands.client_output import ClientOutput
from backend.commands.displays import JobProgress, TerminalDisplay
from protocol.inbox import ConnectionChanged
from protocol.messages import FINAL_STATUSES, Failed, JobState, Progress


@runtime_checkable  # for the type checker of the tests
class WatchDisplay(Protocol):
    """Shows one job. Used as a context manager around the watch."""

    def __enter__(self) -> WatchDisplay: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def state(self, state: JobState, before: JobState | None) -> None:
        """The job's state, which may be the same as before."""

    def progress(self, progress: Progress) -> None: ...
    def connection(self, change: ConnectionChanged) -> None: ...
    def saved(self, kind: str, step: int, path: Path) -> None:
        """A frame or a preview was written."""

    def failed(self, failure: Failed) -> None: ...
    def left_running(self, state: JobState | None, job: str) -> None:
        """The user has stopped watching."""


def watch_display(output: ClientOutput) -> WatchDisplay:
    """The display that goes with an output."""
    return JsonWatchDisplay(output) if output.as_json else TerminalWatchDisplay(output)


class TerminalWatchDisplay:
    """A live line in a terminal, plain lines elsewhere; all on stderr."""

    def __init__(self, output: ClientOutput) -> None:
        self._output = output
        self._display = TerminalDisplay(console=output.console)
        self._frames = 0
        self._doing = ""

    def __enter__(self) -> TerminalWatchDisplay:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__()

    def state(self, state: JobState, before: JobState | None) -> None:
        if before is None:
            device = f", on {state.device}" if state.device else ""
            self._output.console.print(
                f"[bold]{escape(state.title)}[/bold]  [dim]{state.job}, {state.task}{escape(device)}[/dim]"
            )
        moved = before is None or (state.status, state.queue_position) != (before.status, before.queue_position)
        if moved and state.status not in FINAL_STATUSES:
            self._do(_what_it_does(state))
        if before is not None and state.updates > before.updates:
            self._display.notice(f"update {state.updates} is accepted")
        if before is not None and state.restarts > before.restarts:
            self._display.notice(state.sentence or "its worker was lost; it goes on from its last checkpoint")
        elif state.sentence and (before is None or state.sentence != before.sentence):
            self._display.notice(state.sentence)

    def progress(self, progress: Progress) -> None:
        for notice in progress.notices:
            self._display.notice(notice)
        if progress.step >= progress.total_steps and progress.steps_per_second == 0:
            self._do(escape(progress.stage))  # what comes after the steps has neither a pace nor an end in sight
            return
        self._doing = ""
        self._display.progress(
            JobProgress(
                stage=progress.stage,
                step=progress.step,
                total=progress.total_steps,
                steps_per_second=progress.steps_per_second,
                seconds_left=math.inf if progress.seconds_left is None else progress.seconds_left,
                gradient_norm=progress.gradient_norm,
                faces=progress.faces or None,
            )
        )

    def connection(self, change: ConnectionChanged) -> None:
        self._display.notice(change.sentence)

    def saved(self, kind: str, step: int, path: Path) -> None:
        self._frames += 1
        if self._frames == 1:
            self._output.say(f"frames in {path.parent}")

    def _do(self, what: str) -> None:
        if what != self._doing:
            self._doing = what
            self._display.doing(what)

    def failed(self, failure: Failed) -> None:
        self._output.console.print(
            f"[bold red]failed:[/bold red] {escape(failure.sentence)} "
            f"[dim]({failure.code}; {failure.log_id} in the server's log)[/dim]",
            soft_wrap=True,
        )

    def left_running(self, state: JobState | None, job: str) -> None:
        goes_on = "goes on" if state is None or state.status != "paused" else "stays as it is, paused"
        self._output.say(f"the job {goes_on}; watch it again with: sketchbridge watch {job}")


class JsonWatchDisplay:
    """One object per line, each with `event`: state, progress, connection, frame, preview, failed or left."""

    def __init__(self, output: ClientOutput) -> None:
        self._output = output

    def __enter__(self) -> JsonWatchDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def state(self, state: JobState, before: JobState | None) -> None:
        if state != before:
            self._output.object(event="state", **dataclasses.asdict(state))

    def progress(self, progress: Progress) -> None:
        self._output.object(event="progress", **dataclasses.asdict(progress))

    def connection(self, change: ConnectionChanged) -> None:
        self._output.object(event="connection", state=change.state, sentence=change.sentence)

    def saved(self, kind: str, step: int, path: Path) -> None:
        self._output.object(event=kind, step=step, file=path)

    def failed(self, failure: Failed) -> None:
        self._output.object(event="failed", **dataclasses.asdict(failure))

    def left_running(self, state: JobState | None, job: str) -> None:
        self._output.object(event="left", job=job, status=None if state is None else state.status)


def _what_it_does(state: JobState) -> str:
    """The state in words of ours: a live line would take markup in the server's."""
    if state.status == "queued" and state.queue_position:
        jobs = "one job is" if state.queue_position == 1 else f"{state.queue_position} jobs are"
        return f"queued, {jobs} before it"
    if state.status == "paused":
        return f"paused after step {state.step}; it goes on with: sketchbridge resume {state.job}"
    return str(state.status)
