"""A task that takes its client's updates between two steps, each at a step that is written down before it matters.

A worker may be killed at any moment and go on from an earlier checkpoint. The updates are then taken at the same steps
as the first time, so that the mesh is the same to the bit: `updates.jsonl` in the run folder says at which, and gets
its line before the step that follows is made.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.commands.job_steps import Job
from backend.errors import BadInput, DamagedRun
from backend.server.conversion import JobRequest
from backend.server.message_files import read_message
from backend.steering import Steering
from protocol.messages import UpdateJob

_log = logging.getLogger(__name__)


@runtime_checkable  # for the type checker of the tests
class SteerableJob(Job, Protocol):
    """A job that takes changes between two steps."""

    def steer(self, change: Steering) -> list[str]: ...  # sentences for the user


Task = TypeVar("Task", bound=SteerableJob)


class UpdateJournal:
    """Which update was taken after how many steps, in order: one line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[tuple[int, int]] = []
        """Number and step."""
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # torn by a kill or a full disk, so that no step followed
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            entry = json.loads(line)
            self.entries.append((int(entry["number"]), int(entry["step"])))

    def append(self, number: int, step: int) -> None:
        """Writes a line, and returns when it is on the disk.

        Raises:
            OSError: It cannot be; nothing is left behind then.
        """
        line = json.dumps({"number": number, "step": step}).encode() + b"\n"
        size = self._path.stat().st_size if self._path.exists() else 0
        with self._path.open("ab") as file:
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self._path, size)
                raise
        self.entries.append((number, step))


class SteeredJob(Generic[Task]):
    """Wraps a task for `optimise`.

    Args:
        updates_folder: Holds `000001.message`, `000002.message`, ...
        taken: Told the number and the step of each update that is taken, and what it was.
        notice: Told sentences for the user.
    """

    def __init__(
        self,
        task: Task,
        request: JobRequest,
        updates_folder: Path,
        journal: UpdateJournal,
        taken: Callable[[int, int, Steering], None],
        notice: Callable[[str], None],
    ) -> None:
        self.task = task
        self._request, self._folder, self._journal = request, updates_folder, journal
        self._taken, self._notice = taken, notice
        self._applied: list[tuple[int, int]] = []
        self._known = 0
        self._waiting = 0
        """The update of which it was told that there is no room for it."""
        self.last_snapshot_number: Callable[[], int] = lambda: 0
        """Asked when the state is saved."""
        self.saved_snapshot_number = 0
        """In the state that was loaded."""

    @property
    def total_steps(self) -> int:
        return self.task.total_steps

    @property
    def device(self) -> torch.device:
        return self.task.device

    def steps(self) -> Iterator[Any]:
        """Of the task."""
        return self.task.steps()

    def preview(self) -> UInt8[Tensor, "views height width 3"]:
        """Of the task."""
        return self.task.preview()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The task's, with the updates that are in it."""
        tensors, metadata = self.task.state()
        served = {"updates": [list(each) for each in self._applied], "snapshot": self.last_snapshot_number()}
        return tensors, metadata | {"served": served}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Goes back to what `state` told."""
        served = metadata["served"]
        self._applied = [(int(number), int(step)) for number, step in served["updates"]]
        self.saved_snapshot_number = int(served["snapshot"])
        self.task.load_state(tensors, metadata)

    def note_updates(self, number: int) -> None:
        """There are so many in the folder now."""
        self._known = max(self._known, number)

    @property
    def has_new_updates(self) -> bool:
        """Whether there are some that were never taken."""
        return self._known > len(self._journal.entries)

    def take_updates(self, step: int) -> None:
        """Takes those whose time is after this step: again those of an earlier attempt, then new ones."""
        for number, at in self._journal.entries[len(self._applied) :]:
            if at > step:
                return
            self._apply(number, step)
        while self._known > len(self._applied):
            number = len(self._applied) + 1
            try:
                self._journal.append(number, step)
            except OSError as error:
                if self._waiting != number:  # it is tried again after every step
                    self._waiting = number
                    self._notice(f"update {number} waits until there is room on the disk ({error.strerror or error})")
                return
            self._apply(number, step)

    def _apply(self, number: int, step: int) -> None:
        self._applied.append((number, step))
        change = Steering()
        try:
            update = read_message(self._folder / f"{number:06d}.message")
            if not isinstance(update, UpdateJob):
                raise DamagedRun(f"update {number} is a {type(update).__name__}")
            change = self._request.steering(update, self._notice)
            for sentence in self.task.steer(change):
                self._notice(sentence)
        except (BadInput, DamagedRun) as error:
            _log.warning("update %d could not be taken: %s", number, error)
            self._notice(f"update {number} could not be taken: {error}")
        self._taken(number, step, change)
