"""The dual diffusion bridge by its probability-flow ODE, of which the two-prompt gradient is a single step.

Written with tables of alpha_t and sigma_t, x_t = alpha_t x_0 + sigma_t eps, so that it serves variance-preserving
models and flow matching alike. No gradient passes through the solver.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from backend.noise_levels import CLEAN, Latents, NoiseLevels, PerSample

Denoiser = Callable[[Latents, Int[Tensor, "batch"]], Latents]
"""The noise predicted in latents at one timestep per sample."""


def ode_path(timesteps: Int[Tensor, "batch"], steps: int) -> Int[Tensor, "nodes batch"]:
    """The nodes from CLEAN up to each sample's timestep, evenly spaced; `steps + 1` of them.

    Raises:
        ValueError: `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"the ODE needs at least one step, got {steps}")
    share = torch.linspace(0, 1, steps + 1, device=timesteps.device)[:, None]
    return (CLEAN + share * (timesteps - CLEAN)).round().long()


@torch.no_grad()
def solve_ode(latents: Latents, path: Int[Tensor, "nodes batch"], denoiser: Denoiser, levels: NoiseLevels) -> Latents:
    """Carries latents along the probability-flow ODE, node by node, in either direction.

    Each step is DDIM's (Song et al. 2020, equation 12 without its random part): the noise predicted at the node that is
    left stays the same over the step. One call of the denoiser per step.
    """
    for here, there in pairwise(path):
        # There is no timestep without noise; the lowest one is what DDIM inversion asks there.
        noise = denoiser(latents, here.clamp(min=0))
        latents = _ddim_step(latents, noise, levels.at(here), levels.at(there))
    return latents


def bridge_by_shared_noise(
    noisy: Latents,
    timesteps: Int[Tensor, "batch"],
    denoiser: Denoiser,
    levels: NoiseLevels,
    weight: PerSample,
    steps: int,
) -> Latents:
    """`w(t) (alpha_t / sigma_t) (psi_src - psi_tgt)`: two ODEs from the same noisy latents down to pictures.

    One step gives exactly the two-prompt gradient `w(t) (E(y_tgt) - E(y_src))`: that is what the factor is for.

    Args:
        noisy: x_t, one picture per sample.
        denoiser: Takes the batch twice, first under the source prompts, then under the target prompts.
        steps: Calls of the denoiser.
    """
    path = ode_path(timesteps, steps).flip(0).repeat(1, 2)
    from_source, from_target = solve_ode(noisy.repeat(2, 1, 1, 1), path, denoiser, levels).chunk(2)
    return _scaled(from_source - from_target, timesteps, levels, weight)


def bridge_by_inversion(
    latents: Latents,
    timesteps: Int[Tensor, "batch"],
    source: Denoiser,
    target: Denoiser,
    levels: NoiseLevels,
    weight: PerSample,
    steps: int,
) -> Latents:
    """`w(t) (alpha_t / sigma_t) (x - psi_tgt)`: up to noise under the source, down again under the target.

    The dual diffusion implicit bridge (Su et al. 2023), the exact transport of which score distillation with two
    prompts takes the first step (McAllister et al. 2024). Under one prompt there and back gives x again, up to the
    error of the solver.

    Args:
        source: Should not be guided, or the inversion is unstable.
        target: May be guided.
        steps: Calls of each denoiser.
    """
    path = ode_path(timesteps, steps)
    noise = solve_ode(latents.detach(), path, source, levels)
    arrived = solve_ode(noise, path.flip(0), target, levels)
    return _scaled(latents.detach() - arrived, timesteps, levels, weight)


def _ddim_step(
    latents: Latents, noise: Latents, here: tuple[PerSample, PerSample], there: tuple[PerSample, PerSample]
) -> Latents:
    alpha, sigma, next_alpha, next_sigma = (value[:, None, None, None] for value in (*here, *there))
    clean = (latents - sigma * noise) / alpha
    return next_alpha * clean + next_sigma * noise


def _scaled(displacement: Latents, timesteps: Int[Tensor, "batch"], levels: NoiseLevels, weight: PerSample) -> Latents:
    alpha, sigma = levels.at(timesteps)
    return (weight * alpha / sigma)[:, None, None, None] * displacement
