# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches the scene's sketches: once they have settled, the running job gets what has changed, and the list gets new
thumbnails.

`look` is called with every tick and looks at one sketch, which costs far less than a millisecond: there is no need for
handlers, and undo, scripts and renaming are noticed like strokes. Light, since it is loaded with Blender.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bpy

from . import sketches, thumbnails
from .connection import CONNECTION
from .jobs import JOBS, Job

if TYPE_CHECKING:
    from .sketch_reading import SentSketch

SETTLE_SECONDS = 0.6
"""Sketches are sent when nothing has changed in them for so long: not in the middle of a slider's way."""
ONE_MUST_REMAIN = "At least one sketch must remain: the running job keeps those that it has"


@dataclass
class _Seen:
    """One sketch, as it was looked at last."""

    sent: SentSketch | None = None
    """What a job would get; None if it cannot be used."""
    problem: str = ""
    is_empty: bool = False
    """That is the problem."""


@dataclass
class _Watch:
    """Of the scene that was looked at last."""

    scene_uid: int = 0
    seen: dict[str, _Seen] = field(default_factory=dict)
    """By the uid of each sketch."""
    thumbnails: dict[str, str] = field(default_factory=dict)
    """By the uid of each sketch: the digest of what its thumbnail shows."""
    names: tuple[str, ...] = ()
    next_index: int = 0
    changed_at: float = 0.0


WATCH = _Watch()


def problem_of(sketch: sketches.SketchbridgeSketch) -> str:
    """Why a sketch cannot be used as it is; empty if it can, or was not looked at yet."""
    seen = WATCH.seen.get(sketch.uid)
    return seen.problem if seen is not None else ""


def is_empty(sketch: sketches.SketchbridgeSketch) -> bool:
    """Whether its problem is that nothing is drawn yet: no reason for a warning."""
    seen = WATCH.seen.get(sketch.uid)
    return seen is not None and seen.is_empty


def has_work() -> bool:
    """Whether there are sketches to be looked at."""
    scene = _scene()
    return scene is not None and len(sketches.of(scene).items) > 0


def forget() -> None:
    """Looks at everything anew, such as in another file."""
    WATCH.__init__()  # type: ignore[misc]


def _scene() -> bpy.types.Scene | None:
    """That of the first window, where there is no other: a timer has no window of its own."""
    windows = bpy.context.window_manager.windows
    return windows[0].scene if bpy.context.window is None and windows else bpy.context.scene


def look() -> None:
    """One turn."""
    scene = _scene()
    if scene is None:
        return
    items = sketches.of(scene).items
    if scene.session_uid != WATCH.scene_uid:
        forget()
        WATCH.scene_uid = scene.session_uid
    job = JOBS.current
    if not items and not WATCH.names and (job is None or not job.sent_sketches):
        return
    now = time.monotonic()
    _look_at_list(items, now)
    if items:
        WATCH.next_index = (WATCH.next_index + 1) % len(items)
        _look_at(items[WATCH.next_index], scene, now)
    if len(WATCH.seen) < len(items) or now - WATCH.changed_at < SETTLE_SECONDS:
        return
    _make_thumbnail(items, scene)
    if job is not None and _takes_sketches(job, scene):
        _send_changes(job, items)


def _look_at_list(items: Any, now: float) -> None:
    uids = {each.uid for each in items}
    names = tuple(each.name for each in items)
    if names != WATCH.names or not WATCH.seen.keys() <= uids:
        WATCH.names, WATCH.changed_at = names, now
        for uid in WATCH.seen.keys() - uids:
            del WATCH.seen[uid]
            WATCH.thumbnails.pop(uid, None)
        JOBS.needs_redraw = True


def _look_at(sketch: sketches.SketchbridgeSketch, scene: bpy.types.Scene, now: float) -> None:
    from .sketch_reading import UnusableSketch, sent_of

    before, found = WATCH.seen.get(sketch.uid), _Seen()
    try:
        found.sent = sent_of(sketch, scene)
    except UnusableSketch as error:
        found.problem = str(error)
    if before is None or before.sent != found.sent or (found.sent is None and before.problem != found.problem):
        WATCH.seen[sketch.uid], WATCH.changed_at = found, now
        JOBS.needs_redraw = True


def _make_thumbnail(items: Any, scene: bpy.types.Scene) -> None:
    """Of one sketch that has changed since its last one; also finds out whether there is something in it."""
    from .sketch_reading import EmptySketch, UnusableSketch, thumbnail_of

    for sketch in items:
        seen = WATCH.seen.get(sketch.uid)
        if seen is None or seen.sent is None or WATCH.thumbnails.get(sketch.uid) == seen.sent.digest:
            continue
        WATCH.thumbnails[sketch.uid] = seen.sent.digest
        JOBS.needs_redraw = True
        try:
            thumbnails.show(sketch.uid, 0, thumbnail_of(sketch, scene))
            seen.problem, seen.is_empty = "", False
        except UnusableSketch as error:
            seen.problem, seen.is_empty = str(error), isinstance(error, EmptySketch)
            thumbnails.hide(sketch.uid, 0)
        return


def _takes_sketches(job: Job, scene: bpy.types.Scene) -> bool:
    """Whether it is this scene's job and can be steered now."""
    return (
        job.sent_sketches is not None
        and job.placed.scene_uid == scene.session_uid
        and job.can_steer
        and job.asked == ""
        and CONNECTION.is_connected
    )


def _send_changes(job: Job, items: Any) -> None:
    """Sends what the job has otherwise. What cannot be used, or was refused before, waits until it changes again."""
    from . import job_control
    from .protocol.errors import LocalProtocolError
    from .protocol.messages import SketchChange
    from .sketch_reading import UnusableSketch, require_count, require_names, wire_sketch

    scene = _scene()
    state = tuple((each.name, WATCH.seen[each.uid].sent) for each in items)
    has = job.sent_sketches or {}
    wanted = {name: sent for name, sent in state if sent is not None}
    kept_names = {name for name, _ in state}
    removed = tuple(name for name in has if name not in kept_names)
    new = [name for name, sent in wanted.items() if name not in has or has[name].digest != sent.digest]
    weights = [
        SketchChange(name=name, weight=sent.weight)
        for name, sent in wanted.items()
        if name not in new and has[name].weight != sent.weight
    ]
    if scene is None or not (removed or new or weights) or job.refused_sketches == state:
        return
    job.refused_sketches = state  # until it was taken
    try:
        require_names(items)
        limits = CONNECTION.server.limits if CONNECTION.server else None
        require_count(len(items), limits)
        added, problems = [], []
        for each in items:
            if each.name not in new:
                continue
            try:
                added.append(wire_sketch(each, scene))
            except UnusableSketch as error:
                problems.append(str(error))
        if set(has) <= set(removed) and not added:
            raise UnusableSketch(ONE_MUST_REMAIN)
    except (UnusableSketch, LocalProtocolError) as error:
        job.sentence, JOBS.needs_redraw = str(error), True
        return
    if problems:
        job.sentence, JOBS.needs_redraw = problems[0], True
    if not (removed or added or weights):
        return
    taken = {name: sent for name, sent in has.items() if name not in removed}
    taken |= {each.name: wanted[each.name] for each in added}
    taken |= {each.name: wanted[each.name] for each in weights}

    def then() -> None:
        job.sent_sketches = taken
        job.sentence = problems[0] if problems else ""
        if not problems:
            job.refused_sketches = None

    job_control.update_sketches(job, tuple(added), removed, tuple(weights), then)


def unregister() -> None:
    forget()


def register() -> None:
    forget()
