"""Light on a surface. Colours come in and go out sRGB-coded; light is linear.

A Lambert term and, where asked for, a GGX highlight. Multiplying sRGB-coded albedo by `light ** (1 / 2.2)` equals
shading in linear light under a gamma of 2.2, and costs one power per pixel instead of one per colour and direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from backend.cameras import Cameras

GAMMA = 2.2

ShadingMode = Literal["lit", "albedo", "textureless"]


@dataclass(frozen=True)
class Lighting:
    """One distant light and an ambient share per view."""

    directions: Float[Tensor, "views 3"]
    """Unit vectors from the object towards the light."""
    ambient: Float[Tensor, "views"]
    """Share of the light that comes from everywhere, in [0, 1]; the rest comes from `directions`."""
    mode: ShadingMode = "lit"
    """`lit`: albedo under the light; `albedo`: no light; `textureless`: the light on white, the shape alone."""
    specular: bool = False
    """Add a GGX highlight from roughness and metallic."""


def sample_lighting(
    cameras: Cameras,
    generator: torch.Generator,
    mode: ShadingMode = "lit",
    ambient: tuple[float, float] = (0.3, 0.55),
    spread: float = 0.6,
) -> Lighting:
    """A light near each camera: its position is the camera's direction moved by a normal random vector.

    DreamFusion (section 3.2) draws the light the same way. A light near the camera leaves no black half, which a
    small diffusion model would take for a part of the object.
    """
    count = len(cameras)
    camera_directions = torch.nn.functional.normalize(cameras.positions(), dim=-1)
    device = camera_directions.device
    offset = spread * torch.randn(count, 3, generator=generator)
    share = ambient[0] + (ambient[1] - ambient[0]) * torch.rand(count, generator=generator)
    directions = torch.nn.functional.normalize(camera_directions + offset.to(device), dim=-1)
    return Lighting(directions, share.to(device), mode)


def headlight(cameras: Cameras, ambient: float = 0.4) -> Lighting:
    """A light a little above and to the right of each camera, the same in every view: for previews and turntables."""
    rotations = cameras.view_matrices()[:, :3, :3]  # rows: right, up, backward in world axes
    toward = torch.tensor([0.35, 0.5, 1.0], device=rotations.device)
    directions = torch.nn.functional.normalize(torch.einsum("vij,i->vj", rotations, toward), dim=-1)
    return Lighting(directions, torch.full((len(cameras),), ambient, device=rotations.device))


def shade(
    albedo: Float[Tensor, "views height width 3"],
    normals: Float[Tensor, "views height width 3"],
    lighting: Lighting,
    *,
    view_directions: Float[Tensor, "views height width 3"] | None = None,
    roughness: Float[Tensor, "views height width 1"] | None = None,
    metallic: Float[Tensor, "views height width 1"] | None = None,
) -> Float[Tensor, "views height width 3"]:
    """sRGB-coded colours of a lit surface.

    Args:
        albedo: sRGB-coded base colour.
        normals: Unit normals; a surface seen from behind is lit as if it faced the other way is *not* done here: the
            caller passes normals that look outwards.
        view_directions: Unit vectors from the surface to the camera; needed with `lighting.specular`.
        roughness: In [0, 1]; needed with `lighting.specular`.
        metallic: In [0, 1]; needed with `lighting.specular`.
    """
    if lighting.mode == "albedo":
        return albedo
    directions = lighting.directions[:, None, None, :]
    ambient = lighting.ambient[:, None, None, None]
    facing = (normals * directions).sum(-1, keepdim=True).clamp(min=0.0)
    light = ambient + (1.0 - ambient) * facing
    if lighting.mode == "textureless":
        return (light.clamp(min=1e-4) ** (1 / GAMMA)).expand_as(albedo)
    if not lighting.specular:
        return albedo * light.clamp(min=1e-4) ** (1 / GAMMA)
    if view_directions is None or roughness is None or metallic is None:
        raise ValueError("specular light needs view_directions, roughness and metallic")
    linear_albedo = albedo.clamp(min=1e-4) ** GAMMA
    highlight = _ggx_highlight(linear_albedo, normals, directions, view_directions, roughness, metallic)
    linear = linear_albedo * (1.0 - metallic * 0.7) * light + (1.0 - ambient) * highlight
    return linear.clamp(1e-4, 1.0) ** (1 / GAMMA)


def _ggx_highlight(
    linear_albedo: Tensor, normals: Tensor, light: Tensor, view: Tensor, roughness: Tensor, metallic: Tensor
) -> Tensor:
    """Cook-Torrance highlight with the GGX distribution (Walter et al. 2007) and Schlick's Fresnel, times n.l."""
    half = torch.nn.functional.normalize(light + view, dim=-1)
    n_dot_l = (normals * light).sum(-1, keepdim=True).clamp(min=0.0)
    n_dot_v = (normals * view).sum(-1, keepdim=True).clamp(min=1e-3)
    n_dot_h = (normals * half).sum(-1, keepdim=True).clamp(min=0.0)
    v_dot_h = (view * half).sum(-1, keepdim=True).clamp(min=0.0)
    alpha_squared = roughness.clamp(min=0.08) ** 4
    distribution = alpha_squared / (math.pi * (n_dot_h**2 * (alpha_squared - 1.0) + 1.0) ** 2)
    k = (roughness + 1.0) ** 2 / 8.0
    visibility = 1.0 / (4.0 * (n_dot_l * (1 - k) + k) * (n_dot_v * (1 - k) + k))
    base_reflectance = 0.04 + (linear_albedo - 0.04) * metallic
    fresnel = base_reflectance + (1.0 - base_reflectance) * (1.0 - v_dot_h) ** 5
    return distribution * visibility * fresnel * n_dot_l
