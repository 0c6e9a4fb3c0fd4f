"""Marching tetrahedra on the implicit lattice: signed distances to a closed triangle mesh, differentiably.

Two implementations give the same mesh, down to the order of its vertices and faces: numba loops for the CPU, which
visit only the cubes that the surface passes through and whose backward touches only the surface, and plain torch for
other devices. Vertices are sorted by the edge that they lie on, faces by their cube, so that equal input gives equal
output.

What the distances are taken for:

- Negative is inside. Zero and NaN are outside.
- The outermost layer of the lattice is always outside, at least half a cell away from the surface. A surface that would
  leave the lattice is closed there by a flat cap, so that **every mesh is closed**. No gradient reaches such a
  distance.
- A distance closer to zero than `SMALLEST_DISTANCE_CELLS` is moved to that size, without change of sign. Otherwise all
  crossings around a lattice vertex with distance zero would fall on one point, and the gradient of an edge with two
  small distances would have no bound. Gradients pass through this as if it had not happened.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.geometry.tetrahedral_grid import TetrahedralGrid, cube_cases, inside_vertices
from backend.geometry.triangle_mesh import TriangleMesh

SMALLEST_DISTANCE_CELLS = 1e-4
WALL_DISTANCE_CELLS = 0.5

Implementation = Literal["numba", "torch"]


class Crossings(NamedTuple):
    """Where the surface is, without its positions."""

    edges: Int[Tensor, "crossings 2"]
    """int32, lattice vertices at the ends, the lower one first; sorted. Crossing i is vertex i of the mesh."""
    faces: Int[Tensor, "faces 3"]
    """int32."""


def marching_tetrahedra(
    signed_distances: Float[Tensor, "side side side"],
    grid: TetrahedralGrid,
    offsets: Float[Tensor, "3 side side side"] | None = None,
    implementation: Implementation | None = None,
) -> TriangleMesh:
    """The surface of distance zero as a closed mesh with outward faces, perhaps an empty one.

    Differentiable in `signed_distances` and `offsets`. Where edges of the lattice cross the surface is fixed by the
    signs; the derivative is that of the crossings' positions.

    Args:
        signed_distances: Metres, negative inside, indexed by x, y, z.
        grid: The lattice, `grid.side` vertices a side.
        offsets: How far the lattice vertices are moved along x, y, z, in metres.
        implementation: By default numba for tensors on the CPU and torch for all others.
    """
    _check(signed_distances, grid, offsets)
    crossings = find_crossings(signed_distances.detach(), implementation)
    if _implementation_for(signed_distances, implementation) == "numba":
        positions = _CrossingPositionsOnCpu.apply(signed_distances, offsets, crossings.edges, grid)
    else:
        positions = _crossing_positions(signed_distances, offsets, crossings.edges, grid)
    return TriangleMesh(positions, crossings.faces)


def find_crossings(
    signed_distances: Float[Tensor, "side side side"], implementation: Implementation | None = None
) -> Crossings:
    """The crossed edges of the lattice and the faces between the crossings."""
    inside = inside_vertices(signed_distances)
    if _implementation_for(signed_distances, implementation) == "numba":
        return _find_crossings_on_cpu(inside)
    return _find_crossings(inside)


def _implementation_for(tensor: Tensor, wanted: Implementation | None) -> Implementation:
    if wanted is None:
        return "numba" if tensor.device.type == "cpu" else "torch"
    if wanted == "numba" and tensor.device.type != "cpu":
        raise ValueError(f"the numba implementation runs on the CPU, but the distances are on {tensor.device}")
    return wanted


def _check(distances: Tensor, grid: TetrahedralGrid, offsets: Tensor | None) -> None:
    if distances.shape[0] != grid.side:
        raise ValueError(
            f"a lattice of {grid.resolution} cells has {grid.side} vertices a side, "
            f"but there are {distances.shape[0]} signed distances a side"
        )
    if offsets is None:
        return
    if offsets.shape != (3, *distances.shape):
        raise ValueError(f"offsets must have the shape {(3, *distances.shape)}, got {tuple(offsets.shape)}")
    if offsets.device != distances.device or offsets.dtype != distances.dtype:
        raise ValueError(
            f"offsets are {offsets.dtype} on {offsets.device}, signed distances {distances.dtype} on {distances.device}"
        )


# On the CPU


@lru_cache(maxsize=1)
def _bit_counts() -> np.ndarray:
    return np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


def _find_crossings_on_cpu(inside: Tensor) -> Crossings:
    from backend.geometry.lattice_kernels import fill_surface, find_crossed_cubes

    side = inside.shape[0]
    count = side**3
    cases = cube_cases()
    # Reserved for the worst case and left uninitialised: only the pages that are written to become real.
    cubes = np.empty(count, dtype=np.int32)
    codes = np.empty(count, dtype=np.uint8)
    first_crossing = np.empty(count, dtype=np.int32)
    crossed_directions = np.empty(count, dtype=np.uint8)
    cube_count, crossing_count, face_count = find_crossed_cubes(
        inside.view(torch.uint8).numpy(),
        cases.triangle_counts,
        _bit_counts(),
        cubes,
        codes,
        first_crossing,
        crossed_directions,
    )
    edges = torch.empty(crossing_count, 2, dtype=torch.int32)
    faces = torch.empty(face_count, 3, dtype=torch.int32)
    fill_surface(
        cubes[:cube_count],
        codes[:cube_count],
        first_crossing,
        crossed_directions,
        _vertex_steps(side),
        cases.triangle_counts,
        cases.triangle_edges,
        _bit_counts(),
        edges.numpy(),
        faces.numpy(),
    )
    return Crossings(edges, faces)


@lru_cache(maxsize=8)
def _vertex_steps(side: int) -> np.ndarray:
    return np.array(TetrahedralGrid(side - 1).vertex_steps(), dtype=np.int32)


class _CrossingPositionsOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distances: Tensor, offsets: Tensor | None, edges: Tensor, grid: TetrahedralGrid) -> Tensor:
        from backend.geometry.lattice_kernels import place_crossings

        distances = distances.contiguous()
        offsets = distances.new_empty(3, 0) if offsets is None else offsets.reshape(3, -1).contiguous()
        positions = distances.new_empty(len(edges), 3)
        place_crossings(
            distances.detach().view(-1).numpy(),
            edges.numpy(),
            *_lattice_numbers(grid),
            offsets.detach().numpy(),
            positions.numpy(),
        )
        ctx.save_for_backward(distances, offsets, edges)
        ctx.grid = grid
        return positions

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        from backend.geometry.lattice_kernels import place_crossings_backward

        distances, offsets, edges = ctx.saved_tensors
        distance_gradient = torch.zeros_like(distances)
        wants_offsets = ctx.needs_input_grad[1]
        offset_gradient = torch.zeros_like(offsets) if wants_offsets else offsets.new_empty(3, 0)
        place_crossings_backward(
            distances.view(-1).numpy(),
            edges.numpy(),
            *_lattice_numbers(ctx.grid),
            offsets.numpy(),
            gradient.contiguous().numpy(),
            distance_gradient.view(-1).numpy(),
            offset_gradient.numpy(),
        )
        return distance_gradient, offset_gradient.view(3, *distances.shape) if wants_offsets else None, None, None


def _lattice_numbers(grid: TetrahedralGrid) -> tuple[int, float, float, float]:
    """Side, half extent, smallest distance and distance of the wall, as the kernels take them."""
    cell = grid.cell_metres
    return grid.side, grid.half_extent_metres, SMALLEST_DISTANCE_CELLS * cell, WALL_DISTANCE_CELLS * cell


# On every device


@lru_cache(maxsize=4)
def _case_tensors(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle counts [256], edges of triangles [256, 12, 3] and counts of bits [256]; int64."""
    cases = cube_cases()
    counts, edges, bits = (
        torch.from_numpy(table.astype(np.int64)).to(device)
        for table in (cases.triangle_counts, cases.triangle_edges, _bit_counts())
    )
    return counts, edges, bits


