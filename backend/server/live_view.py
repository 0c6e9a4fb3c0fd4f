"""What watchers see of a job while it runs: made between two steps, when it is wanted and no oftener.

With nobody watching nothing is computed. A snapshot takes the mesh that the last step has looked at already; colours
are asked of the texture only if somebody wants them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from backend.geometry.mesh_input import Placement
from backend.pictures import encode_picture
from backend.server.link import Demand
from backend.server.mesh_conversion import client_positions
from backend.tasks.mesh_task import MeshTask
from backend.tasks.picture_task import PictureTask
from protocol.messages import MeshSnapshot, Message, Preview, Progress

SECONDS_BETWEEN_PROGRESS = 0.3
SECONDS_BETWEEN_PREVIEWS = 2.0
PREVIEW_PIXELS = 256
LEAST_RATE = 0.01
"""Snapshots a second; the least that the wire allows."""
MOST_NOTICES = 16
NUMBERS_KEPT_FREE = 1_000_000
"""Between the snapshots of two attempts at a job, so that numbers grow even if the clock was set back meanwhile."""

Send = Callable[[Message], bool]
"""Sends a message to the server; False if it was dropped."""


class LiveView:
    """Snapshots, previews and progress of one job.

    Args:
        job: Its id.
        send: To the server.
        clock: Seconds that never go back.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        job: str,
        placement: Placement,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._job, self._placement, self._send, self._clock, self._now = job, placement, send, clock, now
        self._demand = Demand()
        self._notices: list[str] = []
        self._base: int | None = None  # the number of the last full snapshot
        self._faces: np.ndarray | None = None  # its faces
        self._had_colours = False
        self._next_snapshot = self._next_preview = self._next_progress = -math.inf
        self.last_number = int(now() * 1000)
        """Of the snapshots."""

    def number_from(self, last_number: int) -> None:
        """Lets snapshots go on above those of an earlier attempt, of which this was the last one that is known."""
        self.last_number = max(self.last_number, last_number + NUMBERS_KEPT_FREE)

    def set_demand(self, demand: Demand) -> None:
        """Takes what watchers want from now on. Meshes that were not wanted before begin with a full snapshot."""
        if not demand.mesh:
            self._base = self._faces = None
        if demand.colours and not self._had_colours:
            self._next_snapshot = -math.inf
        self._had_colours = demand.colours
        self._demand = demand

    def notice(self, sentence: str) -> None:
        """Tells watchers something with the next progress."""
        self._notices = [*self._notices, sentence][-MOST_NOTICES:]

    def show_progress(self, progress: Progress, at_once: bool = False) -> None:
        """Sends it, unless one was sent just before."""
        now = self._clock()
        if now < self._next_progress and not at_once:
            return
        self._next_progress = now + SECONDS_BETWEEN_PROGRESS
        if self._send(dataclasses.replace(progress, notices=tuple(self._notices))):
            self._notices = []

    def show(self, task: MeshTask | PictureTask, step: int, at_once: bool = False) -> None:
        """Sends the mesh and a picture of it, if they are wanted and it is time.

        Args:
            step: How many are done.
            at_once: Whether the mesh has changed so much that its snapshot is not to wait.
        """
        now, demand = self._clock(), self._demand
        if demand.mesh and isinstance(task, MeshTask) and (now >= self._next_snapshot or at_once):
            # From when it was due, not from now: steps of 90 ms would halve a rate of 10 a second otherwise.
            seconds = 1 / max(demand.per_second, LEAST_RATE)
            self._next_snapshot += seconds
            if self._next_snapshot <= now:  # it is late by more than one, or the first
                self._next_snapshot = now + seconds
            self._send_snapshot(task, step)
        if demand.preview and now >= self._next_preview:
            self._next_preview = now + max(SECONDS_BETWEEN_PREVIEWS, 1 / max(demand.per_second, LEAST_RATE))
            picture = task.preview(1, PREVIEW_PIXELS)[0] if isinstance(task, MeshTask) else task.preview()[0]
            png = encode_picture(picture.cpu().numpy(), ".png")
            self._send(Preview(job=self._job, step=step, picture=png))

    def _send_snapshot(self, task: MeshTask, step: int) -> None:
        mesh = task.current_mesh()
        faces = mesh.faces.cpu().numpy()
        is_full = self._base is None or self._faces is None or not np.array_equal(faces, self._faces)
        self.last_number += 1
        snapshot = MeshSnapshot(
            job=self._job,
            number=self.last_number,
            step=step,
            taken_at=self._now(),
            builds_on=None if is_full else self._base,
            positions=client_positions(mesh, self._placement),
            faces=faces if is_full else None,
            colours=task.vertex_colours().numpy() if self._demand.colours else None,
        )
        if not self._send(snapshot):
            self._base = None  # the next one must not build on what did not go out
        elif is_full:
            self._base, self._faces = self.last_number, faces


def loss_names(losses: dict[str, float]) -> dict[str, float]:
    """Finite losses, under names that the wire allows."""
    named = {re.sub("[^A-Za-z0-9_.-]", "-", name)[:64]: value for name, value in losses.items()}
    return {name: value for name, value in list(named.items())[:32] if abs(value) < 1e30}


def memory_in_use(device: torch.device) -> int:
    """Bytes of a GPU that this process has taken; 0 for a CPU."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def progress_of(job: str, step: Any, shown: Any, task: MeshTask | PictureTask) -> Progress:
    """The numbers of a step as a message.

    Args:
        step: A JobStep.
        shown: The JobProgress that was made from it.
    """
    vertices = len(task.current_mesh().positions) if isinstance(task, MeshTask) else 0
    norm = shown.gradient_norm
    return Progress(
        job=job,
        step=step.number,
        total_steps=task.total_steps,
        stage=step.stage[:200],
        steps_per_second=min(shown.steps_per_second, 1e6),
        seconds_left=shown.seconds_left if shown.seconds_left < 1e9 else None,
        gradient_norm=norm if norm is not None and norm < 1e30 else None,
        losses=loss_names(step.losses),
        vertices=vertices,
        faces=shown.faces or 0,
        memory_bytes=memory_in_use(task.device),
    )
