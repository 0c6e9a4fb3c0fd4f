"""How rough a surface is, as scalars to be minimised. Differentiable on every device; loops of numba on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from backend.geometry.marching_tetrahedra import find_crossings
from backend.geometry.tetrahedral_grid import inside_vertices
from backend.geometry.triangle_mesh import TriangleMesh


class MeshEdges(NamedTuple):
    """The edges of a mesh, each once. Numbers are int32; edges come in the order in which the faces bring them up."""

    vertices: Int[Tensor, "edges 2"]
    """The lower number first."""
    faces: Int[Tensor, "edges 2"]
    """The faces on the two sides, the lower number first; -1 second where there is only one."""


def unique_edges_with_faces(faces: Int[Tensor, "faces 3"], vertex_count: int) -> MeshEdges:
    """The edges of a mesh and the faces that they join.

    Where more than two faces meet, the edge comes several times, with the first and second face, the third and
    fourth...
    """
    if faces.device.type != "cpu":
        return _sorted_edges(faces, vertex_count)
    from backend.geometry.mesh_kernels import pair_faces_at_edges

    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= vertex_count):
        raise ValueError(
            f"faces point at vertices {int(faces.min())} to {int(faces.max())}, but there are {vertex_count}"
        )
    slots = np.empty((3 * len(faces), 2), dtype=np.int32)
    edges, edge_faces = torch.empty(2, 3 * len(faces), 2, dtype=torch.int32)
    count = pair_faces_at_edges(
        faces.int().contiguous().numpy(),
        np.zeros(vertex_count + 1, dtype=np.int32),
        slots,
        edges.numpy(),
        edge_faces.numpy(),
    )
    return MeshEdges(edges[:count], edge_faces[:count])


def _sorted_edges(faces: Tensor, vertex_count: int) -> MeshEdges:
    """The same by sorting, for other devices. The order of the edges is by their vertices here."""
    ends = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1).long().reshape(-1, 2)  # half-edges
    lower, upper = ends.amin(1), ends.amax(1)
    keys, order = (lower * vertex_count + upper).sort(stable=True)
    face = order // 3
    # Within equal keys, half-edges 0 and 1, 2 and 3, ... are the sides of one edge.
    is_first_of_key = torch.ones_like(keys, dtype=torch.bool)
    is_first_of_key[1:] = keys[1:] != keys[:-1]
    index = torch.arange(len(keys), device=keys.device)
    first_of_key = torch.where(is_first_of_key, index, torch.zeros_like(index)).cummax(0).values
    is_edge = (index - first_of_key) % 2 == 0
    starts = index[is_edge]
    has_partner = torch.zeros_like(is_edge)
    has_partner[:-1] = keys[1:] == keys[:-1]
    partner = torch.where(has_partner, face.roll(-1), torch.full_like(face, -1))
    vertices = torch.stack([keys // vertex_count, keys % vertex_count], dim=1)[starts]
    return MeshEdges(vertices.int(), torch.stack([face[starts], partner[starts]], dim=1).int())


def normal_consistency(
    mesh: TriangleMesh, edges: MeshEdges | None = None, weights: Literal["area", "equal"] = "area"
) -> Float[Tensor, ""]:
    """Mean over the edges of 1 - cosine of the angle between the normals of the two faces; 0 for a plane, at most 2.

    Marching tetrahedra makes slivers, whose normals turn with the slightest motion: the gradient of a face's normal
    grows as one over its height. Weighing an edge by the smaller area of its two faces bounds that. threestudio
    compares vertex normals instead, which hides creases as wide as a cell.

    Args:
        mesh: Faces without area count for nothing.
        edges: `unique_edges_with_faces` of the mesh, if it is there already.
        weights: By area as above (the weights get no gradient), or each edge the same.
    """
    edges = edges or unique_edges_with_faces(mesh.faces, len(mesh.positions))
    if mesh.positions.device.type != "cpu":
        return _normal_consistency(mesh, edges, weights)
    from backend.geometry.mesh_kernels import normal_consistency_with_gradient

    def kernel(positions: np.ndarray, gradient: np.ndarray) -> float:
        return normal_consistency_with_gradient(
            positions, mesh.faces.contiguous().numpy(), edges.faces.numpy(), weights == "area", gradient
        )

    return _ScalarOfPositions.apply(mesh.positions, kernel)


def _normal_consistency(mesh: TriangleMesh, edges: MeshEdges, weights: str) -> Tensor:
    normals = mesh.face_normals()
    sizes = normals.detach().norm(dim=-1)
    # One for faces without area, whose gradient would be infinite; their weight is zero anyhow.
    normals = normals / torch.where(sizes > 0, normals.norm(dim=-1), 1.0)[:, None]
    first, second = edges.faces[edges.faces[:, 1] >= 0].long().unbind(1)
    edge_weights = torch.minimum(sizes[first], sizes[second])
    if weights == "equal":
        edge_weights = (edge_weights > 0).to(edge_weights)
    bend = 1 - (normals[first] * normals[second]).sum(-1)
    return (edge_weights * bend).sum() / edge_weights.sum().clamp(min=torch.finfo(normals.dtype).tiny)


def laplacian_roughness(mesh: TriangleMesh, edges: MeshEdges | None = None) -> Float[Tensor, ""]:
    """Mean distance in metres of the vertices from the mean of their neighbours (the uniform Laplacian).

    Also evens out the spacing of the vertices and, as all of its kind, shrinks the surface.
    """
    edges = edges or unique_edges_with_faces(mesh.faces, len(mesh.positions))
    if mesh.positions.device.type != "cpu":
        return _laplacian_roughness(mesh.positions, edges)
    from backend.geometry.mesh_kernels import laplacian_with_gradient

    return _ScalarOfPositions.apply(
        mesh.positions,
        lambda positions, gradient: laplacian_with_gradient(positions, edges.vertices.numpy(), gradient),
    )


def _laplacian_roughness(positions: Tensor, edges: MeshEdges) -> Tensor:
    first, second = edges.vertices.long().unbind(1)
    sums = torch.zeros_like(positions).index_add(0, first, positions[second]).index_add(0, second, positions[first])
    degrees = torch.bincount(edges.vertices.flatten().long(), minlength=len(positions)).to(positions)
    is_used = degrees > 0
    offsets = sums[is_used] / degrees[is_used][:, None] - positions[is_used]
    return offsets.norm(dim=-1).sum() / is_used.sum().clamp(min=1)


class _ScalarOfPositions(torch.autograd.Function):
    """A scalar whose kernel finds value and gradient in one go, so that the backward only scales."""

    @staticmethod
    def forward(ctx, positions: Tensor, kernel: Callable[[np.ndarray, np.ndarray], float]) -> Tensor:
        gradient = torch.zeros_like(positions, memory_format=torch.contiguous_format)
        value = kernel(positions.detach().contiguous().numpy(), gradient.numpy())
        ctx.save_for_backward(gradient)
        return positions.new_tensor(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None


def sign_change_entropy(
    signed_distances: Float[Tensor, "side side side"], cell_metres: float | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of the signs at both ends of the lattice edges that the surface crosses (nvdiffrec, equation 2).

    For an edge with distances a and b: BCE(sigmoid(a), b > 0) + BCE(sigmoid(b), a > 0), a mean over the crossed edges
    of all seven directions. Each end is drawn to the sign of the other: loose parts and holes close, the area
    shrinks. Only edges that the marching sees count, so that the outermost layer of the lattice is outside here too;
    it gets no gradient where its own sign says otherwise.

    Args:
        signed_distances: Metres, negative inside.
        cell_metres: Distances are divided by this first, which makes the value independent of the lattice; without it
            the sigmoid sees metres, as in nvdiffrec.

    Returns:
        Zero for an empty surface; about 1.4 (two times log 2) for distances that are small throughout.
    """
    edges = find_crossings(signed_distances.detach()).edges
    flat = signed_distances.reshape(-1) / (cell_metres or 1.0)
    inside = inside_vertices(signed_distances.detach()).reshape(-1)
    if len(edges) == 0:
        return flat.sum() * 0
    first, second = edges.long().unbind(1)
    is_wall = ~inside & (signed_distances.detach().reshape(-1) < 0)
    flat = torch.where(is_wall, flat.detach().abs(), flat)
    is_out = (~inside).to(flat.dtype)
    return F.binary_cross_entropy_with_logits(flat[first], is_out[second]) + F.binary_cross_entropy_with_logits(
        flat[second], is_out[first]
    )
