"""Backgrounds for optimisation: never twice the same, so that no surface can pass for one.

With one grey background for all views, strong guidance lets the surface spread as grey terrain and take its place.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from backend.errors import BadInput

BackgroundKind = Literal["mixed", "plain", "white"]


def sample_backgrounds(
    views: int,
    resolution: int,
    generator: torch.Generator,
    kind: BackgroundKind = "mixed",
    device: torch.device | str = "cpu",
) -> Float[Tensor, "views height width 3"]:
    """One background per view, sRGB-coded.

    `mixed`: half plain colours, the rest graded from one colour to another or checkered; `plain`: plain colours;
    `white`: all white, as a product photograph.
    """
    if kind not in get_args(BackgroundKind):
        raise BadInput(f"the background must be one of {', '.join(get_args(BackgroundKind))}, got {kind!r}")
    if kind == "white":
        return torch.ones(views, resolution, resolution, 3, device=device)
    # Random numbers of a fixed count from the CPU generator: the same on every device and for every mixture.
    first, second = torch.rand(2, views, 1, 1, 3, generator=generator)
    angle, phase, cell, choice = torch.rand(4, views, 1, 1, generator=generator)
    # Half of the colours are greys: saturated ones everywhere would tint the object by contrast.
    is_grey = torch.rand(2, views, 1, 1, 1, generator=generator) < 0.5
    first = torch.where(is_grey[0], first.mean(-1, keepdim=True).expand_as(first), first)
    second = torch.where(is_grey[1], second.mean(-1, keepdim=True).expand_as(second), second)
    plain = first.expand(views, resolution, resolution, 3)
    if kind == "plain":
        return plain.to(device)

    along = (torch.arange(resolution) + 0.5) / resolution
    rows, columns = along[None, :, None], along[None, None, :]
    turn = angle * 2 * torch.pi
    ramp = (0.5 + 0.7 * (torch.cos(turn) * (columns - 0.5) + torch.sin(turn) * (rows - 0.5))).clamp(0, 1)[..., None]
    graded = first + ramp * (second - first)
    size = 0.08 + 0.17 * cell
    is_second = ((torch.floor((rows + phase) / size) + torch.floor((columns + phase) / size)) % 2)[..., None]
    checkered = first + is_second * 0.6 * (second - first)
    mixed = torch.where(choice[..., None] < 0.5, plain, torch.where(choice[..., None] < 0.8, graded, checkered))
    return mixed.to(device)
