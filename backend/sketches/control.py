"""Drawings for a ControlNet: each as a view of the loop that is framed as the diffusion model's pictures are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from backend.drawn_views import DrawnView
from backend.sketch_config import SketchConfig
from backend.sketches.camera import posed
from backend.sketches.drawing import FITTED_RADIUS_METRES, Drawing, bounding_box
from backend.sketches.sketch import INK_PIXELS

CONTROL_PIXELS = 128
"""Height and width of the drawing that a ControlNet reads, before it is scaled to the model's pictures."""
FRAMING_METRES = 1.2
"""Half of what such a view spans at the object's middle, if that reached as far as `FITTED_RADIUS_METRES`: one of the
framings of random views. The model has seen no others."""


class DrawnViewsOf:
    """Takes turns among the drawings; one of the loop's `DrawnViews`.

    Args:
        drawings: With their cameras fitted. Only those of `config.control_kinds` with a weight are shown.
    """

    def __init__(self, drawings: Sequence[Drawing], config: SketchConfig) -> None:
        chosen = controlled(drawings, config)
        self._views = [drawn_view(drawing, config.control_strength) for drawing in chosen]
        self._most = config.control_views

    def __call__(self, step: int, view_count: int) -> list[DrawnView]:
        """Those of a step, counted from 0, that shows `view_count` views. At least one view stays free."""
        count = min(self._most, len(self._views), view_count - 1)
        return [self._views[(step * count + index) % len(self._views)] for index in range(count)]


def controlled(drawings: Sequence[Drawing], config: SketchConfig) -> list[Drawing]:
    """Those that a ControlNet is to read."""
    return [each for each in drawings if each.sketch.drawn in config.control_kinds and each.sketch.weight > 0]


def drawn_view(drawing: Drawing, strength: float) -> DrawnView:
    """The drawing cut out around what is in it, and the camera of that cut-out.

    Args:
        strength: Of a drawing of weight 1; a drawing's own weight counts as far as 1.
    """
    low, high = bounding_box(drawing.ink)
    centre = (low + high) / 2
    half = float(np.hypot(*(high - low))) / 2 * FRAMING_METRES / FITTED_RADIUS_METRES  # of the picture's half height
    camera = drawing.camera
    shift_x, shift_y = ((shift + middle / 2) / half for shift, middle in zip(camera.shift, centre, strict=True))
    framed = dataclasses.replace(camera, half_height=camera.half_height * half, shift=(float(shift_x), float(shift_y)))
    azimuth, elevation = camera.angles_degrees
    ink = torch.from_numpy(_cut_out(drawing, centre, half))
    return DrawnView(posed([framed]), azimuth, elevation, ink, strength * min(1.0, drawing.sketch.weight))


def _cut_out(drawing: Drawing, centre: Float[np.ndarray, "2"], half: float) -> Float[np.ndarray, "size size"]:
    """Coverage by lines; white where the cut-out reaches beyond the drawing.

    Args:
        centre, half: Middle and half the side, -1 to 1 across the picture, y upwards.
    """
    picture = Image.fromarray(255 * drawing.line_ink().astype(np.uint8))
    left, top = ((1 + centre[0] - half) / 2 * INK_PIXELS, (1 - centre[1] - half) / 2 * INK_PIXELS)
    side = half * INK_PIXELS
    # Pillow resizes no box that sticks out, so the drawing first gets margins.
    margin = int(np.ceil(max(0.0, -left, -top, left + side - INK_PIXELS, top + side - INK_PIXELS))) + 1
    wide = Image.new("L", (INK_PIXELS + 2 * margin,) * 2)
    wide.paste(picture, (margin, margin))
    box = (left + margin, top + margin, left + margin + side, top + margin + side)
    small = wide.resize((CONTROL_PIXELS, CONTROL_PIXELS), Image.Resampling.BOX, box=box)
    return np.asarray(small, dtype=np.float32) / 255
