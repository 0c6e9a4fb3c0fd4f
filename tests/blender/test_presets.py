"""Presets: settings kept under a name in the user's folder, used again, and removed."""

from pathlib import Path

import bpy


def preset_files():
    folders = bpy.utils.preset_paths("sketchbridge")
    return sorted(path for folder in folders for path in Path(folder).glob("*.py"))


def test_a_preset_is_kept_used_again_and_removed(blender):
    settings = blender.settings
    settings.quality, settings.steps, settings.source_words = "high", 300, 'blurry, "flat"'
    settings.prompt, settings.seed = "a red mushroom", 42
    bpy.ops.sketchbridge.add_preset(name="Careful")
    (path,) = preset_files()
    settings.quality, settings.steps, settings.source_words = "draft", 10, ""
    settings.prompt, settings.seed = "a blue vase", 7

    bpy.ops.script.execute_preset(filepath=str(path), menu_idname="SKETCHBRIDGE_MT_presets")

    assert (settings.quality, settings.steps, settings.source_words) == ("high", 300, 'blurry, "flat"')
    assert (settings.prompt, settings.seed) == ("a blue vase", 7)  # of a job, and in no preset

    bpy.ops.sketchbridge.add_preset(name="Careful", remove_name=True)

    assert preset_files() == []
