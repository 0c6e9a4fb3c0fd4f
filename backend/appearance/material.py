"""What light meets on a surface: one `Material` row per point. Holds tensors, computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Material:
    """glTF's metallic-roughness material at `points` places; may carry gradients."""

    albedo: Float[Tensor, "*points 3"]
    """Base colour, sRGB-coded, in [0, 1]."""

    roughness: Float[Tensor, "*points 1"]
    """Perceptual roughness in [0, 1]; linear, as glTF stores it. 0 is a mirror."""

    metallic: Float[Tensor, "*points 1"]
    """In [0, 1]; linear. 0 is a dielectric such as paint or wood, 1 a metal."""

    def __post_init__(self) -> None:
        if not len(self.albedo) == len(self.roughness) == len(self.metallic):
            raise ValueError(
                "albedo, roughness and metallic must have one row per point, got "
                f"{len(self.albedo)}, {len(self.roughness)} and {len(self.metallic)} rows"
            )
