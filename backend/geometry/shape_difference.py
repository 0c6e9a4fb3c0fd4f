"""How far a surface is from the shape that it began with, as a scalar to be minimised."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

BAND_METRES = 0.15
"""How far from either surface the distances count. Further in and out they say nothing about where the surface is."""


def shape_difference(
    signed_distances: Float[Tensor, "side side side"], shape: Float[Tensor, "side side side"]
) -> Float[Tensor, ""]:
    """Mean square of the difference between two signed distances near their surfaces, in units of `BAND_METRES`.

    A surface that has moved by d metres everywhere gives about (d / 0.15)^2, on every lattice. One that has left the
    band altogether is still drawn back: each of the two surfaces has a band of its own.

    Args:
        signed_distances: Metres; differentiable.
        shape: Those to be held to; gets no gradient.
    """
    shape = shape.detach()
    is_near = (shape.abs() < BAND_METRES) | (signed_distances.detach().abs() < BAND_METRES)
    difference = ((signed_distances - shape) / BAND_METRES).square()
    return (difference * is_near).sum() / is_near.sum().clamp(min=1)
