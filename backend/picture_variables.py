"""What is optimised when a picture is: its latents, or its pixels. Knows no prompts, no losses and no files."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.diffusion.prior import DiffusionPrior
from backend.noise_levels import Latents

Pictures = Float[Tensor, "pictures height width 3"]
"""sRGB-coded, in [0, 1]."""
COARSEST_GRID = 4
DECODED_AT_ONCE = 8  # pictures; a decoder of 512 pixels needs about a gigabyte for each
DARKEST = 1 / 512  # half a level of 8 bits: what lies outside has no finite logit


@runtime_checkable  # for the type checker of the tests
class PictureVariable(Protocol):
    """Pictures as tensors that an optimiser can move."""

    tensors: list[Tensor]
    """Leaves with gradients."""

    def pictures(self) -> Float[Tensor, "pictures height width 3"]: ...


class LatentVariable:
    """The latents themselves: the gradient of a method is theirs, without a way through the encoder."""

    def __init__(self, latents: Latents, prior: DiffusionPrior) -> None:
        self._latents, self._prior = latents.detach().clone().requires_grad_(), prior
        self.tensors = [self._latents]

    def latents(self) -> Latents:
        return self._latents

    def pictures(self) -> Float[Tensor, "pictures height width 3"]:
        """Decoded; no gradient."""
        parts = self._latents.detach().split(DECODED_AT_ONCE)
        return torch.cat([self._prior.decode_latents(part) for part in parts])


class PixelVariable:
    """Pixels as the sigmoid of a sum of grids, from 4 pixels a side to the size of the picture.

    The coarse grids let whole areas move together. Pixels alone take up what the encoder's gradient has of fine noise,
    which an encoder sees and an eye does not.
    """

    def __init__(self, pictures: Pictures) -> None:
        count, size = len(pictures), pictures.shape[1]
        if pictures.shape[2] != size:
            raise ValueError(f"pictures must be square, got {size} x {pictures.shape[2]}")
        sides = [size]
        while sides[0] % 2 == 0 and sides[0] // 2 >= COARSEST_GRID:
            sides.insert(0, sides[0] // 2)
        grids = [pictures.new_zeros(count, 3, side, side) for side in sides]
        grids[-1] = torch.logit(pictures.detach().permute(0, 3, 1, 2), eps=DARKEST).contiguous()
        self.tensors = [grid.requires_grad_() for grid in grids]

    def pictures(self) -> Float[Tensor, "pictures height width 3"]:
        """Differentiable in the grids."""
        size = self.tensors[-1].shape[-1]
        coarse = [
            functional.interpolate(grid, (size, size), mode="bilinear", align_corners=False)
            for grid in self.tensors[:-1]
        ]
        return torch.sigmoid(torch.stack([*coarse, self.tensors[-1]]).sum(0)).permute(0, 2, 3, 1)
