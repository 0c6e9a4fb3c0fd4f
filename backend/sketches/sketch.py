"""One sketch as data: what was drawn, from where, and how much it counts. Knows no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.sketches.camera import SketchCamera

SketchKind = Literal["outline", "lines", "scribble"]

INK_PIXELS = 512
"""Height and width of the square picture that every sketch is made into."""
_NEAREST_POINTS = 0.001
"""Points nearer to the one before than this share of the picture are left out: a hand cannot mean them."""
_LEAST_WIDTH_PIXELS = 2.0
_MOST_LINE_PIXELS = 6.0
"""What a broad brush draws is a line all the same, along its middle, and not the shape that the bristles cover."""
_LEAST_CHROMA = 40
"""Between the largest and the smallest of red, green and blue of what is no grey, of 255."""

Ink = Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class Strokes:
    """Polylines, one after the other."""

    points: Float[np.ndarray, "points 2"]
    """x to the right and y upwards, 0 to 1 inside the picture."""
    lengths: Int[np.ndarray, "strokes"]
    """How many of the points each stroke has."""
    pressure: Float[np.ndarray, "points"] | None = None
    """Of the pen at each point, in [0, 1]; None for 1 everywhere."""
    colours: UInt8[np.ndarray, "strokes 3"] | None = None
    """sRGB: hints which colour the object has along each stroke."""
    line_width: float = 0.01
    """Of a stroke at full pressure, as a share of the picture's height."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.points).all():
            raise BadInput("the points of a stroke must be finite numbers")
        if int(self.lengths.sum()) != len(self.points) or (len(self.lengths) and int(self.lengths.min()) < 1):
            raise BadInput(
                f"the lengths of the strokes must be at least 1 and add up to {len(self.points)} points; "
                f"they add up to {int(self.lengths.sum())}"
            )

    def without_colours(self) -> Strokes:
        return dataclasses.replace(self, colours=None)

    def each(self) -> list[tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, "points"]]]:
        """Points and pressure of every stroke."""
        ends = np.cumsum(self.lengths)[:-1]
        pressure = self.pressure if self.pressure is not None else np.ones(len(self.points))
        return list(zip(np.split(self.points, ends), np.split(pressure, ends), strict=True))


@dataclass(frozen=True)
class Sketch:
    """What was drawn: strokes, or a picture's ink."""

    name: str
    """Said in messages; unique in its job."""
    camera: SketchCamera
    drawn: SketchKind = "outline"
    """outline: the silhouette, with its holes; lines: silhouette and creases; scribble: roughly where things are."""
    weight: float = 1.0
    aspect: float = 1.0
    """Width of the picture divided by its height, of strokes."""
    strokes: Strokes | None = None
    ink: Ink | None = None
    """Of a picture: where its lines, or its filled shape, are."""
    ink_colours: UInt8[np.ndarray, "height width 3"] | None = None
    """sRGB of a picture's pixels: those of the ink that are no greys are hints."""

    def __post_init__(self) -> None:
        if (self.strokes is None) == (self.ink is None):
            raise BadInput(f"the sketch {self.name} must have strokes or a picture, one of both")
        if not 0 <= self.weight <= 100:
            raise BadInput(f"the weight of the sketch {self.name} must be from 0 to 100; got {self.weight:g}")

    @property
    def width_by_height(self) -> float:
        """Aspect of what was drawn on."""
        return self.aspect if self.ink is None else self.ink.shape[1] / self.ink.shape[0]

    def square_camera(self) -> SketchCamera:
        """Of the picture that `square_ink` draws."""
        return self.camera.for_square(self.width_by_height)

    def square_ink(self, notice: Callable[[str], None] = lambda sentence: None) -> Ink:
        """What was drawn, in a square of `INK_PIXELS` with margins at the shorter sides.

        Args:
            notice: Told what lies outside of the picture.

        Raises:
            BadInput: Nothing was drawn, or nothing inside the picture.
        """
        ink = _draw_strokes(self, self.strokes, notice) if self.strokes is not None else _fit_in_square(self.ink)
        if not ink.any():
            raise BadInput(f"the sketch {self.name} is empty: there is no line in it")
        return ink

    @property
    def has_colour_hints(self) -> bool:
        """Whether it has coloured strokes, or the colours of a picture."""
        return self.ink_colours is not None or (self.strokes is not None and self.strokes.colours is not None)

    def colour_hints(self) -> tuple[UInt8[np.ndarray, "height width 3"], Ink] | None:
        """sRGB colours in the square picture and where they are; None for a sketch without colours."""
        if self.ink is not None and self.ink_colours is not None:
            return _fit_colours_in_square(self.ink_colours), _fit_in_square(self.ink & is_colourful(self.ink_colours))
        if self.strokes is None or self.strokes.colours is None:
            return None
        colours, places = Image.new("RGB", (INK_PIXELS, INK_PIXELS)), Image.new("L", (INK_PIXELS, INK_PIXELS))
        for (path, width), colour in zip(_stroke_paths(self, self.strokes), self.strokes.colours, strict=True):
            red, green, blue = (int(value) for value in colour)
            _draw_stroke(ImageDraw.Draw(colours), path, width, (red, green, blue))
            _draw_stroke(ImageDraw.Draw(places), path, width, 255)
        return np.asarray(colours), np.asarray(places) > 127


