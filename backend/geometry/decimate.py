"""Fewer faces for the same shape, by quadric edge collapse (fast-simplification). A closed mesh stays closed."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
import torch

from backend.geometry.collapse_kernels import collapse_edges
from backend.geometry.components import face_components, keep_faces
from backend.geometry.smoothness import unique_edges_with_faces
from backend.geometry.triangle_mesh import TriangleMesh

FEWEST_FACES = 4
"""A closed surface has at least as many as a tetrahedron."""

_AGGRESSIVENESS = (5.0, 7.0)
"""How fast the error that fast-simplification allows a collapse grows; low keeps the shape better, 7 is its default."""

_PASSES = 4


@dataclass(frozen=True)
class Decimation:
    """A mesh with fewer faces, and what is to be said about it."""

    mesh: TriangleMesh
    notes: tuple[str, ...] = ()
    """Empty if the budget was kept."""


def is_closed(mesh: TriangleMesh) -> bool:
    """True if every edge belongs to exactly two faces, which turn the same way."""
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    if len(faces) == 0:
        return False
    vertex_count = len(mesh.positions)
    there = np.concatenate([faces[:, i] * vertex_count + faces[:, (i + 1) % 3] for i in range(3)])
    back = np.concatenate([faces[:, (i + 1) % 3] * vertex_count + faces[:, i] for i in range(3)])
    there.sort()
    back.sort()
    return bool((there[1:] != there[:-1]).all() and (there == back).all())


def decimate(mesh: TriangleMesh, faces_budget: int) -> Decimation:
    """Reduces a mesh to at most `faces_budget` faces, or to the fewest that leave its topology as it is.

    fast-simplification does it in a tenth of a second; on rough meshes it may open the surface, lose a part or give up
    early. Then our own edge collapse does it, which is slower and cannot. Gradients end here.
    """
    if faces_budget < FEWEST_FACES:
        raise ValueError(f"faces_budget must be at least {FEWEST_FACES}, got {faces_budget}")
    mesh = mesh.detach()
    if len(mesh.faces) <= faces_budget:
        return Decimation(mesh)
    was_closed, part_count = is_closed(mesh), _part_count(mesh)
    for aggressiveness in _AGGRESSIVENESS:
        simplified = _simplify(mesh, faces_budget, aggressiveness)
        if (
            len(simplified.faces) <= faces_budget
            and _part_count(simplified) == part_count
            and (is_closed(simplified) or not was_closed)
        ):
            return Decimation(simplified)
    collapsed = _collapse(mesh, faces_budget)
    if len(collapsed.faces) <= faces_budget:
        return Decimation(collapsed)
    note = (
        f"the mesh keeps {len(collapsed.faces)} faces instead of {faces_budget}: fewer would tear or fold the surface"
    )
    return Decimation(collapsed, (note,))


def _collapse(mesh: TriangleMesh, faces_budget: int) -> TriangleMesh:
    """Our own edge collapse, which keeps the topology."""
    positions = mesh.positions.cpu().numpy().astype(np.float64)
    faces = mesh.faces.cpu().numpy().astype(np.int32)
    edges = unique_edges_with_faces(torch.from_numpy(faces), len(positions))
    is_border = np.zeros(len(positions), dtype=bool)
    is_border[edges.vertices[edges.faces[:, 1] < 0].reshape(-1).numpy()] = True
    is_left = collapse_edges(positions, faces, is_border, faces_budget)
    return _mesh_like(mesh, positions, faces[is_left])


def _simplify(mesh: TriangleMesh, faces_budget: int, aggressiveness: float) -> TriangleMesh:
    """Collapses edges until the budget is reached or a pass changes nothing more."""
    positions = mesh.positions.cpu().numpy().astype(np.float64)
    faces = mesh.faces.cpu().numpy().astype(np.int32)
    for _ in range(_PASSES):
        if len(faces) <= faces_budget:
            break
        before = len(faces)
        new_positions, new_faces = fast_simplification.simplify(
            positions, faces, target_count=faces_budget, agg=aggressiveness
        )
        positions, faces = np.asarray(new_positions, np.float64), np.asarray(new_faces, np.int32)
        if len(faces) >= 0.99 * before or len(faces) == 0:
            break
    return _mesh_like(mesh, positions, faces)


def _mesh_like(mesh: TriangleMesh, positions: np.ndarray, faces: np.ndarray) -> TriangleMesh:
    """Arrays as a mesh on the device of another, without vertices that no face uses."""
    device = mesh.positions.device
    whole = TriangleMesh(
        torch.from_numpy(positions).to(device, mesh.positions.dtype), torch.from_numpy(faces).to(device)
    )
    return keep_faces(whole, torch.ones(len(faces), dtype=torch.bool, device=device))


def _part_count(mesh: TriangleMesh) -> int:
    return 0 if mesh.is_empty else int(face_components(mesh).max()) + 1
