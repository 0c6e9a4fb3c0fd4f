# SPDX-License-Identifier: GPL-3.0-or-later
"""The sketches of a scene: what the artist has drawn or taken, and from where. Saved with the scene, like other work of
the artist's; what a job has of them is not in here.

Light, since it is loaded with Blender.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

if TYPE_CHECKING:
    from .sketch_strokes import View

KINDS = (
    ("outline", "Outline", "The closed silhouette: the object fills it", "META_PLANE", 0),
    ("lines", "Lines", "Silhouette and creases: the object has edges there", "GREASEPENCIL", 1),
    ("scribble", "Scribble", "Roughly where things are; the mesh is free to differ", "FORCE_TURBULENCE", 2),
)
PROJECTIONS = (
    ("perspective", "Perspective", "Things further away look smaller"),
    ("orthographic", "Orthographic", "Things further away look as large"),
)
MOST_LETTERS = 63
"""Of a sketch's name: the protocol takes 64."""


def _is_drawing(sketch: Any, found: bpy.types.Object) -> bool:
    return found.type == "GREASEPENCIL"


def _show(sketch: Any, context: bpy.types.Context) -> None:
    if sketch.drawing is not None:
        sketch.drawing.hide_viewport = not sketch.is_shown


class SketchbridgeSketch(bpy.types.PropertyGroup):
    """One sketch: a Grease Pencil object or an image, seen from a camera that is remembered as numbers."""

    name: StringProperty(name="Name", default="Sketch", maxlen=MOST_LETTERS, description="Of the sketch; each its own")
    uid: StringProperty(options={"HIDDEN"})
    """Names its thumbnail: 32 hexadecimal digits."""
    kind: EnumProperty(name="Kind", items=KINDS, default="outline", description="What its lines stand for")
    weight: FloatProperty(
        name="Weight",
        default=1.0,
        min=0.0,
        max=100.0,
        soft_max=10.0,
        description="How much the sketch counts, against the others and the prompt",
    )
    is_shown: BoolProperty(
        name="Show", default=True, update=_show, description="Show it in the viewport. Hidden ones count all the same"
    )
    has_colours: BoolProperty(
        name="Colours Count",
        default=True,
        description="The colours of its strokes say which colour the object has there. Greys alone say nothing",
    )
    drawing: PointerProperty(
        name="Drawing",
        type=bpy.types.Object,
        poll=_is_drawing,
        description="The Grease Pencil object whose visible layers it is",
    )
    image: PointerProperty(name="Image", type=bpy.types.Image, description="The picture that it is")
    is_mirrored_x: BoolProperty(options={"HIDDEN"})
    is_mirrored_y: BoolProperty(options={"HIDDEN"})
    camera_to_world: FloatVectorProperty(size=16, options={"HIDDEN"})
    projection: EnumProperty(items=PROJECTIONS, options={"HIDDEN"})
    fov_degrees: FloatProperty(default=40.0, options={"HIDDEN"})
    height_metres: FloatProperty(default=2.0, options={"HIDDEN"})
    shift: FloatVectorProperty(size=2, options={"HIDDEN"})
    aspect: FloatProperty(default=1.0, options={"HIDDEN"})
    depth_metres: FloatProperty(default=1.0, options={"HIDDEN"})
    """How far before the camera the plane is that was drawn on: where its frame is shown."""


class SketchbridgeSketches(bpy.types.PropertyGroup):
    """All of a scene."""

    items: CollectionProperty(type=SketchbridgeSketch)
    active_index: IntProperty(name="Sketch", default=0, options={"HIDDEN"})
    fits: BoolProperty(
        name="Fit Drawings",
        default=True,
        description="The object is as large as what is drawn, and there. Otherwise it is at the 3D cursor, of the "
        "size below. Pictures alone do not say where they are",
    )


def of(scene: bpy.types.Scene) -> SketchbridgeSketches:
    """The sketches of a scene."""
    return scene.sketchbridge_sketches


def active_of(scene: bpy.types.Scene) -> SketchbridgeSketch | None:
    """The one that is chosen in the list."""
    own = of(scene)
    return own.items[own.active_index] if 0 <= own.active_index < len(own.items) else None


def add(scene: bpy.types.Scene, name: str, view: View, depth_metres: float) -> SketchbridgeSketch:
    """A new sketch, which becomes the one that is chosen in the list."""
    own = of(scene)
    name = _unique(name, {each.name for each in own.items})
    sketch = own.items.add()
    sketch.name, sketch.uid = name, os.urandom(16).hex()
    sketch.camera_to_world, sketch.projection = view.camera_to_world, view.projection
    sketch.fov_degrees, sketch.height_metres = view.fov_degrees, view.height_metres
    sketch.shift, sketch.aspect, sketch.depth_metres = view.shift, view.aspect, depth_metres
    own.active_index = len(own.items) - 1
    return sketch


def view_of(sketch: SketchbridgeSketch) -> View:
    """From where it is seen."""
    import numpy as np  # which Blender's start is not to wait for

    from .sketch_strokes import View, rigid

    return View(
        # Blender keeps 32 bits of each number.
        rigid(np.array(sketch.camera_to_world).reshape(4, 4)),
        sketch.projection,
        sketch.fov_degrees,
        sketch.height_metres,
        tuple(sketch.shift),
        sketch.aspect,
    )


def _unique(name: str, taken: set[str]) -> str:
    name = name.strip()[: MOST_LETTERS - 4] or "Sketch"
    if name not in taken:
        return name
    return next(found for number in range(2, len(taken) + 3) if (found := f"{name} {number}") not in taken)


def register() -> None:
    bpy.utils.register_class(SketchbridgeSketch)
    bpy.utils.register_class(SketchbridgeSketches)
    bpy.types.Scene.sketchbridge_sketches = PointerProperty(type=SketchbridgeSketches)


def unregister() -> None:
    del bpy.types.Scene.sketchbridge_sketches
    bpy.utils.unregister_class(SketchbridgeSketches)
    bpy.utils.unregister_class(SketchbridgeSketch)
