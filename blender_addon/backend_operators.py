# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons of the local backend in the preferences."""

from __future__ import annotations

import bpy

from . import handlers, local_backend, preferences
from .backend_process import BACKEND, CannotStart
from .connection import CONNECTION
from .operators import refuse


class SKETCHBRIDGE_OT_start_backend(bpy.types.Operator):
    bl_idname = "sketchbridge.start_backend"
    bl_label = "Start"
    bl_description = "Start a server on this machine with the Python above, and connect to it"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return not BACKEND.is_alive

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            local_backend.start(preferences.preferences_of(context))
        except CannotStart as error:
            return refuse(self, str(error))
        return bpy.ops.sketchbridge.connect()


class SKETCHBRIDGE_OT_stop_backend(bpy.types.Operator):
    bl_idname = "sketchbridge.stop_backend"
    bl_label = "Stop"
    bl_description = "Stop the server that was started here. Its jobs are kept, and go on when it is started again"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return BACKEND.is_alive

    def execute(self, context: bpy.types.Context) -> set[str]:
        BACKEND.stop()
        CONNECTION.close()
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_show_backend_log(bpy.types.Operator):
    bl_idname = "sketchbridge.show_backend_log"
    bl_label = "Open Log"
    bl_description = "Open the file with what the local backend has printed"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return BACKEND.log is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        if BACKEND.log is None or not BACKEND.log.is_file():
            return refuse(self, f"There is no log at {BACKEND.log}; start the local backend first")
        return bpy.ops.wm.path_open(filepath=str(BACKEND.log))


_CLASSES = (SKETCHBRIDGE_OT_start_backend, SKETCHBRIDGE_OT_stop_backend, SKETCHBRIDGE_OT_show_backend_log)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
