"""Sketches and the cameras that they are seen from, in the coordinates of `geometry`.

A camera looks along its own -Z with its own +Y up, as in Blender. Pictures have x to the right and y upwards, both
from 0 to 1 across the picture.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np

from .arrays import Array, Png
from .errors import LocalProtocolError
from .fields import Many, Number, Record, Text, record
from .geometry import Coordinate

FovDegrees = Annotated[float, Number(1.0, 170.0)]
HeightMetres = Annotated[float, Number(1e-4, 1e6)]
Projection = Literal["perspective", "orthographic"]
SketchName = Annotated[str, Text(1, 64)]
SketchWeight = Annotated[float, Number(0.0, 100.0)]
RIGID_TOLERANCE = 1e-3


@record
class PresetCamera(Record):
    """One of Blender's views, at the distance from which the object fills most of the picture."""

    kind: ClassVar[str] = "preset"

    view: Literal["front", "back", "left", "right", "top", "bottom"]
    """Where the camera stands: front at -Y, back at +Y, left at -X, right at +X, top at +Z, bottom at -Z. Up is +Z; +Y
    in the view from the top, -Y in that from the bottom."""
    projection: Projection = "orthographic"
    """Whether things further away look smaller (perspective)."""
    fov_degrees: FovDegrees = 40.0
    """Vertical field of view; of perspective views."""


@record
class OrbitCamera(Record):
    """A camera on an orbit around the middle of the object, which it looks at."""

    kind: ClassVar[str] = "orbit"

    azimuth_degrees: Annotated[float, Number(-360.0, 360.0)]
    """0 stands at the front (-Y) and grows towards +X."""
    elevation_degrees: Annotated[float, Number(-90.0, 90.0)]
    """Above the horizon."""
    distance_metres: HeightMetres | None = None
    """From the middle of the object; null for the distance from which it fills most of the picture."""
    projection: Projection = "perspective"
    """Whether things further away look smaller (perspective)."""
    fov_degrees: FovDegrees = 40.0
    """Vertical field of view; of perspective views."""
    height_metres: HeightMetres | None = None
    """What the height of the picture spans, of orthographic views; null for what the object needs."""


@record
class MatrixCamera(Record):
    """A camera that stands anywhere, such as Blender's active one."""

    kind: ClassVar[str] = "matrix"

    camera_to_world: Annotated[tuple[Coordinate, ...], Many(16, 16)]
    """4 x 4, row by row: rotation and place, without scale; the last row is 0 0 0 1. Blender's matrix_world."""
    projection: Projection = "perspective"
    """Whether things further away look smaller (perspective)."""
    fov_degrees: FovDegrees = 40.0
    """Vertical field of view; of perspective views."""
    height_metres: HeightMetres = 2.0
    """What the height of the picture spans; of orthographic views."""
    shift: Annotated[tuple[Annotated[float, Number(-10.0, 10.0)], ...], Many(2, 2)] = (0.0, 0.0)
    """By how much of its height the picture is moved to the right and upwards: lens shift."""

    def _check(self) -> None:
        matrix = np.array(self.camera_to_world).reshape(4, 4)
        rotation = matrix[:3, :3]
        # Entries are bounded first: squares of a million squared would still be finite, but mean nothing.
        is_rotation = np.abs(rotation).max() <= 1 + RIGID_TOLERANCE and (
            np.abs(rotation @ rotation.T - np.eye(3)).max() <= RIGID_TOLERANCE and np.linalg.det(rotation) > 0
        )
        if not is_rotation or tuple(matrix[3]) != (0.0, 0.0, 0.0, 1.0):
            right = "a rotation and a place, row by row, without scale or mirroring, with the last row 0 0 0 1"
            raise LocalProtocolError.at("camera_to_world", self.camera_to_world, right)


@record
class Sketch(Record):
    """Lines that the object is to have, seen from a camera: strokes, or a picture of them."""

    name: SketchName
    """By which it is changed and removed; unique in its job."""
    camera: PresetCamera | OrbitCamera | MatrixCamera
    """From where it was drawn."""
    drawn: Literal["outline", "lines", "scribble"] = "lines"
    """outline: the silhouette, closed; lines: silhouette and creases; scribble: roughly where things are."""
    weight: SketchWeight = 1.0
    """How much it counts, relative to the default."""
    aspect: Annotated[float, Number(0.05, 20.0)] = 1.0
    """Width of the picture divided by its height."""
    points: Annotated[np.ndarray, Array("float32", "points 2", -10.0, 11.0)] | None = None
    """Of all strokes, one after the other: x and y, 0 to 1 inside the picture."""
    stroke_lengths: Annotated[np.ndarray, Array("int32", "strokes", 1, 200_000)] | None = None
    """How many of the points each stroke has."""
    pressure: Annotated[np.ndarray, Array("float32", "points", 0.0, 1.0)] | None = None
    """Of the pen at each point; null for 1 everywhere."""
    stroke_colours: Annotated[np.ndarray, Array("uint8", "strokes 3")] | None = None
    """sRGB: hints which colour the object has along each stroke; null for strokes without colour."""
    line_width: Annotated[float, Number(1e-4, 0.5)] = 0.01
    """Of a stroke at full pressure, as a share of the picture's height."""
    picture: Annotated[bytes, Png(4096)] | None = None
    """Instead of strokes. Dark lines on a light or a transparent ground."""
    has_colour: bool = False
    """Whether the picture's colours are hints for the object's."""

    def _check(self) -> None:
        if (self.points is None) == (self.picture is None):
            raise LocalProtocolError.at("points", self.points, "given if and only if there is no picture")
        if self.points is None:
            self._check_picture_only()
        else:
            self._check_strokes(self.points)

    def _check_picture_only(self) -> None:
        for name in ("stroke_lengths", "pressure", "stroke_colours"):
            if getattr(self, name) is not None:
                raise LocalProtocolError.at(name, getattr(self, name), "left out, since the sketch is a picture")

    def _check_strokes(self, points: np.ndarray) -> None:
        lengths = self.stroke_lengths
        if lengths is None or lengths.sum(dtype=np.int64) != len(points):
            right = f"an array int32 [strokes] whose sum is the number of points, {len(points)}"
            raise LocalProtocolError.at("stroke_lengths", lengths, right)
        if self.has_colour:
            raise LocalProtocolError.at("has_colour", True, "false for strokes: theirs are stroke_colours")
