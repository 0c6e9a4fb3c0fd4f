# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs that this Blender knows, in Python objects only: nothing of them is in a .blend file, and no undo rolls them
back. Knows neither the scene nor the server.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .protocol.messages import Finished, InputMesh, MeshSnapshot, SubmitJob
    from .sketch_reading import SentSketch

FINAL_STATUSES = ("finished", "cancelled", "failed", "deleted")
MOST_RESULTS_KEPT = 3
"""Finished meshes with their textures in memory; older ones are fetched again when they are wanted."""

STATUS_TITLES = {
    "submitting": "Sending",
    "queued": "Waiting",
    "starting": "Starting",
    "running": "Running",
    "paused": "Paused",
    "finishing": "Finishing",
    "finished": "Finished",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "deleted": "Deleted",
}


@dataclass(frozen=True)
class Frame:
    """Where the result's own coordinates are in the scene: turned and moved, never scaled."""

    rows: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """The first three rows of the matrix from local to scene coordinates, row by row."""


@dataclass
class Placed:
    """The result in the scene, by handles that survive undo, redo and renaming. 0 stands for none."""

    frame: Frame = field(default_factory=Frame)
    scene_uid: int = 0
    object_uid: int = 0
    object_name: str = ""
    """As it was last seen; only to find it faster."""
    collection_uid: int = 0
    material_uid: int = 0
    """Of the finished result: where it is gone, the finish was undone."""
    hidden_uids: tuple[int, ...] = ()
    """Of the objects that it began with and that were hidden for it."""
    topology: int | None = None
    """The snapshot whose faces the mesh has; None if that is not known any more, such as after undo."""
    written: np.ndarray | None = None
    """float32 [vertices, 3]: the positions that were written last, in local coordinates."""
    snapshot: MeshSnapshot | None = None
    """The one that was written last; to be written again after undo."""


@dataclass
class Job:
    """One job, as the panel shows it."""

    key: str
    """Made here; also names its thumbnail."""
    task: str
    prompt: str
    settings: dict[str, Any]
    """Of the panel when it was asked for, to be used again."""
    server_id: str = ""
    job: str = ""
    """The server's id for it; empty until it was accepted."""
    status: str = "submitting"
    submitted_at: float = field(default_factory=time.time)
    sentence: str = ""
    """What went wrong or is worth knowing."""
    step: int = 0
    total_steps: int = 0
    stage: str = ""
    steps_per_second: float = 0.0
    seconds_left: float | None = None
    queue_position: int | None = None
    has_result: bool = False
    device: str = ""
    request: SubmitJob | None = None
    """Until it was accepted: to ask again."""
    steered: dict[str, Any] = field(default_factory=dict)
    """The values that were sent last, of those that can be changed on the way."""
    sent_sketches: dict[str, SentSketch] | None = None
    """By name, what the server has of each sketch; None for jobs without, and for those of earlier sessions."""
    refused_sketches: object = None
    """The sketches that the server did not take, or that cannot be sent: not to be tried again as they are."""
    newest: MeshSnapshot | None = None
    """The last that came."""
    finished: Finished | None = None
    views: list[str] = field(default_factory=list)
    """Of which there are previews."""
    placed: Placed = field(default_factory=Placed)
    is_followed: bool = False
    """Whether its news come in this session."""
    is_put_away: bool = False
    """The user does not want it in the scene; what arrives is not shown."""
    is_held: bool = False
    """The newest mesh waits, since its object is being edited."""
    has_edit: bool = False
    """The user has changed the mesh: nothing is written over it until the edit was sent or dropped."""
    shown: str = "nothing"
    """What the scene has of it: nothing, mesh (as it forms), result, or accepted."""
    asked: str = ""
    """Of a request on its way: pause, resume, cancel, update, fetch, delete."""
    locked_corners: np.ndarray | None = None
    """float32 [faces, 3, 3]: of the faces that stay as they are, in the scene; not kept for other sessions."""
    pending_edit: InputMesh | None = None
    stale_until_step: int = -1
    """Snapshots up to this step may still show the mesh as it was before the edit that was sent."""

    @property
    def is_active(self) -> bool:
        return self.status not in FINAL_STATUSES

    @property
    def can_steer(self) -> bool:
        return bool(self.job) and self.status in ("queued", "starting", "running", "paused")

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def title(self) -> str:
        return self.prompt if len(self.prompt) <= 60 else self.prompt[:57] + "..."

    @property
    def was_placed(self) -> bool:
        return self.placed.object_uid != 0


class Jobs:
    """All jobs by their key, in the order in which they were asked for, and the one that the panel shows."""

    def __init__(self) -> None:
        self.by_key: dict[str, Job] = {}
        self.current_key = ""
        self.problem = ""
        """The last thing that could not be done, for the panel."""
        self.owed_undo_step = ""
        """What the next undo step is to be called; empty if none is owed."""
        self.needs_redraw = False
        """Whether something that the panel shows has changed."""

    @property
    def current(self) -> Job | None:
        return self.by_key.get(self.current_key)

    def the_current(self) -> Job:
        """The job that the panel shows, where there is one: for buttons whose `poll` has seen to that.

        Raises:
            LookupError: There is none.
        """
        return self.by_key[self.current_key]

    @property
    def newest_first(self) -> list[Job]:
        return sorted(self.by_key.values(), key=lambda job: -job.submitted_at)

    @property
    def followed(self) -> list[Job]:
        """Those whose mesh may have to be written to the scene."""
        return [job for job in self.by_key.values() if job.newest is not None or job.finished is not None]

    def of_server(self, server_id: str, job_id: str) -> Job | None:
        """The job that this server calls so; another may have one of the same name."""
        jobs = self.by_key.values()
        return next((job for job in jobs if job.job == job_id and job.server_id == server_id), None)

    def add(self, job: Job) -> None:
        self.by_key[job.key] = job

    def remove(self, key: str) -> None:
        self.by_key.pop(key, None)
        if self.current_key == key:
            self.current_key = ""

    def drop_old_results(self) -> None:
        """Keeps the textures of the last few only."""
        finished = [job for job in self.newest_first if job.finished is not None and job is not self.current]
        for job in finished[MOST_RESULTS_KEPT:]:
            job.finished = None

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]


def new_key() -> str:
    """A random key for a request that is really another."""
    return os.urandom(16).hex()


JOBS = Jobs()
"""Of this Blender session."""
