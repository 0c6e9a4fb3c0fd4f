# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel's buttons do to the job's object in the scene. Each is one undo step."""

from __future__ import annotations

import bpy

from . import handlers, result_object
from .jobs import JOBS, Job


def _shown_job(*shown: str) -> Job | None:
    job = JOBS.current
    return job if job is not None and job.shown in shown else None


class SKETCHBRIDGE_OT_accept(bpy.types.Operator):
    bl_idname = "sketchbridge.accept"
    bl_label = "Accept"
    bl_description = "Make the result an ordinary object of the scene"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = _shown_job("mesh", "result")
        return job is not None and not job.is_active

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.the_current()
        result_object.accept(job, context.scene.sketchbridge.marks_as_asset)
        job.has_edit = False
        result_object.look(job)
        return {"FINISHED"}


class SKETCHBRIDGE_OT_discard(bpy.types.Operator):
    bl_idname = "sketchbridge.discard"
    bl_label = "Discard"
    bl_description = "Remove the job's object from the scene. The history can put it back"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _shown_job("mesh", "result") is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.the_current()
        if job.is_active:
            from .job_control import cancel

            cancel(job, "drop")
        result_object.discard(job)
        job.is_put_away, job.shown = True, "nothing"
        return {"FINISHED"}


class SKETCHBRIDGE_OT_put_back(bpy.types.Operator):
    bl_idname = "sketchbridge.put_back"
    bl_label = "Put Back"
    bl_description = "Show the job's mesh in the scene again, after it was undone, deleted, or another file was opened"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = _shown_job("nothing", "mesh")
        return job is not None and bool(job.job)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from . import live_update

        job = JOBS.the_current()
        if job.shown == "mesh" and not job.is_active:
            live_update.show_result_again(job)
        else:
            live_update.put_back(job)
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_drop_edit(bpy.types.Operator):
    bl_idname = "sketchbridge.drop_edit"
    bl_label = "Drop Edit"
    bl_description = "Go on showing the mesh as it forms, over what you have edited"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = JOBS.current
        return job is not None and job.has_edit and job.pending_edit is None

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.the_current()
        job.has_edit, job.placed.topology = False, None
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_show_colours(bpy.types.Operator):
    bl_idname = "sketchbridge.show_colours"
    bl_label = "Show Colours"
    bl_description = "Have this viewport's Solid mode show the colours of the vertices, or the texture of the result"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.space_data is not None and context.space_data.type == "VIEW_3D"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.current
        has_texture = job is not None and job.shown in ("result", "accepted")
        context.space_data.shading.type = "SOLID"
        context.space_data.shading.color_type = "TEXTURE" if has_texture else "VERTEX"
        return {"FINISHED"}


_CLASSES = (
    SKETCHBRIDGE_OT_accept,
    SKETCHBRIDGE_OT_discard,
    SKETCHBRIDGE_OT_put_back,
    SKETCHBRIDGE_OT_drop_edit,
    SKETCHBRIDGE_OT_show_colours,
)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
