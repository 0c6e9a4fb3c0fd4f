"""A sketch made ready for use: its shape and lines as rasters, and the cameras of all sketches of a job fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from backend.errors import BadInput
from backend.geometry.dmtet import LATTICE_METRES
from backend.geometry.mesh_input import BALL_RADIUS_METRES
from backend.sketches.camera import SketchCamera, posed
from backend.sketches.outline import silhouette
from backend.sketches.sketch import INK_PIXELS, Sketch, doubled_name

FITTED_RADIUS_METRES = 0.85
"""How far from the middle drawings reach that may be scaled; objects fit a ball of 0.9."""
_LEVEL_DEGREES = 15.0
_TOLD_DIFFERENCE = 0.05


@dataclass(frozen=True)
class Drawing:
    """Square, of `INK_PIXELS`."""

    sketch: Sketch
    camera: SketchCamera
    """Of the square picture."""
    ink: Bool[np.ndarray, "height width"]
    shape: Bool[np.ndarray, "height width"] | None
    """What the lines enclose; None where a drawing of lines encloses nothing."""

    @property
    def name(self) -> str:
        return self.sketch.name

    @property
    def is_level(self) -> bool:
        """Whether it was drawn from around the horizon, so that its height is the object's."""
        return abs(self.camera.angles_degrees[1]) < _LEVEL_DEGREES

    def line_ink(self) -> Bool[np.ndarray, "height width"]:
        """The ink; of a shape that was filled its border."""
        if self.shape is None or (self.shape & self.ink).sum() <= 0.9 * self.shape.sum():
            return self.ink
        return self.ink & ~ndimage.binary_erosion(self.ink, iterations=max(1, INK_PIXELS // 200))

    def bounding_box(self) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """Lowest and highest x and y of the shape, or of the ink, from -1 to 1 across the picture, y upwards."""
        return bounding_box(self.ink if self.shape is None else self.shape)

    def signed_distances(self) -> Float[np.ndarray, "height width"]:
        """To the border of the shape, negative inside, in shares of the picture's height."""
        assert self.shape is not None  # the caller asks for drawings with a shape alone
        padded = np.pad(self.shape, 1)  # what touches the border of the picture ends there
        outside = ndimage.distance_transform_edt(~padded)
        inside = ndimage.distance_transform_edt(padded)
        # Half a pixel each, as the border runs between pixels.
        signed = np.where(padded, 0.5 - inside, outside - 0.5)
        return signed[1:-1, 1:-1] / len(self.shape)

    def line_distances(self) -> Float[np.ndarray, "height width"]:
        """To the nearest ink, in shares of the picture's height."""
        return ndimage.distance_transform_edt(~self.ink) / len(self.ink)


def ready_drawings(
    sketches: Sequence[Sketch], notice: Callable[[str], None] = lambda sentence: None
) -> tuple[Drawing, ...]:
    """All sketches of a job, their free cameras fitted to one another; see `fitted`.

    Raises:
        BadInput: There are none, two have one name, or one of them is empty or cannot be closed.
    """
    if not sketches:
        raise BadInput("there is no sketch; give at least one")
    names = [sketch.name for sketch in sketches]
    doubled = doubled_name(names)
    if doubled is not None:
        raise BadInput(f"two sketches are called {doubled}; each view can be given once")
    drawings = fitted([ready_drawing(sketch, notice) for sketch in sketches], notice)
    for drawing in drawings:
        tell_what_is_cut(drawing, notice)
    return drawings


def ready_drawing(sketch: Sketch, notice: Callable[[str], None] = lambda sentence: None) -> Drawing:
    """One sketch, its camera not fitted to any other.

    Raises:
        BadInput: It is empty or cannot be closed.
    """
    ink = sketch.square_ink(notice)
    try:
        shape = silhouette(ink, sketch.drawn, sketch.name)
    except BadInput:
        if sketch.drawn == "outline":
            raise
        shape = None
        notice(f"the lines of the sketch {sketch.name} enclose nothing; only the lines themselves are kept to")
    return Drawing(sketch, sketch.square_camera(), ink, shape)


def fitted(drawings: Sequence[Drawing], notice: Callable[[str], None] = lambda sentence: None) -> tuple[Drawing, ...]:
    """The drawings with cameras under which they show one object of the size that the loop wants.

    Drawings on sheets of their own say nothing about scale and place: each is moved to the middle, those from around
    the horizon are brought to the same height as the first of them, and all are scaled to `FITTED_RADIUS_METRES`. Where
    a camera's scale was given, it and all others stay as they are.
    """
    if any(drawing.camera.is_placed for drawing in drawings):
        return tuple(drawings)
    boxes = [drawing.bounding_box() for drawing in drawings]
    level = [index for index, each in enumerate(drawings) if each.is_level]
    sizes = np.ones(len(drawings))  # by which the pictures are enlarged, relative to one another
    for index in level[1:]:
        first, other = (box[1][1] - box[0][1] for box in (boxes[level[0]], boxes[index]))
        sizes[index] = first / other
        if abs(first / other - 1) > _TOLD_DIFFERENCE:
            notice(
                f"the drawings {drawings[level[0]].name} and {drawings[index].name} differ in height by "
                f"{abs(first / other - 1):.0%}; the second is scaled to the height of the first"
            )
    radius = max(size * float(np.hypot(*(box[1] - box[0]))) / 2 for size, box in zip(sizes, boxes, strict=True))
    result = []
    for drawing, size, (low, high) in zip(drawings, sizes, boxes, strict=True):
        centre = (low + high) / 2
        framing = float(FITTED_RADIUS_METRES / radius * size)
        camera = drawing.camera.reframed(framing, (float(centre[0]), float(centre[1])))
        result.append(dataclasses.replace(drawing, camera=camera))
    return tuple(result)


def fitted_beside(drawings: Sequence[Drawing], new: Drawing) -> Drawing:
    """A new drawing with a camera that fits those which are there already. They stay as they are.

    A new version of a drawing keeps its camera, so that a line more does not move the object. Another one whose scale
    is free is moved to the middle; one from around the horizon gets the height of the first such drawing that is
    there, any other the scale of the first drawing.

    Args:
        drawings: With their cameras fitted.
        new: As `ready_drawing` makes it.
    """
    before = next((each for each in drawings if each.name == new.name), None)
    if before is not None and before.sketch.square_camera() == new.camera:
        return dataclasses.replace(new, camera=before.camera)
    if new.camera.is_placed or any(each.sketch.camera.is_placed for each in drawings):
        return new
    low, high = new.bounding_box()
    framing = FITTED_RADIUS_METRES / (float(np.hypot(*(high - low))) / 2)
    level = next((each for each in drawings if each.is_level), None)
    if new.is_level and level is not None:
        below, above = level.bounding_box()
        framing = level.camera.framing_metres * float((above[1] - below[1]) / (high[1] - low[1]))
    elif drawings:
        framing = min(framing, drawings[0].camera.framing_metres)  # larger ones would not fit the ball
    centre = (low + high) / 2
    return dataclasses.replace(new, camera=new.camera.reframed(framing, (float(centre[0]), float(centre[1]))))


def tell_what_is_cut(drawing: Drawing, notice: Callable[[str], None]) -> None:
    """Says of a drawing whose camera has a place that it shows more than there is room for."""
    if not drawing.camera.is_placed:
        return
    low, high = drawing.bounding_box()
    middle = posed([drawing.camera]).project(torch.zeros(1, 3))[0, 0].double().numpy() * (1, -1)
    reach = float(np.abs(np.stack([low, high]) - middle).max()) * drawing.camera.framing_metres
    if reach > LATTICE_METRES:
        notice(
            f"the sketch {drawing.name} reaches {reach / BALL_RADIUS_METRES:.1f} times as far from the object's middle "
            "as the ball in which it grows; what lies beyond is cut off. Place that ball around what was drawn"
        )


def bounding_box(mask: Bool[np.ndarray, "height width"]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x and y, from -1 to 1 across the picture, y upwards."""
    rows, columns = np.nonzero(mask)
    size = len(mask)
    x, y = np.array([columns.min(), columns.max() + 1]), np.array([rows.max() + 1, rows.min()])
    return np.array([2 * x[0] / size - 1, 1 - 2 * y[0] / size]), np.array([2 * x[1] / size - 1, 1 - 2 * y[1] / size])


def coverage(mask: Bool[np.ndarray, "height width"], resolution: int) -> Float[np.ndarray, "size size"]:
    """The mask in another resolution, in [0, 1]."""
    picture = Image.fromarray(255 * mask.astype(np.uint8))
    method = Image.Resampling.BOX if resolution < INK_PIXELS else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((resolution, resolution), method), dtype=np.float64) / 255


def resampled(values: Float[np.ndarray, "height width"], resolution: int) -> Float[np.ndarray, "size size"]:
    """A smooth field in another resolution."""
    picture = Image.fromarray(values.astype(np.float32), mode="F")
    return np.asarray(picture.resize((resolution, resolution), Image.Resampling.BOX), dtype=np.float64)
