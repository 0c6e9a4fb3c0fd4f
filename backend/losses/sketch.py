"""How far a rendered surface is from what was drawn, as scalars to be minimised. Tensors in, scalars out.

Rasters have row 0 at the top. Distances are shares of the picture's height, so that nothing depends on the resolution.
The gradient of rendered masks and edges lives on their borders alone (see `Rasteriser.antialias`), so every term is a
field of numbers that is summed under them: its slope across the border is the force.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

SCALES = (1, 2, 4, 8)
"""Blocks of pixels over which masks are compared: large ones see shapes that do not overlap yet."""
REACH_SHARES = (0.02, 0.05, 0.12)
"""How far away a drawn line looks for a rendered one, in shares of the picture."""


def silhouette_loss(
    masks: Float[Tensor, "views height width 1"],
    drawn: Float[Tensor, "views height width 1"],
    signed_distances: Float[Tensor, "views height width 1"],
    tolerance: float = 0.0,
) -> Float[Tensor, "views"]:
    """Rendered coverage against a drawn shape, one value per view; about the square of the share that is wrong.

    Two parts: the mean square of the difference over blocks of several sizes, relative to the area that was drawn; and
    the distance of what is covered wrongly to the drawn border, which pulls the harder the further away it is.

    Args:
        masks: Coverage in [0, 1]; differentiable.
        drawn: The same of the drawing.
        signed_distances: To the border of the drawing, negative inside, in shares of the picture's height.
        tolerance: Differences nearer to the drawn border than this share count for nothing.
    """
    area = drawn.mean(dim=(1, 2, 3)).clamp(min=1e-4)
    # Half a pixel of slope, so that the weight is no step that a border could hide behind.
    softness = 0.5 / masks.shape[1]
    counts = ((signed_distances.abs() - tolerance) / softness).clamp(0, 1) if tolerance > 0 else torch.ones_like(drawn)
    difference = ((masks - drawn) * counts).permute(0, 3, 1, 2)
    # In steps of one pixel: blocks side by side would prefer shapes that lie on their grid.
    blocks = [F.avg_pool2d(difference, scale, stride=1) for scale in SCALES if scale <= min(masks.shape[1:3])]
    overlap = torch.stack([block.square().mean(dim=(1, 2, 3)) for block in blocks]).mean(dim=0)
    beyond = (signed_distances - tolerance).clamp(min=0)
    within = (-signed_distances - tolerance).clamp(min=0)
    far = (masks * beyond + (1 - masks) * within).mean(dim=(1, 2, 3))
    return (overlap + far) / area


def outside_loss(
    places: Float[Tensor, "views points 2"],
    signed_distances: Float[Tensor, "views height width 1"],
    tolerance: float = 0.0,
) -> Float[Tensor, "views"]:
    """How far points of a surface lie outside of a drawn shape, one value per view: the mean distance to its border.

    For what a rendered mask cannot show: sheets and spikes that are thinner than a pixel from the drawing's side.
    Points inside count for nothing, however far they are from the border.

    Args:
        places: x and y of each point in the drawing's picture, -1 to 1, y downwards; differentiable.
        signed_distances: To the border of the drawing, negative inside, in shares of the picture's height.
        tolerance: Up to this distance, in the same shares, a point counts as inside.
    """
    field = signed_distances.permute(0, 3, 1, 2)
    distances = F.grid_sample(field, places[:, None], padding_mode="border", align_corners=False)[:, 0, 0]
    return (distances - tolerance).clamp(min=0).mean(dim=1)


def contour_strength(
    masks: Float[Tensor, "views height width 1"],
    depths: Float[Tensor, "views height width 1"],
    normals: Float[Tensor, "views height width 3"],
    depth_step: float = 0.08,
    crease_degrees: float = 40.0,
) -> Float[Tensor, "views height width 1"]:
    """How much of a line somebody would draw at each pixel, 0 to 1: silhouettes, steps in depth, creases.

    Differentiable as far as the rasters are: antialiased ones carry the gradient of their borders.

    Args:
        depths: Metres, any constant on the background.
        normals: Unit normals, zero on the background.
        depth_step: Metres between neighbouring pixels that make a whole line; smaller ones make less of one.
        crease_degrees: Between the normals of neighbouring pixels that make a whole line.
    """
    masks, depths = _smoothed(masks), _smoothed(depths)
    # Relative to the whole jump around each pixel: across a border the strengths then add up to one wherever between
    # the pixels it lies, and moving it moves strength from one to the other.
    jump = torch.maximum(_range_around(depths.detach()), torch.full_like(depths, depth_step))
    chord = 2 * math.sin(math.radians(crease_degrees) / 2)
    inner = _step_length(masks.detach()).lt(0.02).to(masks.dtype)  # depth ends at a silhouette, which counts already
    strengths = [
        _step_length(masks),
        _step_length(depths) / jump * inner,
        (_largest_chord(normals) / chord).clamp(max=1) * inner,
    ]
    return torch.stack(strengths).amax(dim=0)


def line_loss(
    contours: Float[Tensor, "views height width 1"],
    lines: Float[Tensor, "views height width 1"],
    distances: Float[Tensor, "views height width 1"],
    tolerance: float = 0.01,
) -> Float[Tensor, "views"]:
    """Rendered contours against drawn lines, both ways, one value per view.

    What is rendered is to lie near a drawn line: the mean distance, beyond the tolerance. What is drawn is to have
    a rendered contour nearby: the share that has none, with reaches from near to far. Lines that nobody drew cost
    less than drawn ones that are missing: drawings leave out a lot.

    Args:
        contours: Of `contour_strength`; differentiable.
        lines: Where the drawn lines are, in [0, 1].
        distances: To the nearest drawn line, in shares of the picture's height.
        tolerance: For a shaky hand, in the same shares.
    """
    total = contours.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    beyond = (distances - tolerance).clamp(min=0)
    astray = (contours * beyond).sum(dim=(1, 2, 3)) / total
    drawn = lines.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    missing = []
    for reach in REACH_SHARES:
        nearby = _blurred(contours, max(reach, tolerance) * contours.shape[1])
        missing.append((lines * torch.exp(-nearby)).sum(dim=(1, 2, 3)) / drawn)
    return 2 * astray + 0.1 * torch.stack(missing).mean(dim=0)


def colour_loss(
    albedo: Float[Tensor, "views height width 3"],
    hints: Float[Tensor, "views height width 3"],
    weights: Float[Tensor, "views height width 1"],
) -> Float[Tensor, "views"]:
    """Mean absolute difference of a surface's colours to those of strokes, where `weights` in [0, 1] says so."""
    total = weights.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    return ((albedo - hints).abs().mean(dim=-1, keepdim=True) * weights).sum(dim=(1, 2, 3)) / total


