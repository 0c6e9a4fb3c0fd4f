"""Backgrounds behind the objects: plain, graded, checkered, blotched, grained. Drawn without a look at the object.

Coloured and patterned ones keep a diffusion model from believing that a plain grey surface can be background.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, zoom

BACKGROUND_KINDS = ("plain", "graded", "checkered", "blotched", "grained")
_SHARES = (0.34, 0.24, 0.16, 0.18, 0.08)

Image = Float[np.ndarray, "height width 3"]


def draw_background(rng: np.random.Generator, size: int, kind: str | None = None) -> Image:
    """One background, sRGB-coded float32 in [0, 1].

    Args:
        kind: One of `BACKGROUND_KINDS`; None draws it.
    """
    kind = kind or str(rng.choice(BACKGROUND_KINDS, p=_SHARES))
    one, other = _draw_colour(rng), _draw_colour(rng)
    if kind == "plain":
        return np.broadcast_to(one, (size, size, 3)).copy()
    if kind == "graded":
        return _mix(one, other, _ramp(rng, size))
    if kind == "checkered":
        # Half way to the other colour at least now and then: a full contrast would drown the object too often.
        return _mix(one, one + (other - one) * float(rng.uniform(0.35, 1.0)), _checkers(rng, size))
    if kind == "blotched":
        return _mix(one, other, _blotches(rng, size))
    if kind == "grained":
        base = _mix(one, other, _ramp(rng, size) * 0.5)
        grain = gaussian_filter(rng.standard_normal((size, size)), float(rng.uniform(0.5, 1.2)))
        return np.clip(base + (grain / grain.std() * float(rng.uniform(0.02, 0.06)))[..., None], 0, 1).astype(
            np.float32
        )
    raise ValueError(f"no background is called {kind!r}; there are {', '.join(BACKGROUND_KINDS)}")


def _draw_colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour; greys and muted ones more often than vivid ones."""
    grey = float(rng.uniform(0.05, 1.0))
    return (grey + (rng.random(3) - grey) * float(rng.uniform(0, 1)) ** 0.7 * (rng.random() > 0.2)).astype(np.float32)


def _mix(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> Image:
    return (one + (other - one) * share[..., None]).astype(np.float32)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixel centres, -1 to 1."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    return axis[None, :], axis[:, None]


def _ramp(rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = _grid(size)
    if rng.random() < 0.25:  # around a point, like a spotlight
        centre_x, centre_y = rng.uniform(-0.5, 0.5, 2)
        return np.clip(np.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2) / 1.4, 0, 1)
    # Mostly top to bottom, as a wall or a sky would be.
    angle = float(rng.normal(0, 0.5)) if rng.random() < 0.6 else float(rng.uniform(0, 2 * np.pi))
    return np.clip((x * np.sin(angle) + y * np.cos(angle)) * 0.5 + 0.5, 0, 1)


def _checkers(rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = _grid(size)
    angle = float(rng.uniform(0, np.pi / 2)) if rng.random() < 0.5 else 0.0
    cells = float(rng.uniform(1.5, 6))
    along = (x * np.cos(angle) + y * np.sin(angle)) * cells + float(rng.uniform(0, 2))
    across = (y * np.cos(angle) - x * np.sin(angle)) * cells + float(rng.uniform(0, 2))
    return ((np.floor(along) + np.floor(across)) % 2).astype(np.float32)


def _blotches(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = rng.random((int(rng.integers(3, 7)),) * 2)
    smooth = zoom(coarse, size / len(coarse), order=3, mode="nearest", grid_mode=True)
    return np.clip((smooth - 0.5) * float(rng.uniform(1.0, 2.0)) + 0.5, 0, 1)
