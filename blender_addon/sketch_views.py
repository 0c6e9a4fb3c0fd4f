# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras for sketches: what a viewport shows, the scene's camera, a view along an axis; and the way back, which turns
a viewport to where a sketch is seen from.

Light, since it is loaded with Blender.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bpy
from mathutils import Matrix, Quaternion, Vector

if TYPE_CHECKING:
    from .sketch_strokes import View

VIEWS = (
    ("VIEW", "Current View", "What this viewport shows now", "VIEW3D", 0),
    ("CAMERA", "Scene Camera", "What the scene's camera sees", "CAMERA_DATA", 1),
    ("FRONT", "Front", "Along the Y axis", "AXIS_FRONT", 2),
    ("BACK", "Back", "Against the Y axis", "AXIS_FRONT", 3),
    ("LEFT", "Left", "Along the X axis", "AXIS_SIDE", 4),
    ("RIGHT", "Right", "Against the X axis", "AXIS_SIDE", 5),
    ("TOP", "Top", "From above", "AXIS_TOP", 6),
    ("BOTTOM", "Bottom", "From below", "AXIS_TOP", 7),
)
_TURNS = {  # of a camera that looks down and has +Y up: the view from the top (radians about X, then about Z)
    "FRONT": (math.pi / 2, 0.0),
    "BACK": (math.pi / 2, math.pi),
    "LEFT": (math.pi / 2, -math.pi / 2),
    "RIGHT": (math.pi / 2, math.pi / 2),
    "TOP": (0.0, 0.0),
    "BOTTOM": (math.pi, 0.0),
}
_AROUND = 1.3
"""How much more an axis view shows than the object may take."""
_ALIGNED_RADIANS = 1e-3
"""By which a view along an axis may be off it."""
_SENSOR_MM = 36.0
"""Of Blender's viewports, which show twice as much as a camera of the same lens: 1 / tan(half the wider angle) is
lens / 36 mm."""


class NoView(Exception):
    """There is no such view. The message says what to do."""


def view_for(context: bpy.types.Context, name: str, focus: Vector, size_metres: float) -> View:
    """The view of one of `VIEWS`.

    Args:
        focus: What an axis view looks at.
        size_metres: How large an object it is to show there.

    Raises:
        NoView: There is no viewport, no camera, or one whose picture is not flat.
    """
    if name in _TURNS:
        return _axis_view(name, focus, size_metres)
    region = context.region_data if name == "VIEW" else None
    if name == "VIEW" and region is None:
        raise NoView("There is no 3D viewport here: use this in one, or choose the camera or an axis")
    if region is None or region.view_perspective == "CAMERA":
        return camera_view(context)
    from .sketch_strokes import view_from_matrices

    return view_from_matrices(region.view_matrix, region.window_matrix)


def camera_view(context: bpy.types.Context) -> View:
    """What the scene's camera sees, as it is rendered.

    Raises:
        NoView: There is no camera, or one whose picture is not flat.
    """
    camera = context.scene.camera
    if camera is None:
        raise NoView("The scene has no camera: add one, or choose another view")
    if camera.type != "CAMERA" or camera.data.type not in ("PERSP", "ORTHO"):
        raise NoView(f"{camera.name} is no perspective or orthographic camera: change its type, or choose another view")
    from .sketch_strokes import view_from_matrices

    render = context.scene.render
    window = camera.calc_matrix_camera(
        context.evaluated_depsgraph_get(),
        x=render.resolution_x,
        y=render.resolution_y,
        scale_x=render.pixel_aspect_x,
        scale_y=render.pixel_aspect_y,
    )
    return view_from_matrices(camera.matrix_world.normalized().inverted(), window)


def _axis_view(name: str, focus: Vector, size_metres: float) -> View:
    from .sketch_strokes import View, rigid

    about_x, about_z = _TURNS[name]
    turn = Matrix.Rotation(about_z, 4, "Z") @ Matrix.Rotation(about_x, 4, "X")
    matrix = Matrix.Translation(focus) @ turn @ Matrix.Translation((0, 0, 2 * size_metres))
    return View(rigid(matrix), "orthographic", height_metres=_AROUND * size_metres)


