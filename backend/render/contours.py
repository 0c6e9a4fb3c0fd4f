"""What sketches are compared with: coverage, depth and normals, antialiased so that their borders carry gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.geometry.triangle_mesh import TriangleMesh
from backend.posed_cameras import PosedCameras
from backend.render.rasteriser import Rasteriser


@dataclass(frozen=True)
class ContourViews:
    """Square views without colour. Row 0 is the top."""

    masks: Float[Tensor, "views height width 1"]
    """Coverage in [0, 1]."""
    depths: Float[Tensor, "views height width 1"]
    """Metres along the viewing axis; on the background those of the furthest point of the view."""
    normals: Float[Tensor, "views height width 3"]
    """In world space; zero on the background."""


def render_masks(
    rasteriser: Rasteriser, mesh: TriangleMesh, cameras: PosedCameras, resolution: int
) -> Float[Tensor, "views height width 1"]:
    """Antialiased coverage alone; differentiable. Zero for an empty mesh."""
    if mesh.is_empty:
        return torch.zeros(len(cameras), resolution, resolution, 1, device=mesh.positions.device)
    clip_positions = _clip_positions(mesh, cameras)
    raster, _ = rasteriser.rasterize(clip_positions, mesh.faces, (resolution, resolution))
    covered = (raster[..., 3:] > 0).to(raster.dtype)
    return rasteriser.antialias(covered, raster, clip_positions, mesh.faces)


def render_contours(rasteriser: Rasteriser, mesh: TriangleMesh, cameras: PosedCameras, resolution: int) -> ContourViews:
    """Coverage, depth and normals; differentiable, their borders too."""
    if mesh.is_empty:
        nothing = torch.zeros(len(cameras), resolution, resolution, 1, device=mesh.positions.device)
        return ContourViews(nothing, nothing, nothing.expand(-1, -1, -1, 3))
    clip_positions = _clip_positions(mesh, cameras)
    raster, _ = rasteriser.rasterize(clip_positions, mesh.faces, (resolution, resolution))
    covered = (raster[..., 3:] > 0).to(raster.dtype)
    attributes = torch.cat([mesh.positions, mesh.vertex_normals()], dim=-1)
    surface, _ = rasteriser.interpolate(attributes[None], raster, mesh.faces)
    backward_axis = cameras.view_matrices()[:, 2]  # [views, 4]
    along = torch.einsum("vhwi,vi->vhw", surface[..., :3], backward_axis[:, :3]) + backward_axis[:, 3, None, None]
    furthest = (-along * covered[..., 0]).detach().amax(dim=(1, 2))[:, None, None, None]
    depths = torch.where(covered > 0, -along[..., None], furthest)
    normals = torch.nn.functional.normalize(surface[..., 3:], dim=-1, eps=1e-8) * covered
    smooth = rasteriser.antialias(torch.cat([covered, depths, normals], dim=-1), raster, clip_positions, mesh.faces)
    return ContourViews(smooth[..., :1], smooth[..., 1:2], smooth[..., 2:])


def _clip_positions(mesh: TriangleMesh, cameras: PosedCameras) -> Tensor:
    homogeneous = torch.cat([mesh.positions, torch.ones_like(mesh.positions[:, :1])], dim=-1)
    return torch.einsum("vij,pj->vpi", cameras.clip_matrices(), homogeneous).contiguous()
