"""`sketchbridge watch`: a job on a server, live, until it ends. The job does not mind who watches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE, EXIT_JOB_FAILED, EXIT_NOT_FINISHED, EXIT_STOPPED
from backend.commands.saved_frames import FrameFormat, SavedFrames
from backend.commands.server_connection import ServerOptions, answer_of, find_job, run_client_command
from backend.commands.watch_display import WatchDisplay, watch_display
from protocol.client import Client
from protocol.errors import RequestRefused, RequestTimedOut, ServerUnreachable
from protocol.inbox import ConnectionChanged, WatchRefused
from protocol.messages import FINAL_STATUSES, Channel, Failed, FetchResult, JobState, MeshSnapshot, Preview, Progress


@dataclass(frozen=True)
class WatchWishes:
    """What to do while a job is watched."""

    save_frames: Path | None = None
    """A folder for meshes and previews."""
    frame_format: FrameFormat = "glb"
    frames_per_second: float = 1.0
    """At most; fewer where the job is slower."""
    give_up_after_seconds: float | None = None
    """For how long a lost server may stay away; None waits for ever."""


def run_watch_command(options: ServerOptions, job: str, wishes: WatchWishes, output: ClientOutput | None = None) -> int:
    """Shows a job until it ends. Returns the exit code."""

    def work(client: Client, output: ClientOutput) -> int:
        state = watch_to_the_end(client, find_job(client, job, output).job, wishes, output)
        if state is None:
            return EXIT_STOPPED
        if state.status == "finished":
            suffix = "png" if state.task == "image" else "glb"
            output.say(f"finished after step {state.step}; fetch it with: "
                       f"sketchbridge fetch {state.job} -o result.{suffix}")  # fmt: skip
        else:
            output.say(f"{state.status} after step {state.step}")
        return exit_code_of_end(state)

    return run_client_command(options, work, output)


def exit_code_of_end(state: JobState) -> int:
    """Of a job that has ended."""
    if state.status == "failed":
        return EXIT_JOB_FAILED
    return EXIT_DONE if state.status == "finished" else EXIT_NOT_FINISHED


def watch_to_the_end(client: Client, job: str, wishes: WatchWishes, output: ClientOutput) -> JobState | None:
    """Shows a job until it has ended, over lost connections too.

    Args:
        job: Its whole id.

    Returns:
        Its final state; None if the user stopped watching with Ctrl+C, which is told.

    Raises:
        ServerUnreachable: It stayed away for longer than the wishes say.
        RequestRefused: The job cannot be watched, such as one that was deleted.
        OutputNotWritable: A frame could not be written.
    """
    frames = SavedFrames(wishes.save_frames, wishes.frame_format) if wishes.save_frames is not None else None
    display = watch_display(output)
    watch = _Watch(client, job, display, frames)
    channels: tuple[Channel, ...] = ("progress",) if frames is None else ("progress", "mesh", "colours", "preview")
    answer = client.watch(job, channels, snapshots_per_second=wishes.frames_per_second)
    with display:
        try:
            while watch.end is None:
                client.wait(0.25)
                watch.show_news()
                watch.check_patience(wishes.give_up_after_seconds)
                if answer.done() and client.connection.state == "connected":
                    error = answer.exception()
                    # After a lost connection the client asks again by itself, and this answer means nothing.
                    if error is not None and not (isinstance(error, RequestTimedOut) and watch.was_lost):
                        raise error
        except KeyboardInterrupt:
            display.left_running(watch.newest, job)
            return None
    if watch.end.status == "failed":
        _tell_failure(client, watch.end, display, output)
    return watch.end


class _Watch:
    """What has been heard of one job."""

    def __init__(self, client: Client, job: str, display: WatchDisplay, frames: SavedFrames | None) -> None:
        self._client, self._job, self._display, self._frames = client, job, display, frames
        self.newest: JobState | None = None
        self.end: JobState | None = None
        self.was_lost = False
        self._lost_at: float | None = None

    def show_news(self) -> None:
        for event in self._client.events():
            if isinstance(event, ConnectionChanged):
                self._show_connection(event)
            elif isinstance(event, WatchRefused) and event.job == self._job:
                raise RequestRefused(event.code, event.sentence)
            elif isinstance(event, JobState) and event.job == self._job:
                self._display.state(event, self.newest)
                self.newest = event
                if event.status in FINAL_STATUSES:
                    self.end = event
            elif isinstance(event, Progress) and event.job == self._job:
                self._display.progress(event)
            elif isinstance(event, MeshSnapshot | Preview) and event.job == self._job:
                self._save(event)

    def check_patience(self, seconds: float | None) -> None:
        if seconds is not None and self._lost_at is not None and time.monotonic() - self._lost_at >= seconds:
            raise ServerUnreachable(f"{self._client.address} has been away for {seconds:g} s; the job may go on there")

    def _show_connection(self, change: ConnectionChanged) -> None:
        if change.state == "connected":
            if self._lost_at is None:
                return  # the news of the beginning
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at, self.was_lost = time.monotonic(), True
        self._display.connection(change)

    def _save(self, event: MeshSnapshot | Preview) -> None:
        if self._frames is None:
            return
        if isinstance(event, MeshSnapshot):
            self._display.saved("frame", event.step, self._frames.save_mesh(event))
        else:
            self._display.saved("preview", event.step, self._frames.save_preview(event))


def _tell_failure(client: Client, state: JobState, display: WatchDisplay, output: ClientOutput) -> None:
    """Asks for the failure itself: the message Failed to watchers may have been lost with a connection."""
    try:
        answer = answer_of(client, FetchResult(job=state.job), output)
    except RequestRefused:  # it was deleted meanwhile; the state has said what there is to say
        return
    if isinstance(answer, Failed):
        display.failed(answer)
