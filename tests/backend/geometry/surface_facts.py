"""What can be said about a triangle mesh, for the tests of this folder."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.geometry.triangle_mesh import TriangleMesh


def half_edges(faces: Tensor) -> Tensor:
    """[3 * faces, 2], along the direction in which each face turns."""
    return torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()


def is_closed(mesh: TriangleMesh) -> bool:
    """Every edge twice, once in each direction."""
    ends = half_edges(mesh.faces)
    there = {(a, b) for a, b in ends.tolist()}
    return len(there) == len(ends) and all((b, a) in there for a, b in there)


def euler_characteristic(mesh: TriangleMesh) -> int:
    edge_count = len(half_edges(mesh.faces).sort(dim=1).values.unique(dim=0))
    return len(mesh.faces.unique()) - edge_count + len(mesh.faces)


def volume(mesh: TriangleMesh) -> float:
    """Positive for a closed mesh with outward faces."""
    a, b, c = mesh.positions.detach()[mesh.faces.long()].unbind(1)
    return float((torch.linalg.cross(a, b) * c).sum() / 6)


def area(mesh: TriangleMesh) -> float:
    return float(mesh.detach().face_normals().norm(dim=-1).sum() / 2)


def sorted_triangles(positions: Tensor, faces: Tensor) -> Tensor:
    """The faces as positions [faces, 9], each from its smallest corner on (which keeps its turn), in lexical order."""
    corners = positions[faces.long()]  # [faces, 3, 3]
    rows = []
    for triangle in corners.tolist():
        first = triangle.index(min(triangle))
        rows.append([number for corner in triangle[first:] + triangle[:first] for number in corner])
    return torch.tensor(sorted(rows), dtype=torch.float64)
