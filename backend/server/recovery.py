"""What a server does before all else: it ends what an earlier one left running, and puts the jobs where they belong."""

from __future__ import annotations

from backend.errors import DamagedRun
from backend.server.executors import Executor
from backend.server.job_book import JobBook, Listener
from backend.server.job_endings import JobEndings
from backend.server.job_record import ACTIVE_STATUSES, JobRecord
from backend.server.job_runs import JobRuns
from backend.server.message_files import check_message_file
from backend.server.store import JobStore


def recover_jobs(
    store: JobStore, book: JobBook, runs: JobRuns, endings: JobEndings, executor: Executor, listener: Listener
) -> None:
    """Call it once, before any worker is started. However the earlier server ended, afterwards no worker of it lives,
    every job that was accepted is there, and none that has ended is begun again.
    """
    for worker in store.workers():
        was_alive = executor.kill_left_over(worker)
        store.forget_worker(worker.worker_id)
        if was_alive:
            listener.log("left-over-worker-killed", "warning", worker=worker.worker_id, pid=worker.pid)
    _clear_unknown_folders(store, book, listener)
    for record in book:
        if record.is_final:
            _recover_ended(store, book, endings, record, listener)
        else:
            _recover_open(store, runs, endings, record, listener)


def _clear_unknown_folders(store: JobStore, book: JobBook, listener: Listener) -> None:
    for name in sorted(store.job_folders()):
        if name in book:
            continue
        folder = store.job_folder(name)
        try:
            if (folder / "run").exists() or (folder / "result.message").exists():
                # The database is not the one that it was made with. Nothing that took hours is thrown away for that.
                listener.log("unknown-job-folder", "error", folder=str(store.put_aside(name)))
            else:  # the server ended while it took the job: nobody was told that it was accepted
                store.remove_job_folder(name)
                listener.log("unaccepted-job-removed", job=name)
        except OSError as error:
            listener.log("unknown-job-folder", "error", folder=str(folder), error=str(error))


def _recover_ended(store: JobStore, book: JobBook, endings: JobEndings, record: JobRecord, listener: Listener) -> None:
    endings.sweep(record.job)
    if not record.has_result:
        return
    try:
        check_message_file(store.result_file(record.job))
    except DamagedRun as error:
        listener.log("result-lost", "error", job=record.job, error=str(error))
        book.change(record.job, has_result=False, sentence="Its result is not on the server's disk any more.")


def _recover_open(store: JobStore, runs: JobRuns, endings: JobEndings, record: JobRecord, listener: Listener) -> None:
    if endings.settle_by_result(record.job):
        listener.log("result-found", job=record.job)
        return
    try:
        runs.check_files(record)
        _remove_unaccepted_updates(store, record)
    except (DamagedRun, OSError) as error:
        endings.fail_as_damaged(record.job, error)
        return
    if record.status in ACTIVE_STATUSES:
        runs.put_back(record.job, "The server was started anew; it goes on from its newest checkpoint.")


def _remove_unaccepted_updates(store: JobStore, record: JobRecord) -> None:
    """Of an update whose file was written and that was not counted any more: its sender got no answer."""
    wanted = {store.update_file(record.job, number).name for number in range(1, record.updates + 1)}
    for path in (store.job_folder(record.job) / "updates").iterdir():
        if path.name not in wanted:
            path.unlink()
