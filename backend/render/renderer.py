"""A mesh with an appearance, seen by cameras: images, masks, normals, depths. Differentiable; knows no diffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.appearance.material import Material
from backend.cameras import Cameras
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import Rasteriser
from backend.render.shading import Lighting, shade

Background = Float[Tensor, "views height width 3"] | Float[Tensor, "3"]


@dataclass(frozen=True)
class VertexColours:
    """Appearance: one sRGB-coded colour per vertex, interpolated."""

    colours: Float[Tensor, "vertices 3"]


@dataclass(frozen=True)
class FieldAppearance:
    """Appearance: a function of the position in space, evaluated at the surface point of every covered pixel."""

    field: Callable[[Tensor], Material]


@dataclass(frozen=True)
class TextureImages:
    """Appearance: a UV map and its base colour image (row 0 at V = 0)."""

    uv: Float[Tensor, "vertices 2"]
    base_colour: Float[Tensor, "texture_height texture_width 3"]
    normals: Float[Tensor, "vertices 3"] | None = None
    """Unit normals that agree on both sides of a seam, where vertices are doubled; None takes those of the mesh."""


Appearance = VertexColours | FieldAppearance | TextureImages


@dataclass(frozen=True)
class RenderedViews:
    """What the cameras see. Row 0 is the top of the image."""

    images: Float[Tensor, "views height width 3"]
    """sRGB-coded, antialiased over the background."""
    masks: Float[Tensor, "views height width 1"]
    """Antialiased coverage in [0, 1]; its gradient moves the silhouette."""
    normals: Float[Tensor, "views height width 3"]
    """Unit normals in world space, (0, 0, 0) on the background; not antialiased."""
    depths: Float[Tensor, "views height width 1"]
    """Metres along the viewing axis, 0 on the background; not antialiased."""


def render_views(
    rasteriser: Rasteriser,
    mesh: TriangleMesh,
    appearance: Appearance,
    cameras: Cameras,
    resolution: int,
    *,
    lighting: Lighting | None = None,
    background: Background | None = None,
    supersample: int = 1,
) -> RenderedViews:
    """Renders square views of a mesh.

    Args:
        appearance: See `VertexColours`, `FieldAppearance`, `TextureImages`.
        resolution: Height and width of the images in pixels.
        lighting: None shows the bare albedo.
        background: A colour, or an image per view at `resolution`; None is white.
        supersample: Renders this many times larger in each direction and averages.

    Differentiable with respect to the positions and to the appearance. An empty mesh shows the background.
    """
    size = resolution * supersample
    device = mesh.positions.device
    if background is None:
        background = torch.ones(3, device=device)
    if background.dim() == 4 and background.shape[1] != size:
        # Nearest: the average over the supersampled pixels then gives the background back exactly.
        background = background.repeat_interleave(supersample, dim=1).repeat_interleave(supersample, dim=2)
    background = background.expand(len(cameras), size, size, 3)

    if mesh.is_empty:
        nothing = torch.zeros(len(cameras), size, size, 1, device=device) + 0.0 * mesh.positions.sum()
        views = RenderedViews(background + nothing, nothing, nothing.expand(-1, -1, -1, 3), nothing)
        return _average(views, supersample)

    homogeneous = torch.cat([mesh.positions, torch.ones_like(mesh.positions[:, :1])], dim=-1)
    clip_positions = torch.einsum("vij,pj->vpi", cameras.clip_matrices(), homogeneous).contiguous()
    raster, derivatives = rasteriser.rasterize(clip_positions, mesh.faces, (size, size))
    covered = (raster[..., 3:] > 0).to(raster.dtype)

    given = appearance.normals if isinstance(appearance, TextureImages) else None
    vertex_normals = given if given is not None else mesh.vertex_normals()
    vertex_attributes = torch.cat([mesh.positions, vertex_normals], dim=-1)
    surface, _ = rasteriser.interpolate(vertex_attributes[None], raster, mesh.faces)
    positions, normals = surface[..., :3], surface[..., 3:]
    normals = torch.nn.functional.normalize(normals, dim=-1, eps=1e-8)

    material = _surface_material(rasteriser, mesh, appearance, raster, derivatives, positions)
    colours = material.albedo
    if lighting is not None:
        to_camera = torch.nn.functional.normalize(cameras.positions()[:, None, None, :] - positions, dim=-1)
        colours = shade(
            colours,
            normals,
            lighting,
            view_directions=to_camera,
            roughness=material.roughness,
            metallic=material.metallic,
        )

    over_background = torch.where(covered > 0, colours, background)
    antialiased = rasteriser.antialias(
        torch.cat([over_background, covered], dim=-1), raster, clip_positions, mesh.faces
    )
    backward_axis = cameras.view_matrices()[:, 2]  # [views, 4]
    depths = -(torch.einsum("vhwi,vi->vhw", positions, backward_axis[:, :3]) + backward_axis[:, 3, None, None])
    views = RenderedViews(antialiased[..., :3], antialiased[..., 3:], normals * covered, depths[..., None] * covered)
    return _average(views, supersample)


def _surface_material(
    rasteriser: Rasteriser,
    mesh: TriangleMesh,
    appearance: Appearance,
    raster: Tensor,
    derivatives: Tensor,
    positions: Tensor,
) -> Material:
    """The material of every pixel; zero albedo where nothing is."""
    match appearance:
        case VertexColours(colours):
            albedo, _ = rasteriser.interpolate(colours[None].contiguous(), raster, mesh.faces)
        case TextureImages(uv, base_colour):
            texture_uv, uv_derivatives = rasteriser.interpolate(
                uv[None].contiguous(), raster, mesh.faces, derivatives, "all"
            )
            albedo = rasteriser.texture(base_colour[None], texture_uv, uv_derivatives, "linear-mipmap-linear", "clamp")
        case FieldAppearance(field):
            # Only the covered pixels: the field is the dearest part of the picture, and most pixels see nothing.
            covered = raster[..., 3].reshape(-1).nonzero()[:, 0]
            sampled = field(positions.reshape(-1, 3)[covered])
            values = torch.cat([sampled.albedo, sampled.roughness, sampled.metallic], dim=-1)
            scattered = torch.zeros(raster[..., 0].numel(), 5, device=values.device, dtype=values.dtype)
            scattered = scattered.index_copy(0, covered, values).reshape(*raster.shape[:3], 5)
            return Material(scattered[..., :3], scattered[..., 3:4], scattered[..., 4:])
    return Material(albedo, torch.full_like(albedo[..., :1], 0.7), torch.zeros_like(albedo[..., :1]))


def _average(views: RenderedViews, factor: int) -> RenderedViews:
    """Box filter from the supersampled size to the wanted one. Normals are averaged and made unit again."""
    if factor == 1:
        return views

    def shrink(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)

    weight = shrink((views.depths > 0).to(views.depths.dtype)).clamp(min=1e-6)
    normals = torch.nn.functional.normalize(shrink(views.normals), dim=-1, eps=1e-8)
    return RenderedViews(shrink(views.images), shrink(views.masks), normals, shrink(views.depths) / weight)
