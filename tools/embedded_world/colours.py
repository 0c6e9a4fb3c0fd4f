"""The named colours of the world, and which (colour, shape) pairs no picture ever shows."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tools.embedded_world.shapes import SHAPE_NAMES


@dataclass(frozen=True)
class NamedColour:
    """A word and the range of colours that it stands for."""

    name: str
    hue_degrees: tuple[float, float]
    saturation: tuple[float, float]
    brightness: tuple[float, float]
    """HSV value; shading only darkens, so the ranges lie high and neighbours differ in hue or saturation."""

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "3"]:
        """One colour of the range, sRGB-coded in [0, 1]."""
        hue, saturation, brightness = (
            float(rng.uniform(*bounds)) for bounds in (self.hue_degrees, self.saturation, self.brightness)
        )
        return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, brightness), dtype=np.float32)

    def typical(self) -> Float[np.ndarray, "3"]:
        """The middle of the range."""
        hue, saturation, brightness = (
            sum(bounds) / 2 for bounds in (self.hue_degrees, self.saturation, self.brightness)
        )
        return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, brightness), dtype=np.float32)


COLOURS: dict[str, NamedColour] = {
    colour.name: colour
    for colour in (
        NamedColour("red", (-6, 5), (0.85, 1.0), (0.78, 0.95)),
        NamedColour("orange", (23, 31), (0.88, 1.0), (0.92, 1.0)),
        NamedColour("yellow", (51, 58), (0.82, 1.0), (0.93, 1.0)),
        NamedColour("green", (112, 138), (0.70, 0.95), (0.50, 0.75)),
        NamedColour("cyan", (178, 188), (0.65, 0.95), (0.82, 0.97)),
        NamedColour("blue", (216, 230), (0.78, 0.97), (0.72, 0.95)),
        NamedColour("purple", (268, 284), (0.62, 0.88), (0.55, 0.75)),
        NamedColour("pink", (328, 344), (0.38, 0.55), (0.95, 1.0)),
        NamedColour("white", (0, 360), (0.0, 0.03), (0.94, 1.0)),
        NamedColour("black", (0, 360), (0.0, 0.15), (0.06, 0.13)),
    )
}
COLOUR_NAMES = tuple(COLOURS)


def held_out_pairs() -> frozenset[tuple[str, str]]:
    """The (colour, shape) pairs that are kept for tests of composition: a tenth of all, one colour of every shape.

    Every shape and every colour stays in training, and so do the pairs of the examples (red mushroom, green tree, ...).
    """
    # 3 has no common factor with the 10 colours, so the held-out colours are spread as evenly as they can be.
    return frozenset(
        (COLOUR_NAMES[(3 * index + 1) % len(COLOUR_NAMES)], shape) for index, shape in enumerate(SHAPE_NAMES)
    )