def _find_crossings(inside: Tensor) -> Crossings:
    side, device = inside.shape[0], inside.device
    triangle_counts, triangle_edges, bit_counts = _case_tensors(device)
    vertex_steps = torch.from_numpy(_vertex_steps(side)).to(device).long()

    codes = torch.zeros(side - 1, side - 1, side - 1, dtype=torch.uint8, device=device)
    for corner in range(8):
        x, y, z = corner >> 2 & 1, corner >> 1 & 1, corner & 1
        corner_inside = inside[x : side - 1 + x, y : side - 1 + y, z : side - 1 + z]
        codes |= corner_inside.to(torch.uint8) << corner
    at = ((codes > 0) & (codes < 255)).nonzero()  # [cubes, 3]
    cubes = (at[:, 0] * side + at[:, 1]) * side + at[:, 2]
    codes = codes[at[:, 0], at[:, 1], at[:, 2]].long()

    # Bit d - 1: the corner in direction d is on the other side than corner 0.
    crossed_directions = torch.where(codes & 1 == 1, codes ^ 0xFF, codes) >> 1
    directions = torch.arange(7, device=device)
    is_crossed = crossed_directions[:, None] >> directions & 1 == 1  # [cubes, 7]
    starts = cubes[:, None].expand(-1, 7)[is_crossed]
    ends = (cubes[:, None] + vertex_steps[1:])[is_crossed]

    counts = bit_counts[crossed_directions]
    first_crossing = torch.zeros(side**3, dtype=torch.int64, device=device)
    first_crossing[cubes] = counts.cumsum(0) - counts
    directions_of_vertex = torch.zeros(side**3, dtype=torch.int64, device=device)
    directions_of_vertex[cubes] = crossed_directions

    cube_edges = triangle_edges[codes]  # [cubes, 12, 3]
    is_triangle = torch.arange(12, device=device) < triangle_counts[codes][:, None]
    edge_starts = (cubes[:, None, None] + vertex_steps[cube_edges >> 3])[is_triangle]  # [faces, 3]
    edge_directions = (cube_edges & 7)[is_triangle]
    lower_directions = (1 << (edge_directions - 1).clamp(min=0)) - 1
    faces = first_crossing[edge_starts] + bit_counts[directions_of_vertex[edge_starts] & lower_directions]
    return Crossings(torch.stack([starts, ends], dim=1).int(), faces.int())


def _crossing_positions(distances: Tensor, offsets: Tensor | None, edges: Tensor, grid: TetrahedralGrid) -> Tensor:
    side = grid.side
    ends = edges.long()
    at = torch.stack([ends // (side * side), ends // side % side, ends % side], dim=-1)  # [crossings, 2, 3]
    raw = distances.reshape(-1)[ends]  # [crossings, 2]
    smallest, wall = SMALLEST_DISTANCE_CELLS * grid.cell_metres, WALL_DISTANCE_CELLS * grid.cell_metres
    apart = torch.where(raw < 0, raw.clamp(max=-smallest), raw.clamp(min=smallest))
    apart = raw + (apart - raw).detach()
    is_on_wall = ((at == 0) | (at == side - 1)).any(-1)
    values = torch.where(is_on_wall, raw.clamp(min=wall), apart)

    positions = at.to(distances.dtype) * grid.cell_metres - grid.half_extent_metres
    if offsets is not None:
        positions = positions + offsets.reshape(3, -1)[:, ends].movedim(0, -1)
    share = values[:, 0] / (values[:, 0] - values[:, 1])
    return positions[:, 0] + share[:, None] * (positions[:, 1] - positions[:, 0])
