"""A cube cut into tetrahedra, of which nothing is stored: six tetrahedra in each small cube, computed from its corner.

This is the Kuhn (or Freudenthal) lattice. Vertices are numbered with x slowest and z fastest; a field on the lattice is
a tensor `[side, side, side]` indexed by x, y, z. Every edge goes from a vertex up along one of seven directions, so
that an edge is named by `7 * vertex + direction`. All tetrahedra have their volume positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

# A corner of a cube is a number of three bits, x the highest; the same bits name the direction from corner 0 to it.
CORNER_OFFSETS = tuple((corner >> 2 & 1, corner >> 1 & 1, corner & 1) for corner in range(8))
DIRECTIONS = CORNER_OFFSETS[1:]
"""The seven directions of edges, in steps along x, y, z."""


def _tetrahedra_of_a_cube() -> tuple[tuple[int, int, int, int], ...]:
    tetrahedra = []
    for axes in permutations((4, 2, 1)):
        first, second = axes[0], axes[0] + axes[1]
        # The path 0, first, second, 7 along the axes turns right for even orders of x, y, z and left for odd ones.
        is_even = axes in ((4, 2, 1), (2, 1, 4), (1, 4, 2))
        tetrahedra.append((0, first, second, 7) if is_even else (0, second, first, 7))
    return tuple(tetrahedra)


TETRAHEDRA = _tetrahedra_of_a_cube()
"""Corners of the six tetrahedra of a cube, each with positive volume."""


@dataclass(frozen=True)
class TetrahedralGrid:
    """The lattice over the cube from -half_extent to half_extent, `resolution` small cubes a side."""

    resolution: int = 32
    half_extent_metres: float = 1.0

    def __post_init__(self) -> None:
        if self.resolution < 2:
            raise ValueError(f"resolution must be at least 2 cells a side, got {self.resolution}")
        if self.resolution > 512:
            raise ValueError(f"resolution is at most 512 cells a side (edge names are 32 bit), got {self.resolution}")
        if not 0 < self.half_extent_metres < float("inf"):
            raise ValueError(f"half_extent_metres must be positive and finite, got {self.half_extent_metres}")

    @property
    def side(self) -> int:
        """Vertices along one side."""
        return self.resolution + 1

    @property
    def vertex_count(self) -> int:
        return self.side**3

    @property
    def tetrahedron_count(self) -> int:
        return 6 * self.resolution**3

    @property
    def cell_metres(self) -> float:
        """Side of a small cube."""
        return 2 * self.half_extent_metres / self.resolution

    def positions(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "side side side 3"]:
        """Where the vertices are, in metres."""
        steps = torch.arange(self.side, device=device, dtype=dtype) * self.cell_metres - self.half_extent_metres
        return torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1)

    def vertex_steps(self) -> tuple[int, ...]:
        """What to add to a vertex number to come to the eight corners of the cube above it."""
        return tuple((x * self.side + y) * self.side + z for x, y, z in CORNER_OFFSETS)

    def tetrahedra(self, device: torch.device | str = "cpu") -> Int[Tensor, "tetrahedra 4"]:
        """All tetrahedra as vertex numbers. Large; the marching never needs them, tests and comparisons do."""
        numbers = torch.arange(self.vertex_count, device=device).view(self.side, self.side, self.side)
        lowest = numbers[:-1, :-1, :-1].reshape(-1, 1, 1)
        steps = torch.tensor(self.vertex_steps(), device=device)
        return (lowest + steps[torch.tensor(TETRAHEDRA, device=device)]).view(-1, 4)


def inside_vertices(signed_distances: Float[Tensor, "side side side"]) -> Bool[Tensor, "side side side"]:
    """Vertices that count as inside: a negative distance, and not on the outermost layer of the lattice.

    Zero counts as outside, and so does NaN. That the outermost layer is outside closes every surface.
    """
    inside = signed_distances < 0
    for axis in range(3):
        inside.select(axis, 0).fill_(False)
        inside.select(axis, -1).fill_(False)
    return inside


def refine(values: Float[Tensor, "*channels side side side"]) -> Float[Tensor, "*channels 2*side-1 2*side-1 2*side-1"]:
    """The same field on the lattice with twice the cells, by trilinear interpolation. Differentiable."""
    if values.device.type == "cpu":
        return _RefineOnCpu.apply(values, None)
    side = 2 * values.shape[-1] - 1
    channels = values.reshape(1, -1, *values.shape[-3:])
    refined = F.interpolate(channels, size=(side, side, side), mode="trilinear", align_corners=True)
    return refined.view(*values.shape[:-3], side, side, side)


def refine_and_add(
    values: Float[Tensor, "*channels side side side"],
    detail: Float[Tensor, "*channels 2*side-1 2*side-1 2*side-1"],
) -> Float[Tensor, "*channels 2*side-1 2*side-1 2*side-1"]:
    """`refine(values) + detail` in one pass over memory."""
    if values.device.type == "cpu":
        return _RefineOnCpu.apply(values, detail)
    return refine(values) + detail


class _RefineOnCpu(torch.autograd.Function):
    """What `F.interpolate` does, 10 to 20 times as fast on one core: doubling takes averages of two numbers only."""

    @staticmethod
    def forward(ctx, values: Tensor, detail: Tensor | None) -> Tensor:
        from backend.geometry.lattice_kernels import refine_lattice

        side = 2 * values.shape[-1] - 1
        if detail is None:
            refined = values.new_zeros(*values.shape[:-3], side, side, side)
        else:
            refined = detail.detach().clone(memory_format=torch.contiguous_format)
        for coarse, fine in zip(_channels(values), _channels(refined), strict=True):
            refine_lattice(coarse.numpy(), fine.numpy())
        return refined

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        from backend.geometry.lattice_kernels import refine_lattice_backward

        coarse_gradient = None
        if ctx.needs_input_grad[0]:
            side = (gradient.shape[-1] + 1) // 2
            coarse_gradient = gradient.new_empty(*gradient.shape[:-3], side, side, side)
            for fine, coarse in zip(_channels(gradient), _channels(coarse_gradient), strict=True):
                refine_lattice_backward(fine.numpy(), coarse.numpy())
        return coarse_gradient, gradient if ctx.needs_input_grad[1] else None


def _channels(values: Tensor) -> Tensor:
    """The same memory as [channels, side, side, side] where it is contiguous already."""
    return values.detach().contiguous().view(-1, *values.shape[-3:])


# The marching: what the surface is in a cube, by which of its eight corners are inside.


@dataclass(frozen=True)
class CubeCases:
    """Triangles of all 256 cubes, by a code whose bit c says that corner c is inside."""

    triangle_counts: np.ndarray
    """[256] uint8."""
    triangle_edges: np.ndarray
    """[256, 12, 3] uint8: `8 * corner + direction` of the edge under each corner of a triangle, direction 1..7."""


@lru_cache(maxsize=1)
def cube_cases() -> CubeCases:
    """The table for whole cubes, worked out from one rule for a tetrahedron a, b, c, d of positive volume.

    With a alone inside, the crossings of ab, ac, ad turn counter-clockwise seen from outside; with a alone outside,
    they turn the other way; with a and b inside, ac, ad, bd, bc is a quadrilateral that is counter-clockwise from
    outside.
    """
    counts = np.zeros(256, dtype=np.uint8)
    edges = np.zeros((256, 12, 3), dtype=np.uint8)
    for code in range(256):
        triangles = [triangle for corners in TETRAHEDRA for triangle in _triangles_of_tetrahedron(corners, code)]
        counts[code] = len(triangles)
        for index, triangle in enumerate(triangles):
            # An edge starts at its lower corner, whose bits are a part of the upper one's.
            edges[code, index] = [8 * min(edge) + (max(edge) - min(edge)) for edge in triangle]
    return CubeCases(counts, edges)


def _triangles_of_tetrahedron(corners: tuple[int, ...], code: int) -> list[list[tuple[int, int]]]:
    """Triangles as three (inside corner, outside corner) pairs."""
    for a, b, c, d in permutations(corners):
        if not _is_even_permutation(tuple(corners.index(corner) for corner in (a, b, c, d))):
            continue  # it would turn the tetrahedron inside out
        inside = tuple(bool(code >> corner & 1) for corner in (a, b, c, d))
        if inside == (True, False, False, False):
            return [[(a, b), (a, c), (a, d)]]
        if inside == (False, True, True, True):
            return [[(a, b), (a, d), (a, c)]]
        if inside == (True, True, False, False):
            return [[(a, c), (a, d), (b, d)], [(a, c), (b, d), (b, c)]]
    return []


def _is_even_permutation(order: tuple[int, ...]) -> bool:
    inversions = sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order)))
    return inversions % 2 == 0
