"""From what a network predicts to noise and back, for every kind of diffusion model.

Written for x_t = alpha_t x_0 + sigma_t eps; see `backend.noise_levels`.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from backend.noise_levels import Latents, PerSample

PredictionKind = Literal["epsilon", "v_prediction", "sample", "flow"]
PREDICTION_KINDS: tuple[str, ...] = get_args(PredictionKind)


def noise_of(output: Latents, noisy: Latents, alpha: PerSample, sigma: PerSample, kind: PredictionKind) -> Latents:
    """The noise that an output of the network stands for.

    Velocity: v = alpha eps - sigma x_0 with alpha^2 + sigma^2 = 1 (Salimans and Ho 2022, appendix D), so
    eps = alpha v + sigma x_t. Flow: v = eps - x_0 with alpha + sigma = 1 (Lipman et al. 2023), so eps = x_t + alpha v.
    """
    alpha, sigma = _wide(alpha), _wide(sigma)
    match kind:
        case "epsilon":
            return output
        case "v_prediction":
            return alpha * output + sigma * noisy
        case "sample":
            return (noisy - alpha * output) / sigma
        case "flow":
            return noisy + alpha * output
    raise ValueError(f"prediction kind must be one of {PREDICTION_KINDS}, got {kind!r}")


def target_of(clean: Latents, noise: Latents, alpha: PerSample, sigma: PerSample, kind: PredictionKind) -> Latents:
    """What the network is trained to say of these clean latents with this noise; the reverse of `noise_of`."""
    match kind:
        case "epsilon":
            return noise
        case "v_prediction":
            return _wide(alpha) * noise - _wide(sigma) * clean
        case "sample":
            return clean
        case "flow":
            return noise - clean
    raise ValueError(f"prediction kind must be one of {PREDICTION_KINDS}, got {kind!r}")


def clean_of(noise: Latents, noisy: Latents, alpha: PerSample, sigma: PerSample) -> Latents:
    """The clean latents that a noise prediction stands for: x_0 = (x_t - sigma eps) / alpha."""
    return (noisy - _wide(sigma) * noise) / _wide(alpha)


def _wide(per_sample: Tensor) -> Tensor:
    return per_sample[:, None, None, None]
