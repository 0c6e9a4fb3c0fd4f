"""Connected parts of a triangle mesh, and meshes without the small ones."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from backend.geometry.triangle_mesh import TriangleMesh


def face_components(mesh: TriangleMesh) -> Int[Tensor, "faces"]:
    """The number of the part that each face belongs to, 0 for the part with the most faces, and so on downwards.

    Faces belong together when they share a vertex. Parts of equal size are ordered by their first face.
    """
    faces = mesh.faces.cpu().numpy()
    if len(faces) == 0:
        return torch.zeros(0, dtype=torch.int64, device=mesh.faces.device)
    vertex_count = len(mesh.positions)
    starts = np.concatenate([faces[:, 0], faces[:, 1]])
    ends = np.concatenate([faces[:, 1], faces[:, 2]])
    joined = coo_array((np.ones(len(starts), dtype=bool), (starts, ends)), shape=(vertex_count, vertex_count))
    _, part_of_vertex = connected_components(joined, directed=False)
    _, first_faces, parts, sizes = np.unique(
        part_of_vertex[faces[:, 0]], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first_faces, -sizes))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return torch.from_numpy(rank[parts]).to(mesh.faces.device)


def remove_floaters(mesh: TriangleMesh, smallest_share: float = 1.0) -> TriangleMesh:
    """The mesh without its small loose parts and without vertices that no face uses. Gradients stay.

    The inner wall of a closed cavity is a part of its own: it goes too, and the cavity with it.

    Args:
        smallest_share: Parts stay that have at least this share of the faces of the largest part. 1 keeps the largest
            part alone, and of several equally large ones the first.
    """
    if not 0 < smallest_share <= 1:
        raise ValueError(f"smallest_share must be above 0 and at most 1, got {smallest_share}")
    if mesh.is_empty:
        return mesh
    parts = face_components(mesh)
    sizes = parts.bincount()
    stays = sizes >= smallest_share * sizes[0]
    if smallest_share == 1:
        stays[1:] = False
    return keep_faces(mesh, stays[parts])


def keep_faces(mesh: TriangleMesh, is_kept: Tensor) -> TriangleMesh:
    """The faces for which `is_kept` [faces] is true, with the vertices that they use, in the order they had."""
    faces = mesh.faces[is_kept].long()
    is_used = torch.zeros(len(mesh.positions), dtype=torch.bool, device=faces.device)
    is_used[faces.reshape(-1)] = True
    new_numbers = is_used.cumsum(0) - 1
    return TriangleMesh(mesh.positions[is_used], new_numbers[faces].int())
