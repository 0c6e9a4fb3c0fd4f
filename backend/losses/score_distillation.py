"""Score distillation as gradients on latents: SDS, and the two-prompt gradient of the diffusion bridge.

Every gradient here is descended: `latents -= rate * gradient` moves the picture towards the target prompt. One
function, `loss_with_gradient`, hands such a gradient to autograd; no loss brings its own copy of that trick.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from backend.noise_levels import Latents, PerSample

TimeWeighting = Literal["variance", "uniform", "fantasia3d"]


def time_weight(alpha: PerSample, sigma: PerSample, weighting: TimeWeighting = "variance") -> PerSample:
    """w(t), one factor per sample.

    `variance` is sigma_t^2 = 1 - abar_t (DreamFusion; both stages of the bridge's 2D code), `uniform` is 1 (stage two
    of the bridge's 3D code), `fantasia3d` is alpha_t sigma_t^2 = sqrt(abar_t) (1 - abar_t).
    """
    match weighting:
        case "variance":
            return sigma.square()
        case "uniform":
            return torch.ones_like(sigma)
        case "fantasia3d":
            return alpha * sigma.square()
    raise ValueError(f"time weighting must be one of {get_args(TimeWeighting)}, got {weighting!r}")


def guided_noise(unconditional: Latents, conditional: Latents, guidance_scale: float) -> Latents:
    """Classifier-free guidance in diffusers' convention: `E(0) + s (E(y) - E(0))`, so that s = 1 is no guidance.

    threestudio's `E(y) + g (E(y) - E(0))` is s = g + 1. Source: Ho and Salimans 2022, equation 6.
    """
    _require_equal_shapes(unconditional, conditional)
    return unconditional + guidance_scale * (conditional - unconditional)


def bridge_gradient(target_noise: Latents, source_noise: Latents, weight: PerSample, scale: float = 1.0) -> Latents:
    """Gradient that moves the latents from the source distribution towards the target distribution.

    `w(t) * scale * (E(target) - E(source))`, the single-step approximation of the dual diffusion bridge (McAllister
    et al. 2024). All predictions are of the same noisy latents at the same timestep.

    Args:
        target_noise: Noise predicted for the wanted picture.
        source_noise: Noise predicted for the picture as it is.
        weight: w(t), one factor per view; see `time_weight`.
        scale: The 2D code of the authors uses the guidance scale here, their 3D code 1. See docs/score_distillation.md.
    """
    _require_equal_shapes(target_noise, source_noise)
    return weight[:, None, None, None] * scale * (target_noise - source_noise)


def sds_gradient(
    unconditional: Latents, conditional: Latents, noise: Latents, weight: PerSample, guidance_scale: float
) -> Latents:
    """Score distillation sampling: `w(t) (E(0) + s (E(y) - E(0)) - eps)` (Poole et al. 2022, equation 3).

    Seen as a bridge, the target is the guided prediction and the source is the noise that was added.
    """
    return bridge_gradient(guided_noise(unconditional, conditional, guidance_scale), noise, weight)


def loss_with_gradient(latents: Latents, gradient: Latents) -> Float[Tensor, ""]:
    """Scalar whose derivative by `latents` is `gradient / views`.

    The value itself means nothing: watch the norm of the gradient instead.
    """
    _require_equal_shapes(latents, gradient)
    # d/dx of 0.5 (x - target)^2 is x - target, which is the gradient asked for.
    target = (latents - gradient).detach()
    return 0.5 * (latents - target).square().sum() / len(latents)


def _require_equal_shapes(first: Tensor, second: Tensor) -> None:
    # Broadcasting would turn a mistake into a wrong number.
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(second.shape)}")
