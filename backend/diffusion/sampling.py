"""DDIM sampling: what a diffusion model draws by itself, the bound that optimised pictures are measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.diffusion.prior import DiffusionPrior
from backend.losses.full_bridge import ode_path, solve_ode
from backend.losses.score_distillation import guided_noise
from backend.noise_levels import Latents


def ddim_sample(
    prior: DiffusionPrior, prompts: list[str], generator: torch.Generator, *, guidance_scale: float, steps: int = 50
) -> Latents:
    """Latents for each prompt, by DDIM without added noise (Song et al. 2020) and classifier-free guidance.

    Args:
        generator: Of the noise to begin with; on the CPU, so that a seed means the same picture everywhere.
        steps: Calls of the network, each with two predictions per prompt.
    """
    start = torch.randn((len(prompts), *prior.latent_shape), generator=generator).to(prior.device)
    last = torch.full((len(prompts),), len(prior.noise_levels) - 1, device=prior.device)
    embeddings = prior.embed_prompts([""] * len(prompts) + prompts)

    def predict(latents: Latents, timesteps: Tensor) -> Latents:
        both = prior.predict_noise(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), embeddings)
        unconditional, conditional = both.chunk(2)
        return guided_noise(unconditional, conditional, guidance_scale)

    return solve_ode(start, ode_path(last, steps).flip(0), predict, prior.noise_levels)
