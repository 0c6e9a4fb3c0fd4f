# SPDX-License-Identifier: GPL-3.0-or-later
"""Add > Mesh > Sketchbridge and the bar at the bottom. What is in a menu, the search (F3) finds as well."""

from __future__ import annotations

from typing import Any

import bpy

from .jobs import JOBS
from .panel import progress_text


class SKETCHBRIDGE_MT_add(bpy.types.Menu):
    bl_idname = "SKETCHBRIDGE_MT_add"
    bl_label = "Sketchbridge"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("sketchbridge.generate_from_prompt", text="Mesh from Words...").task = "text"
        layout.operator("sketchbridge.generate_from_prompt", text="Texture for the Selected...").task = "texture"
        layout.operator("sketchbridge.generate_from_prompt", text="Mesh from Sketches...").task = "sketch"
        layout.separator()
        layout.operator_menu_enum("sketchbridge.draw_sketch", "view")
        layout.operator("sketchbridge.take_view")
        layout.operator("sketchbridge.look_through")
        layout.separator()
        for name in ("connect", "pause", "resume", "cancel", "accept", "discard", "put_back", "send_edit"):
            layout.operator(f"sketchbridge.{name}")


def _draw_in_add(menu: Any, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.menu(SKETCHBRIDGE_MT_add.bl_idname, icon="OUTLINER_OB_POINTCLOUD")


def _draw_in_status_bar(header: Any, context: bpy.types.Context) -> None:
    job = JOBS.current
    if job is None or not job.is_active:
        return
    row = header.layout.row(align=True)
    bar = row.row()
    bar.ui_units_x = 15  # or its text is cut off
    bar.progress(text=f"Sketchbridge: {progress_text(job)}", factor=job.share, type="BAR")
    row.operator("sketchbridge.cancel", text="", icon="X")


def register() -> None:
    bpy.utils.register_class(SKETCHBRIDGE_MT_add)
    bpy.types.VIEW3D_MT_mesh_add.append(_draw_in_add)
    bpy.types.STATUSBAR_HT_header.prepend(_draw_in_status_bar)


def unregister() -> None:
    bpy.types.STATUSBAR_HT_header.remove(_draw_in_status_bar)
    bpy.types.VIEW3D_MT_mesh_add.remove(_draw_in_add)
    bpy.utils.unregister_class(SKETCHBRIDGE_MT_add)
