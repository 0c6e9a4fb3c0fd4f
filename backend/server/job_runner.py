"""One job in a worker process: from its folder to its result, obeying the server's orders between two steps."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backend import warm_up
from backend.checkpoint import Checkpoint
from backend.commands.displays import JobProgress
from backend.commands.job_steps import BetweenSteps, JobStep, optimise
from backend.commands.stop_signals import StopSignals
from backend.errors import DamagedRun, SketchbridgeError
from backend.run_folder import RunFolder
from backend.server.beats import Beats
from backend.server.conversion import JobRequest, ServedTask
from backend.server.failures import failure_of
from backend.server.link import Demand, safe_sentence
from backend.server.live_view import LiveView, progress_of
from backend.server.message_files import read_message, write_message
from backend.server.steered_job import SteeredJob, UpdateJournal
from backend.server.worker_config import WorkerConfig
from backend.server.worker_link import WorkerLink
from backend.steering import Steering
from backend.tasks.setting_up import PriorLoader
from protocol.messages import Failed, Finished, Progress, SubmitJob

Wish = Literal["run", "pause", "keep", "drop", "stop"]
"""What is to become of the job: go on, or end after the step in one of four ways."""

SECONDS_FOR_THE_LOCK = 10.0
"""That a worker of before, which is being killed, may still hold the run folder."""
SECONDS_BETWEEN_TRIES = 5.0
"""To write a result to a full disk."""
MOST_TRIES = 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOrder:
    """As the order `run` has it."""

    job: str
    folder: Path
    attempt: int
    updates: int
    checkpoint_seconds: float

    @classmethod
    def of(cls, order: dict[str, Any]) -> RunOrder:
        fields = {name: value for name, value in order.items() if name != "order"}
        return cls(**{**fields, "folder": Path(fields["folder"])})


class JobRun:
    """Runs one job until it ends, in whatever way. Is also its own display and what asks it to stop.

    Args:
        loader: Of priors; keeps them between jobs.
        signals: Entered already. SIGTERM stops like the order does.
    """

    def __init__(
        self, link: WorkerLink, order: RunOrder, config: WorkerConfig, loader: PriorLoader, signals: StopSignals
    ) -> None:
        self._link, self._order, self._config, self._loader, self._signals = link, order, config, loader, signals
        self._beats = Beats(lambda step, patience: self._event("beat", step=step, patience_seconds=patience))
        self._wish: Wish = "run"
        self._fetches: list[str] = []
        self._demand = Demand()
        self._step = self._saved_step = 0
        self._is_begun = False
        self._started, self._elapsed_before = time.monotonic(), 0.0
        self._request: JobRequest  # once the request is read
        self._view: LiveView | None = None  # likewise
        self._set_up_job: SteeredJob[ServedTask] | None = None

    def run(self) -> Wish:
        """Tells the server how it ended. Returns "stop" if the worker is to end as well.

        Raises:
            KeyboardInterrupt: A signal came where there was nothing to save, or everything is saved.
        """
        with ExitStack() as at_the_end:
            try:
                self._run(at_the_end)
            except Exception as error:
                failure = failure_of(error)
                # Into the run's log too, which is open still.
                _log.exception("job %s failed (%s, %s)", self._order.job, failure.code, failure.log_id)
                sentence = safe_sentence(failure.sentence)
                self._event("failed", code=failure.code, sentence=sentence, log_id=failure.log_id)
        return self._wish

    def _run(self, at_the_end: ExitStack) -> None:
        self._beats.phase(0)
        message = read_message(self._order.folder / "submit.message")
        if not isinstance(message, SubmitJob):
            raise DamagedRun(f"the job's request is a {type(message).__name__}")
        self._request = JobRequest.of(message, self._config)
        self._view = LiveView(self._order.job, self._request.placement, self._link.send_data)
        self._view.set_demand(self._demand)
        run = at_the_end.enter_context(self._open_run_folder())
        run.tell = self.notice
        run.uses_tensorboard = False
        self._phase("loading")
        checkpoint = self._newest_checkpoint(run)
        self._set_up(run)
        while self._makes_result(run, checkpoint):
            finished = self._finish(run)
            if self._wish != "run" or not self._job.has_new_updates:
                self._end(finished)
                return
            checkpoint = self._checkpoint_in_memory()  # they came while it was being finished

    @property
    def _job(self) -> SteeredJob[ServedTask]:
        assert self._set_up_job is not None  # nothing asks before it is set up
        return self._set_up_job

    # --- beginning

    def _open_run_folder(self) -> RunFolder:
        path = self._order.folder / "run"
        deadline = time.monotonic() + SECONDS_FOR_THE_LOCK
        while True:
            try:
                if (path / "settings.json").exists():
                    return RunFolder.open(path)
                settings = self._request.settings
                return RunFolder.create_at(
                    path,
                    task=self._request.message.task,
                    settings=settings.to_json(),
                    resolved=settings.resolved_to_json(),
                )
            except DamagedRun:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)

    def _newest_checkpoint(self, run: RunFolder) -> Checkpoint | None:
        """None, with the folder as new, if there is none that can be used: the job is done again from the beginning."""
        if run.checkpoint_step is not None:
            try:
                return run.rewind()
            except DamagedRun as error:
                run.notice(f"{error}. The job begins anew")
        run.start_over()
        return None

    def _set_up(self, run: RunFolder) -> None:
        task = self._request.make_task(run.notice, self._loader)
        folder = self._order.folder
        journal = UpdateJournal(run.path / "updates.jsonl")
        self._set_up_job = SteeredJob(task, self._request, folder / "updates", journal, self._took_update, run.notice)
        self._job.note_updates(self._order.updates)
        assert self._view is not None
        view = self._view
        self._job.last_snapshot_number = lambda: view.last_number
        if task.device.type == "cpu" and self._makes_mesh and warm_up.kernels_must_compile():
            run.notice("compiling kernels, once on this machine: about half a minute", self._step)
            self._phase("compiling kernels")
            warm_up.compile_kernels()

    @property
    def _makes_mesh(self) -> bool:
        return self._request.message.task != "image"

    # --- the steps

    def _makes_result(self, run: RunFolder, checkpoint: Checkpoint | None) -> bool:
        """Makes the steps. If no result is to be made then, the server has been told how it ended."""
        self._is_begun = False
        self._started, self._elapsed_before = time.monotonic(), 0.0
        if checkpoint is not None:
            self._elapsed_before, self._saved_step = checkpoint.elapsed_seconds, checkpoint.step
        between = BetweenSteps(self._before_step, self._after_step, self._saved, self._order.checkpoint_seconds)
        self._step = optimise(self._job, run, self, self, checkpoint, between).step
        if self._signals.is_requested:
            self._wish = "stop"
        if self._wish == "pause":
            self._event("paused", step=self._saved_step)
        elif self._wish == "drop" or (self._wish == "keep" and self._step == 0):
            self._event("cancelled", step=self._step, has_result=False)
        return self._wish == "run" or (self._wish == "keep" and self._step > 0)

    def _checkpoint_in_memory(self) -> Checkpoint:
        tensors, metadata = self._job.state()
        return Checkpoint(self._step, self._seconds, tensors, metadata)

    def _before_step(self, step: int) -> None:
        if not self._is_begun:
            self._begin(step)
        self._step = step
        self._take_orders()
        self._job.take_updates(step)
        for token in self._fetches:
            self._link.send_partial(token, self._partial())
        self._fetches = []
        if self._link.is_lost and self._wish == "run":
            _log.warning("the server is gone; job %s is saved, and this worker ends", self._order.job)
            self._wish = "stop"
        self._beats.step(step)

    def _begin(self, step: int) -> None:
        self._is_begun = True
        assert self._view is not None
        self._view.number_from(self._job.saved_snapshot_number)
        self._event("started", device=str(self._job.device), total_steps=self._job.total_steps, step=step)
        self._beats.phase(step)

    def _after_step(self, step: JobStep, progress: JobProgress) -> None:
        assert self._view is not None
        self._view.show_progress(progress_of(self._order.job, step, progress, self._job.task))
        self._view.show(self._job.task, step.number)

    def _saved(self, step: int) -> None:
        self._saved_step = step
        self._event("checkpointed", step=step)

    def _took_update(self, number: int, step: int, change: Steering) -> None:
        self._event("update_taken", number=number, step=step)
        if change.more_steps is not None:
            self._event("steps", total_steps=self._job.total_steps)
        if change.mesh is not None and self._view is not None:
            self._view.show(self._job.task, step, at_once=True)

    # --- orders

    def _take_orders(self) -> None:
        while (order := self._link.next_order()) is not None:
            name = order["order"]
            if name == "update":
                self._job.note_updates(order["number"])
                self._beats.phase(self._step)  # to fit a surface to a mesh takes some seconds
            elif name == "demand":
                self._take_demand(order)
            elif name == "fetch":
                self._fetches.append(order["token"])
            elif name == "stop":
                self._wish = "stop"
            elif name in ("pause", "cancel"):
                wish: Wish = "pause" if name == "pause" else "keep" if order["keep"] else "drop"
                self._wish = self._wish if self._wish == "stop" else wish
            else:
                _log.warning("the order %s came while job %s runs", name, self._order.job)

    def _take_demand(self, order: dict[str, Any]) -> None:
        self._demand = Demand.of(order)
        if self._view is not None:
            self._view.set_demand(self._demand)

    # --- results

    @property
    def _seconds(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _partial(self) -> Finished | Failed:
        try:
            return self._request.partial(self._order.job, self._job.task, self._step, self._seconds)
        except SketchbridgeError as error:
            failure = failure_of(error)
            return Failed(
                job=self._order.job, code=failure.code, sentence=safe_sentence(failure.sentence), log_id=failure.log_id
            )

    def _finish(self, run: RunFolder) -> Finished | None:
        """The result; None if the job was cancelled and there is nothing to keep."""
        self._phase("finishing")
        is_partial = self._wish == "keep"
        try:
            finished, notes = self._request.finished(
                self._order.job, self._job.task, self._step, self._seconds, is_partial, self.doing
            )
        except SketchbridgeError as error:
            if not is_partial:
                raise
            run.notice(f"there is no result so far: {error}", self._step)
            return None
        for note in notes:
            run.notice(note, self._step)
        self._take_orders()
        return finished

    def _end(self, finished: Finished | None) -> None:
        """Writes the result, unless it is not wanted any more, and says how the job ended."""
        has_result = finished is not None and self._wish != "drop"
        if finished is not None and has_result:
            self._write_result(finished)
        if finished is None or finished.is_partial or not has_result:
            self._event("cancelled", step=self._step, has_result=has_result)
        else:
            self._event("finished", step=self._step)

    def _write_result(self, finished: Finished) -> None:
        """Tries for half a minute where the disk is full."""
        path = self._order.folder / "result.message"
        for tries_left in reversed(range(MOST_TRIES)):
            self._phase("writing the result")
            try:
                write_message(path, finished)
                return
            except OSError as error:
                if tries_left == 0:
                    raise
                self.notice(f"the result could not be written ({error.strerror or error}); the next try follows")
                time.sleep(SECONDS_BETWEEN_TRIES)

    # --- what it says

    def _event(self, name: str, **fields: Any) -> None:
        self._link.send_event(name, job=self._order.job, **fields)

    def _phase(self, name: str) -> None:
        """Something begins that may take long and makes no steps."""
        self._beats.phase(self._step)
        if self._view is not None:
            progress = Progress(
                job=self._order.job,
                step=self._step,
                total_steps=0 if self._set_up_job is None else self._job.total_steps,
                stage=name[:200],
                steps_per_second=0.0,
            )
            self._view.show_progress(progress, at_once=True)

    # As what `optimise` asks whether to stop:

    @property
    def is_requested(self) -> bool:
        return self._wish != "run" or self._signals.is_requested

    def asking_first(self) -> AbstractContextManager[None]:
        return self._signals.asking_first()

    # As the display of `optimise`:

    def doing(self, what: str) -> None:
        self._phase(what)

    def progress(self, progress: JobProgress) -> None:
        """Shown in `_after_step`, with what else is known of the step."""

    def preview(self, path: Path, step: int) -> None:
        """In the run folder; watchers get theirs as they want them."""

    def notice(self, text: str) -> None:
        # Where the server keeps its jobs is not the client's business.
        sentence = safe_sentence(text.replace(str(self._order.folder), "the job's folder"))
        self._event("notice", sentence=sentence)
        if self._view is not None:
            self._view.notice(sentence)
