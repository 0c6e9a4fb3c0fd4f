# SPDX-License-Identifier: GPL-3.0-or-later
"""Named sets of settings, kept by Blender with its other presets."""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase

FOLDER = "sketchbridge"
SAVED = (
    "quality",
    "method",
    "steps",
    "guidance_scale",
    "faces",
    "texture_size",
    "prior",
    "source_words",
    "target_words",
    "smoothness",
    "initial_strength",
    "makes_real",
    "is_symmetric_x",
    "is_symmetric_y",
    "is_symmetric_z",
)
"""The prompt, the seed and what to begin with are of one job; a preset is for many."""


class SKETCHBRIDGE_MT_presets(bpy.types.Menu):
    bl_label = "Sketchbridge Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    draw = bpy.types.Menu.draw_preset


class SKETCHBRIDGE_OT_add_preset(AddPresetBase, bpy.types.Operator):
    bl_idname = "sketchbridge.add_preset"
    bl_label = "Add Preset"
    bl_description = "Save these settings under a name, or remove the ones of that name"
    preset_menu = "SKETCHBRIDGE_MT_presets"
    preset_defines = ["import bpy", "settings = bpy.context.scene.sketchbridge"]
    preset_values = [f"settings.{name}" for name in SAVED]
    preset_subdir = FOLDER


_CLASSES = (SKETCHBRIDGE_MT_presets, SKETCHBRIDGE_OT_add_preset)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
