"""What a surface that is learnt must keep to: regions that stay as they are, and planes that it is mirrored at.

Both hold for the fields on the lattice, not as terms of a loss: no weight decides how well they are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from backend.geometry.held_region import HeldRegion
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import nearest_on_mesh
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh

AXES = "xyz"
MOST_ASYMMETRY = 0.005
"""Share of its size by which a mesh may differ from its mirror image and still count as symmetric."""


@dataclass(frozen=True)
class SurfaceConstraints:
    """Kept to by `DMTet` and `TextureField`."""

    mirror_axes: tuple[int, ...] = ()
    """0, 1, 2 for x, y, z: the two sides of the plane through the origin across this axis are alike."""
    held: HeldRegion | None = None
    can_mirror_meshes: bool = True
    """Whether a mesh from the lattice may be mirrored: not where what is held is not symmetric itself."""

    @classmethod
    def of(cls, symmetry: str | None, mesh: PlacedMesh | None) -> SurfaceConstraints:
        """Those of a job with mirror planes across the axes `symmetry` and a mesh some of whose vertices are locked.

        Of a mesh that is symmetric itself the images of locked vertices are locked too.
        """
        alone = cls(tuple(AXES.index(axis) for axis in symmetry or ""))
        if not alone.mirror_axes or mesh is None or mesh.locked is None:
            return cls(alone.mirror_axes, HeldRegion.of(mesh))
        is_symmetric = alone.asymmetry_of(mesh) < MOST_ASYMMETRY
        held = HeldRegion.of(_locked_with_images(mesh, alone.mirror_axes) if is_symmetric else mesh)
        return cls(alone.mirror_axes, held, can_mirror_meshes=held is None or is_symmetric)

    def initial(
        self, distances: Float[Tensor, "side side side"], grid: TetrahedralGrid
    ) -> Float[Tensor, "side side side"]:
        """Signed distances of an initial shape, alike on both sides of the mirrors, except where they are held."""
        mirrored = mirrored_field(distances, self.mirror_axes)
        if self.held is None or mirrored is distances:
            return mirrored
        freedom = self.held.freedom(grid).to(distances)
        return distances + freedom * (mirrored - distances)

    def learnt(
        self, distances: Float[Tensor, "side side side"], grid: TetrahedralGrid
    ) -> Float[Tensor, "side side side"]:
        """What has been learnt on top of the initial distances, as far as it is allowed. Differentiable."""
        distances = mirrored_field(distances, self.mirror_axes)
        return distances if self.held is None else distances * self.held.freedom(grid).to(distances)

    def offsets(
        self, offsets: Float[Tensor, "3 side side side"], grid: TetrahedralGrid
    ) -> Float[Tensor, "3 side side side"]:
        """By how much vertices of the lattice are moved, as far as it is allowed. Differentiable."""
        for axis in self.mirror_axes:
            signs = offsets.new_ones(3, 1, 1, 1)
            signs[axis] = -1  # mirrored, a move along the axis goes the other way
            offsets = (offsets + signs * offsets.flip(axis + 1)) / 2
        return offsets if self.held is None else offsets * self.held.freedom(grid).to(offsets)

    def mirrored(self, mesh: TriangleMesh) -> TriangleMesh:
        """A mesh from a lattice with one half of each mirror replaced by the image of the other. Differentiable.

        The tetrahedra of the lattice are not alike on both sides: the same distances give edges that run differently.
        """
        if not self.can_mirror_meshes:
            return mesh
        for axis in self.mirror_axes:
            mesh = mirrored_mesh(mesh, axis)
        return mesh

    def asymmetry_of(self, mesh: PlacedMesh) -> float:
        """How far a mesh is from its mirror images: the largest distance of a vertex, as a share of its longest side.

        0 without mirrors.
        """
        size = float(np.ptp(mesh.vertices, axis=0).max())
        farthest = 0.0
        for axis in self.mirror_axes:
            mirrored = mesh.vertices.copy()
            mirrored[:, axis] *= -1
            found = nearest_on_mesh(mesh.vertices, mesh.faces, mirrored)
            farthest = max(farthest, float(np.linalg.norm(found - mirrored, axis=1).max()))
        return farthest / size


def _locked_with_images(mesh: PlacedMesh, axes: Collection[int]) -> PlacedMesh:
    """A symmetric mesh that is locked alike on both sides: a vertex is if its own image falls on what was locked."""
    assert mesh.locked is not None
    locked, vertices = mesh.locked, KDTree(mesh.vertices)
    for axis in axes:
        images = mesh.vertices * np.where(np.arange(3) == axis, -1, 1)
        locked = locked | locked[vertices.query(images)[1]]
    return dataclasses.replace(mesh, locked=locked)


def mirrored_field(values: Float[Tensor, "side side side"], axes: Collection[int]) -> Float[Tensor, "side side side"]:
    """The mean of a field on a lattice and of its mirror images. Differentiable."""
    for axis in axes:
        values = (values + values.flip(axis)) / 2
    return values


def mirrored_mesh(mesh: TriangleMesh, axis: int) -> TriangleMesh:
    """The faces on the positive side of the plane through the origin across an axis, and their mirror images.

    The two are joined at the vertices that lie exactly in the plane; a mesh none of whose faces crosses it stays as
    closed as it was. Differentiable.
    """
    along = mesh.positions.detach()[:, axis]
    faces = mesh.faces.long()
    kept = faces[(along[faces] >= 0).all(dim=1) & (along[faces] > 0).any(dim=1)]
    used, kept = torch.unique(kept, return_inverse=True)
    positions = mesh.positions[used]
    is_doubled = along[used] > 0
    image_numbers = torch.arange(len(used), device=used.device)
    image_numbers[is_doubled] = len(used) + torch.arange(int(is_doubled.sum()), device=used.device)
    signs = positions.new_ones(3)
    signs[axis] = -1
    images = image_numbers[kept].flip(1)  # a mirror turns faces over
    return TriangleMesh(
        torch.cat([positions, positions[is_doubled] * signs]), torch.cat([kept, images]).to(mesh.faces.dtype)
    )


def folded(positions: Float[Tensor, "points 3"], axes: Collection[int]) -> Float[Tensor, "points 3"]:
    """Positions on the positive side of the mirrors. Differentiable."""
    if not axes:
        return positions
    is_mirrored = positions.new_tensor([axis in axes for axis in range(3)], dtype=torch.bool)
    return torch.where(is_mirrored, positions.abs(), positions)
