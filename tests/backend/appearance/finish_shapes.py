"""A small blob with a colour at every point of space, for what happens to a mesh after the last step."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.appearance.material import Material
from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh


def blob(resolution: int = 20) -> TriangleMesh:
    """Closed, with bumps, so that it needs more charts than a ball."""
    grid = TetrahedralGrid(resolution)
    p = grid.positions().view(grid.side, grid.side, grid.side, 3)
    bumps = 0.07 * torch.sin(8 * p[..., 0]) * torch.sin(7 * p[..., 1]) * torch.sin(9 * p[..., 2])
    return marching_tetrahedra((p.norm(dim=-1) - 0.7 - bumps).float().contiguous(), grid).detach()


def albedo_at(positions: Tensor) -> Tensor:
    """Smooth, and different in every direction: red grows with x, green with y, blue with z."""
    return 0.5 + 0.45 * positions


def smooth_field(positions: Tensor) -> Material:
    return Material(albedo_at(positions), 0.5 + 0.3 * positions[:, :1], 0.5 - 0.3 * positions[:, 1:2])


def lookup(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear, with the border repeated; [height, width, channels] at [points, 2]; row 0 is at v = 0."""
    grid = 2 * uv[None, None] - 1
    image = texture.permute(2, 0, 1)[None].float()
    return torch.nn.functional.grid_sample(image, grid, align_corners=False, padding_mode="border")[0, :, 0].T
