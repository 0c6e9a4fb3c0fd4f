"""Variational score distillation: the source is a model that learns what the pictures look like now."""

from __future__ import annotations

from backend.losses.score_distillation import bridge_gradient, guided_noise
from backend.noise_levels import Latents, PerSample


def vsd_gradient(
    unconditional: Latents, conditional: Latents, current: Latents, weight: PerSample, guidance_scale: float
) -> Latents:
    """`w(t) (E(0) + s (E(y) - E(0)) - E_lora(y, camera))` (Wang et al. 2023).

    With the added noise for `current` it is SDS, with a prompt that describes flaws it is the bridge whose target is
    guided.

    Args:
        current: Predicted by the model that is trained on the renders as they are.
    """
    return bridge_gradient(guided_noise(unconditional, conditional, guidance_scale), current, weight)
