"""Pictures of drawings to ink: dark on light or light on dark, on a transparent ground, scanned or photographed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from backend.errors import BadInput
from backend.pictures import open_picture
from backend.sketches.sketch import is_colourful

_READ_PIXELS = 1024
"""Larger pictures are read at this size: lines are thinner than a pixel of a sketch beyond it."""
_UNEVEN_LIGHT = 0.12
"""By how much the paper may differ in brightness over the picture before its light is evened out."""
_LEAST_CONTRAST = 0.12
"""Between ink and paper, of the range from black to white."""
_SPECK_SHARE = 2e-5
"""Of the picture: smaller marks are dust, or the grain of a photograph."""

Grey = Float[np.ndarray, "height width"]


def read_ink(
    path: Path | str, notice: Callable[[str], None] = lambda sentence: None
) -> Bool[np.ndarray, "height width"]:
    """Where the lines of a picture file are, or the shape if it is filled. Turned as its EXIF says.

    Raises:
        BadInput: The file is not there, no picture, damaged, too large, or has no lines.
    """
    return ink_of(open_picture(Path(path)), str(path), notice)


def ink_of_png(
    content: bytes, name: str, notice: Callable[[str], None] = lambda sentence: None
) -> Bool[np.ndarray, "height width"]:
    """The same for the bytes of a PNG file, which errors call `name`."""
    return ink_of(open_picture(content, name), name, notice)


def colours_of_png(
    content: bytes, name: str, ink: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"] | None:
    """sRGB of the pixels of `ink`, which `ink_of_png` has made of the same file; None if its lines are all grey.

    Raises:
        BadInput: As `ink_of_png` does.
    """
    picture = open_picture(content, name)
    if picture.mode.startswith("I") or picture.mode == "F":
        return None
    height, width = ink.shape
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB").convert("RGB")
    colours = np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))
    return colours if (ink & is_colourful(colours)).any() else None


def ink_of(
    picture: Image.Image, name: str, notice: Callable[[str], None] = lambda sentence: None
) -> Bool[np.ndarray, "height width"]:
    """The same for a picture in memory."""
    grey = _on_its_ground(picture)
    paper, is_dark_on_light = _paper(grey)
    # Relative to the paper, as ink takes the same share of whatever light falls on it.
    darkness = (
        (paper - grey) / np.maximum(paper, 0.05) if is_dark_on_light else (grey - paper) / np.maximum(1 - paper, 0.05)
    )
    contrast = float(np.quantile(darkness, 0.9995))
    if contrast < _LEAST_CONTRAST:
        raise BadInput(
            f"the sketch {name} is empty: nothing in it stands out from its ground (the contrast is {contrast:.0%}; "
            f"at least {_LEAST_CONTRAST:.0%} is needed)"
        )
    level = max(_otsu_level(np.clip(darkness / contrast, 0, 1)), 0.25) * contrast
    ink = _without_specks(darkness > max(level, _LEAST_CONTRAST / 2))
    if not ink.any():
        raise BadInput(f"the sketch {name} is empty: there are only specks in it")
    if not is_dark_on_light:
        notice(f"{name} is read as light lines on a dark ground")
    return ink


def _on_its_ground(picture: Image.Image) -> Grey:
    """Brightness in [0, 1]; what is transparent becomes white, or black under light lines."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture).astype(np.float64))
        grey = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
        return _shrunk(Image.fromarray((grey * 255).astype(np.uint8)))
    if not picture.has_transparency_data:
        return _shrunk(picture.convert("RGB").convert("L"))
    with_alpha = picture.convert("RGBA")
    alpha = _shrunk(with_alpha.getchannel("A"))
    grey = _shrunk(with_alpha.convert("RGB").convert("L"))
    solid = alpha > 0.5
    is_light = bool(solid.any()) and float(np.median(grey[solid])) > 0.6 and float(grey[solid].min()) > 0.4
    return grey * alpha if is_light else 1 - alpha * (1 - grey)


def _shrunk(picture: Image.Image) -> Grey:
    longest = max(picture.size)
    if longest > _READ_PIXELS:
        size = (max(1, round(side * _READ_PIXELS / longest)) for side in picture.size)
        width, height = size
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64) / 255


def _paper(grey: Grey) -> tuple[Grey, bool]:
    """Brightness of the ground under every pixel, and whether the lines are darker than it.

    The border of the picture tells which of the two it is: few drawings cover most of it.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = float(np.median(border))
    darker, lighter = float(ground - np.quantile(grey, 0.002)), float(np.quantile(grey, 0.998) - ground)
    is_dark_on_light = darker >= lighter
    window = max(3, min(grey.shape) // 8)
    estimate = ndimage.grey_closing(grey, size=window) if is_dark_on_light else ndimage.grey_opening(grey, size=window)
    estimate = ndimage.gaussian_filter(estimate, window / 2)
    # Only the border of the picture is paper for sure: a large filled shape would pass for a shadow.
    edges = np.concatenate([estimate[0], estimate[-1], estimate[:, 0], estimate[:, -1]])
    if float(np.quantile(edges, 0.95) - np.quantile(edges, 0.05)) < _UNEVEN_LIGHT:
        return np.full_like(grey, ground), is_dark_on_light
    return estimate, is_dark_on_light


def _otsu_level(values: Grey) -> float:
    """The level that parts the values best into two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128, range=(0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * difference**2)
    return float(centres[int(between.argmax())])


def _without_specks(ink: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    labels, count = ndimage.label(ink, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    is_kept = sizes >= max(4, _SPECK_SHARE * ink.size)
    is_kept[0] = False
    return is_kept[labels]
