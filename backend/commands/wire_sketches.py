"""Drawings on the disk to sketches on the wire: read and checked here, so that what is wrong is told at once."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from backend.errors import BadInput
from backend.sketches.drawing import ready_drawing
from backend.sketches.ink import ink_of_png
from backend.sketches.sketch import Ink, Sketch, Strokes, thinned
from backend.sketches.view_argument import ViewArgument, Viewpoint, read_sketch
from protocol import sketches as wire
from protocol.arrays import MOST_ALONG
from protocol.errors import LocalProtocolError

_FARTHEST = (-10.0, 11.0)
"""Of a stroke's point on the wire."""
_LOST_INK = 0.02
"""Share of the ink that may differ once it was read again; see `_png_of`."""


def read_wire_sketch(argument: ViewArgument, notice: Callable[[str], None], factor: float = 1.0) -> wire.Sketch:
    """A drawing as a job takes it: an SVG as strokes, any other picture as a black and white PNG of its lines.

    Args:
        notice: Told what of the file is not used.
        factor: On the weight of the argument.

    Raises:
        BadInput: The file cannot be read, nothing is drawn in it, its outline cannot be closed, or it is more than the
            wire can say.
    """
    sketch = read_sketch(argument, notice)
    ready_drawing(sketch, notice)  # what is empty or open fails here and not in the queue
    weight = argument.weight * factor
    if weight > 100:
        raise BadInput(f"the weight of {argument.name} times --sketch-weight must be from 0 to 100; got {weight:g}")
    try:
        if sketch.strokes is not None:
            return _sketch_of_strokes(argument, sketch, sketch.strokes, weight)
        assert sketch.ink is not None  # a Sketch has one of both
        height, width = sketch.ink.shape
        return wire.Sketch(
            name=argument.name,
            camera=wire_camera(argument.viewpoint),
            drawn=argument.drawn,
            weight=weight,
            aspect=width / height,
            picture=_png_of(sketch.ink, argument.path),
        )
    except LocalProtocolError as error:
        raise BadInput(f"the drawing {argument.path} cannot be sent: {error}") from error


def wire_camera(viewpoint: Viewpoint) -> wire.PresetCamera | wire.OrbitCamera:
    """Both sides count angles from the front to the right, and upwards."""
    if viewpoint.view is not None and viewpoint.distance_metres is None and viewpoint.height_metres is None:
        return wire.PresetCamera(
            view=viewpoint.view, projection=viewpoint.projection, fov_degrees=viewpoint.fov_degrees
        )
    return wire.OrbitCamera(
        azimuth_degrees=viewpoint.azimuth_degrees,
        elevation_degrees=viewpoint.elevation_degrees,
        distance_metres=viewpoint.distance_metres,
        projection=viewpoint.projection,
        fov_degrees=viewpoint.fov_degrees,
        height_metres=viewpoint.height_metres,
    )


def _sketch_of_strokes(argument: ViewArgument, sketch: Sketch, strokes: Strokes, weight: float) -> wire.Sketch:
    pieces = [points[thinned(points)] for points, _ in strokes.each()]
    count = sum(len(piece) for piece in pieces)
    if count > MOST_ALONG["points"] or len(pieces) > MOST_ALONG["strokes"]:
        raise BadInput(
            f"the drawing {argument.path} has {len(pieces):,} strokes with {count:,} points; at most "
            f"{MOST_ALONG['strokes']:,} with {MOST_ALONG['points']:,} can be sent. Simplify it first"
        )
    return wire.Sketch(
        name=argument.name,
        camera=wire_camera(argument.viewpoint),
        drawn=argument.drawn,
        weight=weight,
        aspect=sketch.aspect,
        points=np.concatenate(pieces).clip(*_FARTHEST).astype(np.float32),
        stroke_lengths=np.array([len(piece) for piece in pieces], dtype=np.int32),
        stroke_colours=strokes.colours,
        line_width=strokes.line_width,
    )


def _png_of(ink: Ink, path: str) -> bytes:
    """Black lines on white, one bit a pixel: a photograph becomes as small as a drawing, and what the server reads in
    it is what was checked here.

    Raises:
        BadInput: The server would read something else.
    """
    content = io.BytesIO()
    Image.fromarray(~ink).save(content, "PNG", optimize=True)
    png = content.getvalue()
    again = ink_of_png(png, path)
    if again.shape != ink.shape or (again ^ ink).sum() > _LOST_INK * ink.sum():
        raise BadInput(
            f"the lines of {path} cannot be told from its ground for sure; leave a blank border around the drawing"
        )
    return png
