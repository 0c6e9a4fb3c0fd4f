# SPDX-License-Identifier: GPL-3.0-or-later
"""When Blender calls the extension by itself: the timer, and what follows undo, redo and another file.

Light, since it is loaded with Blender: what does the work is imported with the first tick.
"""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from . import history, local_backend, result_object, sketch_updates, thumbnails
from .backend_process import BACKEND
from .connection import CONNECTION
from .jobs import JOBS

IDLE_SECONDS = 0.25
BUSY_SECONDS = 1 / 30


def start() -> None:
    """Starts the timer, if it does not run."""
    if not bpy.app.timers.is_registered(_on_timer):
        bpy.app.timers.register(_on_timer, persistent=True)


def _on_timer() -> float | None:
    """Returns after how many seconds it is to be called again; None ends the timer."""
    try:
        from .live_update import tick  # with the protocol, which Blender's start is not to wait for

        tick()
    except Exception as error:
        # A timer that raises is never called again: the panel would stand still for ever.
        import traceback

        traceback.print_exc()
        JOBS.problem = f"Something went wrong here ({error}); the system console has the details"
    is_needed = CONNECTION.is_open or CONNECTION.is_waiting or JOBS.followed or BACKEND.is_alive
    if not (is_needed or sketch_updates.has_work()):
        return None
    followed = [job for job in JOBS.by_key.values() if job.is_followed and job.is_active]
    is_busy = CONNECTION.is_waiting or any(job.status != "paused" for job in followed)
    return BUSY_SECONDS if is_busy else IDLE_SECONDS


@persistent
def _after_undo(*_: object) -> None:
    """Meshes may be older ones now, with other faces; what was gone may be there again."""
    for job in JOBS.by_key.values():
        if job.was_placed:
            job.placed.topology = None
            result_object.look(job)
    JOBS.needs_redraw = True


@persistent
def _after_load(*_: object) -> None:
    """Another file: nothing of the jobs is in it. They go on at the server, and the panel offers to put them back."""
    for job in JOBS.by_key.values():
        if job.was_placed or job.newest is not None or (job.is_active and job.job):
            job.placed.object_uid = job.placed.object_uid or result_object.NOT_HERE
            job.is_held = job.has_edit = False
            result_object.look(job)
    JOBS.owed_undo_step = ""
    JOBS.needs_redraw = True
    sketch_updates.forget()
    if sketch_updates.has_work():
        start()


_HANDLERS = ("undo_post", "redo_post")


def register() -> None:
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(_after_undo)
    bpy.app.handlers.load_post.append(_after_load)
    history.load()
    thumbnails.load_kept([job.key for job in JOBS.by_key.values()])


def unregister() -> None:
    if bpy.app.timers.is_registered(_on_timer):
        bpy.app.timers.unregister(_on_timer)
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(_after_undo)
    bpy.app.handlers.load_post.remove(_after_load)
    CONNECTION.close(wait=True)
    local_backend.let_go()
    JOBS.clear()
