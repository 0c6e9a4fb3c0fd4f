# SPDX-License-Identifier: GPL-3.0-or-later
"""What the buttons of the list of sketches do. Each is one undo step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import EnumProperty
from mathutils import Vector

from . import handlers, sketch_views, sketches
from .operators import refuse

if TYPE_CHECKING:
    from .sketch_strokes import View

DEFAULT_NAME = "Sketch"
COLLECTION = "Sketches"
MATERIAL = "Sketch"
BRUSH = "Sketch Pencil"
_BRUSH_PIXELS = 5
_DRAW_MODE = "PAINT_GREASE_PENCIL"


def _focus(context: bpy.types.Context) -> tuple[Vector, float]:
    """What is drawn over, and how large that is: the mesh that the job begins with, else the place of the 3D cursor."""
    from .initial_mesh import SURFACES  # it needs NumPy, which Blender's start is not to wait for

    settings = context.scene.sketchbridge
    selected = [each for each in context.selected_objects if each.type in SURFACES]
    if settings.begin_with == "SELECTED" and selected:
        corners = [each.matrix_world @ Vector(corner) for each in selected for corner in each.bound_box]
        low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
        high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
        return (low + high) / 2, max(0.001, (high - low).length)
    return context.scene.cursor.location.copy(), settings.size_metres


def _leave_mode(context: bpy.types.Context) -> None:
    active = context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")


def _choose(context: bpy.types.Context, found: bpy.types.Object) -> bool:
    """Makes it the active object and the only selected one; says whether that can be, in this view layer."""
    context.view_layer.update()  # or what was linked just now is not in it
    if found.name not in context.view_layer.objects:
        return False
    _leave_mode(context)
    found.hide_viewport = False
    found.hide_set(False)
    for each in context.selected_objects:
        each.select_set(False)
    found.select_set(True)
    context.view_layer.objects.active = found
    return True


def _draw_in(context: bpy.types.Context, sketch: sketches.SketchbridgeSketch) -> None:
    """Turns this viewport to the sketch's camera, and goes to Draw mode. Without a viewport, neither."""
    if context.area is None or context.area.type != "VIEW_3D" or context.region_data is None:
        return
    sketch_views.look_through(context, sketches.view_of(sketch), sketch.depth_metres)
    if sketch.drawing is not None:
        bpy.ops.object.mode_set(mode=_DRAW_MODE)
        _ensure_brush(context)
        # Strokes go onto the plane through the drawing's origin that faces the view.
        context.tool_settings.gpencil_stroke_placement_view3d = "ORIGIN"
        context.tool_settings.gpencil_sculpt.lock_axis = "VIEW"


def _ensure_brush(context: bpy.types.Context) -> None:
    """Makes a brush where there is none, as in Debian's Blender 4.3, which comes without Blender's own: without one the
    mouse draws nothing."""
    if context.tool_settings.gpencil_paint.brush is not None:
        return
    brush = bpy.data.brushes.get(BRUSH)
    if brush is None:
        brush = bpy.data.brushes.new(BRUSH, mode=_DRAW_MODE)
        brush.size, brush.gpencil_settings.hardness = _BRUSH_PIXELS, 1.0
    brush.asset_mark()  # only what is an asset can be chosen
    bpy.ops.brush.asset_activate(asset_library_type="LOCAL", relative_asset_identifier=f"Brush/{brush.name}")


def _new_drawing(context: bpy.types.Context, name: str, place: Vector) -> bpy.types.Object:
    """An empty Grease Pencil object, with a layer and a material to draw with."""
    blocks = getattr(bpy.data, "grease_pencils_v3", None)  # so called before Blender 5.0
    data = (bpy.data.grease_pencils if blocks is None else blocks).new(name)
    layer = data.layers.new("Lines")
    # A drawing is shown from its frame on.
    layer.frames.new(min(context.scene.frame_start, context.scene.frame_current))
    data.layers.active = layer
    data.materials.append(_material())
    found = bpy.data.objects.new(name, data)
    found.location = place
    found.show_in_front = True
    collection = bpy.data.collections.get(COLLECTION)
    if collection is None or context.scene.collection.children.get(COLLECTION) is None:
        collection = collection or bpy.data.collections.new(COLLECTION)
        context.scene.collection.children.link(collection)
    collection.objects.link(found)
    return found


