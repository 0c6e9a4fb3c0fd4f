"""The newest mesh of each job, and what of it each watcher gets: latest wins, at the watcher's rate, within its credit.

Pure bookkeeping, no sockets and no clock. One thread uses all of it; only a `Variant` is filled in by another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from protocol.errors import LocalProtocolError
from protocol.frames import Frame, encode
from protocol.geometry import quantise
from protocol.messages import MeshSnapshot, Preview, WatchJob

MOST_CREDIT = 64
MOST_VIEWS = 16
"""Of a job's previews; the oldest is forgotten."""
SECONDS_WITHOUT_CREDIT = 2.0
"""A watcher that has given no credit for so long is not there: nothing is made for it until it gives some."""


@dataclass(frozen=True)
class Format:
    """What of a mesh goes into a snapshot, and how. Watchers that need the same share the frames."""

    is_full: bool
    has_positions: bool
    has_colours: bool
    is_quantised: bool = False
    is_compressed: bool = False

    @property
    def is_heavy(self) -> bool:
        """Whether making it takes so long that the thread that moves bytes must not do it."""
        return (self.is_quantised and self.has_positions) or self.is_compressed


class Variant:
    """A snapshot in one format. Its frames are made once; None until then."""

    def __init__(self, message: MeshSnapshot, format: Format, frames: list[Frame] | None = None) -> None:
        self.frames = frames
        self.is_ordered = False
        """Whether another thread was asked to make it."""
        self._message, self._format = message, format

    def make(self) -> None:
        """Makes the frames. May be called by another thread: nothing else of the variant changes.

        Raises:
            MemoryError: And whatever else goes wrong; `give_up` is to be called then.
        """
        message = self._message
        if self._format.is_quantised and message.positions is not None:
            values, low, high = quantise(message.positions)
            message = dataclasses.replace(message, positions=values, low=low, high=high)
        self.frames = encode(message, compression="zlib" if self._format.is_compressed else "none")

    def give_up(self) -> None:
        """There will be no frames: those who wait for them are to ask for another snapshot."""
        self.frames = []


@dataclass
class StoredPreview:
    """The newest picture of one view, as it came."""

    serial: int
    frames: list[Frame]


class Watch:
    """What one client wants of one job, and what it has been sent."""

    def __init__(self, wish: WatchJob, now: float) -> None:
        self.job = wish.job
        self.channels = frozenset(wish.channels)
        self.credit = wish.credit
        self.seconds_between = 1.0 / wish.snapshots_per_second
        self.is_quantised, self.is_compressed = wish.positions == "uint16", wish.compression == "zlib"
        self.base: int | None = None
        """The number of the full snapshot that the client has."""
        self.positions_at = self.colours_at = 0
        """The numbers of the snapshots from which its positions and colours are."""
        self.mesh_due_at = self.preview_due_at = now
        self.credit_at = now
        """When it had credit last."""
        self.in_the_making: Variant | None = None
        self.preview_serial = 0
        self.was_mesh_last = False

    def wants(self, channel: str) -> bool:
        return channel in self.channels

    def add_credit(self, more: int, wants_full: bool, now: float) -> None:
        """What the client said in `Credit`."""
        self.credit = min(MOST_CREDIT, self.credit + more)
        if self.credit:
            self.credit_at = now
        if wants_full:
            self.base = None

    def spend_credit(self, now: float) -> None:
        """One message is sent."""
        self.credit -= 1
        self.credit_at = now

    def is_attentive(self, now: float) -> bool:
        """Whether something made now would be sent soon."""
        return self.credit > 0 or now - self.credit_at < SECONDS_WITHOUT_CREDIT


