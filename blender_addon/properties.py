# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sets in the panel, kept with the scene. Settings only: how a job stands is not in here."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from . import vertex_groups
from .connection import CONNECTION

TASKS = (
    ("text", "Text to Mesh", "Make a mesh from the prompt"),
    ("texture", "Texture Only", "Make a texture for the selected mesh, whose shape stays"),
    ("sketch", "Sketch to Mesh", "Make a mesh that fits the sketches and looks like the prompt"),
)
QUALITIES = (
    ("draft", "Draft", "Soon, and rough"),
    ("normal", "Normal", "A good mesh"),
    ("high", "High", "As good as it gets; takes its time"),
)
METHODS = (
    ("auto", "Automatic", "What the server finds best for the model"),
    ("bridge", "Bridge", "SDS-Bridge: score distillation, then from what the picture is to what it is to be"),
    ("sds", "SDS", "Score distillation sampling"),
    ("nfsd", "NFSD", "Noise-free score distillation"),
    ("csd", "CSD", "Classifier score distillation"),
    ("vsd", "VSD", "Variational score distillation"),
    ("full-bridge", "Full Bridge", "The bridge over the whole job"),
    ("vsd-full-bridge", "VSD Full Bridge", "The bridge from a model of the mesh's own pictures"),
)
TEXTURE_SIZES = tuple((str(size), str(size), f"{size} x {size} pixels") for size in (512, 1024, 2048, 4096))


def _priors(settings: Any, context: Any, typed: str) -> list[str]:
    server = CONNECTION.server
    if server is None:
        return [settings.prior]
    return [prior.name for prior in server.priors if not prior.tasks or settings.task in prior.tasks]


def _vertex_groups(settings: Any, context: Any, typed: str) -> list[str]:
    return vertex_groups.names_of(context.selected_objects)


def _symmetry(axis: str, sides: str) -> Any:
    return BoolProperty(
        name=f"Symmetry {axis}",
        default=False,
        description=f"{sides} are alike, in shape and texture. The plane is across the scene's {axis} axis, in the "
        "middle of the selected objects or of the drawings that it begins with, else at the 3D cursor",
    )


class SketchbridgeSettings(bpy.types.PropertyGroup):
    """Of the next job; some of them can be sent to the running one."""

    task: EnumProperty(name="Task", items=TASKS, default="text", description="What to make")
    prompt: StringProperty(
        name="Prompt",
        maxlen=2000,
        description="What to make, in a few words: a red mushroom",
        options={"TEXTEDIT_UPDATE"},
    )
    begin_with: EnumProperty(
        name="Begin With",
        items=(
            ("NOTHING", "Nothing", "A ball at the 3D cursor"),
            ("SELECTED", "Selected Objects", "The selected objects with their modifiers, joined"),
        ),
        default="NOTHING",
        description="The shape that the mesh forms from",
    )
    initial_strength: FloatProperty(
        name="Keep Shape",
        default=1.0,
        min=0.0,
        max=100.0,
        soft_max=10.0,
        description="How strongly the mesh is held to the shape that it began with; 0 lets it go",
    )
    makes_real: BoolProperty(
        name="Make Real",
        default=False,
        description="Take the selected objects for a sketch in 3D, and bridge from it to the real thing from the first "
        "step on. Without it the prompt shapes the mesh first",
    )
    locked_group: StringProperty(
        name="Locked",
        description="Vertex group of the selected meshes: where its weight is 0.5 or more, the surface stays as it is, "
        "and so do its colours if it has a colour attribute. Empty: nothing is locked",
        search=_vertex_groups,
    )
    is_symmetric_x: _symmetry("X", "Left and right")
    is_symmetric_y: _symmetry("Y", "Front and back")
    is_symmetric_z: _symmetry("Z", "Top and bottom")
    hides_initial: BoolProperty(
        name="Hide Original",
        default=True,
        description="Hide the objects that it began with, so that they do not overlap",
    )
    size_metres: FloatProperty(
        name="Size",
        default=1.8,
        min=0.001,
        max=100_000.0,
        soft_max=20.0,
        subtype="DISTANCE",
        unit="LENGTH",
        description="How large the object may become, where it begins with nothing",
    )
    prior: StringProperty(name="Model", default="embedded", description="The diffusion model", search=_priors)
    quality: EnumProperty(name="Quality", items=QUALITIES, default="normal", description="How long it may take")
    method: EnumProperty(name="Method", items=METHODS, default="auto", description="How the model leads the mesh")
    steps: IntProperty(
        name="Steps", default=0, min=0, max=1_000_000, description="Of the optimisation; 0 leaves it to the server"
    )
    guidance_scale: FloatProperty(
        name="Guidance",
        default=0.0,
        min=0.0,
        max=1000.0,
        soft_max=100.0,
        description="How much the words count against what looks natural; 0 leaves it to the server",
    )
    seed: IntProperty(name="Seed", default=0, min=0, description="Another seed gives another object")
    is_new_seed: BoolProperty(name="New Seed", default=False, description="Take another seed for each job")
    faces: IntProperty(
        name="Faces", default=0, min=0, max=5_000_000, description="At most, of the result; 0 leaves it to the server"
    )
    texture_size: EnumProperty(name="Texture", items=TEXTURE_SIZES, default="1024", description="Of the result")
    source_words: StringProperty(
        name="Away From",
        maxlen=2000,
        description="Words that say what is wrong with it as it is: blurry, oversaturated. Empty: the server's own",
    )
    target_words: StringProperty(
        name="Towards",
        maxlen=2000,
        description="Words that say how it is to look: detailed, sharp. Empty: the server's own",
    )
    smoothness: FloatProperty(
        name="Smoothness",
        default=1.0,
        min=0.0,
        max=100.0,
        soft_max=10.0,
        description="How much the smoothness of the surface counts; for the running job, with Apply",
    )
    marks_as_asset: BoolProperty(
        name="Mark as Asset", default=False, description="Also put the result in the Asset Browser when it is accepted"
    )


def values_of(settings: SketchbridgeSettings) -> dict[str, Any]:
    """All settings by name, as plain values."""
    return {name: getattr(settings, name) for name in SketchbridgeSettings.__annotations__}


def set_values(settings: SketchbridgeSettings, values: dict[str, Any]) -> None:
    """Sets what is in `values` and known; leaves out what this version does not have or take."""
    for name in SketchbridgeSettings.__annotations__:
        if name in values:
            try:
                setattr(settings, name, values[name])
            except (TypeError, ValueError):
                continue


def register() -> None:
    bpy.utils.register_class(SketchbridgeSettings)
    bpy.types.Scene.sketchbridge = PointerProperty(type=SketchbridgeSettings)


def unregister() -> None:
    del bpy.types.Scene.sketchbridge
    bpy.utils.unregister_class(SketchbridgeSettings)
