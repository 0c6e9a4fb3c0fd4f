"""How jobs end: finished, cancelled, failed or deleted, each with what its owner is told and what stays on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

from backend.errors import DamagedRun
from backend.server.job_book import JobBook, Listener
from backend.server.job_record import ACTIVE_STATUSES
from backend.server.link import safe_sentence
from backend.server.message_files import check_message_file, read_fields
from backend.server.store import JobStore
from backend.server.worker_pool import WorkerPool
from protocol.messages import FailureCode, Finished, Status

ENDS_WITH_WHAT_IS_THERE = "Its result is made of what is there."


class JobEndings:
    """Ends jobs. Their files are cleared away when no worker has them any more."""

    def __init__(
        self, store: JobStore, book: JobBook, pool: WorkerPool, listener: Listener, uptime: Callable[[], float]
    ) -> None:
        self._store, self._book, self._pool, self._listener, self._uptime = store, book, pool, listener, uptime

    def fail(self, job: str, code: FailureCode, sentence: str, log_id: str = "") -> None:
        """Ends a job without a result.

        Args:
            sentence: For the artist.
            log_id: Under which the worker's log says more; made up, and logged, if there is none.
        """
        log_id = log_id or secrets.token_hex(6)
        self._listener.log("job-failed", "error", job=job, code=code, sentence=sentence, log_id=log_id)
        changes = {"failure_code": code, "failure_log_id": log_id, "sentence": safe_sentence(sentence)}
        self.end(job, "failed", has_result=False, **changes)

    def fail_as_damaged(self, job: str, error: Exception) -> None:
        """Ends a job whose files cannot be used; its owner learns which, but not where the server keeps them."""
        what = str(error).replace(f"{self._store.job_folder(job)}{os.sep}", "")
        self.fail(job, "internal", f"What the server keeps of this job is damaged: {what}. Submit it again.")

    def sweep(self, job: str) -> None:
        """Removes files that an ended job does not need, once no worker can write there any more."""
        record = self._book[job]
        if not record.is_final or self._pool.of_job(job) is not None:
            return
        if record.status == "deleted":
            self._store.remove_job_folder(job)
            return
        if record.has_result:
            self._store.drop_checkpoints(job)
        elif record.status == "cancelled":
            self._store.drop_run(job)
            self._store.result_file(job).unlink(missing_ok=True)
        if not record.result_bytes:  # not before: what a worker still held would count against the quota for good
            self._book.change(job, result_bytes=self._store.folder_bytes(job))

    def end(self, job: str, status: Status, **changes: Any) -> None:
        """Gives a job a final status, and other fields with it."""
        fields = {"wish": "run", "is_first": False, "sentence": "", "ended_at_uptime": self._uptime(), **changes}
        self._book.change(job, status=status, **fields)
        self.sweep(job)
        if status != "failed":  # that has been logged with its reason
            self._listener.log(f"job-{status}", job=job, step=self._book[job].step)

    def end_cancelled(self, job: str, has_result: bool) -> None:
        """Ends a job that its owner cancelled and wanted to keep."""
        kept = "its result is what was there" if has_result else "it had made nothing that could be kept"
        self.end(job, "cancelled", has_result=has_result, sentence=f"It was cancelled; {kept}.")

    def end_with_checkpoint(self, job: str) -> None:
        """Ends a job without a worker; if it has a checkpoint, it waits for one that makes its result of that."""
        if self._store.has_checkpoint(job):
            changes = {"wish": "keep", "is_first": True, "sentence": ENDS_WITH_WHAT_IS_THERE}
            self._book.change(job, status="finishing", **changes)
        else:
            self.end_cancelled(job, has_result=False)

    def has_whole_result(self, job: str) -> bool:
        """Whether there is a result on disk that is not cut off."""
        try:
            check_message_file(self._store.result_file(job))
        except DamagedRun:
            return False
        return True

    def settle_by_result(self, job: str) -> bool:
        """Ends a job whose worker wrote the result and was lost before it could say so."""
        if self._book[job].status not in ACTIVE_STATUSES or not self._store.result_file(job).exists():
            return False
        try:
            fields = read_fields(self._store.result_file(job), Finished)
        except DamagedRun:
            return False
        if fields["job"] != job:
            return False
        self._book.note_step(job, fields["step"])
        if fields.get("is_partial", False):
            self.end_cancelled(job, has_result=True)
        else:
            self.end(job, "finished", has_result=True)
        return True
