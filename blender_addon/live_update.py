# SPDX-License-Identifier: GPL-3.0-or-later
"""From the server to the scene: `tick` takes what has arrived, writes the newest meshes and has the panel drawn anew.

A timer (see `handlers`) calls it on Blender's main thread; tests call it themselves, since timers do not run in the
background. A tick never waits. What it writes makes no undo step, except that a job's object appears and that it is
finished: one each. Undo and redo may give a mesh another shape and bring objects back, so after them everything is
written again.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import bpy
import numpy as np

from . import job_control, local_backend, result_material, result_object, scene_mesh, sketch_updates
from .backend_process import BACKEND
from .connection import CONNECTION
from .jobs import JOBS, Job

_SECONDS_BETWEEN_REDRAWS = 0.1
_SECONDS_BETWEEN_LOOKS = 0.5


class _Clock:
    """When the panel was drawn anew and the scene was looked at last."""

    redrawn_at = 0.0
    looked_at = 0.0


def tick() -> None:
    """One turn. Safe to call at any time, with or without a connection."""
    events = CONNECTION.events()
    for event in events:
        job_control.hear(event)
    has_answers = CONNECTION.settle() | local_backend.look()
    has_written = False
    if not _is_rendering():
        for job in JOBS.followed:
            has_written |= _show(job)
        _pay_undo()
    _look_now_and_then()
    sketch_updates.look()
    JOBS.needs_redraw |= bool(events) or has_answers or has_written
    _redraw()


def _is_rendering() -> bool:
    """Then nothing is written: data that changes under a render can crash Blender."""
    return bpy.app.is_job_running("RENDER")


def _show(job: Job) -> bool:
    """Brings the scene up to date with the job; says whether something was written."""
    if job.is_put_away or job.placed.material_uid:  # the result was written; if that was undone, it stays undone
        return False
    if job.was_placed and job.shown == "nothing":  # gone: only undo, redo or `put_back` bring it back
        return False
    found = result_object.find(job)
    if found is None:
        if job.was_placed:  # undone or deleted: the panel offers to put it back
            job.shown, job.is_held = "nothing", False
            return False
        return _show_first(job)
    if found.mode != "OBJECT" or found.data.is_editmode:
        job.is_held = True
        return False
    if job.is_held:
        job.is_held, job.has_edit = False, job.has_edit or _was_edited(job, found.data)
    if job.has_edit or job.pending_edit is not None:
        return False
    if job.finished is not None:
        return _show_result(job, found)
    return _show_snapshot(job, found.data)


def _was_edited(job: Job, mesh: bpy.types.Mesh) -> bool:
    written = job.placed.written
    return written is not None and not np.array_equal(scene_mesh.read_positions(mesh), written)


def _show_first(job: Job) -> bool:
    if job.newest is None and job.finished is None:
        return False
    found = result_object.link(job)
    job.shown = "mesh"
    if job.finished is not None:
        return _show_result(job, found)
    _show_snapshot(job, found.data)
    JOBS.owed_undo_step = f"Sketchbridge: {found.name}"
    return True


def put_back(job: Job) -> None:
    """Shows a job again whose object was undone or deleted, in the scene of now."""
    job.is_put_away = job.has_edit = False
    job.placed.object_uid = job.placed.material_uid = 0
    if job.finished is None and not job.is_active:
        job_control.fetch(job)
    elif job.job and job.is_active:
        job_control.follow(job)
    _show(job)


def show_result_again(job: Job) -> None:
    """Writes a finished result over what is there, such as when its last undo step was undone."""
    job.has_edit, job.placed.material_uid, job.shown = False, 0, "mesh"
    if job.finished is None:
        job_control.fetch(job)
    else:
        _show(job)


def _show_snapshot(job: Job, mesh: bpy.types.Mesh) -> bool:
    snapshot, placed = job.newest, job.placed
    if snapshot is None or (snapshot is placed.snapshot and placed.topology is not None):
        return False
    positions, faces = snapshot.metres(), snapshot.faces
    if positions is None or faces is None:
        return False  # the client makes all of them whole
    local = scene_mesh.to_local(placed.frame, positions)
    has_same_faces = placed.topology == snapshot.number and len(mesh.vertices) == len(local)
    if has_same_faces:
        scene_mesh.move_vertices(mesh, local)
    else:
        scene_mesh.write_mesh(mesh, local, faces)
    if snapshot.colours is not None:
        scene_mesh.write_colours(mesh, snapshot.colours)
    placed.topology, placed.written, placed.snapshot = snapshot.number, local, snapshot
    job.shown = "mesh"
    return True


def _show_result(job: Job, found: bpy.types.Object) -> bool:
    finished = job.finished
    if finished is None or finished.mesh is None:
        return False
    placed = job.placed
    try:
        material = result_material.make_material(found.name, finished)
    except result_material.UnreadablePicture as error:
        job.sentence, job.finished = str(error), None
        return False
    placed.written = scene_mesh.write_result(found.data, finished.mesh, placed.frame)
    placed.topology, placed.material_uid = None, material.session_uid
    found.data.materials.clear()
    found.data.materials.append(material)
    job.newest, job.shown = None, "result"
    JOBS.owed_undo_step = f"Sketchbridge: {found.name} finished"
    return True


def _look_now_and_then() -> None:
    """Objects can be deleted or moved to other collections without a word."""
    now, job = time.monotonic(), JOBS.current
    if job is not None and job.was_placed and now - _Clock.looked_at > _SECONDS_BETWEEN_LOOKS:
        _Clock.looked_at, before = now, job.shown
        result_object.look(job)
        JOBS.needs_redraw |= job.shown != before


# --- undo


def _pay_undo() -> None:
    """Makes the undo step that is owed, once the user is not in the middle of something that it would cut in two."""
    if not JOBS.owed_undo_step:
        return
    with _window():
        active, window = bpy.context.active_object, bpy.context.window
        is_busy = window is not None and any(
            each.bl_idname.startswith("TRANSFORM_OT") for each in window.modal_operators
        )
        if is_busy or (active is not None and active.mode != "OBJECT") or not bpy.ops.ed.undo_push.poll():
            return
        bpy.ops.ed.undo_push(message=JOBS.owed_undo_step)
        JOBS.owed_undo_step = ""


def _window() -> AbstractContextManager[object]:
    """A timer has no window, and without one there is no undo."""
    windows = bpy.context.window_manager.windows
    if bpy.context.window is not None or not windows:
        return nullcontext()
    return bpy.context.temp_override(window=windows[0])


# --- drawing


def _redraw() -> None:
    now = time.monotonic()
    if not JOBS.needs_redraw or now - _Clock.redrawn_at < _SECONDS_BETWEEN_REDRAWS:
        return
    _Clock.redrawn_at, JOBS.needs_redraw = now, False
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D" or (
                area.type == "PREFERENCES" and (BACKEND.is_alive or not CONNECTION.is_connected)
            ):
                for region in area.regions:
                    if region.type in ("UI", "WINDOW"):
                        region.tag_redraw()
        window.workspace.status_text_set_internal(None)  # has the status bar drawn