def depth_of(view: View, point: Vector) -> float:
    """How far before the camera a point is, in metres; a point behind it counts as one metre before it."""
    matrix = _matrix_of(view)
    depth = -(matrix.inverted() @ point).z
    return depth if view.is_flat or depth > 1e-3 else 1.0


def _matrix_of(view: View) -> Matrix:
    return Matrix([view.camera_to_world[row : row + 4] for row in (0, 4, 8, 12)])


def background_view(context: bpy.types.Context) -> tuple[View, Any]:
    """Where the image behind the scene's camera is seen, and its settings. What it shows is the picture.

    Raises:
        NoView: There is no such image, or it is turned.
    """
    view = camera_view(context)
    camera = context.scene.camera
    shown = [each for each in camera.data.background_images if each.show_background_image and each.image is not None]
    shown = [each for each in shown if each.source == "IMAGE"]
    if not camera.data.show_background_images or not shown:
        raise NoView(f"{camera.name} shows no image in its background: add one in the camera's properties")
    found = shown[0]
    if abs(found.rotation) > 1e-6:
        raise NoView(f"The background image {found.image.name} is turned: set its rotation to 0, or turn the camera")
    width, height = found.image.size
    if width == 0 or height == 0:
        raise NoView(f"The background image {found.image.name} cannot be read: reload it, or choose another")
    return _framed(view, width / height, found), found


def _framed(view: View, aspect: float, found: Any) -> View:
    """The view whose whole picture is the background image, as Blender places that in the camera's frame.

    Args:
        aspect: Of the image.
    """
    wide, high = view.aspect, 1.0  # of the image, in heights of the frame
    if found.frame_method != "STRETCH":
        is_by_width = (aspect > view.aspect) == (found.frame_method == "FIT")
        wide, high = (view.aspect, view.aspect / aspect) if is_by_width else (aspect, 1.0)
    wide, high = wide * found.scale, high * found.scale
    # Offsets are in the frame's longer side, with the factors that Blender has kept from its older versions.
    longer = max(1.0, view.aspect)
    right = found.offset[0] * min(1.0, view.aspect) * longer
    up = found.offset[1] / (max(1.0, view.aspect) * (aspect / view.aspect)) * longer
    return replace(
        view,
        aspect=wide / high,
        fov_degrees=math.degrees(2 * math.atan(math.tan(math.radians(view.fov_degrees) / 2) * high)),
        height_metres=view.height_metres * high,
        shift=((view.shift[0] + right) / high, (view.shift[1] + up) / high),
    )


def look_through(context: bpy.types.Context, view: View, depth_metres: float) -> None:
    """Turns the viewport so that it shows what the view shows, and as large as fits. A perspective view with a lens
    shift is shown from the same place, its picture not in the middle."""
    space, region = context.space_data, context.region_data
    matrix = _matrix_of(view)
    wide_by_high = context.region.width / max(1, context.region.height)
    half = view.height_metres / 2 if view.is_flat else math.tan(math.radians(view.fov_degrees) / 2)
    # Of what the picture needs and the region has: half of the region's longer side.
    longer = half * max(view.aspect, wide_by_high) if wide_by_high >= 1 else half * max(1, view.aspect / wide_by_high)
    region.view_perspective = "ORTHO" if view.is_flat else "PERSP"
    _turn(region, matrix.to_quaternion(), view.is_flat)
    middle = Vector((0, 0, -depth_metres))
    if view.is_flat:
        middle.x, middle.y = (2 * half * share for share in view.shift)
        region.view_distance = longer * space.lens / _SENSOR_MM
    else:
        space.lens = min(250.0, max(1.0, _SENSOR_MM / longer))
        region.view_distance = max(1e-3, depth_metres)
    region.view_location = matrix @ middle


def _turn(region: Any, rotation: Quaternion, is_flat: bool) -> None:
    """Turns a viewport. If it is along an axis then, Blender has its grid and says so, as after numpad 1; told nothing,
    it goes on saying what the viewport was before."""
    region.view_rotation = rotation
    region.is_orthographic_side_view = is_flat  # which also turns it to the axis that is nearest
    if region.view_rotation.rotation_difference(rotation).angle > _ALIGNED_RADIANS:
        region.is_orthographic_side_view = False
        region.view_rotation = rotation
