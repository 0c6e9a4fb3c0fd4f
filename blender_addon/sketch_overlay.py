# SPDX-License-Identifier: GPL-3.0-or-later
"""Sketches in the viewport: the frame of each that is shown, where it was drawn, and the pictures in theirs.

Strokes need no overlay: they are objects of the scene. Blender calls `draw` for each viewport; what it needs of the
graphics library is imported then.
"""

from __future__ import annotations

from typing import Any

import bpy

from . import sketches

_COLOUR, _ACTIVE_COLOUR = (0.45, 0.6, 0.75, 0.6), (1.0, 0.6, 0.1, 0.9)
_PICTURE_ALPHA = 0.5
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


class _Drawing:
    """What Blender calls, and what must not be said at every redraw."""

    handle: Any = None
    failed_uids: set[str] = set()


def draw() -> None:
    """Draws into the viewport of the context."""
    space, scene = bpy.context.space_data, bpy.context.scene
    if scene is None or (space is not None and not space.overlay.show_overlays):
        return
    own = sketches.of(scene)
    if scene.sketchbridge.task == "sketch":
        for index, sketch in enumerate(own.items):
            if sketch.is_shown and sketch.uid not in _Drawing.failed_uids:
                _draw(sketch, index == own.active_index)


def _draw(sketch: sketches.SketchbridgeSketch, is_active: bool) -> None:
    import gpu
    from gpu_extras.batch import batch_for_shader

    corners = corners_of(sketch)
    gpu.state.blend_set("ALPHA")
    try:
        if sketch.image is not None:
            _draw_image(sketch, corners)
        shader = gpu.shader.from_builtin("UNIFORM_COLOR")
        shader.uniform_float("color", _ACTIVE_COLOUR if is_active else _COLOUR)
        batch_for_shader(shader, "LINES", {"pos": [corners[each] for each in (0, 1, 1, 2, 2, 3, 3, 0)]}).draw(shader)
    except (RuntimeError, SystemError, ValueError) as error:  # an image without pixels, a driver that cannot
        _Drawing.failed_uids.add(sketch.uid)
        print(f"Sketchbridge: the sketch {sketch.name} cannot be shown in the viewport: {error}")
    finally:
        gpu.state.blend_set("NONE")


def _draw_image(sketch: sketches.SketchbridgeSketch, corners: list[tuple[float, float, float]]) -> None:
    import gpu
    from gpu_extras.batch import batch_for_shader

    shader = gpu.shader.from_builtin("IMAGE_COLOR")
    shader.uniform_sampler("image", gpu.texture.from_image(sketch.image))
    shader.uniform_float("color", (1.0, 1.0, 1.0, _PICTURE_ALPHA))
    places = [(float(x != sketch.is_mirrored_x), float(y != sketch.is_mirrored_y)) for x, y in _CORNERS]
    two_triangles = (0, 1, 2, 0, 2, 3)
    given = {"pos": [corners[each] for each in two_triangles], "texCoord": [places[each] for each in two_triangles]}
    batch_for_shader(shader, "TRIS", given).draw(shader)


def corners_of(sketch: sketches.SketchbridgeSketch) -> list[tuple[float, float, float]]:
    """The corners of its picture on the plane that was drawn on, in the scene: lower left, lower right, and so on."""
    import numpy as np

    from .sketch_strokes import unproject

    points = unproject(sketches.view_of(sketch), np.array(_CORNERS), sketch.depth_metres)
    return [(float(x), float(y), float(z)) for x, y, z in points]


def register() -> None:
    _Drawing.failed_uids = set()
    _Drawing.handle = bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    if _Drawing.handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_Drawing.handle, "WINDOW")
        _Drawing.handle = None
