"""Jobs on workers: who begins when, what becomes of a job by what its worker says or by what its owner wants.

    queued -> starting -> running -> finishing -> finished, cancelled or failed; deleted after any
    paused: out of the queue, its state in its checkpoints; resuming puts it back into the queue

An owner's wish is stored when it is answered, and the worker follows after its step: a wish survives the server too. A
job has left its worker when the worker says so or when the system says that the process has ended, never before.
"""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from typing import Any

from backend.errors import DamagedRun
from backend.server.job_book import JobBook, Listener
from backend.server.job_endings import ENDS_WITH_WHAT_IS_THERE, JobEndings
from backend.server.job_record import JobRecord, JobsConfig
from backend.server.link import ENDING_EVENTS, safe_sentence
from backend.server.message_files import check_message_file
from backend.server.refusals import Refusal
from backend.server.store import JobStore
from backend.server.worker_pool import Worker, WorkerPool, suits
from protocol.messages import FailureCode

PAUSES = "It pauses after its step."
_WAITS_FOR_DEVICE = "It waits for a device"


class JobRuns:
    """The course of every job. The methods named by what an owner may ask raise `Refusal` where it cannot be done, and
    do nothing where it is done already, since every request may come twice.
    """

    def __init__(
        self,
        store: JobStore,
        book: JobBook,
        pool: WorkerPool,
        listener: Listener,
        config: JobsConfig,
        endings: JobEndings,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._book, self._pool, self._listener, self._config = store, book, pool, listener, config
        self._endings, self._clock = endings, clock
        self._begin_again_at = 0.0

    # --- what an owner asks

    def pause(self, job: str) -> None:
        """After its step; at once if it is not begun."""
        record = self._book[job]
        if record.is_final or record.status == "finishing":
            raise _wrong_state(record, "be paused", "queued, starting or running")
        worker = self._begun_on(job)
        if record.status == "paused" or record.wish == "pause":
            return
        if worker is None:
            self._take_back(job)
            self._book.change(job, status="paused", is_first=False, sentence="")
            return
        self._book.change(job, wish="pause", sentence=PAUSES)
        if not worker.was_told_to_pause:
            worker.was_told_to_pause = True
            self._pool.send(worker, "pause")

    def resume(self, job: str) -> None:
        """From the queue; one that was about to pause comes back to its front."""
        record = self._book[job]
        if record.is_final or record.wish == "keep":
            raise _wrong_state(record, "go on", "paused")
        if record.status == "paused":
            self._book.change(job, status="queued", sentence="")
        elif record.wish == "pause":
            self._book.change(job, wish="run", sentence="")

    def cancel(self, job: str, keep: bool) -> None:
        """Ends it for good.

        Args:
            keep: Whether a result is to be made of what is there; this needs a worker and takes a while.
        """
        record = self._book[job]
        if record.status == "cancelled":
            return
        if record.is_final:
            raise _wrong_state(record, "be cancelled", "not ended")
        worker = self._begun_on(job)
        if not keep:
            self._give_up(job)
            self._endings.end(job, "cancelled", sentence="It was cancelled; nothing was kept.")
        elif record.wish == "keep":
            return
        elif worker is not None:
            self._book.change(job, status="finishing", wish="keep", sentence=ENDS_WITH_WHAT_IS_THERE)
            self._pool.send(worker, "cancel", keep=True)
        else:
            self._take_back(job)
            self._endings.end_with_checkpoint(job)

    def delete(self, job: str, sentence: str = "") -> None:
        """Cancels it if need be, and removes all but its key."""
        if self._book[job].status != "deleted":
            self._give_up(job)
            self._endings.end(job, "deleted", title="", has_result=False, sentence=sentence)

    # --- beginning

    def start_waiting(self) -> None:
        """Gives jobs to workers, as many as there is room for."""
        if self._clock() < self._begin_again_at:
            return
        for job in self._book.queue():
            if not self._has_device_for(job) or not self._pool.has_room():
                continue
            worker = self._pool.worker_for(self._book[job].wants_device)
            if worker is None:
                continue  # another job may want another device
            try:
                self._book.begin(job)
            except sqlite3.Error as error:
                self._begin_again_at = self._clock() + self._config.start_again_seconds
                self._listener.log("database-not-written", "error", job=job, error=str(error))
                return
            self._pool.reserve(worker, job)
            if worker.state == "idle":
                self._order_run(worker, job)

    def _has_device_for(self, job: str) -> bool:
        """Whether the server has the device that the job wants. If it had one before it was started anew, and has none
        now, the job waits and its owner is told why.
        """
        record, devices = self._book[job], self._pool.devices
        is_there = any(suits(each, record.wants_device) for each in devices)
        if is_there and record.sentence.startswith(_WAITS_FOR_DEVICE):
            self._book.change(job, sentence=ENDS_WITH_WHAT_IS_THERE if record.wish == "keep" else "")
        elif not is_there:
            sentence = (
                f"{_WAITS_FOR_DEVICE} {record.wants_device}: this server had one and now has "
                f"{', '.join(devices)} only. It goes on when the server has one again; or cancel it and submit it for "
                "the device auto."
            )
            if record.sentence != sentence:
                self._listener.log("device-missing", "warning", job=job, device=record.wants_device)
                self._book.change(job, sentence=sentence)
        return is_there

    def _order_run(self, worker: Worker, job: str) -> None:
        record = self._book[job]
        try:
            self.check_files(record)
        except DamagedRun as error:
            self._part(worker, job)
            self._endings.fail_as_damaged(job, error)
            return
        self._pool.send(
            worker,
            "run",
            job=job,
            folder=str(self._store.job_folder(job).absolute()),
            attempt=record.restarts + 1,
            updates=record.updates,
            checkpoint_seconds=self._config.checkpoint_seconds,
        )
        worker.updates = record.updates
        self._pool.note_running(worker)
        if record.wish == "keep":
            self._pool.send(worker, "cancel", keep=True)
        self._listener.log("job-begun", job=job, worker=worker.worker_id, device=worker.device)
        self._listener.demand_reset(job, worker.worker_id)

    def check_files(self, record: JobRecord) -> None:
        """Whether what a worker needs to read is there.

        Raises:
            DamagedRun: It is not; says which file.
        """
        check_message_file(self._store.submit_file(record.job))
        for number in range(1, record.updates + 1):
            check_message_file(self._store.update_file(record.job, number))

    def note_update(self, job: str) -> None:
        """Tells the job's worker of the newest update. One that is not begun hears of all when it is."""
        worker = self._begun_on(job)
        if worker is not None:
            self._pool.send(worker, "update", number=self._book[job].updates)

    # --- what a worker says

    def on_event(self, worker_id: str, event: dict[str, Any]) -> None:
        """Takes an event as `link.read_event` gives it. Those of workers that are given up mean nothing any more."""
        worker = self._pool.get(worker_id)
        if worker is None or worker.state == "killed":
            return
        name = event["event"]
        if name == "ready":
            if worker.state == "coming":
                self._pool.note_ready(worker)
                if worker.job is not None:
                    self._order_run(worker, worker.job)
            else:
                self._repeat_orders(worker)
            return
        job = event["job"]
        if job != worker.job:
            self._listener.log("event-of-another-job", "warning", worker=worker_id, job=job, name=name)
        elif worker.is_detached:
            self._on_detached(worker, job, event)
        else:
            self._on_own_event(worker, job, name, event)

    def _repeat_orders(self, worker: Worker) -> None:
        """The worker's connection was lost and is there again. Each of these may come twice without harm."""
        self._listener.log("worker-connected-again", worker=worker.worker_id, job=worker.job)
        if worker.state == "stopping":
            self._pool.send(worker, "stop")
        elif worker.state == "busy" and worker.job is not None:
            self._repeat_wishes(worker, self._book[worker.job])

    def _repeat_wishes(self, worker: Worker, record: JobRecord) -> None:
        if worker.is_detached:
            self._pool.send(worker, "cancel", keep=False)
            return
        if worker.updates < record.updates:
            self._pool.send(worker, "update", number=record.updates)
        worker.was_told_to_pause = record.wish == "pause"  # if not any more, the next wish to pause is sent again
        if record.wish == "pause":
            self._pool.send(worker, "pause")
        elif record.wish == "keep":
            self._pool.send(worker, "cancel", keep=True)
        self._listener.demand_reset(record.job, worker.worker_id)

    def _on_detached(self, worker: Worker, job: str, event: dict[str, Any]) -> None:
        if event["event"] == "beat":
            self._pool.expect_within(worker, event["patience_seconds"])
        elif event["event"] in ENDING_EVENTS:
            self._part(worker, job)
            self._endings.sweep(job)

    def _on_own_event(self, worker: Worker, job: str, name: str, event: dict[str, Any]) -> None:
        if name == "beat":
            self._on_beat(worker, job, event)
        elif name == "started":
            self._on_started(job, event)
        elif name == "steps":
            self._on_steps(job, event["total_steps"])
        elif name == "checkpointed":
            self._book.change(job, step=event["step"])
        elif name == "update_taken":
            worker.updates = max(worker.updates, event["number"])
        elif name == "notice":
            self._listener.log("job-notice", job=job, sentence=event["sentence"])
        elif name == "finished" and self._has_missed_updates(worker, job):
            self._part(worker, job)
            self.put_back(job, "It was changed while it was being finished; it goes on with that.")
        elif name in ENDING_EVENTS:
            self._part(worker, job)
            self._on_ending(job, name, event)

    def _has_missed_updates(self, worker: Worker, job: str) -> bool:
        """Whether some were accepted of which it heard only when it had finished. Its result is removed then."""
        record = self._book[job]
        if record.wish != "run" or worker.updates >= record.updates:
            return False
        try:
            self._store.result_file(job).unlink(missing_ok=True)
        except OSError as error:
            self._listener.log("result-not-removed", "error", job=job, error=str(error))
            return False
        return True

    def _on_beat(self, worker: Worker, job: str, event: dict[str, Any]) -> None:
        self._pool.expect_within(worker, event["patience_seconds"])
        if event["step"]:  # 0 while it is loading, however far the job had come
            self._book.note_step(job, event["step"])
        record = self._book[job]
        if record.status == "running" and record.wish == "run" and 0 < record.total_steps <= event["step"]:
            self._book.change(job, status="finishing")

    def _on_started(self, job: str, event: dict[str, Any]) -> None:
        record = self._book[job]
        self._book.change(
            job,
            status="finishing" if record.wish == "keep" else "running",
            step=event["step"],
            total_steps=event["total_steps"],
            device=event["device"],
            sentence=record.sentence if record.wish != "run" else "",
        )

    def _on_steps(self, job: str, total_steps: int) -> None:
        record = self._book[job]
        goes_on = record.status == "finishing" and record.wish == "run" and record.step < total_steps
        self._book.change(job, total_steps=total_steps, status="running" if goes_on else record.status)

    def _on_ending(self, job: str, name: str, event: dict[str, Any]) -> None:
        if name == "failed":
            self._endings.fail(job, event["code"], event["sentence"], event["log_id"])
            return
        self._book.note_step(job, event["step"])
        if name == "paused":
            self._on_paused(job)
        elif name == "cancelled":
            self._endings.end_cancelled(job, event["has_result"] and self._endings.has_whole_result(job))
        elif self._endings.has_whole_result(job):
            self._endings.end(job, "finished", has_result=True)
        else:
            self._endings.fail(job, "internal", "The job was done, but its result is not on the server's disk.")

    def _on_paused(self, job: str) -> None:
        wish = self._book[job].wish
        if wish == "keep":  # cancelled while it paused: another run makes the result
            self._endings.end_with_checkpoint(job)
        elif wish == "run":  # resumed while it paused
            self._book.change(job, status="queued", is_first=True)
        else:
            self._book.change(job, status="paused", wish="run", sentence="")

    # --- losing workers

    def on_exit(self, worker_id: str, exit_code: int, is_shutting_down: bool) -> None:
        """The system says that a worker has ended."""
        worker = self._pool.get(worker_id)
        if worker is None:
            return
        self._pool.forget(worker)
        self._listener.log("worker-ended", worker=worker_id, exit_code=exit_code, job=worker.job)
        job = worker.job
        if job is None:
            return
        self._book.let_go(job)
        if worker.is_detached:
            self._endings.sweep(job)
        elif not self._endings.settle_by_result(job) and not is_shutting_down:
            self._on_lost(job, worker.loss, exit_code)

    def _on_lost(self, job: str, loss: FailureCode, exit_code: int) -> None:
        how = "was not heard of in time" if loss == "worker-hung" else f"ended {_of_exit(exit_code)}"
        restarts = self._book[job].restarts + 1
        self._listener.log(loss, "warning", job=job, exit_code=exit_code, restarts=restarts)
        if restarts > self._config.most_restarts:
            sentence = f"The job's worker was lost {restarts} times; the last one {how}. {_advice(loss, exit_code)}"
            self._endings.fail(job, loss, sentence)
        else:
            self._book.change(job, restarts=restarts)
            goes_on = "goes on from its newest checkpoint" if self._store.has_checkpoint(job) else "begins anew"
            self.put_back(job, f"Its worker {how}; it {goes_on}.")

    def put_back(self, job: str, sentence: str) -> None:
        """A job that no worker has any more goes where its owner's wish says: to the queue's front, or it pauses."""
        wish = self._book[job].wish
        if wish == "keep":
            self._endings.end_with_checkpoint(job)
        elif wish == "pause":
            self._book.change(job, status="paused", wish="run", sentence="")
        else:
            self._book.change(job, status="queued", is_first=True, sentence=safe_sentence(sentence))

    # --- jobs and workers

    def _begun_on(self, job: str) -> Worker | None:
        """The worker that has the job and has been told to run it."""
        worker = self._pool.of_job(job)
        return None if worker is None or worker.state in ("coming", "idle") else worker

    def _take_back(self, job: str) -> None:
        """From a worker that was to get it and was not told yet."""
        worker = self._pool.of_job(job)
        if worker is not None:
            self._part(worker, job)

    def _give_up(self, job: str) -> None:
        """Nobody wants it any more; a worker that computes it is to stop that."""
        worker = self._begun_on(job)
        if worker is None:
            self._take_back(job)
        elif not worker.is_detached:
            worker.is_detached = True
            if worker.state == "busy":
                self._pool.send(worker, "cancel", keep=False)

    def _part(self, worker: Worker, job: str) -> None:
        self._pool.release(worker)
        self._book.let_go(job)


def _wrong_state(record: JobRecord, what: str, right: str) -> Refusal:
    return Refusal("wrong-state", f"The job is {record.status}; to {what} it must be {right}.", right=right)


def _of_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    try:
        return f"by the signal {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"by the signal {-exit_code}"


def _advice(loss: FailureCode, exit_code: int) -> str:
    if loss == "worker-hung":
        return "The server's log says in which phase; other settings may avoid it."
    if exit_code == -9:
        return "Often the system does that when memory runs out: try a lower quality."
    return "The server's log says more."
