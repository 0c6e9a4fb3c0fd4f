"""One number per picture that tells whether a flaw is there: sharpness, noise, contrast, colour, blocks.

Each was chosen because it separates the embedded world's own renders with and without the flaw; the tests say so.
Pictures are sRGB-coded in [0, 1]. Lengths in pixels are meant at 64 pixels of height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter

Pictures = Float[np.ndarray, "pictures height width 3"]
Values = Float[np.ndarray, "pictures"]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
BLOCK_SIZES = (4, 5, 6)


def gradient_energy(pictures: Pictures) -> Values:
    """Mean squared difference of neighbours in brightness: rises with sharpness, contrast and noise."""
    luma = pictures @ LUMA
    return (np.square(np.diff(luma, axis=1)).mean(axis=(1, 2)) + np.square(np.diff(luma, axis=2)).mean(axis=(1, 2))) / 2


def laplacian_energy(pictures: Pictures) -> Values:
    """Mean squared Laplacian of the brightness: falls with blur before anything else does.

    The square, where Pech-Pacheco et al. 2000 take the variance; the mean of a Laplacian is next to nothing.
    """
    luma = pictures @ LUMA
    centre = luma[:, 1:-1, 1:-1]
    neighbours = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    return np.square(neighbours - 4 * centre).mean(axis=(1, 2))


def noise_level(pictures: Pictures) -> Values:
    """Median distance of a pixel's brightness from the median of its 3 x 3 neighbourhood.

    A median over the pixels: edges are few, grain is everywhere.
    """
    luma = pictures @ LUMA
    return np.median(np.abs(luma - median_filter(luma, (1, 3, 3))), axis=(1, 2))


def brightness(pictures: Pictures) -> Values:
    """Mean brightness."""
    return (pictures @ LUMA).mean(axis=(1, 2))


def contrast(pictures: Pictures) -> Values:
    """Standard deviation of the brightness."""
    return (pictures @ LUMA).std(axis=(1, 2))


def saturation(pictures: Pictures) -> Values:
    """Mean saturation, as HSV has it."""
    highest, lowest = pictures.max(axis=-1), pictures.min(axis=-1)
    return ((highest - lowest) / np.maximum(highest, 1e-6)).mean(axis=(1, 2))


def vividness(pictures: Pictures) -> Values:
    """Largest minus smallest channel, of the pixel that only a tenth of the picture surpasses."""
    chroma = pictures.max(axis=-1) - pictures.min(axis=-1)
    return np.quantile(chroma.reshape(len(chroma), -1), 0.9, axis=1)


def clipped_share(pictures: Pictures) -> Values:
    """Share of the pixels with a channel at the end of its range (within 1 %)."""
    return ((pictures >= 0.99) | (pictures <= 0.01)).any(axis=-1).mean(axis=(1, 2))


def block_contrast(pictures: Pictures) -> Values:
    """Logarithm of how much larger differences across the borders of square blocks are than those within.

    Blocks of 4, 5 or 6 pixels from the upper left corner on; the size that stands out most counts.
    """
    steps = np.abs(np.diff(pictures, axis=1)).mean(axis=(2, 3)) + np.abs(np.diff(pictures, axis=2)).mean(axis=(1, 3))
    index = np.arange(steps.shape[1])
    ratios = []
    for size in BLOCK_SIZES:
        is_border = index % size == size - 1
        ratios.append((steps[:, is_border].mean(axis=1) + 1e-5) / (steps[:, ~is_border].mean(axis=1) + 1e-5))
    return np.log(np.max(ratios, axis=0))


@dataclass(frozen=True)
class FlawStatistic:
    """A statistic and where it goes when the flaw is there."""

    name: str
    measure: Callable[[Pictures], Values]
    rises: bool

    def share_moved(self, plain: Values, flawed: Values) -> Values:
        """Per pair of pictures 1 where the flawed one's value lies in the flaw's direction, else 0."""
        return ((flawed > plain) if self.rises else (flawed < plain)).astype(np.float64)


FLAW_STATISTICS: dict[str, tuple[FlawStatistic, ...]] = {
    "blurry": (FlawStatistic("Laplacian energy", laplacian_energy, rises=False),),
    "noisy": (FlawStatistic("noise level", noise_level, rises=True),),
    "foggy": (
        FlawStatistic("brightness", brightness, rises=True),
        FlawStatistic("saturation", saturation, rises=False),
        FlawStatistic("contrast", contrast, rises=False),
    ),
    "pixelated": (FlawStatistic("block contrast", block_contrast, rises=True),),
    "oversaturated": (
        FlawStatistic("vividness", vividness, rises=True),
        FlawStatistic("clipped share", clipped_share, rises=True),
    ),
}
"""The flaws that a plain statistic of the picture shows; the first of each is the one that decides."""

QUALITY_STATISTIC = FlawStatistic("gradient energy", gradient_energy, rises=True)
"""What the quality words do to a picture of the world: they sharpen it."""


def separation(plain: Values, flawed: Values, rises: bool = True) -> float:
    """Area under the ROC curve: how often a flawed picture's value lies beyond a plain one's, ties counting half."""
    beyond = (flawed[:, None] > plain[None, :]).mean() + 0.5 * (flawed[:, None] == plain[None, :]).mean()
    return float(beyond if rises else 1 - beyond)
