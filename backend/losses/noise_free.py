"""Noise-free score distillation: the residual noise of SDS, taken out instead of averaged away."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from backend.losses.score_distillation import bridge_gradient, guided_noise
from backend.noise_levels import Latents, PerSample

LOW_NOISE_BELOW = 200
"""Timesteps below which the unconditional prediction is taken for the domain alone (Katzir et al. 2023)."""
NEGATIVE_PROMPT = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
)
"""What a picture out of the domain looks like; the words of the paper."""


def nfsd_gradient(
    unconditional: Latents,
    conditional: Latents,
    negative: Latents,
    timesteps: Int[Tensor, "batch"],
    weight: PerSample,
    guidance_scale: float,
) -> Latents:
    """`w(t) (s (E(y) - E(0)) + E(0) - [t >= 200] E(p_neg))` (Katzir et al. 2023).

    At low noise the unconditional prediction is the direction into the domain; at high noise it holds the residual
    noise as well, and the prediction for a bad picture, which holds the same, is subtracted.

    Args:
        negative: Predicted for `NEGATIVE_PROMPT`. Not looked at where t < 200, so anything finite may stand there.
        timesteps: One per sample; the split is made for each.
    """
    is_low = (timesteps < LOW_NOISE_BELOW)[:, None, None, None]
    residual = torch.where(is_low, torch.zeros_like(negative), negative)
    return bridge_gradient(guided_noise(unconditional, conditional, guidance_scale), residual, weight)
