"""A part of a given mesh that stays as it is while the rest of the surface is learnt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import nearest_on_mesh, nearest_with_normals, unsigned_distance_on_lattice
from backend.geometry.smoothness import unique_edges_with_faces
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh, random_places

HELD_CELLS = 1.8
"""How far from a held surface nothing moves, in cells: both ends of every edge that crosses it, sqrt(3) cells long."""
SEAM_METRES = 0.15
"""Over which what is learnt fades in beyond that."""
CREASE_DEGREES = 30.0
"""Faces that meet at this angle or more make a sharp edge."""
_SNAP_CELLS = (0.6, 1.5)
"""Vertices nearer to the held surface than the first come to lie on it, those beyond the second stay."""
_POINTS_PER_CELL = 8


@dataclass(frozen=True)
class HeldRegion:
    """Faces of a given mesh that stay as they are."""

    mesh: PlacedMesh
    faces: Int[np.ndarray, "faces 3"]
    """Those that are held; at least one."""
    _of_resolution: dict[int, Tensor] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, mesh: PlacedMesh | None) -> HeldRegion | None:
        """The faces all of whose vertices are locked; None if there is none."""
        if mesh is None or mesh.locked is None:
            return None
        faces = mesh.faces[mesh.locked[mesh.faces].all(axis=1)]
        return cls(mesh, faces) if len(faces) else None

    def freedom(self, grid: TetrahedralGrid) -> Float[Tensor, "side side side"]:
        """How free each vertex of a lattice is: 0 near the held faces, 1 from a seam's width further away. On the CPU.

        The last lattice's is kept: a surface asks for it at every step.
        """
        if grid.resolution not in self._of_resolution:
            self._of_resolution.clear()
            distances = unsigned_distance_on_lattice(self.mesh.vertices, self.faces, grid)
            self._of_resolution[grid.resolution] = _smooth_step(
                (distances - HELD_CELLS * grid.cell_metres) / SEAM_METRES
            )
        return self._of_resolution[grid.resolution]

    def points(self, cell_metres: float) -> Float[Tensor, "points 3"]:
        """Points all over the held faces and up to half a cell off them, so many that no cell that they meet is left
        out."""
        generator = torch.Generator().manual_seed(0)
        held = TriangleMesh(torch.from_numpy(self.mesh.vertices).float(), torch.from_numpy(self.faces).int())
        area = float(held.face_normals().norm(dim=-1).double().sum()) / 2
        face, weights = random_places(
            held, min(2_000_000, int(_POINTS_PER_CELL * 3 * area / cell_metres**2) + 1), generator
        )
        corners = held.positions[held.faces.long()]
        on_faces = (corners[face] * weights[:, :, None]).sum(dim=1)
        scattered = on_faces + (torch.rand(on_faces.shape, generator=generator) - 0.5) * cell_metres
        return torch.cat([corners.view(-1, 3), on_faces, scattered])

    def snapped(self, mesh: TriangleMesh, cell_metres: float) -> TriangleMesh:
        """The mesh with its vertices near the held faces on the given surface, from which a lattice is a little off.

        A lattice bevels sharp edges: of every edge of the mesh that goes across one, the nearer end comes to lie on it.

        Args:
            cell_metres: Of the lattice that the mesh is from.
        """
        positions = mesh.positions.detach().cpu().double().numpy()
        near, far = (cells * cell_metres for cells in _SNAP_CELLS)
        distances = np.linalg.norm(nearest_on_mesh(self.mesh.vertices, self.faces, positions) - positions, axis=1)
        chosen = np.flatnonzero(distances < far)
        given = nearest_with_normals(self.mesh.vertices, self.mesh.faces, positions[chosen])
        target, normals = positions.copy(), np.zeros_like(positions)
        target[chosen], normals[chosen] = given.points, given.normals
        weights = np.zeros(len(positions))
        weights[chosen] = 1 - _smooth_step(torch.from_numpy((distances[chosen] - near) / (far - near))).numpy()
        self._sharpen(target, normals, weights, mesh.faces, cell_metres)
        positions += weights[:, None] * (target - positions)
        return TriangleMesh(torch.from_numpy(positions).to(mesh.positions), mesh.faces)

    def _sharpen(
        self, target: np.ndarray, normals: np.ndarray, weights: np.ndarray, faces: Tensor, cell_metres: float
    ) -> None:
        """Moves targets [vertices, 3] of vertices beside a sharp edge or corner of the held faces onto it."""
        from scipy.spatial import KDTree

        creases, corners = _creases(self.mesh.vertices, self.faces, cell_metres / 16)
        if len(creases) == 0:
            return
        edges = unique_edges_with_faces(faces.cpu(), len(target)).vertices.numpy()
        edges = edges[(weights[edges] > 0).all(axis=1)]
        across = (normals[edges[:, 0]] * normals[edges[:, 1]]).sum(axis=1) < np.cos(np.radians(CREASE_DEGREES))
        edges = edges[across]
        distances, found = KDTree(creases).query(target)
        ends = np.unique(np.where(distances[edges[:, 0]] <= distances[edges[:, 1]], edges[:, 0], edges[:, 1]))
        ends = ends[distances[ends] < cell_metres]
        target[ends] = creases[found[ends]]
        held = np.flatnonzero(weights > 0)
        if len(held) and len(corners):
            distances, found = KDTree(target[held]).query(corners)
            target[held[found[distances < cell_metres]]] = corners[distances < cell_metres]


def _creases(
    vertices: np.ndarray, faces: np.ndarray, spacing_metres: float
) -> tuple[Float[np.ndarray, "points 3"], Float[np.ndarray, "corners 3"]]:
    """Points along the sharp edges between faces, and the ends of those edges where they turn or meet others."""
    places, numbers = np.unique(vertices, axis=0, return_inverse=True)
    faces = numbers.reshape(-1)[faces]
    a, b, c = (places[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    faces, normals = faces[lengths > 0], normals[lengths > 0] / lengths[lengths > 0, None]
    edges = unique_edges_with_faces(torch.from_numpy(faces), len(places))
    vertices_of, faces_of = edges.vertices.numpy(), edges.faces.numpy()
    cosines = (normals[faces_of[:, 0]] * normals[faces_of[:, 1]]).sum(axis=1)
    sharp = vertices_of[(faces_of[:, 1] >= 0) & (cosines < np.cos(np.radians(CREASE_DEGREES)))]
    if len(sharp) == 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    begin, end = places[sharp[:, 0]], places[sharp[:, 1]]
    counts = np.ceil(np.linalg.norm(end - begin, axis=1) / spacing_metres).astype(int).clip(1, 10_000) + 1
    which = np.repeat(np.arange(len(sharp)), counts)
    along = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / (counts - 1)[which]
    points = begin[which] + along[:, None] * (end - begin)[which]

    directions = (end - begin) / np.linalg.norm(end - begin, axis=1, keepdims=True)
    outward = np.zeros_like(places)  # the sum of the directions away from a place: none where an edge goes straight on
    np.add.at(outward, sharp[:, 0], directions)
    np.add.at(outward, sharp[:, 1], -directions)
    degree = np.bincount(sharp.reshape(-1), minlength=len(places))
    turns = np.linalg.norm(outward, axis=1) > 2 * np.sin(np.radians(CREASE_DEGREES) / 2)
    return points, places[(degree > 2) | ((degree == 2) & turns)]


def _smooth_step(values: Tensor) -> Tensor:
    """0 up to 0, 1 from 1 on, with no kink between."""
    clamped = values.clamp(0, 1)
    return clamped.square() * (3 - 2 * clamped)
