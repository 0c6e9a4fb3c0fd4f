"""What a server knows of a job, as values: the record that its database keeps, and what clients are told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from protocol.messages import FINAL_STATUSES, Failed, FailureCode, JobState, Status
from protocol.settings import Task

ACTIVE_STATUSES: tuple[Status, ...] = ("starting", "running", "finishing")
"""A worker has the job. One that is finishing may also wait for a worker in the queue."""
MOST_STEPS = 2_000_000
"""Of a `StepNumber`."""
MOST_STEPS_SUBMITTED = 1_000_000
"""Of `Settings.steps`."""

Wish = Literal["run", "pause", "keep"]
"""What the owner wants of a job that is not final: that it goes on, that it pauses, or that it ends with what is there.
The worker follows after its step."""


@dataclass(frozen=True)
class JobRecord:
    """A job, as the database has it."""

    job: str
    owner: str
    key: str
    task: Task
    title: str
    status: Status
    number: int
    """Grows with every job of the server."""
    wish: Wish = "run"
    step: int = 0
    """That the worker told of last. On disk it is behind: a beat alone writes nothing."""
    total_steps: int = 0
    """0 until it is known."""
    priority: int = 0
    is_first: bool = False
    """It was taken from its worker by a restart or a fault, and goes before all others."""
    updates: int = 0
    """How many were accepted."""
    restarts: int = 0
    """How many times its worker was lost, from the beginning on."""
    has_result: bool = False
    device: str = ""
    wants_device: str = "auto"
    """auto, cpu or cuda."""
    sentence: str = ""
    failure_code: FailureCode | None = None
    failure_log_id: str = ""
    submitted_at: float = 0.0
    """Seconds since 1970."""
    changed_at: float = 0.0
    """Seconds since 1970."""
    ended_at_uptime: float = 0.0
    """Of final ones: after how many seconds of the server's running, over all its starts."""
    result_bytes: int = 0
    """Of final ones: what its folder takes."""

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    def state(self, queue_position: int | None = None) -> JobState:
        """What its owner is told."""
        return JobState(
            job=self.job,
            key=self.key,
            task=self.task,
            title=self.title,
            status=self.status,
            step=self.step,
            total_steps=self.total_steps,
            queue_position=queue_position if self.status == "queued" else None,
            updates=self.updates,
            restarts=self.restarts,
            has_result=self.has_result,
            device=self.device,
            sentence=self.sentence,
            submitted_at=max(0.0, self.submitted_at),
            changed_at=max(0.0, self.changed_at),
        )

    def failure(self) -> Failed:
        """Why it failed; of failed ones only."""
        return Failed(
            job=self.job,
            code=self.failure_code or "internal",
            sentence=self.sentence or "the job failed; the server's log says more",
            log_id=self.failure_log_id or "unknown",
        )


@dataclass(frozen=True)
class JobsConfig:
    """How a server treats jobs. What it has is named here as clients name it."""

    priors: frozenset[str] = frozenset({"embedded"})
    controlled_priors: frozenset[str] = frozenset({"embedded"})
    """Those of the priors for which there is a ControlNet."""
    loras: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    tasks: tuple[Task, ...] = ("text", "texture", "sketch", "image")
    """Those it serves."""

    checkpoint_seconds: float = 60.0
    """Between two checkpoints of a job: what a lost worker costs at most."""
    most_restarts: int = 3
    """A job whose worker is lost more often than this fails. All count, however far the job came in between: one that
    fails every hundredth step would otherwise hold its device for good."""
    ready_seconds: float = 600.0
    """For a new worker to come up: importing torch from a slow disk, or on cores that are busy with something else. One
    that dies meanwhile is noticed at once."""
    first_beat_seconds: float = 60.0
    """From the order run to the first beat. From then on the worker says itself how long it may be silent."""
    idle_seconds: float = 600.0
    """A worker without a job is stopped after this, which gives back its memory."""
    stop_seconds: float = 20.0
    """For a worker that is to stop: the rest of a step and a checkpoint. It is killed then."""
    partial_seconds: float = 60.0
    """For the answer to FetchResult with `partial`."""
    start_again_seconds: float = 5.0
    """After a worker could not be started at all."""
    stall_seconds: float = 2.0
    """If the server itself did not get to look for longer than this (it was stopped, or its machine slept), the time
    limits of workers are extended by as much: their beats are still waiting to be read."""

    quota_bytes: int | float = 50_000_000_000
    """Of all ended jobs together; the oldest are deleted first. Infinite for no limit."""
    keep_days: int | float = math.inf
    """How long an ended job is kept, in days of the server's running: a clock that is set wrong deletes nothing.
    Infinite for ever."""
    most_updates: int = 1000
    """Of one job."""
    tombstones: int = 10_000
    """Of how many deleted jobs the keys are remembered, so that a request that was sent twice does nothing twice."""

    def __post_init__(self) -> None:
        for name in ("ready_seconds", "first_beat_seconds", "stop_seconds", "partial_seconds", "start_again_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be more than 0")
        numbers = ("checkpoint_seconds", "idle_seconds", "most_restarts", "most_updates", "tombstones")
        for name in (*numbers, "quota_bytes", "keep_days"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.most_restarts <= 1000:
            raise ValueError(f"most_restarts is {self.most_restarts}; it must be from 0 to 1000")
        if not self.tasks:
            raise ValueError("tasks is empty; it must name at least one of text, texture, sketch, image")
