"""New jobs and changes of jobs: checked, and on the disk before they are answered."""

from __future__ import annotations

import secrets
import sqlite3

from backend.server.executors import Executor
from backend.server.job_book import JobBook, Listener
from backend.server.job_record import MOST_STEPS, MOST_STEPS_SUBMITTED, JobRecord, JobsConfig
from backend.server.message_files import read_fields, write_message
from backend.server.refusals import Refusal, check_submit, check_update
from backend.server.store import JobStore
from protocol.messages import SubmitJob, UpdateJob
from protocol.settings import Limits

_TITLE_LENGTH = 80


class JobIntake:
    """Takes what clients send. What is refused leaves nothing behind."""

    def __init__(
        self,
        store: JobStore,
        book: JobBook,
        executor: Executor,
        limits: Limits,
        listener: Listener,
        config: JobsConfig,
    ) -> None:
        self._store, self._book, self._executor = store, book, executor
        self._limits, self._listener, self._config = limits, listener, config
        self._planned: dict[str, int] = {}
        """The steps of jobs that were given more, with all that they were given; read from disk once."""

    def submit(self, owner: str, message: SubmitJob) -> JobRecord:
        """Makes a job of a message whose key this owner has not used yet.

        Raises:
            Refusal: This server does not have or not take what is asked for, or its disk cannot be written.
        """
        check_submit(message, self._limits, self._config, self._executor.devices)
        if self._book.count_of(owner) >= self._limits.jobs:
            most = self._limits.jobs
            raise Refusal(
                "too-many", f"You have {most} jobs here, as many as may be; delete one.", right=f"{most} jobs"
            )
        record = self._add(owner, message)
        self._listener.log("job-submitted", job=record.job, owner=owner, task=record.task)
        return record

    def update(self, record: JobRecord, message: UpdateJob) -> None:
        """Adds a change whose key is new to its job.

        Raises:
            Refusal: The job has ended or is about to, the change is too large, or the disk cannot be written.
        """
        if record.is_final or record.status == "finishing" or record.wish == "keep":
            sentence = f"The job is {record.status}: it cannot be changed any more."
            raise Refusal("wrong-state", sentence, right="queued, starting, running or paused")
        check_update(message, self._limits, self._config)
        if record.updates >= self._config.most_updates:
            raise Refusal("too-many", f"The job was changed {record.updates} times, as often as may be.")
        more = message.more_steps or 0
        planned = self._check_more_steps(record, more) if more else None
        total_steps = record.total_steps + more if record.total_steps else 0  # 0 until it is known
        self._add_update(record, message, total_steps)
        if planned is not None:
            self._planned[record.job] = planned
        self._listener.log("job-updated", job=record.job, number=record.updates + 1)

    def _add(self, owner: str, message: SubmitJob) -> JobRecord:
        """Stores a job, first its files and then its record: only the record makes it one."""
        job = secrets.token_hex(6)
        while job in self._book:
            job = secrets.token_hex(6)
        try:
            self._store.make_job_folder(job)
            write_message(self._store.submit_file(job), message)
            return self._book.add(
                JobRecord(
                    job=job,
                    owner=owner,
                    key=message.key,
                    task=message.task,
                    title=" ".join(message.prompt.split())[:_TITLE_LENGTH],
                    status="queued",
                    number=0,
                    total_steps=message.settings.steps or 0,
                    priority=message.priority,
                    wants_device=message.settings.device,
                )
            )
        except (OSError, sqlite3.Error) as error:
            self._store.remove_job_folder(job)
            raise self._disk_refusal("job", error) from error

    def _add_update(self, record: JobRecord, message: UpdateJob, total_steps: int) -> None:
        path = self._store.update_file(record.job, record.updates + 1)
        try:
            write_message(path, message)
            self._book.add_update(record.job, message.key, total_steps=total_steps)
        except (OSError, sqlite3.Error) as error:
            path.unlink(missing_ok=True)
            raise self._disk_refusal("change", error) from error

    def _check_more_steps(self, record: JobRecord, more: int) -> int:
        """The steps of the job with these and all that it was given before, taken by its worker or not.

        A job whose steps the server is yet to choose counts with as many as it may be submitted with.

        Raises:
            Refusal: They would be too many.
        """
        if record.job not in self._planned:
            settings = read_fields(self._store.submit_file(record.job), SubmitJob).get("settings", {})
            updates = (self._store.update_file(record.job, number + 1) for number in range(record.updates))
            given = sum(read_fields(each, UpdateJob).get("more_steps", 0) for each in updates)
            self._planned[record.job] = settings.get("steps", MOST_STEPS_SUBMITTED) + given
        left = MOST_STEPS - max(record.total_steps, self._planned[record.job])
        if more > left:
            sentence = f"With {more} more steps the job could have more than {MOST_STEPS} in all; {left} are left."
            raise Refusal("bad-message", sentence, "more_steps", f"at most {left}" if left > 0 else "left out")
        return self._planned[record.job] + more

    def _disk_refusal(self, what: str, error: Exception) -> Refusal:
        self._listener.log("disk-not-written", "error", lost=what, error=str(error))
        reason = getattr(error, "strerror", None) or str(error)
        return Refusal("internal", f"The {what} was not taken: the server's disk cannot be written ({reason}).")
