"""How long ended jobs are kept: by the bytes they take together, and by their age in days of the server's running."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from backend.readable import readable_bytes
from backend.server.job_book import JobBook, Listener
from backend.server.job_record import JobRecord, JobsConfig
from backend.server.job_runs import JobRuns
from backend.server.store import JobStore

_SECONDS_BETWEEN_CHECKS = 30.0
_SECONDS_PER_DAY = 86_400.0
_UPTIME = "uptime_seconds"


class Uptime:
    """Seconds that the server has run over all its starts. It counts no time of the wall clock, which may jump."""

    def __init__(self, store: JobStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._before = store.number(_UPTIME)
        self._started = clock()

    def __call__(self) -> float:
        return self._before + self._clock() - self._started

    def save(self) -> None:
        """Raises:
        sqlite3.Error: The disk is full or cannot be written; nothing but a little age is lost.
        """
        self._store.keep_number(_UPTIME, self())


class KeptJobs:
    """Deletes ended jobs that are too old, or too many for the quota; the oldest first."""

    def __init__(
        self,
        book: JobBook,
        runs: JobRuns,
        listener: Listener,
        config: JobsConfig,
        clock: Callable[[], float],
        uptime: Uptime,
    ) -> None:
        self._book, self._runs, self._listener, self._config = book, runs, listener, config
        self._clock, self._uptime = clock, uptime
        self._check_at = clock()

    def check(self) -> None:
        """Looks now and then; call it as often as you like."""
        if self._clock() < self._check_at:
            return
        self._check_at = self._clock() + _SECONDS_BETWEEN_CHECKS
        try:
            self._uptime.save()
        except sqlite3.Error as error:
            self._listener.log("database-not-written", "warning", error=str(error))
        self._delete_too_many(self._delete_too_old(self._ended()))
        self._forget_tombstones()

    def _ended(self) -> list[JobRecord]:
        ended = (each for each in self._book if each.is_final and each.status != "deleted")
        return sorted(ended, key=lambda each: (each.ended_at_uptime, each.number))

    def _delete_too_old(self, ended: list[JobRecord]) -> list[JobRecord]:
        """Those that are kept."""
        days = self._config.keep_days
        oldest_kept = self._uptime() - days * _SECONDS_PER_DAY
        for record in ended:
            if record.ended_at_uptime < oldest_kept:
                self._delete(record, f"It was deleted after {days:g} days.")
        return [each for each in ended if each.ended_at_uptime >= oldest_kept]

    def _delete_too_many(self, ended: list[JobRecord]) -> None:
        quota = self._config.quota_bytes
        total = sum(each.result_bytes for each in ended)
        # The newest is kept whatever its size, or a server with a small quota could never give anything.
        for record in ended[:-1]:
            if total <= quota:
                return
            total -= record.result_bytes
            self._delete(
                record, f"It was deleted for newer ones: results may take {readable_bytes(int(quota))} together."
            )

    def _delete(self, record: JobRecord, sentence: str) -> None:
        self._listener.log("job-expired", job=record.job, bytes=record.result_bytes, reason=sentence)
        self._runs.delete(record.job, sentence)

    def _forget_tombstones(self) -> None:
        deleted = sorted((each.number, each.job) for each in self._book if each.status == "deleted")
        too_many = deleted[: max(0, len(deleted) - self._config.tombstones)]
        if too_many:
            self._book.forget([job for _, job in too_many])
