"""Requests for the mesh of a job that is still running, until the worker answers or cannot any more."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backend.server.job_record import JobsConfig
from backend.server.refusals import Refusal
from backend.server.worker_pool import Worker, WorkerPool
from protocol.messages import Message

Answer = Message | list[Any]
"""A message, or the wire frames of one, whose header does not name the request yet."""
Reply = Callable[[Answer], None]
MOST_WAITING = 64
"""Of requests for one job."""


@dataclass
class _Wait:
    job: str
    worker_id: str
    deadline: float
    replies: list[Reply] = field(default_factory=list)


class PartialResults:
    """Who waits for which worker. All that ask about a job while its worker makes the mesh get the same one."""

    def __init__(self, pool: WorkerPool, config: JobsConfig, clock: Callable[[], float]) -> None:
        self._pool, self._config, self._clock = pool, config, clock
        self._waits: dict[str, _Wait] = {}

    def ask(self, worker: Worker, job: str, reply: Reply) -> None:
        """Asks the worker for the mesh as it is.

        Raises:
            Refusal: Too many wait for it already.
        """
        wait = next((each for each in self._waits.values() if each.worker_id == worker.worker_id), None)
        if wait is None or wait.job != job:
            token = secrets.token_hex(8)
            wait = _Wait(job, worker.worker_id, self._clock() + self._config.partial_seconds)
            self._waits[token] = wait
            self._pool.send(worker, "fetch", token=token)
        if len(wait.replies) >= MOST_WAITING:
            raise Refusal("too-many", f"{MOST_WAITING} requests wait for this mesh already; ask again later.")
        wait.replies.append(reply)

    def on_partial(self, worker_id: str, token: str, frames: list[Any]) -> None:
        """The worker's answer, for all who wait for it. One that nobody waits for any more is dropped."""
        wait = self._waits.get(token)
        if wait is not None and wait.worker_id == worker_id:
            del self._waits[token]
            for reply in wait.replies:
                reply(list(frames))

    def end_overdue(self, answer: Callable[[str, Reply], None]) -> None:
        """Ends the waits for workers that have lost the job, or did not answer in time.

        Args:
            answer: Replies about a job whose mesh will not come: perhaps its result is there now.
        """
        now = self._clock()
        for token, wait in list(self._waits.items()):
            worker = self._pool.get(wait.worker_id)
            has_job = worker is not None and worker.job == wait.job and not worker.is_detached
            if not has_job or now >= wait.deadline:
                del self._waits[token]
                for reply in wait.replies:
                    answer(wait.job, reply)
