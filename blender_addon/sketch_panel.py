# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of sketches in the panel. Drawing only reads, like all of the panel."""

from __future__ import annotations

from typing import Any

import bpy

from . import sketch_updates, sketches, thumbnails

_ROWS = 3
_THUMBNAIL_SCALE = 5.0


class SKETCHBRIDGE_UL_sketches(bpy.types.UIList):
    bl_idname = "SKETCHBRIDGE_UL_sketches"

    def draw_item(
        self, context: Any, layout: Any, data: Any, sketch: Any, icon: int, active_data: Any, active_name: str
    ) -> None:
        row = layout.row(align=True)
        has_problem = bool(sketch_updates.problem_of(sketch)) and not sketch_updates.is_empty(sketch)
        thumbnail = thumbnails.icon(sketch.uid, 0)
        if has_problem or not thumbnail:
            row.label(text="", icon="ERROR" if has_problem else "IMAGE_DATA" if sketch.image else "GREASEPENCIL")
        else:
            row.label(text="", icon_value=thumbnail)
        row.prop(sketch, "name", text="", emboss=False)
        kind = row.row(align=True)
        kind.prop(sketch, "kind", text="", icon_only=True)
        weight = row.row(align=True)
        weight.ui_units_x = 2.5
        weight.prop(sketch, "weight", text="")
        row.prop(sketch, "is_shown", text="", icon="HIDE_OFF" if sketch.is_shown else "HIDE_ON", emboss=False)


def draw_sketches(layout: Any, context: bpy.types.Context, draw_sentence: Any) -> None:
    """The list, its buttons, and the one that is chosen.

    Args:
        draw_sentence: Draws a sentence in lines: layout, text, icon.
    """
    own = sketches.of(context.scene)
    row = layout.row()
    row.template_list("SKETCHBRIDGE_UL_sketches", "", own, "items", own, "active_index", rows=_ROWS)
    buttons = row.column(align=True)
    buttons.operator_menu_enum("sketchbridge.draw_sketch", "view", text="", icon="ADD")
    buttons.operator("sketchbridge.remove_sketch", text="", icon="REMOVE")
    buttons.separator()
    buttons.operator("sketchbridge.move_sketch", text="", icon="TRIA_UP").direction = "UP"
    buttons.operator("sketchbridge.move_sketch", text="", icon="TRIA_DOWN").direction = "DOWN"
    row = layout.row(align=True)
    row.operator("sketchbridge.draw_sketch", icon="GREASEPENCIL").view = "VIEW"
    row.operator("sketchbridge.take_view", icon="HIDE_OFF")
    sketch = sketches.active_of(context.scene)
    if sketch is None:
        draw_sentence(layout, "Draw what the object looks like from here, or take the view of a drawing", "INFO")
        return
    problem = sketch_updates.problem_of(sketch)
    if problem:
        draw_sentence(layout, problem, "INFO" if sketch_updates.is_empty(sketch) else "ERROR")
    _draw_active(layout, sketch)


def _draw_active(layout: Any, sketch: sketches.SketchbridgeSketch) -> None:
    split = layout.split(factor=0.4)
    icon = thumbnails.icon(sketch.uid, 0)
    left = split.column()
    if icon:
        left.template_icon(icon_value=icon, scale=_THUMBNAIL_SCALE)
    else:
        left.label(text="Nothing yet" if sketch.image is None else "")
    right = split.column()
    right.prop(sketch, "kind", text="")
    right.prop(sketch, "weight")
    right.prop(sketch, "has_colours")
    right.operator("sketchbridge.look_through", icon="VIEW_CAMERA")


_CLASSES = (SKETCHBRIDGE_UL_sketches,)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
