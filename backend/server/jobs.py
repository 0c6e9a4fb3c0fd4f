"""The jobs of a server: takes requests, answers each once, and moves the jobs along. Knows no sockets and no threads.

One thread calls everything here; results are read by another. Nothing waits for a worker, but for `recover` and
`shut_down`.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.errors import DamagedRun
from backend.server.executors import Executor
from backend.server.job_book import JobBook, Listener
from backend.server.job_endings import JobEndings
from backend.server.job_intake import JobIntake
from backend.server.job_record import JobRecord, JobsConfig
from backend.server.job_runs import JobRuns
from backend.server.kept_jobs import KeptJobs, Uptime
from backend.server.message_files import read_frames
from backend.server.partial_results import Answer, PartialResults, Reply
from backend.server.recovery import recover_jobs
from backend.server.refusals import Refusal
from backend.server.store import JobStore
from backend.server.worker_pool import WorkerPool
from protocol.messages import (
    CancelJob,
    DeleteJob,
    FetchResult,
    JobList,
    JobState,
    ListJobs,
    Message,
    PauseJob,
    ResumeJob,
    SubmitAccepted,
    SubmitJob,
    UpdateJob,
)
from protocol.settings import Limits

__all__ = ["Answer", "JobManager", "JobsConfig", "Listener", "Reply"]

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_DIE = 5.0
_log = logging.getLogger(__name__)


class JobManager:
    """All jobs of all clients. After `recover`, call `tick` about four times a second and after everything else."""

    def __init__(
        self,
        store: JobStore,
        executor: Executor,
        limits: Limits,
        listener: Listener,
        settings: JobsConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        read_elsewhere: Callable[[Callable[[], None]], None] = lambda read: read(),
    ) -> None:
        """
        Args:
            read_elsewhere: Runs a function that reads a result and replies, in another thread: a result of 100 MB takes
                a tenth of a second, in which beats and other jobs would wait.
            clock: Seconds that never go back: all time limits are measured with it.
            wall: Seconds since 1970: shown to clients, and used for nothing else.
        """
        self._store, self._executor, self._limits, self._listener = store, executor, limits, listener
        self._config, self._clock, self._read_elsewhere = settings, clock, read_elsewhere
        self._uptime = Uptime(store, clock)
        self._book = JobBook(store, listener, clock, wall)
        self._pool = WorkerPool(store, executor, listener, settings, clock)
        self._endings = JobEndings(store, self._book, self._pool, listener, self._uptime)
        self._runs = JobRuns(store, self._book, self._pool, listener, settings, self._endings, clock)
        self._intake = JobIntake(store, self._book, executor, limits, listener, settings)
        self._kept = KeptJobs(self._book, self._runs, listener, settings, clock, self._uptime)
        self._partials = PartialResults(self._pool, settings, clock)
        self._is_shutting_down = False

    # --- requests

    def handle(self, owner: str, message: Message, reply: Reply) -> None:
        """Takes SubmitJob, ListJobs, UpdateJob, PauseJob, ResumeJob, CancelJob, DeleteJob or FetchResult.

        Args:
            owner: Who asks. All that they see and touch are jobs with the same owner.
            reply: Called once, now or later, perhaps by another thread, with what answers it: a message, or the wire
                frames of one (a result, as it lies on the disk), into whose header the request's number is still to be
                written.
        """
        try:
            answer = self._answer(owner, message, reply)
        except Refusal as refusal:
            answer = refusal.message()
        except Exception:
            log_id = secrets.token_hex(6)
            _log.exception("request %s failed (%s)", type(message).__name__, log_id)
            self._listener.log("request-failed", "error", request=type(message).__name__, log_id=log_id)
            sentence = f"The server could not do this; its log says more under {log_id}."
            answer = Refusal("internal", sentence).message()
        if answer is not None:
            reply(answer)
        self._book.tell()

    def state_of(self, owner: str, job_id: str) -> JobState | None:
        """Where a job is; None if there is no such job of this owner, or not any more."""
        record = self._find(owner, job_id)
        return None if record is None or record.status == "deleted" else self._book.state(job_id)

    def count_by_status(self) -> dict[str, int]:
        """How many jobs of all owners there are, by status; without deleted ones."""
        counts: dict[str, int] = {}
        for record in self._book:
            if record.status != "deleted":
                counts[record.status] = counts.get(record.status, 0) + 1
        return counts

    # --- workers

    def on_event(self, worker_id: str, event: dict[str, Any]) -> None:
        """Takes what a worker said, as `link.read_event` gives it."""
        self._runs.on_event(worker_id, event)
        self._book.tell()

    def on_partial(self, worker_id: str, token: str, frames: list[Any]) -> None:
        """Takes a worker's answer to the order fetch, as `link.read_partial` gives it."""
        self._partials.on_partial(worker_id, token, frames)

    # --- time

    def tick(self) -> None:
        """Does what is due: lost workers, time limits, quotas, and the jobs that can begin."""
        self._look_after_workers()
        self._partials.end_overdue(self._answer_without_worker)
        self._kept.check()
        if not self._is_shutting_down:
            self._runs.start_waiting()
        self._book.tell()

    def recover(self) -> None:
        """Goes on where an earlier server ended, however that was. Call it once, before anything else."""
        recover_jobs(self._store, self._book, self._runs, self._endings, self._executor, self._listener)
        self._book.tell()

    def begin_shut_down(self) -> None:
        """Refuses what changes jobs from now on, and asks all workers to keep their state and to end."""
        self._is_shutting_down = True
        for worker in self._pool:
            self._pool.stop(worker)

    @property
    def has_workers(self) -> bool:
        """Whether any worker has not ended yet."""
        return len(self._pool) > 0

    def shut_down(self, seconds: float, wait: Callable[[float], None] = time.sleep) -> None:
        """Ends all workers. Their jobs stay as they are on disk, so that `recover` goes on with them.

        Args:
            seconds: How long workers may take to keep their state. Those that take longer are killed, and lose what
                they did since their newest checkpoint.
            wait: Called again and again with a few hundredths of a second. What workers say can be handed to
                `on_event` meanwhile.
        """
        self.begin_shut_down()
        deadline = self._clock() + seconds
        while self.has_workers and self._clock() < deadline:
            wait(_SECONDS_BETWEEN_LOOKS)
            self._look_after_workers()
        for worker in self._pool:
            self._listener.log("worker-killed", "warning", worker=worker.worker_id, job=worker.job, state=worker.state)
            self._pool.kill(worker)
        deadline = self._clock() + _SECONDS_TO_DIE
        while self.has_workers and self._clock() < deadline:
            wait(_SECONDS_BETWEEN_LOOKS)
            self._look_after_workers()
        self._partials.end_overdue(self._answer_without_worker)
        self._book.save_unsaved()
        try:
            self._uptime.save()
        except sqlite3.Error as error:
            self._listener.log("database-not-written", "warning", error=str(error))
        self._book.tell()

    def _look_after_workers(self) -> None:
        self._book.save_unsaved()
        for worker_id, exit_code in self._pool.ended():
            self._runs.on_exit(worker_id, exit_code, self._is_shutting_down)
        self._pool.end_overdue()

    # --- answers

    def _answer(self, owner: str, message: Message, reply: Reply) -> Answer | None:
        """The answer; None if it comes later."""
        if isinstance(message, ListJobs):
            return self._list(owner, message)
        if isinstance(message, SubmitJob):
            return self._submit(owner, message)
        if isinstance(message, FetchResult):
            return self._fetch(self._require(owner, message.job), message.partial, reply)
        if isinstance(message, DeleteJob):
            return self._delete(owner, message)
        if isinstance(message, UpdateJob):
            return self._update(self._require(owner, message.job), message)
        if isinstance(message, PauseJob | ResumeJob | CancelJob):
            record = self._require(owner, message.job)
            self._refuse_while_shutting_down()
            if isinstance(message, PauseJob):
                self._runs.pause(record.job)
            elif isinstance(message, ResumeJob):
                self._runs.resume(record.job)
            else:
                self._runs.cancel(record.job, keep=message.result == "keep")
            return self._book.state(record.job)
        raise Refusal("unknown-message", f"{type(message).__name__} is no request about jobs.")

    def _list(self, owner: str, message: ListJobs) -> JobList:
        records = self._book.of_owner(owner)
        wanted = records[message.offset : message.offset + message.most]
        return JobList(jobs=tuple(self._book.state(each.job) for each in wanted), total=len(records))

    def _submit(self, owner: str, message: SubmitJob) -> SubmitAccepted:
        known = self._book.with_key(owner, message.key)
        if known is None:
            self._refuse_while_shutting_down()
        record = known or self._intake.submit(owner, message)
        position = self._book.state(record.job).queue_position
        return SubmitAccepted(job=record.job, key=record.key, was_known=known is not None, queue_position=position)

    def _update(self, record: JobRecord, message: UpdateJob) -> JobState:
        if not self._store.has_update(record.job, message.key):
            self._refuse_while_shutting_down()
            self._intake.update(record, message)
            self._runs.note_update(record.job)
        return self._book.state(record.job)

    def _delete(self, owner: str, message: DeleteJob) -> JobState:
        record = self._find(owner, message.job)
        if record is None:
            raise _unknown_job(message.job)
        if record.status != "deleted":
            self._refuse_while_shutting_down()
            self._runs.delete(record.job)
        return self._book.state(record.job)

    def _fetch(self, record: JobRecord, wants_partial: bool, reply: Reply) -> Answer | None:
        worker = self._pool.of_job(record.job)
        is_running = worker is not None and not worker.is_detached and worker.state == "busy"
        if worker is None or not is_running or not wants_partial or record.is_final:
            return self._fetch_from_disk(record, reply)
        self._partials.ask(worker, record.job, reply)
        return None

    def _fetch_from_disk(self, record: JobRecord, reply: Reply) -> Answer | None:
        if record.status == "failed":
            return record.failure()
        if record.has_result:
            path = self._store.result_file(record.job)
            self._read_elsewhere(lambda: reply(self._read_result(record.job, path)))
            return None
        sentence = f"The job is {record.status} and has no result."
        if not record.is_final:
            sentence = (
                f"The job is {record.status}: there is no result yet, and no worker that could give a partial one."
            )
        raise Refusal("not-finished", sentence)

    def _read_result(self, job: str, path: Path) -> Answer:
        """Called in whatever thread reads."""
        try:
            return list(read_frames(path))
        except DamagedRun as error:
            self._listener.log("result-lost", "error", job=job, error=str(error))
            return Refusal("internal", "The result is damaged or not on the server's disk any more.").message()

    def _answer_without_worker(self, job: str, reply: Reply) -> None:
        """To one who waited for a partial result that will not come."""
        record = self._book[job]
        try:
            if record.is_final and record.status != "deleted":
                answer = self._fetch_from_disk(record, reply)
            else:
                sentence = f"The job is {record.status}; its worker gave no partial result in time. Try it again later."
                raise Refusal("not-finished", sentence)
        except Refusal as refusal:
            answer = refusal.message()
        if answer is not None:
            reply(answer)

    # --- inside

    def _find(self, owner: str, job: str) -> JobRecord | None:
        """The owner's job of this id, be it deleted."""
        record = self._book.get(job)
        return record if record is not None and record.owner == owner else None

    def _require(self, owner: str, job: str) -> JobRecord:
        record = self._find(owner, job)
        if record is None or record.status == "deleted":
            raise _unknown_job(job)
        return record

    def _refuse_while_shutting_down(self) -> None:
        if self._is_shutting_down:
            raise Refusal("shutting-down", "The server ends; your jobs go on when it is started again.")


def _unknown_job(job: str) -> Refusal:
    return Refusal("unknown-job", f"There is no job {job} of yours here.", "job", "one of those that ListJobs names")