class JobStream:
    """The newest mesh and pictures of one job."""

    def __init__(self) -> None:
        self._whole: MeshSnapshot | None = None
        """All of the newest mesh; its number is that of the full snapshot whose faces it has."""
        self._number = self._positions_at = self._colours_at = 0
        self._variants: dict[Format, Variant] = {}
        self._previews: dict[str, StoredPreview] = {}
        self._serial = 0
        self.received = self.dropped = 0
        """Snapshots that came, and those of them that were replaced before anybody got them."""
        self._is_newest_taken = True

    def take_snapshot(self, snapshot: MeshSnapshot, frames: list[Frame]) -> bool:
        """Takes a snapshot from the worker.

        Args:
            frames: What it came in; sent on as they are where that is what a watcher needs.

        Returns:
            False if it cannot be used: the full one that it builds on never came here, or a newer one did.
        """
        if snapshot.number <= self._number:
            return False
        whole = self._whole
        are_positions_new = are_colours_new = True
        if not snapshot.is_full:
            if whole is None or whole.number != snapshot.builds_on:
                return False
            are_positions_new = snapshot.positions is not None and not _are_equal(snapshot.positions, whole.positions)
            are_colours_new = snapshot.colours is not None and not _are_equal(snapshot.colours, whole.colours)
            try:
                whole = snapshot.superseding(whole)
            except LocalProtocolError:
                return False
        else:
            whole = snapshot
            are_colours_new = snapshot.colours is not None
        self._whole, self._number = whole, snapshot.number
        self.received += 1
        self.dropped += not self._is_newest_taken
        self._is_newest_taken = False
        if are_positions_new:
            self._positions_at = snapshot.number
        if are_colours_new:
            self._colours_at = snapshot.number
        came_as = Format(snapshot.is_full, snapshot.positions is not None, snapshot.colours is not None)
        self._variants = {came_as: Variant(snapshot, came_as, frames)}
        return True

    def take_preview(self, preview: Preview, frames: list[Frame]) -> None:
        """Takes a picture from the worker."""
        self._serial += 1
        self._previews.pop(preview.view, None)
        self._previews[preview.view] = StoredPreview(self._serial, frames)
        if len(self._previews) > MOST_VIEWS:
            del self._previews[next(iter(self._previews))]

    def forget_colours(self) -> None:
        """Nobody wants colours any more: those that are here would be old when somebody does again."""
        if self._whole is not None and self._whole.colours is not None:
            self._whole = dataclasses.replace(self._whole, colours=None)
            self._variants = {}

    def news_for(self, watch: Watch) -> Format | None:
        """What of the mesh this watcher lacks, in its format; None if it has all that it wants."""
        whole = self._whole
        if whole is None or not watch.wants("mesh"):
            return None
        wants_colours = watch.wants("colours") and whole.colours is not None
        if watch.base != whole.number:
            return Format(True, True, wants_colours, watch.is_quantised, watch.is_compressed)
        positions = self._positions_at > watch.positions_at
        colours = wants_colours and self._colours_at > watch.colours_at
        if not positions and not colours:
            return None
        return Format(False, positions, colours, watch.is_quantised and positions, watch.is_compressed)

    def hand_out(self, format: Format, watch: Watch) -> Variant:
        """The newest mesh in a format that `news_for` named. From now on the watcher counts as having it."""
        whole = self._whole
        assert whole is not None
        if format.is_full:
            watch.base, watch.positions_at, watch.colours_at = whole.number, self._number, 0
        if format.has_positions:
            watch.positions_at = self._number
        if format.has_colours:
            watch.colours_at = self._number
        self._is_newest_taken = True
        variant = self._variants.get(format)
        if variant is None or variant.frames == []:  # nobody has asked for it, or it could not be made
            variant = self._variants[format] = Variant(self._message_in(format, whole), format)
        return variant

    def next_preview(self, watch: Watch) -> StoredPreview | None:
        """The oldest picture that this watcher lacks."""
        if not watch.wants("preview"):
            return None
        return next((each for each in self._previews.values() if each.serial > watch.preview_serial), None)

    def _message_in(self, format: Format, whole: MeshSnapshot) -> MeshSnapshot:
        colours = whole.colours if format.has_colours else None
        if format.is_full:
            return whole if colours is whole.colours else dataclasses.replace(whole, colours=colours)
        return MeshSnapshot(
            job=whole.job,
            number=self._number,
            step=whole.step,
            taken_at=whole.taken_at,
            builds_on=whole.number,
            positions=whole.positions if format.has_positions else None,
            colours=colours,
        )


@dataclass
class Parcel:
    """One snapshot or picture that is ready to be sent to a watcher."""

    frames: list[Frame]
    watch: Watch


def next_parcel(
    watched: Iterable[tuple[Watch, JobStream]], now: float, make_elsewhere: Callable[[Variant], None]
) -> tuple[Parcel | None, float | None]:
    """The next snapshot or picture of all that a client watches.

    Args:
        watched: In the order in which they are to be looked at.
        make_elsewhere: Has a variant made by another thread; this is to be called again when it is there.

    Returns:
        What to send, or None with the moment from which on there may be something; None too if that depends on others.
    """
    soonest: float | None = None
    for watch, stream in watched:
        if watch.in_the_making is not None:
            if watch.in_the_making.frames is None:
                continue
            frames, watch.in_the_making = watch.in_the_making.frames, None
            if frames:
                return Parcel(frames, watch), None
            watch.add_credit(1, wants_full=True, now=now)
        if watch.credit <= 0:
            continue
        found, due_at = _next_of(watch, stream, now, make_elsewhere)
        if found is not None:
            return Parcel(found, watch), None
        if due_at is not None:
            soonest = due_at if soonest is None else min(soonest, due_at)
    return None, soonest


def _next_of(
    watch: Watch, stream: JobStream, now: float, make_elsewhere: Callable[[Variant], None]
) -> tuple[list[Frame] | None, float | None]:
    format, preview = stream.news_for(watch), stream.next_preview(watch)
    is_mesh_due = format is not None and now >= watch.mesh_due_at
    is_preview_due = preview is not None and now >= watch.preview_due_at
    if format is not None and is_mesh_due and not (is_preview_due and watch.was_mesh_last):
        watch.was_mesh_last = True
        watch.mesh_due_at = _next_due(watch.mesh_due_at, watch.seconds_between, now)
        watch.spend_credit(now)
        variant = stream.hand_out(format, watch)
        if variant.frames is None and format.is_heavy:
            watch.in_the_making = variant
            if not variant.is_ordered:
                variant.is_ordered = True
                make_elsewhere(variant)
            return None, None
        if variant.frames is None:
            variant.make()
        return variant.frames, None
    if preview is not None and is_preview_due:
        watch.was_mesh_last = False
        watch.preview_due_at = _next_due(watch.preview_due_at, watch.seconds_between, now)
        watch.spend_credit(now)
        watch.preview_serial = preview.serial
        return preview.frames, None
    due = [watch.mesh_due_at] * (format is not None) + [watch.preview_due_at] * (preview is not None)
    return None, min(due, default=None)


def _next_due(due_at: float, seconds: float, now: float) -> float:
    """Keeps the rhythm if it can: a snapshot that came late does not move those after it."""
    return due_at + seconds if now - due_at < seconds else now + seconds


def _are_equal(new: object, old: object) -> bool:
    return isinstance(new, np.ndarray) and isinstance(old, np.ndarray) and np.array_equal(new, old)
