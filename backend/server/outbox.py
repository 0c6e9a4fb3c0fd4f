"""What one client is still to be sent: what controls first, then large answers and snapshots, one at a time.

ZeroMQ queues what it cannot send at once, and nothing leaves that queue but to the network. So it is given the next
large message only when it is rid of the one before: what waits here can still be replaced by something newer.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Protocol, runtime_checkable

from backend.server.stream import JobStream, Parcel, Variant, Watch, next_parcel
from protocol.frames import Frame, encode
from protocol.messages import Message

MOST_UNSENT = 1000
MOST_UNSENT_BYTES = 16 * 2**20
"""Of what controls. A client that lets more pile up does not read, and is forgotten."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


@runtime_checkable
class Delivery(Protocol):
    """Tells whether ZeroMQ is rid of a message."""

    @property
    def done(self) -> bool: ...


@runtime_checkable
class Route(Protocol):
    """The way to one client. Never waits."""

    def send(self, frames: Sequence[Frame]) -> bool:
        """Sends a small message. False if there is no room now.

        Raises:
            ClientGone: The connection is closed.
        """
        ...

    def send_large(self, frames: Sequence[Frame]) -> Delivery | None:
        """Sends a message whose delivery is followed. None if there is no room now.

        Raises:
            ClientGone: The connection is closed.
        """
        ...

    def make(self, variant: Variant) -> None:
        """Has a snapshot made by another thread."""
        ...


class ClientGone(Exception):  # not an error: clients come and go
    """There is no connection to this client any more."""


class Outbox:
    """Of one client."""

    def __init__(self) -> None:
        self.snapshots_sent = self.previews_sent = 0
        self._control: dict[Hashable, Message | list[Frame]] = {}
        self._numbers = itertools.count()
        self._answer_bytes = 0
        self._large: deque[list[Frame]] = deque()
        self._in_flight: Delivery | None = None
        self._in_flight_bytes = 0
        """If it is an answer."""
        self._parcel: Parcel | None = None
        self._watches: deque[tuple[Watch, JobStream]] = deque()
        self._pause = _SHORTEST_PAUSE

    # --- filling

    def say(self, message: Message) -> None:
        """Adds what the client did not ask for; it takes the place of what it supersedes."""
        key = message.latest_wins_key
        older = None if key is None else self._control.pop(key, None)
        if isinstance(older, Message):
            message = message.superseding(older)
        self._control[next(self._numbers) if key is None else key] = message

    def answer(self, frames: list[Frame]) -> None:
        """Adds the answer to a request."""
        self._answer_bytes += _size(frames)
        self._control[next(self._numbers)] = frames

    def answer_large(self, frames: list[Frame]) -> None:
        """Adds an answer that may be large, such as a result: it waits for its turn, and others overtake it."""
        self._large.append(frames)

    def watch(self, watch: Watch, stream: JobStream) -> None:
        """From now on, snapshots of this job are sent; what was watched of it before no more."""
        self.unwatch(watch.job)
        self._watches.append((watch, stream))

    def unwatch(self, job: str) -> None:
        """No more snapshots of this job."""
        self._watches = deque(each for each in self._watches if each[0].job != job)
        if self._parcel is not None and self._parcel.watch.job == job:
            self._parcel = None

    def watch_of(self, job: str) -> Watch | None:
        return next((watch for watch, _ in self._watches if watch.job == job), None)

    @property
    def watched_jobs(self) -> list[str]:
        return [watch.job for watch, _ in self._watches]

    # --- looking

    @property
    def is_overfull(self) -> bool:
        """Whether so much is unsent that the client must be taken for one that does not read."""
        return len(self._control) > MOST_UNSENT or self._answer_bytes > MOST_UNSENT_BYTES

    @property
    def unsent_bytes(self) -> int:
        """Of answers, that in flight included; snapshots are shared with other watchers."""
        return self._answer_bytes + self._in_flight_bytes + sum(_size(each) for each in self._large)

    @property
    def large_answers(self) -> int:
        """How many are unsent."""
        return len(self._large)

    # --- emptying

    def pump(self, route: Route, now: float) -> float | None:
        """Sends what can be sent now.

        Returns:
            When to call again; None: when something was added, news came, credit came, or a variant was made.

        Raises:
            ClientGone: The connection is closed.
        """
        if not self._pump_control(route):
            return now + self._longer_pause()
        while True:
            if self._in_flight is not None:
                if not self._in_flight.done:
                    return now + self._longer_pause() if self._has_large() or self._in_flight_bytes else None
                self._in_flight, self._in_flight_bytes = None, 0
            self._pause = _SHORTEST_PAUSE
            if self._large:
                frames, is_answer = self._large[0], True
            else:
                soonest = self._choose_parcel(now, route)
                if self._parcel is None:
                    return soonest
                frames, is_answer = self._parcel.frames, False
            delivery = route.send_large(frames)
            if delivery is None:
                return now + self._longer_pause()
            self._in_flight = delivery
            if is_answer:
                self._large.popleft()
                self._in_flight_bytes = _size(frames)
            else:
                self._parcel = None

    def _pump_control(self, route: Route) -> bool:
        while self._control:
            key = next(iter(self._control))
            found = self._control[key]
            frames = encode(found) if isinstance(found, Message) else found
            if not route.send(frames):
                return False
            del self._control[key]
            if not isinstance(found, Message):
                self._answer_bytes -= _size(frames)
        return True

    def _has_large(self) -> bool:
        """Whether something waits for the message in flight. Nothing is taken out: it may still be replaced."""
        return (
            bool(self._large)
            or self._parcel is not None
            or any(
                watch.in_the_making is not None
                or (watch.credit > 0 and (stream.news_for(watch) is not None or stream.next_preview(watch) is not None))
                for watch, stream in self._watches
            )
        )

    def _choose_parcel(self, now: float, route: Route) -> float | None:
        if self._parcel is not None:
            return None  # it was chosen before, and there was no room for it
        self._parcel, soonest = next_parcel(self._watches, now, route.make)
        if self._parcel is not None:
            self._count(self._parcel)
            self._watches.rotate(-1)  # with several watches, each has its turn
        return soonest

    def _count(self, parcel: Parcel) -> None:
        if parcel.watch.was_mesh_last:
            self.snapshots_sent += 1
        else:
            self.previews_sent += 1

    def _longer_pause(self) -> float:
        """The client may never read again: looking must not keep the processor busy."""
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause


def _size(frames: Sequence[Frame]) -> int:
    return sum(len(each) for each in frames)
