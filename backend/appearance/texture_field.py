"""A texture in space: positions to materials, as a sum of grids from coarse to fine.

The grids hold the numbers before the sigmoid themselves; no network follows. Under the noisy gradients of score
distillation the coarse grids carry a region's colour along as one, and the fine ones draw the borders of its parts.
Against a multiresolution hash grid with a network (Müller et al. 2022) a step takes a quarter of the time on a CPU and
the first hundred bring more; after several hundred noisy ones the network is ahead by a decibel or two
(benchmarks/texture_field.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from backend.appearance import texture_field_kernels as kernels
from backend.appearance.material import Material
from backend.geometry.held_region import HeldRegion
from backend.geometry.surface_constraints import folded

_CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))
_LEAST_SHARE = 1e-3
"""Initial values keep this far from 0 and 1, where the sigmoid has no way back; as 8 bits they are still 0 and 255."""


@dataclass(frozen=True)
class TextureFieldConfig:
    """The grids of a texture field and what it shows before it has learnt anything."""

    resolutions: tuple[int, ...] = (16, 32, 64)
    """Cells per side of each grid, over the 2 metres of [-1, 1]. Views of 64 pixels see no more than 64; add 128 and
    256 for views of 512."""
    log2_table_rows: int = 19
    """A grid with more nodes than 2 to this power is hashed into as many rows (Müller et al. 2022, table 1: 14 to 24).
    """
    initial_albedo: float = 0.5
    """Mid grey, sRGB-coded."""
    initial_roughness: float = 0.7
    initial_metallic: float = 0.0
    initial_noise: float = 0.03
    """Standard deviation of the albedo's logits on the coarsest grid; 0.03 is about 0.01 in colour."""
    rate_decay: float = 0.8
    """Each finer grid learns by this factor more slowly than the one before, so that noise stays out of the details."""

    mirror_axes: tuple[int, ...] = ()
    """0, 1, 2 for x, y, z: both sides of the plane through the origin across this axis have the same materials."""

    def __post_init__(self) -> None:
        if not self.resolutions or min(self.resolutions) < 1:
            raise ValueError(f"resolutions must name at least one grid of 1 or more cells, got {self.resolutions}")
        if not 1 <= self.log2_table_rows <= 30:
            raise ValueError(f"log2_table_rows must lie within 1 to 30, got {self.log2_table_rows}")
        for name in ("initial_albedo", "initial_roughness", "initial_metallic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie within 0 to 1, got {getattr(self, name)}")
        if self.initial_noise < 0 or self.rate_decay <= 0:
            raise ValueError(
                f"initial_noise must be at least 0 and rate_decay above 0, got {self.initial_noise}, {self.rate_decay}"
            )


