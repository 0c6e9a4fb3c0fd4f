"""All jobs of a server in memory, written through to the store, with the queue and what watchers have been told."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, runtime_checkable

from backend.server.job_queue import next_turn, queue_order
from backend.server.job_record import JobRecord
from backend.server.store import JobStore
from protocol.messages import Failed, JobState

LogLevel = Literal["info", "warning", "error"]
_SECONDS_BETWEEN_TRIES = 1.0


@runtime_checkable  # for the type checker of the tests
class Listener(Protocol):
    """Whoever tells clients, workers and the log. Called in the jobs' thread; must not wait, nor call back. `log` may
    be called in any thread.
    """

    def job_changed(self, state: JobState) -> None:
        """For the job's watchers."""
        ...

    def job_failed(self, failed: Failed) -> None:
        """For the job's watchers, after `job_changed`."""
        ...

    def demand_reset(self, job_id: str, worker_id: str) -> None:
        """A worker was given this job: send it what the watchers want, after its order run."""
        ...

    def log(self, event: str, level: LogLevel = "info", **fields: Any) -> None:
        """One line of the log. `event` names the kind of thing that happened, such as "job-submitted"."""
        ...


class JobBook:
    """What is known of every job. Deleted ones stay as tombstones, with their keys."""

    def __init__(
        self, store: JobStore, listener: Listener, clock: Callable[[], float], wall: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            clock: Seconds that never go back, for durations.
            wall: Seconds since 1970, to be shown.
        """
        self.store = store
        self._listener = listener
        self._clock, self._wall = clock, wall
        self._records: dict[str, JobRecord] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._of_owner: dict[str, set[str]] = {}
        self._turns = store.turns()
        self._held: set[str] = set()
        self._order: list[str] | None = None
        self._positions: dict[str, int] = {}
        self._untold: set[str] = set()
        self._untold_failures: list[str] = []
        self._unsaved: set[str] = set()
        self._save_again_at = 0.0
        for record in store.jobs():
            self._enter(record)
        self._next_number = 1 + max((each.number for each in self._records.values()), default=0)

    # --- looking

    def __contains__(self, job: str) -> bool:
        return job in self._records

    def __getitem__(self, job: str) -> JobRecord:
        return self._records[job]

    def get(self, job: str) -> JobRecord | None:
        return self._records.get(job)

    def __iter__(self) -> Iterator[JobRecord]:
        return iter(list(self._records.values()))

    def of_owner(self, owner: str) -> list[JobRecord]:
        """Their jobs, but deleted ones, newest first."""
        records = (self._records[job] for job in self._of_owner.get(owner, ()))
        return sorted(records, key=lambda record: -record.number)

    def count_of(self, owner: str) -> int:
        """How many jobs they have, but deleted ones."""
        return len(self._of_owner.get(owner, ()))

    def with_key(self, owner: str, key: str) -> JobRecord | None:
        """The job that was submitted with this key, be it deleted."""
        job = self._by_key.get((owner, key))
        return None if job is None else self._records[job]

    def state(self, job: str) -> JobState:
        """As its owner sees it."""
        self._make_order()
        return self._records[job].state(self._positions.get(job))

    def queue(self) -> list[str]:
        """Jobs that wait for a worker, the next one first."""
        return list(self._make_order())

    # --- changing

    def add(self, record: JobRecord) -> JobRecord:
        """Adds a job, numbered, with the time.

        Raises:
            sqlite3.Error: It could not be stored; nothing was added.
        """
        now = self._wall()
        record = dataclasses.replace(record, number=self._next_number, submitted_at=now, changed_at=now)
        self.store.add(record)
        self._next_number += 1
        self._enter(record)
        self._untold.add(record.job)
        return record

    def change(self, job: str, **changes: Any) -> JobRecord:
        """Changes fields of a job. If the disk does not take it, that is tried again until it does."""
        record = self._changed(job, changes)
        self._enter(record)
        try:
            self.store.save([record])
            self._unsaved.discard(job)
        except sqlite3.Error as error:
            self._note_unsaved(job, error)
        return record

    def add_update(self, job: str, key: str, **changes: Any) -> JobRecord:
        """Counts an update and changes fields with it.

        Raises:
            sqlite3.Error: It could not be stored; nothing was changed.
        """
        record = self._changed(job, {"updates": self._records[job].updates + 1, **changes})
        self.store.add_update(record, key)
        self._enter(record)
        return record

    def begin(self, job: str) -> JobRecord:
        """Takes a job from the queue for a worker: it was its owner's turn.

        Raises:
            sqlite3.Error: It could not be stored; nothing was changed.
        """
        before = self._records[job]
        status = "finishing" if before.wish == "keep" else "starting"
        record = self._changed(job, {"status": status, "is_first": False})
        turn = next_turn(self._turns)
        self.store.begin(record, turn)
        self._turns[record.owner] = turn
        self._held.add(job)
        self._enter(record)
        return record

    def note_step(self, job: str, step: int) -> None:
        """Keeps a step in memory alone."""
        self._records[job] = dataclasses.replace(self._records[job], step=step)

    def let_go(self, job: str) -> None:
        """No worker has the job any more: it may be in the queue again."""
        self._held.discard(job)
        self._order = None

    def forget(self, jobs: list[str]) -> None:
        """Forgets tombstones, with their keys."""
        try:
            self.store.forget(jobs)
        except sqlite3.Error as error:
            self._listener.log("database-not-written", "warning", error=str(error))
            return
        for job in jobs:
            record = self._records.pop(job)
            del self._by_key[record.owner, record.key]
            self._unsaved.discard(job)
            self._untold.discard(job)

    def save_unsaved(self) -> None:
        """Tries again what the disk did not take."""
        if not self._unsaved or self._clock() < self._save_again_at:
            return
        try:
            self.store.save([self._records[job] for job in self._unsaved])
            self._unsaved.clear()
            self._listener.log("database-written-again")
        except sqlite3.Error:
            self._save_again_at = self._clock() + _SECONDS_BETWEEN_TRIES

    def tell(self) -> None:
        """Tells the listener of all that changed since the last time, places in the queue included."""
        self._make_order()
        untold, self._untold = self._untold, set()
        for job in sorted(untold, key=lambda job: self._records[job].number):
            self._listener.job_changed(self.state(job))
        failures, self._untold_failures = self._untold_failures, []
        for job in failures:
            self._listener.job_failed(self._records[job].failure())

    # --- inside

    def _changed(self, job: str, changes: dict[str, Any]) -> JobRecord:
        before = self._records[job]
        record = dataclasses.replace(before, **changes)
        if record.status != before.status:
            record = dataclasses.replace(record, changed_at=self._wall())
        return record

    def _enter(self, record: JobRecord) -> None:
        before = self._records.get(record.job)
        self._records[record.job] = record
        self._by_key[record.owner, record.key] = record.job
        if record.status == "deleted":
            self._of_owner.get(record.owner, set()).discard(record.job)
        else:
            self._of_owner.setdefault(record.owner, set()).add(record.job)
        self._order = None
        if before is not None and before != record:
            self._untold.add(record.job)
            if record.status == "failed" and before.status != "failed":
                self._untold_failures.append(record.job)

    def _make_order(self) -> list[str]:
        if self._order is None:
            waiting = (each for each in self._records.values() if self._is_waiting(each))
            self._order = queue_order(waiting, self._turns)
            positions = {job: position for position, job in enumerate(self._order)}
            self._untold |= {job for job, position in positions.items() if self._positions.get(job) != position}
            self._positions = positions
        return self._order

    def _is_waiting(self, record: JobRecord) -> bool:
        # One whose result is to be made of a checkpoint waits for a worker too, though it counts as finishing.
        is_to_end = record.status == "finishing" and record.job not in self._held
        return record.status == "queued" or is_to_end

    def _note_unsaved(self, job: str, error: sqlite3.Error) -> None:
        if not self._unsaved:
            self._listener.log("database-not-written", "error", job=job, error=str(error))
        self._unsaved.add(job)
        self._save_again_at = self._clock() + _SECONDS_BETWEEN_TRIES
