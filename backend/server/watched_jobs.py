"""Which jobs are watched by whom, what comes from their workers, and what the workers are to make. Opens no socket."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.server.link import Demand
from backend.server.stream import JobStream, Watch
from protocol.errors import RemoteProtocolError
from protocol.frames import Frame, decode
from protocol.messages import FINAL_STATUSES, Failed, JobState, MeshSnapshot, Message, Preview, Progress, WatchJob


@dataclass
class WatchedJob:
    """A job that is watched or that a worker has."""

    stream: JobStream = field(default_factory=JobStream)
    watches: dict[bytes, Watch] = field(default_factory=dict)
    """By the client's identity."""
    worker_id: str = ""
    """The worker that has it now; empty if none."""
    told: Demand | None = None
    """The demand that the worker was told last."""
    progress: Progress | None = None
    """The last one of this worker."""

    def demand(self, now: float) -> Demand:
        """What is wanted now by those who would take it."""
        wanted = [each for each in self.watches.values() if each.is_attentive(now)]
        meshes = [each for each in wanted if each.wants("mesh")]
        previews = [each for each in wanted if each.wants("preview")]
        return Demand(
            per_second=max((1.0 / each.seconds_between for each in [*meshes, *previews]), default=0.0),
            mesh=bool(meshes),
            colours=any(each.wants("colours") for each in meshes),
            preview=bool(previews),
        )


class WatchedJobs:
    """All of them."""

    def __init__(
        self,
        tell: Callable[[bytes, Message], None],
        news: Callable[[bytes], None],
        unwatch: Callable[[bytes, str], None],
        order: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """
        Args:
            tell: Sends a message to the client with this identity.
            news: There may be a snapshot for this client.
            unwatch: The watch of this client is over.
            order: Sends an order to the worker with this id.
        """
        self._tell, self._news, self._unwatch, self._order = tell, news, unwatch, order
        self._jobs: dict[str, WatchedJob] = {}
        self._received_before = self._dropped_before = 0  # of jobs that are not here any more

    # --- from clients

    def watch(self, identity: bytes, wish: WatchJob, now: float) -> tuple[Watch, JobStream]:
        """Adds a watch, or replaces that of this client. The first snapshot will be a full one."""
        job = self._jobs.setdefault(wish.job, WatchedJob())
        watch = job.watches[identity] = Watch(wish, now)
        self.update_demand(wish.job, now)
        return watch, job.stream

    def unwatch(self, identity: bytes, job_id: str, now: float) -> None:
        """Ends a watch, if there is one."""
        job = self._jobs.get(job_id)
        if job is not None and job.watches.pop(identity, None) is not None:
            self.update_demand(job_id, now)
            self._drop_if_idle(job_id)

    def update_demand(self, job_id: str, now: float) -> None:
        """Tells the worker if its watchers want something else than before."""
        job = self._jobs.get(job_id)
        if job is None or not job.worker_id:
            return
        demand = job.demand(now)
        if demand != job.told:
            if job.told is not None and job.told.colours and not demand.colours:
                job.stream.forget_colours()
            job.told = demand
            self._order(job.worker_id, demand.order())

    def update_all_demands(self, now: float) -> None:
        """For watchers that have become inattentive; to be called some times a second."""
        for job_id in self._jobs:
            self.update_demand(job_id, now)

    # --- from the jobs

    def worker_began(self, job_id: str, worker_id: str, now: float) -> None:
        """A worker has this job now and must be told what is wanted."""
        job = self._jobs.setdefault(job_id, WatchedJob())
        job.worker_id, job.told, job.progress = worker_id, None, None
        self.update_demand(job_id, now)

    def job_changed(self, state: JobState) -> None:
        """Tells the watchers. The watch of what is over ends; of what failed, with `job_failed`."""
        job = self._jobs.get(state.job)
        if job is None:
            return
        for identity in list(job.watches):
            self._tell(identity, state)
        if state.status in (*FINAL_STATUSES, "paused", "queued"):
            job.worker_id, job.told, job.progress = "", None, None
        if state.status in FINAL_STATUSES and state.status != "failed":
            self._end_watches(job, state.job)
        self._drop_if_idle(state.job)

    def job_failed(self, failed: Failed) -> None:
        """Tells the watchers why, after `job_changed` has told them that."""
        job = self._jobs.get(failed.job)
        if job is None:
            return
        for identity in list(job.watches):
            self._tell(identity, failed)
        self._end_watches(job, failed.job)
        self._drop_if_idle(failed.job)

    # --- from workers

    def take_data(self, worker_id: str, frames: Sequence[Any]) -> str:
        """Takes a Progress, MeshSnapshot or Preview of the job that this worker has.

        Returns:
            What is wrong with it, or an empty text.
        """
        try:
            message = decode(frames, sent_by="server").message
        except RemoteProtocolError as error:
            return str(error)
        if not isinstance(message, Progress | MeshSnapshot | Preview):
            return f"a {type(message).__name__}; it must be a Progress, MeshSnapshot or Preview"
        job = self._jobs.get(message.job)
        if job is None or job.worker_id != worker_id:
            return ""  # it was sent before the job was taken from this worker
        if isinstance(message, Progress):
            job.progress = message
            for identity, watch in list(job.watches.items()):
                if watch.wants("progress"):
                    self._tell(identity, message)
            return ""
        views: list[Frame] = [memoryview(each).cast("B") for each in frames]
        if isinstance(message, Preview):
            job.stream.take_preview(message, views)
        elif not job.stream.take_snapshot(message, views):
            return self._demand_a_full_one(job, message)
        for identity in list(job.watches):
            self._news(identity)
        return ""

    def _demand_a_full_one(self, job: WatchedJob, message: MeshSnapshot) -> str:
        """A worker makes a full snapshot when meshes are demanded after they were not."""
        if job.told is not None and job.told.mesh:
            nothing = dataclasses.replace(job.told, mesh=False, colours=False)
            self._order(job.worker_id, nothing.order())
            self._order(job.worker_id, job.told.order())
        return f"snapshot {message.number} builds on {message.builds_on}, which did not come"

    # --- for whoever looks on

    @property
    def running(self) -> list[Progress]:
        """The last progress of each job that a worker has."""
        return [job.progress for job in self._jobs.values() if job.worker_id and job.progress is not None]

    @property
    def snapshots_received(self) -> int:
        return self._received_before + sum(job.stream.received for job in self._jobs.values())

    @property
    def snapshots_dropped(self) -> int:
        """That were replaced before any watcher got them."""
        return self._dropped_before + sum(job.stream.dropped for job in self._jobs.values())

    @property
    def watches(self) -> int:
        return sum(len(job.watches) for job in self._jobs.values())

    def _end_watches(self, job: WatchedJob, job_id: str) -> None:
        for identity in list(job.watches):
            del job.watches[identity]
            self._unwatch(identity, job_id)

    def _drop_if_idle(self, job_id: str) -> None:
        """A mesh that nobody watches and nobody changes need not be kept."""
        job = self._jobs.get(job_id)
        if job is not None and not job.watches and not job.worker_id:
            del self._jobs[job_id]
            self._received_before += job.stream.received
            self._dropped_before += job.stream.dropped
