# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with the jobs of the history: show one, use its settings again, delete it."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from . import handlers
from .jobs import JOBS
from .operators import refuse, why_no_server
from .properties import set_values


class SKETCHBRIDGE_OT_show_job(bpy.types.Operator):
    bl_idname = "sketchbridge.show_job"
    bl_label = "Show"
    bl_description = "Show this job in the panel, and what it made in the scene"

    key: StringProperty(options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.by_key.get(self.key)
        if job is None:
            return refuse(self, "This job is not in the history any more")
        JOBS.current_key, JOBS.problem = job.key, ""
        if job.shown != "nothing":
            return {"FINISHED"}
        reason = why_no_server(context) if job.finished is None else ""
        if reason:
            return refuse(self, reason)
        from .live_update import put_back

        put_back(job)
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_new_job(bpy.types.Operator):
    bl_idname = "sketchbridge.new_job"
    bl_label = "Another"
    bl_description = "Describe another job. This one goes on, and stays in the history"

    def execute(self, context: bpy.types.Context) -> set[str]:
        JOBS.current_key, JOBS.problem = "", ""
        return {"FINISHED"}


class SKETCHBRIDGE_OT_reuse_settings(bpy.types.Operator):
    bl_idname = "sketchbridge.reuse_settings"
    bl_label = "Reuse Settings"
    bl_description = "Set the panel to the prompt, seed and settings of this job"
    bl_options = {"REGISTER", "UNDO"}

    key: StringProperty(options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.by_key.get(self.key)
        if job is None:
            return refuse(self, "This job is not in the history any more")
        settings = context.scene.sketchbridge
        set_values(settings, job.settings)
        settings.is_new_seed = False  # or the seed would not be this one
        return {"FINISHED"}


class SKETCHBRIDGE_OT_delete_job(bpy.types.Operator):
    bl_idname = "sketchbridge.delete_job"
    bl_label = "Delete"
    bl_description = "Take this job out of the history and off the server. Objects in the scene stay"

    key: StringProperty(options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        job = JOBS.by_key.get(self.key)
        if job is not None and job.is_active:
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = JOBS.by_key.get(self.key)
        if job is None:
            return refuse(self, "This job is not in the history any more")
        from .job_control import delete

        delete(job)
        return {"FINISHED"}


_CLASSES = (
    SKETCHBRIDGE_OT_show_job,
    SKETCHBRIDGE_OT_new_job,
    SKETCHBRIDGE_OT_reuse_settings,
    SKETCHBRIDGE_OT_delete_job,
)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
