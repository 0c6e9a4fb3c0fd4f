"""Gives a texture field the colours of a mesh: those of its vertices, or those that an earlier surface had nearby."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.appearance.material import Material
from backend.appearance.texture_field import TextureField
from backend.geometry.signed_distance import nearest_on_mesh
from backend.geometry.triangle_mesh import TriangleMesh, random_places

MOST_POINTS = 60_000
"""Of the surface, that the field is fitted to. A cell of the finest grid under views of 64 pixels has 2 to 20."""
_POINTS_A_STEP = 12_000
_STEPS = 150
_RATE = 0.15
"""Of Adam on the coarsest grid; falls to a tenth, so that the colours come to rest."""


def paint_surface(
    texture: TextureField,
    mesh: TriangleMesh,
    colours: Float[Tensor, "vertices 3"] | None,
    earlier: TriangleMesh | None = None,
) -> None:
    """Fits the field to the colours of a surface, in a second or two. Elsewhere it stays much as it was.

    The field of an earlier surface says what is not given: roughness and metallic, and the albedo too if there are no
    colours. Parts that have moved away from it take along what it has at its nearest point.

    Args:
        texture: Changed in place.
        mesh: On the field's device, in front of the cameras; not empty.
        colours: sRGB-coded, in [0, 1].
        earlier: The surface that the field was learnt on; None for a field that has learnt nothing yet.
    """
    generator = torch.Generator().manual_seed(0)  # the same mesh gives the same field, in whatever job
    points, point_colours = _sample(mesh, colours, generator)
    with torch.no_grad():
        target = texture(points if earlier is None or earlier.is_empty else _moved_to(earlier, points))
    albedo = target.albedo if point_colours is None else point_colours
    _fit(texture, points, Material(albedo, target.roughness, target.metallic), generator)


def _sample(
    mesh: TriangleMesh, colours: Tensor | None, generator: torch.Generator
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"] | None]:
    """The vertices, as many as there is room for, then points anywhere on the faces, and their colours."""
    count = len(mesh.positions)
    chosen = torch.arange(count) if count <= MOST_POINTS // 2 else torch.randperm(count, generator=generator)
    chosen = chosen[: MOST_POINTS // 2].to(mesh.positions.device)
    face, weights = random_places(mesh, MOST_POINTS - len(chosen), generator)
    corners = mesh.faces[face.to(mesh.faces.device)].long()
    weights = weights[:, :, None].to(mesh.positions)
    points = torch.cat([mesh.positions[chosen], (mesh.positions[corners] * weights).sum(1)])
    if colours is None:
        return points, None
    return points, torch.cat([colours[chosen], (colours[corners] * weights).sum(1)])


def _moved_to(surface: TriangleMesh, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    found = nearest_on_mesh(
        surface.positions.cpu().numpy().astype(np.float64), surface.faces.cpu().numpy(), points.cpu().numpy()
    )
    return torch.from_numpy(found).to(points)


def _fit(
    texture: TextureField, points: Float[Tensor, "points 3"], target: Material, generator: torch.Generator
) -> None:
    wanted = torch.cat([target.albedo, target.roughness, target.metallic], dim=-1)
    # Fused: a million grid values in one pass instead of ten.
    optimiser = torch.optim.Adam(texture.parameter_groups(_RATE), betas=(0.9, 0.99), fused=True)
    rates = [group["lr"] for group in optimiser.param_groups]
    for step in range(_STEPS):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * 0.1 ** (step / _STEPS)
        some = torch.randint(len(points), (_POINTS_A_STEP,), generator=generator).to(points.device)
        material = texture(points[some])
        values = torch.cat([material.albedo, material.roughness, material.metallic], dim=-1)
        optimiser.zero_grad(set_to_none=True)
        (values - wanted[some]).square().sum(-1).mean().backward()
        optimiser.step()
    for parameter in texture.parameters():
        parameter.grad = None
