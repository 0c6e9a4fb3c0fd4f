"""From what a network predicts to noise and clean latents, for every kind of diffusion model.

Written for x_t = alpha_t x_0 + sigma_t eps with alpha_t = sqrt(abar_t) and sigma_t = sqrt(1 - abar_t).
"""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

PredictionKind = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_KINDS: tuple[str, ...] = get_args(PredictionKind)

Latents = Float[Tensor, "batch channels height width"]
PerSample = Float[Tensor, "batch"]


def add_noise(latents: Latents, noise: Latents, alphas_cumprod: PerSample) -> Latents:
    """x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, with one abar per sample."""
    return _wide(alphas_cumprod.sqrt()) * latents + _wide((1 - alphas_cumprod).sqrt()) * noise


def noise_of(output: Latents, noisy: Latents, alphas_cumprod: PerSample, kind: PredictionKind) -> Latents:
    """The noise that an output of the network stands for.

    Velocity: v = alpha eps - sigma x_0 (Salimans and Ho 2022, appendix D), so eps = alpha v + sigma x_t.
    """
    alpha, sigma = _wide(alphas_cumprod.sqrt()), _wide((1 - alphas_cumprod).sqrt())
    match kind:
        case "epsilon":
            return output
        case "v_prediction":
            return alpha * output + sigma * noisy
        case "sample":
            return (noisy - alpha * output) / sigma
    raise ValueError(f"prediction kind must be one of {PREDICTION_KINDS}, got {kind!r}")


def clean_of(noise: Latents, noisy: Latents, alphas_cumprod: PerSample) -> Latents:
    """The clean latents that a noise prediction stands for: x_0 = (x_t - sigma eps) / alpha."""
    alpha, sigma = _wide(alphas_cumprod.sqrt()), _wide((1 - alphas_cumprod).sqrt())
    return (noisy - sigma * noise) / alpha


def _wide(per_sample: Tensor) -> Tensor:
    return per_sample[:, None, None, None]
