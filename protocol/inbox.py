"""What a client has received and nobody has read yet. Bounded: of what goes out of date, only the newest is kept."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from .errors import LocalProtocolError
from .messages import MeshSnapshot, Message, RefusalCode, ServerHello

MOST_UNREAD = 1000
"""Of those that do not go out of date, such as Failed; older ones are dropped."""


@dataclass(frozen=True)
class ConnectionChanged:
    """The state of the connection, for the user's eyes."""

    state: Literal["connecting", "connected", "lost", "refused", "closed"]
    """refused: the server is there, but does not want this client (its key or its version); tried again, slowly."""
    sentence: str
    server: ServerHello | None = None
    """While connected."""

    @property
    def latest_wins_key(self) -> Hashable:
        return ("ConnectionChanged",)


@dataclass(frozen=True)
class WatchRefused:
    """A job that was watched can not be any more, such as one that was deleted while the connection was lost."""

    job: str
    code: RefusalCode
    sentence: str

    latest_wins_key = None


Event = Message | ConnectionChanged | WatchRefused


class Inbox:
    """Events in the order in which the newest of each kind came. One thread puts, any thread takes."""

    def __init__(self) -> None:
        self._events: dict[Hashable, Event] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        """Adds an event; an unread older one with the same `latest_wins_key` makes room for it."""
        with self._changed:
            key = event.latest_wins_key
            older = None if key is None else self._events.pop(key, None)
            if isinstance(event, Message) and isinstance(older, Message) and not isinstance(event, MeshSnapshot):
                event = event.superseding(older)
            self._events[next(self._numbers) if key is None else key] = event
            if len(self._events) > MOST_UNREAD:
                del self._events[next(iter(self._events))]
            self._changed.notify_all()

    def take_all(self) -> list[Event]:
        """What is unread, oldest first; empty if there is nothing. Never waits."""
        with self._changed:
            taken = list(self._events.values())
            self._events.clear()
        return taken

    def wait(self, seconds: float) -> bool:
        """Waits until something is unread, at most so long; says whether there is."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._events), seconds)


class LiveMeshes:
    """The newest mesh of each job that is watched: makes full snapshots of those that carry only what changed."""

    def __init__(self) -> None:
        self._newest: dict[str, MeshSnapshot] = {}

    def whole(self, snapshot: MeshSnapshot) -> MeshSnapshot | None:
        """The snapshot with the faces, and what else it lacks, of the one that it builds on.

        The `number` of what is returned names the topology: while it stays the same, so do the faces. Arrays are
        shared.

        Returns:
            None if the one that it builds on never came, or has another number of vertices: ask for a full one.
        """
        newest = self._newest.get(snapshot.job)
        if not snapshot.is_full:
            if newest is None or newest.number != snapshot.builds_on:
                return None
            try:
                snapshot = snapshot.superseding(newest)
            except LocalProtocolError:
                return None
        self._newest[snapshot.job] = snapshot
        return snapshot

    def forget(self, job: str) -> None:
        """The next snapshot of this job must be full."""
        self._newest.pop(job, None)
