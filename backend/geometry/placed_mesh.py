"""A mesh that somebody gave, in the ball that objects live in, with the way back to where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from backend.geometry.mesh_input import Placement, faces_with_area, place_in_ball, read_lock, read_mesh_input
from backend.geometry.signed_distance import signed_distance_on_lattice
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh

_ARRAYS = ("vertices", "faces", "colours", "uv", "normals", "sources", "locked")


@dataclass(frozen=True)
class PlacedMesh:
    """Every vertex is used by a face, at least one face has an area, and all numbers are finite: whoever makes one
    sees to that."""

    vertices: Float[np.ndarray, "vertices 3"]
    """float64, Y up, metres, in front of the cameras."""
    faces: Int[np.ndarray, "faces 3"]
    """int64; some may have no area."""
    placement: Placement
    """From the giver's coordinates to these."""
    colours: Float[np.ndarray, "vertices 3"] | None = None
    """sRGB-coded, in [0, 1]."""
    uv: Float[np.ndarray, "vertices 2"] | None = None
    """Row 0 of a texture at v = 0. NaN for parts without UVs among others that have some."""
    normals: Float[np.ndarray, "vertices 3"] | None = None
    """Unit normals, Y up."""
    sources: Int[np.ndarray, "vertices"] | None = None
    """The giver's numbers of the vertices, where some were doubled or left out."""
    locked: Bool[np.ndarray, "vertices"] | None = None
    """Where the surface and its colours are to stay as they are."""

    def given_vertices(self) -> Float[np.ndarray, "vertices 3"]:
        """In the giver's coordinates: exactly those that were given, once they are rounded to float32 as those were."""
        return self.placement.place_back(self.vertices)

    def triangle_mesh(self) -> TriangleMesh:
        """All faces, on the CPU."""
        return TriangleMesh(torch.from_numpy(self.vertices).float(), torch.from_numpy(self.faces).int())

    def signed_distances(self, grid: TetrahedralGrid) -> Float[Tensor, "side side side"]:
        """Of the faces that have an area; for `DMTet.initialise_from` and `DMTet.grow`."""
        used, faces = np.unique(self.faces[faces_with_area(self.vertices, self.faces)], return_inverse=True)
        return signed_distance_on_lattice(self.vertices[used], faces.reshape(-1, 3), grid)

    def to_tensors(self) -> dict[str, Tensor]:
        """All there is to know, as tensors for safetensors."""
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name in _ARRAYS
            if (array := getattr(self, name)) is not None
        }
        where = [*self.placement.centre, self.placement.scale, float(self.placement.up == "z")]
        return tensors | {"placement": torch.tensor(where, dtype=torch.float64)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> PlacedMesh:
        """The reverse of `to_tensors`; KeyError if one is missing."""
        x, y, z, scale, is_z_up = tensors["placement"].tolist()
        arrays = {name: tensors[name].cpu().numpy() for name in _ARRAYS if name in tensors}
        return cls(placement=Placement((x, y, z), scale, "z" if is_z_up else "y"), **arrays)


def load_initial_mesh(path: str | Path, lock: str | Path | None = None) -> PlacedMesh:
    """A mesh file with its colours, moved into the ball that the cameras look at.

    The middle of its bounding box comes to the origin and its furthest vertex to the border of the ball. Axes stay as
    they are. Nothing is fetched from anywhere.

    Args:
        lock: A copy of the mesh on which what is to stay is painted white; see `mesh_input.read_lock`.

    Raises:
        UnreadableMesh: One of the files is missing, of an unknown kind, damaged, empty, or holds no usable surface.
        BadInput: The copy is of another mesh, or nothing of it is white.
    """
    mesh = read_mesh_input(path, with_appearance=True)
    locked = None if lock is None else read_lock(lock, mesh)
    placement = place_in_ball(mesh.vertices)
    return PlacedMesh(placement.place(mesh.vertices), mesh.faces, placement, colours=mesh.colours, locked=locked)
