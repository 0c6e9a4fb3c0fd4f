"""Meshes to cut and unwrap: solids by marching tetrahedra, with all their slivers, and sheets written by formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh


def solid(signed_distance: Callable[[Tensor], Tensor], resolution: int = 20) -> TriangleMesh:
    """The surface of a solid on a lattice; `signed_distance` takes [..., 3]."""
    grid = TetrahedralGrid(resolution)
    positions = grid.positions().view(grid.side, grid.side, grid.side, 3)
    return marching_tetrahedra(signed_distance(positions).float().contiguous(), grid).detach()


def sphere(resolution: int = 20) -> TriangleMesh:
    return solid(lambda p: p.norm(dim=-1) - 0.8, resolution)


def torus(resolution: int = 24) -> TriangleMesh:
    return solid(lambda p: ((p[..., [0, 2]].norm(dim=-1) - 0.6) ** 2 + p[..., 1] ** 2).sqrt() - 0.25, resolution)


def bumpy_blob(resolution: int = 28) -> TriangleMesh:
    return solid(
        lambda p: (
            p.norm(dim=-1)
            - 0.7
            - 0.09 * torch.sin(11 * p[..., 0]) * torch.sin(13 * p[..., 1]) * torch.sin(12 * p[..., 2])
        ),
        resolution,
    )


def rough_ball(resolution: int = 20) -> TriangleMesh:
    """What badly tamed noise makes of a ball."""
    noise = torch.Generator().manual_seed(0)
    return solid(lambda p: p.norm(dim=-1) - 0.6 + 0.04 * torch.randn(p.shape[:-1], generator=noise), resolution)


def cube(divisions: int = 3) -> TriangleMesh:
    """A closed cube with sides from -0.5 to 0.5."""
    steps = torch.linspace(-0.5, 0.5, divisions + 1)
    a, b = torch.meshgrid(steps, steps, indexing="ij")
    half = torch.full_like(a, 0.5)
    sides = [(half, a, b), (-half, b, a), (b, half, a), (a, -half, b), (a, b, half), (b, a, -half)]
    positions, faces = [], []
    for side in sides:
        faces.append(grid_faces(divisions + 1, divisions + 1) + len(positions) * (divisions + 1) ** 2)
        positions.append(torch.stack(side, dim=-1).reshape(-1, 3))
    unique, numbers = torch.cat(positions).unique(dim=0, return_inverse=True)
    return TriangleMesh(unique, numbers[torch.cat(faces)].int())


def spiral_ramp(turns: float = 2.5, steps: int = 120) -> TriangleMesh:
    """A sheet that winds upwards: all of it faces up, and it lies above itself."""
    angle = torch.linspace(0, turns * 2 * torch.pi, steps)[:, None]
    radius = torch.linspace(0.2, 0.8, 8)[None, :]
    rise = 0.1 * angle
    positions = torch.stack([radius * angle.cos(), rise.expand(-1, 8), radius * angle.sin()], dim=-1)
    return TriangleMesh(positions.reshape(-1, 3), grid_faces(steps, 8).int())


ALL = [sphere, torus, bumpy_blob, rough_ball, cube, spiral_ramp]
"""Every shape here, for tests that hold for each."""


def grid_faces(rows: int, columns: int) -> Tensor:
    """Two triangles for each cell of a grid whose vertices are numbered row by row."""
    numbers = torch.arange(rows * columns).view(rows, columns)
    a, b, c, d = numbers[:-1, :-1], numbers[1:, :-1], numbers[1:, 1:], numbers[:-1, 1:]
    return torch.cat([torch.stack([a, b, c], dim=-1).reshape(-1, 3), torch.stack([a, c, d], dim=-1).reshape(-1, 3)])
