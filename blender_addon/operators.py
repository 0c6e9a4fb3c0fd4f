# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel's buttons ask of the server. None of these waits for an answer, and none changes the scene.

What needs the protocol is imported when a button is pressed: it takes longer to load than an extension may take of
Blender's start.
"""

from __future__ import annotations

from functools import partial

import bpy
from bpy.props import EnumProperty, StringProperty

from . import handlers, local_backend, preferences, result_object
from .backend_process import CannotStart
from .connection import CONNECTION
from .jobs import JOBS, Job
from .properties import TASKS


def current_job() -> Job | None:
    """The job that the panel shows, if it is still going on."""
    job = JOBS.current
    return job if job is not None and job.is_active else None


def refuse(operator: bpy.types.Operator, sentence: str) -> set[str]:
    """Says why nothing was done, at the pointer and in the panel."""
    JOBS.problem = sentence
    operator.report({"ERROR"}, sentence)
    return {"CANCELLED"}


def why_no_server(context: bpy.types.Context) -> str:
    """Sees to it that a job can be asked for: starts the local backend where that is wanted, and connects.

    Returns:
        Why that cannot be, for the user; empty if it is being tried.
    """
    try:
        local_backend.start_if_needed(preferences.preferences_of(context))
    except CannotStart as error:
        return str(error)
    return "" if CONNECTION.is_open or preferences.connect(context) else CONNECTION.sentence


class SKETCHBRIDGE_OT_connect(bpy.types.Operator):
    bl_idname = "sketchbridge.connect"
    bl_label = "Connect"
    bl_description = "Connect to the server anew, and see whether it answers"

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not preferences.connect(context):
            return refuse(self, CONNECTION.sentence)
        JOBS.problem = ""
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_disconnect(bpy.types.Operator):
    bl_idname = "sketchbridge.disconnect"
    bl_label = "Disconnect"
    bl_description = "End the connection. Jobs go on at the server"

    def execute(self, context: bpy.types.Context) -> set[str]:
        CONNECTION.close()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_show_online_access(bpy.types.Operator):
    bl_idname = "sketchbridge.show_online_access"
    bl_label = "Open Online Access"
    bl_description = "Open Blender's preferences where online access is allowed"

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.preferences.active_section = "SYSTEM"
        bpy.ops.screen.userpref_show(section="SYSTEM")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_make_keys(bpy.types.Operator):
    bl_idname = "sketchbridge.make_keys"
    bl_label = "Make Keys"
    bl_description = "Make a new pair of keys for this Blender, and copy the public one, for the server's list"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            import zmq
        except ImportError as error:
            return refuse(self, f"pyzmq cannot be loaded: {error}")
        public, secret = zmq.curve_keypair()
        own = preferences.preferences_of(context)
        own.public_key, own.secret_key = public.decode(), secret.decode()
        context.window_manager.clipboard = own.public_key
        self.report({"INFO"}, "The public key was copied: add it to the server's list")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_generate(bpy.types.Operator):
    bl_idname = "sketchbridge.generate"
    bl_label = "Generate"
    bl_description = "Have the server make what the panel describes. You can go on working meanwhile"

    def execute(self, context: bpy.types.Context) -> set[str]:
        from . import job_control, job_request

        reason = why_no_server(context)
        if reason:
            return refuse(self, reason)
        limits = CONNECTION.server.limits if CONNECTION.server else None
        try:
            job, request = job_request.make_job(context, limits)
        except job_request.UnusableRequest as error:
            return refuse(self, str(error))
        job_control.submit(job, request)
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_generate_from_prompt(bpy.types.Operator):
    """Asks for the prompt first: for menus and for the search."""

    bl_idname = "sketchbridge.generate_from_prompt"
    bl_label = "Sketchbridge: Generate..."
    bl_description = "Type what to make, and have the server make it"

    task: EnumProperty(name="Task", items=TASKS, default="text")
    prompt: StringProperty(name="Prompt", maxlen=2000, description="What to make: a red mushroom")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.prompt = context.scene.sketchbridge.prompt
        return context.window_manager.invoke_props_dialog(self, width=420)

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.sketchbridge
        settings.task, settings.prompt = self.task, self.prompt
        return bpy.ops.sketchbridge.generate()


class _OnRunningJob:
    """What can be done to the job that the panel shows, while that has one of some statuses."""

    statuses: tuple[str, ...] = ()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = current_job()
        return job is not None and job.status in cls.statuses and job.asked in ("", "fetch")


class SKETCHBRIDGE_OT_pause(_OnRunningJob, bpy.types.Operator):
    bl_idname = "sketchbridge.pause"
    bl_label = "Pause"
    bl_description = "Stop after this step, and keep everything as it is"
    statuses = ("queued", "starting", "running")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from .job_control import pause

        pause(JOBS.the_current())
        return {"FINISHED"}


class SKETCHBRIDGE_OT_resume(_OnRunningJob, bpy.types.Operator):
    bl_idname = "sketchbridge.resume"
    bl_label = "Resume"
    bl_description = "Go on from where it was paused"
    statuses = ("paused",)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from .job_control import resume

        resume(JOBS.the_current())
        return {"FINISHED"}


class SKETCHBRIDGE_OT_cancel(bpy.types.Operator):
    bl_idname = "sketchbridge.cancel"
    bl_label = "Cancel"
    bl_description = "End the job. The mesh as it is becomes its result, to be accepted or discarded"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return current_job() is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        from .job_control import cancel

        cancel(JOBS.the_current())
        return {"FINISHED"}


class SKETCHBRIDGE_OT_try_again(bpy.types.Operator):
    bl_idname = "sketchbridge.try_again"
    bl_label = "Try Again"
    bl_description = "Send the job once more"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = JOBS.current
        return job is not None and job.status == "failed" and job.request is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        reason = why_no_server(context)
        if reason:
            return refuse(self, reason)
        from .job_control import submit_again

        JOBS.problem = ""
        submit_again(JOBS.the_current())
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_steer(bpy.types.Operator):
    bl_idname = "sketchbridge.steer"
    bl_label = "Apply"
    bl_description = "Send what you have changed above to the running job, which goes on with it"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = current_job()
        return job is not None and job.can_steer and job.asked == ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        from .job_control import steer
        from .protocol.errors import LocalProtocolError

        try:
            steer(JOBS.the_current(), context.scene.sketchbridge)
        except LocalProtocolError as error:
            return refuse(self, f"This cannot be sent: {error}")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_send_edit(bpy.types.Operator):
    bl_idname = "sketchbridge.send_edit"
    bl_label = "Send Edit"
    bl_description = "Have the running job go on from the mesh as you have edited it, in Edit or Sculpt mode"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = current_job()
        return job is not None and job.can_steer and job.asked == "" and job.shown == "mesh"

    def execute(self, context: bpy.types.Context) -> set[str]:
        from . import initial_mesh, job_control, scene_mesh

        job = JOBS.the_current()
        found = result_object.find(job)
        if found is None:
            return refuse(self, "The mesh is not in the scene any more: put it back first")
        try:
            to_scene = partial(scene_mesh.to_scene, job.placed.frame)
            mesh = initial_mesh.read_object(found, to_scene, job.locked_corners)
        except initial_mesh.UnusableSelection as error:
            return refuse(self, str(error))
        job_control.send_edit(job, mesh, scene_mesh.read_positions(found.data))
        return {"FINISHED"}


_CLASSES = (
    SKETCHBRIDGE_OT_connect,
    SKETCHBRIDGE_OT_disconnect,
    SKETCHBRIDGE_OT_show_online_access,
    SKETCHBRIDGE_OT_make_keys,
    SKETCHBRIDGE_OT_generate,
    SKETCHBRIDGE_OT_generate_from_prompt,
    SKETCHBRIDGE_OT_pause,
    SKETCHBRIDGE_OT_resume,
    SKETCHBRIDGE_OT_cancel,
    SKETCHBRIDGE_OT_try_again,
    SKETCHBRIDGE_OT_steer,
    SKETCHBRIDGE_OT_send_edit,
)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