def _smoothed(images: Tensor) -> Tensor:
    """Blurred by 1 2 1 both ways, so that a border counts the same wherever between the pixels it lies."""
    padded = F.pad(images.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=1).permute(0, 2, 3, 1)


def _step_length(images: Tensor) -> Tensor:
    """Length of the difference to the pixels on the right and below: of a border as much at every angle."""
    across = F.pad((images[:, :, 1:] - images[:, :, :-1]).square(), (0, 0, 0, 1))
    down = F.pad((images[:, 1:] - images[:, :-1]).square(), (0, 0, 0, 0, 0, 1))
    return (across + down + 1e-10).sqrt() - 1e-5  # the slope at zero is finite


def _largest_chord(images: Tensor) -> Tensor:
    """Lengths of the differences of vectors to the right and below, the larger of the two."""
    across = F.pad((images[:, :, 1:] - images[:, :, :-1]).square().sum(dim=-1, keepdim=True), (0, 0, 0, 1))
    down = F.pad((images[:, 1:] - images[:, :-1]).square().sum(dim=-1, keepdim=True), (0, 0, 0, 0, 0, 1))
    return torch.maximum(across, down).clamp(min=1e-12).sqrt()


def _range_around(images: Tensor) -> Tensor:
    """Highest minus lowest value among each pixel and its eight neighbours."""
    channels_first = images.permute(0, 3, 1, 2)
    highest, lowest = (sign * F.max_pool2d(sign * channels_first, 3, 1, 1) for sign in (1, -1))
    return (highest - lowest).permute(0, 2, 3, 1)


def _blurred(images: Tensor, reach_pixels: float) -> Tensor:
    """A sum over the neighbourhood that falls off with a Gaussian; 1 in its middle, so that a line alone gives about
    as much as it is long there."""
    radius = max(1, round(2.5 * reach_pixels))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(reach_pixels, 0.5)).square())
    channels_first = images.permute(0, 3, 1, 2)
    across = F.conv2d(channels_first, kernel.view(1, 1, 1, -1), padding=(0, radius))
    # A straight line through the neighbourhood gives 1 whatever the reach.
    both = F.conv2d(across, (kernel / kernel.sum()).view(1, 1, -1, 1), padding=(radius, 0))
    return both.permute(0, 2, 3, 1)
