"""Right and wrong meshes for the tests of the measures: the world's own shapes, and solids that miss them."""

from __future__ import annotations

import numpy as np
import torch
from manifold3d import Manifold
from torch import Tensor

from backend.geometry.triangle_mesh import TriangleMesh
from tools.embedded_world.shapes import canonical_mesh, make_shape
from tools.embedded_world.solids import ColouredMesh, box, join


def triangle_mesh(mesh: ColouredMesh) -> TriangleMesh:
    return TriangleMesh(torch.from_numpy(mesh.positions), torch.from_numpy(mesh.faces))


def canonical(name: str) -> TriangleMesh:
    return triangle_mesh(canonical_mesh(name))


def instance(name: str, seed: int) -> TriangleMesh:
    """One with proportions of its own."""
    return triangle_mesh(make_shape(name, np.random.default_rng(seed)))


def of_solids(*solids: Manifold) -> TriangleMesh:
    """The union."""
    mesh = join(solids).to_mesh()
    positions = np.array(mesh.vert_properties[:, :3], dtype=np.float32)
    return TriangleMesh(torch.from_numpy(positions), torch.from_numpy(np.array(mesh.tri_verts, dtype=np.int32)))


def cuboid(width: float, height: float, depth: float, centre: tuple[float, float, float] = (0, 0, 0)) -> TriangleMesh:
    return of_solids(box((width, height, depth), centre))


def stool(legs: int = 4, backs: int = 0) -> list[Manifold]:
    """A seat on legs, with no, one, or two boards above it."""
    corners = [(-0.35, -0.35), (0.35, -0.35), (-0.35, 0.35), (0.35, 0.35)][:legs]
    return [
        box((0.9, 0.12, 0.9), (0, 0.7, 0)),
        *[box((0.12, 0.7, 0.12), (x, 0.35, z)) for x, z in corners],
        *[box((0.9, 0.9, 0.12), (0, 1.15, z)) for z in (-0.39, 0.39)[:backs]],
    ]


def turned(mesh: TriangleMesh, degrees: float, scale: float = 1.0, shift: Tensor | None = None) -> TriangleMesh:
    """Turned about +Y so that what faced +Z faces +X at 90 degrees, scaled, and moved."""
    angle = np.radians(degrees)
    turn = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]).float()
    positions = mesh.positions @ turn.T * scale
    return TriangleMesh(positions if shift is None else positions + shift, mesh.faces)