def _draw_strokes(sketch: Sketch, strokes: Strokes, notice: Callable[[str], None]) -> Ink:
    if len(strokes.points) == 0:
        raise BadInput(f"the sketch {sketch.name} is empty: it has no strokes")
    inside = ((strokes.points >= 0) & (strokes.points <= 1)).all(axis=1)
    if not inside.any():
        low, high = strokes.points.min(axis=0), strokes.points.max(axis=0)
        raise BadInput(
            f"all strokes of the sketch {sketch.name} lie outside of the view: x from {low[0]:.3g} to {high[0]:.3g}, "
            f"y from {low[1]:.3g} to {high[1]:.3g}, where 0 to 1 is inside"
        )
    if not inside.all():
        notice(f"{(~inside).mean():.0%} of the strokes' points of the sketch {sketch.name} lie outside of the view")
    canvas = Image.new("L", (INK_PIXELS, INK_PIXELS))
    for path, width in _stroke_paths(sketch, strokes):
        _draw_stroke(ImageDraw.Draw(canvas), path, min(width, _MOST_LINE_PIXELS) if len(path) > 1 else width, 255)
    return np.asarray(canvas) > 127


def _stroke_paths(sketch: Sketch, strokes: Strokes) -> list[tuple[list[tuple[float, float]], float]]:
    """Points in pixels of the square picture, and the width, of every stroke."""
    wide, high = (1.0, 1.0 / sketch.aspect) if sketch.aspect > 1 else (sketch.aspect, 1.0)
    paths = []
    for points, pressure in strokes.each():
        kept = thinned(points)
        across = (0.5 + (points[kept, 0] - 0.5) * wide) * INK_PIXELS
        down = (0.5 - (points[kept, 1] - 0.5) * high) * INK_PIXELS
        place = np.clip(np.stack([across, down], axis=1), -10 * INK_PIXELS, 10 * INK_PIXELS)
        width = float(np.median(pressure[kept])) * strokes.line_width * high * INK_PIXELS
        paths.append(([(float(x), float(y)) for x, y in place], max(_LEAST_WIDTH_PIXELS, width)))
    return paths


def _draw_stroke(
    draw: ImageDraw.ImageDraw, path: list[tuple[float, float]], width: float, fill: int | tuple[int, int, int]
) -> None:
    if len(path) > 1:
        draw.line(path, fill=fill, width=round(width), joint="curve")
    for x, y in (path[0], path[-1]):  # round ends, and strokes that are dots
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)


def thinned(points: Float[np.ndarray, "points 2"]) -> Int[np.ndarray, "kept"]:
    """Numbers of the points that a stroke needs: the ends, and between them none too near to the one before."""
    kept, last = [0], points[0]
    for index, point in enumerate(points[1:], start=1):
        if abs(point[0] - last[0]) > _NEAREST_POINTS or abs(point[1] - last[1]) > _NEAREST_POINTS:
            kept.append(index)
            last = point
    if kept[-1] != len(points) - 1:
        kept.append(len(points) - 1)
    return np.array(kept)


def doubled_name(names: Sequence[str]) -> str | None:
    """The first name that two have; None if all differ."""
    return next((name for name in names if names.count(name) > 1), None)


def is_colourful(colours: UInt8[np.ndarray, "height width 3"]) -> Ink:
    """Which pixels have a colour that is no grey. Greys are ink and no hints."""
    return np.ptp(colours, axis=-1) > _LEAST_CHROMA


def _fit_in_square(ink: Ink | None) -> Bool[np.ndarray, "size size"]:
    assert ink is not None  # __post_init__ has seen to it
    square = _padded_to_square(255 * ink.astype(np.uint8))
    side = len(square)
    if side > INK_PIXELS:
        # The darkest of each block, so that thin lines of a large picture stay whole.
        from scipy.ndimage import maximum_filter

        square = maximum_filter(square, size=int(np.ceil(side / INK_PIXELS)))
    small = Image.fromarray(square).resize((INK_PIXELS, INK_PIXELS), Image.Resampling.BILINEAR)
    return np.asarray(small) > 127


def _fit_colours_in_square(colours: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "size size 3"]:
    # The nearest pixel: means over several would mix the ink's colour with that of the paper.
    square = Image.fromarray(_padded_to_square(colours))
    return np.asarray(square.resize((INK_PIXELS, INK_PIXELS), Image.Resampling.NEAREST))


def _padded_to_square(picture: np.ndarray) -> np.ndarray:
    """With margins of zeros at the shorter sides."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, *picture.shape[2:]), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
