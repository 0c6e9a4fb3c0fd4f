"""Pictures that show something else when they are turned, flipped, or laid one on the other. No files, no prompts."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from backend.picture_config import Transform

OVERLAY_BRIGHTNESS = 3.0
"""Two pictures multiplied are dark; so much light is sent through (the code of Diffusion Illusions, Burgert et al.)."""
TURNING_FRAMES = 10
HELD_FRAMES = 12
SURROUND = (255, 255, 255)


def picture_count(transform: Transform) -> int:
    """How many pictures an illusion is made of."""
    return 2 if transform == "overlay" else 1


def views_of(
    pictures: Float[Tensor, "pictures height width 3"], transform: Transform, count: int
) -> Float[Tensor, "views height width 3"]:
    """The views that the prompts are about; differentiable.

    Args:
        pictures: Square, one; for `overlay` two, of which the second is turned on the first.
        count: Of views. Each is turned a quarter (`rotate-180`: a half) further than the one before, counterclockwise;
            the second one of `flip` is upside down, as in a mirror on the floor.
    """
    match transform:
        case "flip":
            return torch.cat([pictures, pictures.flip(1)])
        case "rotate-180":
            return torch.cat([_turned(pictures, 2 * view) for view in range(count)])
        case "rotate-90":
            return torch.cat([_turned(pictures, view) for view in range(count)])
        case "overlay":
            base, rotator = pictures[:1], pictures[1:]
            return torch.cat([light_through(base * _turned(rotator, view)) for view in range(count)])
    raise ValueError(f"no such transform: {transform!r}")


def light_through(product: Float[Tensor, "*rest 3"]) -> Float[Tensor, "*rest 3"]:
    """What is seen through both transparencies: tanh keeps bright places below white instead of cutting them off."""
    return torch.tanh(OVERLAY_BRIGHTNESS * product)


def turning_frames(
    pictures: UInt8[np.ndarray, "pictures height width 3"], transform: Transform, count: int
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The turn from view to view and back to the first, resting at each."""
    closes_by_itself = transform in ("rotate-180", "flip") or count == 4
    frames = []
    for view in range(count):
        travel = 1 if view < count - 1 or closes_by_itself else 1 - count
        moving = [view + travel * _eased(frame / TURNING_FRAMES) for frame in range(1, TURNING_FRAMES)]
        frames += [_frame(pictures, transform, float(view))] * HELD_FRAMES
        frames += [_frame(pictures, transform, position) for position in moving]
    return np.stack(frames)


def _frame(pictures: UInt8[np.ndarray, "pictures height width 3"], transform: Transform, position: float) -> np.ndarray:
    """What is seen so many views after the first one, whole numbers being the views themselves."""
    match transform:
        case "flip":
            return _flipping(pictures[0], position)
        case "overlay":
            rotator = _rotated(pictures[1], 90.0 * position)
            seen = torch.from_numpy((pictures[0] / 255.0) * (rotator / 255.0))
            return (light_through(seen) * 255).round().to(torch.uint8).numpy()
    return _rotated(pictures[0], (180.0 if transform == "rotate-180" else 90.0) * position)


def _rotated(picture: UInt8[np.ndarray, "height width 3"], degrees: float) -> np.ndarray:
    if degrees % 90 == 0:
        return np.rot90(picture, round(degrees / 90)).copy()
    return np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=SURROUND))


def _flipping(picture: UInt8[np.ndarray, "height width 3"], position: float) -> np.ndarray:
    """Turned about its horizontal middle line, seen from far away."""
    height, width = picture.shape[:2]
    across = math.cos(math.pi * position)
    seen = picture if across > 0 else picture[::-1]
    squeezed = Image.fromarray(np.ascontiguousarray(seen)).resize((width, max(1, round(abs(across) * height))))
    canvas = Image.new("RGB", (width, height), SURROUND)
    canvas.paste(squeezed, (0, (height - squeezed.height) // 2))
    return np.asarray(canvas)


def _turned(pictures: Float[Tensor, "pictures height width 3"], quarters: int) -> Tensor:
    return torch.rot90(pictures, quarters, dims=(1, 2))


def _eased(share: float) -> float:
    """From 0 to 1 without a jerk at either end."""
    return 0.5 - 0.5 * math.cos(math.pi * share)
