"""The workers of a server: which there are, what each does, and by when it must be heard of. Knows no state of jobs."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from backend.server.executors import Executor, WorkerProcess
from backend.server.job_book import Listener
from backend.server.job_record import JobsConfig
from backend.server.link import order
from backend.server.store import JobStore


@dataclass
class Worker:
    """One worker process."""

    process: WorkerProcess
    state: Literal["coming", "idle", "busy", "stopping", "killed"] = "coming"
    """coming: it has not said ready yet. busy: it has its order run."""
    job: str | None = None
    """That it computes, or will once it is ready."""
    is_detached: bool = False
    """Nobody wants its job any more: it is only to let go of it."""
    was_told_to_pause: bool = False
    updates: int = 0
    """Of its job: those that there were when it was told to run it, or that it has taken since."""
    deadline: float | None = None
    """When it must have been heard of."""
    idle_since: float = 0.0
    loss: Literal["worker-died", "worker-hung"] = "worker-died"
    """What it counts as when it has ended with a job."""

    @property
    def worker_id(self) -> str:
        return self.process.worker_id

    @property
    def device(self) -> str:
        return self.process.device


class WorkerPool:
    """Starts workers, one at a time on each device, and ends those that are idle, hung or not wanted any more."""

    def __init__(
        self,
        store: JobStore,
        executor: Executor,
        listener: Listener,
        config: JobsConfig,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._executor, self._listener, self._config = store, executor, listener, config
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        self._looked_at = clock()
        self._start_again_at = 0.0

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker_id: str) -> Worker | None:
        return self._workers.get(worker_id)

    def of_job(self, job: str) -> Worker | None:
        """The worker that has this job, wanted or not."""
        return next((each for each in self._workers.values() if each.job == job), None)

    @property
    def devices(self) -> tuple[str, ...]:
        """All there are, such as cpu and cuda:0."""
        return tuple(self._executor.devices)

    def has_room(self) -> bool:
        """Whether there is a worker without a job, or a device without a worker."""
        return any(self._is_free(each) for each in self._workers.values()) or bool(self._free_devices())

    def worker_for(self, wanted_device: str) -> Worker | None:
        """A worker without a job for this device, started if need be; None if there is none now.

        Args:
            wanted_device: cpu, cuda or auto, which is any.
        """
        for worker in self._workers.values():
            if self._is_free(worker) and suits(worker.device, wanted_device):
                return worker
        for device in self._free_devices():
            if suits(device, wanted_device):
                return self._start(device)
        return None

    def send(self, worker: Worker, name: str, **fields: Any) -> None:
        """Sends an order."""
        self._executor.send(worker.worker_id, order(name, **fields))

    def reserve(self, worker: Worker, job: str) -> None:
        """Gives a job to a worker that has none; it is told once it is ready."""
        worker.job, worker.is_detached, worker.was_told_to_pause = job, False, False

    def note_ready(self, worker: Worker) -> None:
        """It can take its order now."""
        worker.state, worker.deadline, worker.idle_since = "idle", None, self._clock()

    def note_running(self, worker: Worker) -> None:
        """It was sent its order run."""
        worker.state = "busy"
        self.expect_within(worker, self._config.first_beat_seconds)

    def expect_within(self, worker: Worker, seconds: float) -> None:
        """Sets when it must have been heard of again; one that was told to stop keeps its limit."""
        if worker.state not in ("stopping", "killed"):
            worker.deadline = self._clock() + seconds

    def release(self, worker: Worker) -> None:
        """It has no job any more."""
        worker.job, worker.is_detached, worker.was_told_to_pause = None, False, False
        if worker.state == "busy":
            worker.state, worker.deadline, worker.idle_since = "idle", None, self._clock()

    def stop(self, worker: Worker) -> None:
        """Tells it to keep its state and to end. One that is not ready yet could not hear that: it is killed."""
        if worker.state == "coming":
            self.kill(worker)
        elif worker.state in ("idle", "busy"):
            worker.state, worker.deadline = "stopping", self._clock() + self._config.stop_seconds
            self.send(worker, "stop")

    def kill(self, worker: Worker) -> None:
        """Ends it at once. It has its job until the system says that it has ended."""
        if worker.state != "killed":
            worker.state, worker.deadline = "killed", None
        self._executor.kill(worker.worker_id)

    def end_overdue(self) -> None:
        """Kills what was not heard of in time, and stops what has been idle for long."""
        now = self._clock()
        gap, self._looked_at = now - self._looked_at, now
        for worker in self:
            if worker.deadline is not None and gap > self._config.stall_seconds:
                worker.deadline += gap
            if worker.deadline is not None and now >= worker.deadline:
                self._end_overdue(worker)
            elif self._is_free(worker) and worker.state == "idle" and self._has_been_idle(worker, now):
                self._listener.log("worker-stopped", worker=worker.worker_id, reason="idle")
                self.stop(worker)

    def ended(self) -> list[tuple[str, int]]:
        """Ids and exit codes of those that have ended since the last time."""
        return self._executor.poll()

    def forget(self, worker: Worker) -> None:
        """It has ended."""
        self._workers.pop(worker.worker_id, None)
        self._forget_name(worker.worker_id)

    # --- inside

    def _forget_name(self, worker_id: str) -> None:
        try:
            self._store.forget_worker(worker_id)
        except sqlite3.Error as error:  # the next start finds out that there is no such process any more
            self._listener.log("database-not-written", "warning", worker=worker_id, error=str(error))

    def _is_free(self, worker: Worker) -> bool:
        return worker.job is None and worker.state in ("coming", "idle")

    def _free_devices(self) -> list[str]:
        if self._clock() < self._start_again_at:
            return []
        taken = {each.device for each in self._workers.values()}
        return [each for each in self._executor.devices if each not in taken]

    def _start(self, device: str) -> Worker | None:
        # Its name is stored first: if the server dies while it starts the process, the next one finds it by that.
        unborn = WorkerProcess(secrets.token_hex(8), device)
        try:
            self._store.keep_worker(unborn)
            process = self._executor.start(unborn.worker_id, device)
        except (OSError, sqlite3.Error) as error:
            self._start_again_at = self._clock() + self._config.start_again_seconds
            self._listener.log("worker-not-started", "error", device=device, error=str(error))
            self._forget_name(unborn.worker_id)
            return None
        worker = Worker(process)
        self._workers[worker.worker_id] = worker
        self.expect_within(worker, self._config.ready_seconds)
        self._listener.log("worker-started", worker=worker.worker_id, device=device, pid=process.pid)
        try:
            self._store.keep_worker(process)
        except sqlite3.Error as error:  # its name is there, which is enough to find it
            self._listener.log("database-not-written", "warning", worker=worker.worker_id, error=str(error))
        return worker

    def _end_overdue(self, worker: Worker) -> None:
        if worker.state != "stopping":
            worker.loss = "worker-hung"
        self._listener.log("worker-killed", "warning", worker=worker.worker_id, job=worker.job, state=worker.state)
        self.kill(worker)

    def _has_been_idle(self, worker: Worker, now: float) -> bool:
        return now - worker.idle_since >= self._config.idle_seconds


def suits(device: str, wanted: str) -> bool:
    """Whether a device such as cuda:0 is what a job wants: cpu, cuda or auto."""
    return wanted == "auto" or device.partition(":")[0] == wanted