def _material() -> bpy.types.Material:
    found = bpy.data.materials.get(MATERIAL)
    if found is None or found.grease_pencil is None:
        found = bpy.data.materials.new(MATERIAL)
        bpy.data.materials.create_gpencil_data(found)
        found.grease_pencil.color = (0.01, 0.01, 0.01, 1.0)
    return found


class SKETCHBRIDGE_OT_draw_sketch(bpy.types.Operator):
    bl_idname = "sketchbridge.draw_sketch"
    bl_label = "Draw Sketch"
    bl_description = "Begin a new sketch from this view, and draw it. The view is remembered"
    bl_options = {"REGISTER", "UNDO"}

    view: EnumProperty(name="View", items=sketch_views.VIEWS, default="VIEW", description="From where it is drawn")
    kind: EnumProperty(name="Kind", items=sketches.KINDS, default="outline", description="What its lines stand for")

    def execute(self, context: bpy.types.Context) -> set[str]:
        focus, size = _focus(context)
        try:
            view = sketch_views.view_for(context, self.view, focus, size)
        except sketch_views.NoView as error:
            return refuse(self, str(error))
        sketch = _added(context, view, focus, _title(self.view))
        sketch.kind, sketch.drawing = self.kind, _new_drawing(context, _drawing_name(sketch.name), focus)
        if _choose(context, sketch.drawing):
            _draw_in(context, sketch)
        return _done(context)


class SKETCHBRIDGE_OT_take_view(bpy.types.Operator):
    bl_idname = "sketchbridge.take_view"
    bl_label = "Take View"
    bl_description = "Make a sketch of the active Grease Pencil object as it is seen from here, or of the image behind "
    bl_description += "the scene's camera"
    bl_options = {"REGISTER", "UNDO"}

    source: EnumProperty(
        name="Of",
        items=(
            ("AUTO", "What is There", "The active object's strokes, or else the camera's image"),
            ("STROKES", "Active Object", "The strokes of the active Grease Pencil object"),
            ("PICTURE", "Camera Background", "The image that the scene's camera shows in its background"),
        ),
        default="AUTO",
        description="What becomes a sketch",
    )
    view: EnumProperty(name="View", items=sketch_views.VIEWS, default="VIEW", description="From where strokes are seen")
    kind: EnumProperty(name="Kind", items=sketches.KINDS, default="outline", description="What its lines stand for")

    def execute(self, context: bpy.types.Context) -> set[str]:
        drawing = context.active_object
        has_strokes = drawing is not None and drawing.type == "GREASEPENCIL"
        if self.source == "STROKES" and not has_strokes:
            return refuse(self, "The active object is no Grease Pencil object: click the drawing first")
        try:
            if self.source == "PICTURE" or not has_strokes:
                self._take_picture(context)
            else:
                self._take_strokes(context, drawing)
        except sketch_views.NoView as error:
            what = "" if self.source != "AUTO" or has_strokes else "No Grease Pencil object is active. "
            return refuse(self, f"{what}{error}")
        return _done(context)

    def _take_strokes(self, context: bpy.types.Context, drawing: bpy.types.Object) -> None:
        corners = [drawing.matrix_world @ Vector(corner) for corner in drawing.bound_box]
        middle = sum(corners, Vector()) / len(corners)
        size = max((corner - middle).length for corner in corners) * 2
        view = sketch_views.view_for(context, self.view, middle, max(0.001, size))
        sketch = _added(context, view, middle, _title(self.view, drawing.name))
        sketch.kind, sketch.drawing = self.kind, drawing

    def _take_picture(self, context: bpy.types.Context) -> None:
        view, found = sketch_views.background_view(context)
        focus, _ = _focus(context)
        sketch = _added(context, view, focus, found.image.name)
        sketch.kind, sketch.image = self.kind, found.image
        # The ink of a photographed drawing is rarely a true grey.
        sketch.has_colours = False
        sketch.is_mirrored_x, sketch.is_mirrored_y = found.use_flip_x, found.use_flip_y


