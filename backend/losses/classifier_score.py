"""Classifier score distillation: only the difference that the prompt makes, and the difference that flaws make."""

from __future__ import annotations

from backend.losses.score_distillation import bridge_gradient
from backend.noise_levels import Latents, PerSample

NEGATIVE_PROMPT = "oversaturated color, ugly, tiling, low quality, noisy"
"""The words of the authors' code (Yu et al. 2023)."""


def csd_gradient(
    conditional: Latents,
    unconditional: Latents,
    negative: Latents,
    weight: PerSample,
    positive_weight: float = 1.0,
    negative_weight: float = 0.0,
) -> Latents:
    """`w(t) (w1 (E(y) - E(0)) + w2 (E(0) - E(y_neg)))` (Yu et al. 2023).

    The authors' code says cond = w1, uncond = -w2 and null = w2 - w1 to the same. For w1 = w2 this is the bridge's
    gradient, with the negative prompt for the source.

    Args:
        positive_weight: w1.
        negative_weight: w2; 0 leaves the classifier of the prompt alone.
    """
    towards = bridge_gradient(conditional, unconditional, weight, positive_weight)
    return towards + bridge_gradient(unconditional, negative, weight, negative_weight)