class TextureField(torch.nn.Module):
    """Material at any position of [-1, 1]^3; beyond the cube, that of its nearest face.

    Differentiable by its grids and by the positions. The same positions and gradients give the same bits on a CPU.

    Args:
        generator: Draws the initial noise; a CPU generator. None is the same as one seeded with 0.
    """

    def __init__(self, config: TextureFieldConfig | None = None, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else TextureFieldConfig()
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        most_rows = 2**self.config.log2_table_rows
        self.hash_masks = tuple(most_rows - 1 if (r + 1) ** 3 > most_rows else 0 for r in self.config.resolutions)
        self.grids = torch.nn.ParameterList(
            torch.nn.Parameter(torch.zeros(min((r + 1) ** 3, most_rows), kernels.CHANNELS))
            for r in self.config.resolutions
        )
        with torch.no_grad():
            albedo = self.grids[0][:, :3]
            albedo.copy_(self.config.initial_noise * torch.randn(albedo.shape, generator=generator))
        initial = [self.config.initial_albedo] * 3 + [self.config.initial_roughness, self.config.initial_metallic]
        self.register_buffer("initial_logits", torch.tensor([_logit(value) for value in initial]), persistent=False)
        self.initial_logits: Tensor
        self._hooks: list[RemovableHandle] = []

    def hold(self, region: HeldRegion | None) -> None:
        """From now on no gradient comes to the nodes around a region; None lets all of them go.

        An optimiser with momentum must begin anew, or old moments would still move them.
        """
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if region is None:
            return
        for resolution, hash_mask, grid in zip(self.config.resolutions, self.hash_masks, self.grids, strict=True):
            points = folded(region.points(2.0 / resolution), self.config.mirror_axes)
            cells = ((points.clamp(-1, 1) + 1) * (0.5 * resolution)).long().clamp(max=resolution - 1).unique(dim=0)
            is_free = torch.ones(len(grid), 1, dtype=grid.dtype)
            for corner in _CORNERS:
                is_free[_rows(cells + torch.tensor(corner), resolution, hash_mask)] = 0
            is_free = is_free.to(grid.device)
            self._hooks.append(grid.register_hook(lambda gradient, is_free=is_free: gradient * is_free))

    def forward(self, positions: Float[Tensor, "points 3"]) -> Material:
        positions = folded(positions, self.config.mirror_axes)
        if positions.device.type == "cpu":
            logits = _SumOfGrids.apply(positions, self.config.resolutions, self.hash_masks, *self.grids)
        else:
            logits = _sum_of_grids_in_torch(positions, self.config.resolutions, self.hash_masks, list(self.grids))
        values = torch.sigmoid(logits + self.initial_logits)
        return Material(values[:, :3], values[:, 3:4], values[:, 4:])

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """One group per grid for an optimiser, finer grids with lower rates (`rate_decay`)."""
        return [
            {"params": [grid], "lr": learning_rate * self.config.rate_decay**level}
            for level, grid in enumerate(self.grids)
        ]


def _logit(share: float) -> float:
    share = min(max(share, _LEAST_SHARE), 1 - _LEAST_SHARE)
    return math.log(share / (1 - share))


class _SumOfGrids(torch.autograd.Function):
    """`_sum_of_grids_in_torch` by compiled loops, ten times faster on a CPU."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, resolutions: tuple[int, ...], hash_masks: tuple[int, ...], *grids: Tensor
    ) -> Tensor:
        positions = positions.contiguous()
        values = positions.new_zeros(len(positions), kernels.CHANNELS)
        for resolution, hash_mask, grid in zip(resolutions, hash_masks, grids, strict=True):
            kernels.add_grid_values(
                positions.detach().numpy(), grid.detach().numpy(), resolution, hash_mask, values.numpy()
            )
        ctx.save_for_backward(positions, *grids)
        ctx.levels = (resolutions, hash_masks)
        return values

    @staticmethod
    def backward(ctx: Any, value_gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, *grids = ctx.saved_tensors
        at = positions.detach().numpy()
        by_value = value_gradient.contiguous().numpy()
        position_gradient = torch.zeros_like(positions) if ctx.needs_input_grad[0] else None
        grid_gradients: list[Tensor | None] = []
        for level, (resolution, hash_mask) in enumerate(zip(*ctx.levels, strict=True)):
            if position_gradient is not None:
                kernels.add_position_gradient(
                    at, by_value, grids[level].detach().numpy(), resolution, hash_mask, position_gradient.numpy()
                )
            grid_gradient = torch.zeros_like(grids[level]) if ctx.needs_input_grad[3 + level] else None
            if grid_gradient is not None:
                kernels.add_table_gradient(at, by_value, resolution, hash_mask, grid_gradient.numpy())
            grid_gradients.append(grid_gradient)
        return position_gradient, None, None, *grid_gradients


def _sum_of_grids_in_torch(
    positions: Float[Tensor, "points 3"],
    resolutions: Sequence[int],
    hash_masks: Sequence[int],
    grids: Sequence[Tensor],
) -> Float[Tensor, "points channels"]:
    """The sum of the trilinearly interpolated rows of all grids, on any device."""
    total = positions.new_zeros(len(positions), kernels.CHANNELS)
    for resolution, hash_mask, grid in zip(resolutions, hash_masks, grids, strict=True):
        along = ((torch.nan_to_num(positions) + 1) * (0.5 * resolution)).clamp(0, resolution)
        cell = along.detach().long().clamp(max=resolution - 1)
        fraction = along - cell
        for corner in _CORNERS:
            step = torch.tensor(corner, device=positions.device)
            weight = torch.where(step == 1, fraction, 1 - fraction).prod(dim=-1, keepdim=True)
            total = total + weight * grid[_rows(cell + step, resolution, hash_mask)]
    return total


def _rows(nodes: Tensor, resolution: int, hash_mask: int) -> Tensor:
    """Table rows of the nodes [points, 3], as in `texture_field_kernels`."""
    x, y, z = nodes.unbind(-1)
    if hash_mask == 0:
        return (z * (resolution + 1) + y) * (resolution + 1) + x
    _, y_prime, z_prime = kernels.HASH_PRIMES
    return (x ^ (y * y_prime) ^ (z * z_prime)) & hash_mask