def _drawing_name(sketch_name: str) -> str:
    """`Sketch Front`; no `Sketch Sketch.001`."""
    return sketch_name if sketch_name.startswith(DEFAULT_NAME) else f"{DEFAULT_NAME} {sketch_name}"


def _title(view: str, drawing: str = "") -> str:
    """A name for a sketch: of its axis, or else of what it is of."""
    titles = {identifier: title for identifier, title, *_ in sketch_views.VIEWS}
    return drawing or DEFAULT_NAME if view == "VIEW" else "Camera" if view == "CAMERA" else titles[view]


def _added(context: bpy.types.Context, view: View, focus: Vector, name: str) -> sketches.SketchbridgeSketch:
    return sketches.add(context.scene, name, view, sketch_views.depth_of(view, focus))


def _done(context: bpy.types.Context) -> set[str]:
    context.scene.sketchbridge.task = "sketch"
    handlers.start()
    return {"FINISHED"}


class _OnActiveSketch:
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return sketches.active_of(context.scene) is not None


class SKETCHBRIDGE_OT_look_through(_OnActiveSketch, bpy.types.Operator):
    bl_idname = "sketchbridge.look_through"
    bl_label = "Look Through"
    bl_description = "Turn this viewport to where the sketch is seen from, and go on drawing it"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        sketch: Any = sketches.active_of(context.scene)
        if sketch.image is None:
            from .sketch_reading import UnusableSketch, drawing_of

            try:
                drawing = drawing_of(sketch, context.scene)
            except UnusableSketch as error:
                return refuse(self, str(error))
            if not _choose(context, drawing):
                return refuse(self, f"{drawing.name} is not in this view layer: choose the layer that it is in")
            sketch.is_shown = True
        _draw_in(context, sketch)
        return {"FINISHED"}


class SKETCHBRIDGE_OT_remove_sketch(_OnActiveSketch, bpy.types.Operator):
    bl_idname = "sketchbridge.remove_sketch"
    bl_label = "Remove Sketch"
    bl_description = "Remove the sketch from the list. Its drawing stays in the scene"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        own = sketches.of(context.scene)
        own.items.remove(own.active_index)
        own.active_index = max(0, min(own.active_index, len(own.items) - 1))
        handlers.start()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_move_sketch(_OnActiveSketch, bpy.types.Operator):
    bl_idname = "sketchbridge.move_sketch"
    bl_label = "Move Sketch"
    bl_description = "Move the sketch up or down in the list"
    bl_options = {"REGISTER", "UNDO"}

    direction: EnumProperty(name="Direction", items=(("UP", "Up", "To the front"), ("DOWN", "Down", "To the end")))

    def execute(self, context: bpy.types.Context) -> set[str]:
        own = sketches.of(context.scene)
        to = own.active_index + (-1 if self.direction == "UP" else 1)
        if not 0 <= to < len(own.items):
            return {"CANCELLED"}
        own.items.move(own.active_index, to)
        own.active_index = to
        return {"FINISHED"}


_CLASSES = (
    SKETCHBRIDGE_OT_draw_sketch,
    SKETCHBRIDGE_OT_take_view,
    SKETCHBRIDGE_OT_look_through,
    SKETCHBRIDGE_OT_remove_sketch,
    SKETCHBRIDGE_OT_move_sketch,
)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
