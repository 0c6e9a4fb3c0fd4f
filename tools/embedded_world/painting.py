"""Makes a render look painted in oil: areas flattened by a Kuwahara filter, visible strokes, a canvas, warmer paint."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter, zoom

Image = Float[np.ndarray, "height width 3"]


def paint_over(image: Image, rng: np.random.Generator) -> Image:
    """The picture as brush strokes; sRGB-coded, clipped to [0, 1]."""
    size = len(image)
    scale = size / 64
    # Uneven outlines: the hand does not follow the edge of the object to the pixel.
    wobble = [gaussian_filter(rng.standard_normal((size, size)), 2.5 * scale) for _ in range(2)]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    at = np.stack(
        [rows + wobble[0] / wobble[0].std() * 0.6 * scale, columns + wobble[1] / wobble[1].std() * 0.6 * scale]
    )
    bent = np.stack([map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(3)], axis=-1)

    flat = _kuwahara(bent, radius=max(1, round(float(rng.uniform(1.6, 2.6)) * scale)))
    strokes = _strokes(rng, size)
    bristle = float(rng.uniform(0.06, 0.11))
    tints = np.stack([_strokes(rng, size) for _ in range(3)], axis=-1)
    painted = flat * (1 + bristle * strokes[..., None]) + 0.022 * tints + 0.04 * bristle * strokes[..., None]
    canvas = np.sin(np.arange(size) * np.pi * 0.9 / scale)
    painted = painted + 0.006 * (canvas[:, None] + canvas[None, :])[..., None]
    painted = painted * np.array([1.03, 1.0, 0.93], dtype=np.float32)
    return np.clip((painted - 0.5) * float(rng.uniform(1.02, 1.18)) + 0.5, 0, 1).astype(np.float32)


def _kuwahara(image: Image, radius: int) -> Image:
    """Each pixel takes the mean of the calmest of its four neighbouring squares (Kuwahara et al. 1976)."""
    side = radius + 1
    mean = uniform_filter(image, (side, side, 1), mode="nearest")
    variance = uniform_filter(image**2, (side, side, 1), mode="nearest").sum(-1) - (mean**2).sum(-1)
    low, high = -(radius // 2), side - 1 - (side - 1) // 2  # centres of the squares that have the pixel in a corner
    shifts = [(dy, dx) for dy in (low, high) for dx in (low, high)]
    means = np.stack([_shift(mean, shift) for shift in shifts])
    variances = np.stack([_shift(variance, shift) for shift in shifts])
    best = variances.argmin(0)
    return np.take_along_axis(means, best[None, ..., None], 0)[0]


def _shift(values: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    size = len(values)
    index = np.arange(size)
    return values[np.clip(index + shift[0], 0, size - 1)][:, np.clip(index + shift[1], 0, size - 1)]


def _strokes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise drawn out along a direction that turns slowly over the picture; about unit deviation."""
    scale = size / 64
    noise = gaussian_filter(rng.standard_normal((size, size)), 0.55 * scale)
    turn = zoom(rng.uniform(-1, 1, (3, 3)), size / 3, order=1, mode="nearest", grid_mode=True)
    angle = float(rng.uniform(0, np.pi)) + turn * 0.7
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    drawn = np.zeros((size, size))
    for step in range(-3, 4):
        y = np.rint(rows + step * scale * np.sin(angle)).astype(int) % size
        x = np.rint(columns + step * scale * np.cos(angle)).astype(int) % size
        drawn += noise[y, x]
    return drawn / drawn.std()
