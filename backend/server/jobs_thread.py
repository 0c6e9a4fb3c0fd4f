"""The thread in which the jobs are moved along: it waits for disks and processes, which the thread with the sockets
must not. What comes out of it goes through callables that any thread may call.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from backend.server.jobs import JobManager

SECONDS_BETWEEN_TICKS = 0.25
Work = Callable[[JobManager], None]
_log = logging.getLogger(__name__)


class JobsThread:
    """Runs one JobManager. `submit` may be called from any thread, and what is submitted is done in order."""

    def __init__(self, make_manager: Callable[[], JobManager], close: Callable[[], None]) -> None:
        """
        Args:
            make_manager: Called in the thread: a database belongs to the thread that has opened it.
            close: Called in the thread at the end.
        """
        self._make_manager, self._close = make_manager, close
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._is_ending = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="sketchbridge jobs", daemon=True)

    def start(self) -> None:
        """Starts the thread and waits until the jobs are there.

        Raises:
            SketchbridgeError: The state cannot be used.
        """
        self._thread.start()
        self._started.result()

    def submit(self, work: Work) -> None:
        """Has this done."""
        self._work.put(work)

    def ask(self, question: Callable[[JobManager], Any]) -> Future[Any]:
        """The answer to a question, which is put in the thread."""
        answer: Future[Any] = Future()

        def work(manager: JobManager) -> None:
            try:
                answer.set_result(question(manager))
            except Exception as error:
                answer.set_exception(error)

        self.submit(work)
        return answer

    def end(self, seconds: float) -> None:
        """Ends the workers, keeps all jobs, and waits for that.

        Args:
            seconds: That workers have to keep their state.
        """
        if not self._thread.is_alive():
            return

        def work(manager: JobManager) -> None:
            manager.shut_down(seconds, wait=lambda pause: self._work_for(manager, pause))
            self._is_ending = True

        self.submit(work)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            manager = self._make_manager()
            manager.recover()
        except BaseException as error:
            self._close()
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        try:
            while not self._is_ending:
                self._work_for(manager, SECONDS_BETWEEN_TICKS)
                if not self._is_ending:
                    self._do(lambda manager: manager.tick(), manager)
        finally:
            self._close()

    def _work_for(self, manager: JobManager, seconds: float) -> None:
        """Does what is there, and what comes within this time, with a tick after each."""
        until = time.monotonic() + seconds
        while not self._is_ending:
            try:
                work = self._work.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            self._do(work, manager)
            if self._work.empty() or time.monotonic() >= until:  # who never stops asking must not keep ticks away
                return

    def _do(self, work: Work, manager: JobManager) -> None:
        """One piece of work that goes wrong must not end the server: the others' jobs go on."""
        try:
            work(manager)
        except Exception:
            _log.exception("the jobs' thread failed in one piece of work")


class BackgroundThread:
    """Runs functions one after the other, away from threads that must not wait."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Has this done. May be called from any thread."""
        self._work.put(work)

    def end(self) -> None:
        """Does what was submitted and ends."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:
                _log.exception("work in %s failed", self._thread.name)
            del work  # it may hold large arrays
