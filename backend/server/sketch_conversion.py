"""Sketches on the wire and in the backend: cameras, strokes and pictures, from the client's scene to the ball that
objects live in.

Both sides count pictures alike: x to the right and y upwards, the camera along its own -Z. Axes, place and size of the
world differ, as for meshes: see `mesh_conversion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from backend.errors import BadInput, BadPicture
from backend.geometry.mesh_input import BALL_RADIUS_METRES, Placement
from backend.sketches.camera import SketchCamera
from backend.sketches.ink import colours_of_png, ink_of_png
from backend.sketches.sketch import Ink, Sketch, Strokes
from protocol import sketches as wire

_ASPECT_ROUNDING = 0.02
"""By how much the aspect that is said of a picture may differ from that of its pixels."""


def placed_sketches(
    sketches: Sequence[wire.Sketch], placement: Placement, notice: Callable[[str], None]
) -> tuple[Sketch, ...]:
    """All sketches of a new job; see `placed_sketch`."""
    return tuple(placed_sketch(sketch, placement, notice) for sketch in sketches)


def placed_sketch(sketch: wire.Sketch, placement: Placement, notice: Callable[[str], None]) -> Sketch:
    """A client's sketch before the object.

    Args:
        placement: From the client's scene to the ball.
        notice: Told what of the sketch is not used.

    Raises:
        BadPicture: Its picture is damaged, or nothing is drawn in it.
        BadInput: Its camera does not see the object.
    """
    camera = placed_camera(sketch.camera, placement)
    if sketch.picture is None:
        placed = Sketch(sketch.name, camera, sketch.drawn, sketch.weight, sketch.aspect, strokes=_strokes(sketch))
    else:
        ink, colours = _read_picture(sketch, sketch.picture, notice)
        placed = Sketch(sketch.name, camera, sketch.drawn, sketch.weight, ink=ink, ink_colours=colours)
    _require_sight(placed, placement)
    return placed


def placed_camera(
    camera: wire.PresetCamera | wire.OrbitCamera | wire.MatrixCamera, placement: Placement
) -> SketchCamera:
    """A camera of the client's scene as one of the ball: angles and lens shifts stay, lengths are scaled.

    Raises:
        BadInput: Scaled, its distance or height is beyond what can be computed with.
    """
    scale = placement.scale
    if isinstance(camera, wire.PresetCamera):
        return SketchCamera.preset(camera.view, camera.projection, camera.fov_degrees)
    if isinstance(camera, wire.OrbitCamera):
        return SketchCamera.orbit(
            camera.azimuth_degrees,
            camera.elevation_degrees,
            None if camera.distance_metres is None else camera.distance_metres * scale,
            camera.projection,
            camera.fov_degrees,
            None if camera.height_metres is None else camera.height_metres * scale,
        )
    given = np.array(camera.camera_to_world, dtype=np.float64).reshape(4, 4)
    matrix = np.eye(4)
    matrix[:3, :3] = placement.turn(given[:3, :3].T).T  # its columns are directions
    matrix[:3, 3] = placement.place(given[None, :3, 3])[0]
    shift_x, shift_y = camera.shift
    return SketchCamera.from_matrix(
        matrix.ravel().tolist(), camera.projection, camera.fov_degrees, camera.height_metres * scale, (shift_x, shift_y)
    )


def _require_sight(sketch: Sketch, placement: Placement) -> None:
    """Refuses a camera in whose picture the ball is not. A free one is moved before the object later."""
    camera, name = sketch.camera, sketch.name
    if not camera.is_placed:
        return
    x_middle, y_middle, z_middle = placement.centre
    ball = (
        f"the ball in which the object grows (middle {x_middle:.3g}, {y_middle:.3g}, {z_middle:.3g}, radius "
        f"{BALL_RADIUS_METRES / placement.scale:.3g} m)"
    )
    advice = "draw from where it is seen, or give the job a placement where the drawing is"
    matrix = np.array(camera.camera_to_world).reshape(4, 4)
    x, y, z = (float(value) for value in matrix[:3, :3].T @ -matrix[:3, 3])  # the ball's middle, as the camera has it
    is_flat = camera.projection == "orthographic"
    if not is_flat and z >= 0:
        raise BadInput(f"the camera of the sketch {name} looks away from {ball}; {advice}")
    half_height = camera.half_height * (1.0 if is_flat else -z)
    right, up = (2 * share * half_height for share in camera.shift)
    if (
        abs(x - right) - BALL_RADIUS_METRES >= half_height * sketch.width_by_height
        or abs(y - up) - BALL_RADIUS_METRES >= half_height
    ):
        raise BadInput(f"{ball} is not in the picture of the camera of the sketch {name}; {advice}")


def _strokes(sketch: wire.Sketch) -> Strokes:
    assert sketch.points is not None  # the message has checked both
    assert sketch.stroke_lengths is not None
    return Strokes(
        sketch.points.astype(np.float64),
        sketch.stroke_lengths.astype(np.int64),
        None if sketch.pressure is None else sketch.pressure.astype(np.float64),
        None if sketch.stroke_colours is None else np.array(sketch.stroke_colours),
        sketch.line_width,
    )


def _read_picture(
    sketch: wire.Sketch, picture: bytes, notice: Callable[[str], None]
) -> tuple[Ink, UInt8[np.ndarray, "height width 3"] | None]:
    """Where its lines are, and their colours if these are hints."""
    try:
        ink = ink_of_png(picture, sketch.name, notice)
        colours = colours_of_png(picture, sketch.name, ink) if sketch.has_colour else None
    except BadInput as error:
        raise BadPicture(str(error)) from error
    if sketch.has_colour and colours is None:
        notice(f"no line of the sketch {sketch.name} has a colour other than greys, so that none is a hint")
    own = ink.shape[1] / ink.shape[0]
    if abs(sketch.aspect / own - 1) > _ASPECT_ROUNDING:
        notice(
            f"the picture of the sketch {sketch.name} is {own:.3g} times as wide as high, and not {sketch.aspect:.3g} "
            "times as its aspect says; the picture counts"
        )
    return ink, colours
