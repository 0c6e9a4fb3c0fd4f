"""Signed distances of simple shapes and of any triangle mesh.

Distances are in metres and negative inside. For meshes, inside is where the winding number is above 1/2 in size, so
that open, self-intersecting and non-manifold meshes work, and meshes turned inside out as well.
"""

from __future__ import annotations

from typing import NamedTuple

import igl
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.geometry.tetrahedral_grid import TetrahedralGrid, refine

THIN_PART_CELLS = 0.75
"""Half the thickness that parts get which fall between the vertices of a lattice.

The middle of a cell lies 0.71 cells from the nearest edges of the lattice: a wire along an axis still reaches vertices.
"""


# Shapes with a formula


def sphere(
    points: Float[Tensor, "points 3"], radius: float = 0.5, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Float[Tensor, "points"]:
    return (points - points.new_tensor(centre)).norm(dim=-1) - _positive("radius", radius)


def ellipsoid(
    points: Float[Tensor, "points 3"],
    radii: tuple[float, float, float],
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float[Tensor, "points"]:
    """Distance of an ellipsoid to first order: exact in sign, on the surface and in its slope there.

    f / |gradient of f| for f = |p / radii|. The exact distance needs the root of a sextic.
    """
    for radius in radii:
        _positive("radii", radius)
    radii_tensor = points.new_tensor(radii)
    scaled = (points - points.new_tensor(centre)) / radii_tensor
    size = scaled.norm(dim=-1)
    slope = (scaled / radii_tensor).norm(dim=-1)
    # At the centre both are zero: the nearest surface is at the end of the shortest radius.
    return torch.where(slope > 0, size * (size - 1) / slope.clamp(min=1e-12), -radii_tensor.min())


def box(
    points: Float[Tensor, "points 3"],
    half_sides: tuple[float, float, float],
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float[Tensor, "points"]:
    for half_side in half_sides:
        _positive("half_sides", half_side)
    beyond = (points - points.new_tensor(centre)).abs() - points.new_tensor(half_sides)
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


# Meshes


def signed_distance_of_mesh(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "points"]:
    """Distance to the nearest face, negative where the fast winding number says inside. Not differentiable.

    libigl's bounding volume tree takes 6 us for a point near a mesh of 80k faces and 20 us for one far away; the
    winding number (Barill et al. 2018) takes 1.5 us. Where an open mesh has its opening, the sign changes without a
    face nearby.
    """
    queries = points.detach().cpu().double().numpy()
    # Never exactly zero: a point on a wall inside the solid keeps its sign.
    distances = np.maximum(_distance_to_faces(vertices, faces, queries), 1e-8)
    signed = np.where(_is_inside(vertices, faces, queries), -distances, distances)
    return torch.from_numpy(signed).to(points)


def signed_distance_on_lattice(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], grid: TetrahedralGrid
) -> Float[Tensor, "side side side"]:
    """`signed_distance_of_mesh` at the vertices of a lattice: faster, and fit to be marched.

    Exact within two cells of the surface; further away interpolated from lattices with cells of up to 1/16 of the half
    extent. Two things differ on purpose:

    - Walls inside the solid, where parts overlap or touch, do not count: the distance to them would draw grooves into
      the surface where they come up to it. The depth is estimated from the real surface then.
    - Sheets and wires that fall between the vertices of the lattice are made `2 * THIN_PART_CELLS` cells thick, an open
      sheet too, which has no inside of its own.
    """
    shape = (grid.side,) * 3
    points = grid.positions(dtype=torch.float64).view(-1, 3).numpy()
    inside = _is_inside(vertices, faces, points)
    distances, is_near = _far_distances(vertices, faces, grid)
    nearest = nearest_with_normals(vertices, faces, points[is_near])
    near_distances = np.linalg.norm(nearest.points - points[is_near], axis=1)
    is_behind_wall = _is_behind_inner_wall(vertices, faces, nearest, inside[is_near], grid.cell_metres)
    if is_behind_wall.any():
        # What lies outside sees nothing but the real surface.
        seen = ~inside[is_near] & (near_distances < 1.5 * grid.cell_metres)
        near_distances[is_behind_wall] = _distance_to_discs(
            points[is_near][is_behind_wall], nearest.points[seen], nearest.normals[seen], grid.cell_metres / 2
        )
    distances[is_near] = near_distances
    # Never exactly zero, which would lose the sign.
    signed = np.where(inside, -1.0, 1.0) * np.maximum(distances, 1e-8)
    return _with_thin_parts(torch.from_numpy(signed).view(shape), grid).float()


def unsigned_distance_on_lattice(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], grid: TetrahedralGrid
) -> Float[Tensor, "side side side"]:
    """Distance to the nearest face at the vertices of a lattice, exact within two cells of the faces."""
    points = grid.positions(dtype=torch.float64).view(-1, 3).numpy()
    distances, is_near = _far_distances(vertices, faces, grid)
    distances[is_near] = _distance_to_faces(vertices, faces, points[is_near])
    return torch.from_numpy(distances).view((grid.side,) * 3).float()


def nearest_on_mesh(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """The point of the surface that is nearest to each point."""
    return nearest_with_normals(vertices, faces, points.astype(np.float64)).points


class Nearest(NamedTuple):
    """Points of a surface, each the nearest to another point."""

    points: np.ndarray
    """[queries, 3], on the faces."""
    normals: np.ndarray
    """[queries, 3], unit normals of the faces; zero for a face without area."""


def nearest_with_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], queries: Float[np.ndarray, "points 3"]
) -> Nearest:
    """As `nearest_on_mesh`, with the normals of the faces."""
    vertices, faces = vertices.astype(np.float64), faces.astype(np.int64)
    _, found, points = igl.point_mesh_squared_distance(queries, vertices, faces)
    a, b, c = (vertices[faces[found, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    return Nearest(points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300))


def _distance_to_faces(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    if len(points) == 0:
        return np.zeros(0)
    squared, _, _ = igl.point_mesh_squared_distance(points, vertices.astype(np.float64), faces.astype(np.int64))
    return np.sqrt(squared)


def _is_inside(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    winding = igl.fast_winding_number(vertices.astype(np.float64), faces.astype(np.int64), points)
    return np.abs(winding) > 0.5  # -1 inside a mesh whose faces all look inwards


def _far_distances(vertices: np.ndarray, faces: np.ndarray, grid: TetrahedralGrid) -> tuple[np.ndarray, np.ndarray]:
    """Unsigned distances [side^3] from coarser lattices, and where they are too near to be trusted.

    Far points are the slow ones for a tree of faces, and there a coarse lattice tells enough. Interpolation is wrong by
    at most half the diagonal of a coarse cell, 0.87 of its side: what is not near is at least 1.13 coarse or 2.26 fine
    cells from the faces.
    """
    if grid.resolution <= 32 or grid.resolution % 2:
        return np.zeros(grid.vertex_count), np.ones(grid.vertex_count, dtype=bool)
    coarse = TetrahedralGrid(grid.resolution // 2, grid.half_extent_metres)
    distances, is_near = _far_distances(vertices, faces, coarse)
    points = coarse.positions(dtype=torch.float64).view(-1, 3).numpy()
    distances[is_near] = _distance_to_faces(vertices, faces, points[is_near])
    distances = refine(torch.from_numpy(distances).view((coarse.side,) * 3)).view(-1).numpy()
    return distances, distances < 2 * coarse.cell_metres


def _is_behind_inner_wall(
    vertices: np.ndarray, faces: np.ndarray, nearest: Nearest, inside: np.ndarray, cell_metres: float
) -> np.ndarray:
    """Which of the inside points have their nearest face in the middle of the solid: it has inside on both sides."""
    result = inside.copy()
    for side in (-1, 1):
        beside = nearest.points[result] + side * 0.05 * cell_metres * nearest.normals[result]
        result[result] = _is_inside(vertices, faces, beside)
    return result


def _distance_to_discs(points: np.ndarray, centres: np.ndarray, normals: np.ndarray, radius: float) -> np.ndarray:
    """Distance to the nearest of the discs, of which the eight with the nearest centres are looked at."""
    from scipy.spatial import KDTree

    if len(centres) == 0:
        return np.full(len(points), radius)
    distances, found = KDTree(centres).query(points, k=min(8, len(centres)))
    distances, found = distances.reshape(len(points), -1), found.reshape(len(points), -1)
    along = np.einsum("pkc,pkc->pk", points[:, None] - centres[found], normals[found])
    across = np.sqrt(np.maximum(distances**2 - along**2, 0))
    return np.hypot(along, np.maximum(across - radius, 0)).min(axis=1)


def _with_thin_parts(signed: Tensor, grid: TetrahedralGrid) -> Tensor:
    """Adds a shell around the faces that have no inside vertex nearby."""
    thickness = THIN_PART_CELLS * grid.cell_metres
    is_shell = signed.abs() < thickness
    is_lost = is_shell & ~_dilated(signed < 0)
    for _ in range(2):  # back to where the part is thick enough, or a gap would stay
        is_lost = is_shell & _dilated(is_lost)
    # A shell's distance also around the lost vertices, or the surface would end between them and their neighbours.
    return torch.where(_dilated(is_lost), torch.minimum(signed, signed.abs() - thickness), signed)


def _dilated(mask: Tensor) -> Tensor:
    """The mask and its neighbours within one step along each axis."""
    return torch.nn.functional.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
