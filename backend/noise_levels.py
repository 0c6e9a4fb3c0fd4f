"""How much picture and how much noise a diffusion model sees at each timestep: x_t = alpha_t x_0 + sigma_t eps.

Variance-preserving models (alpha^2 + sigma^2 = 1) and flow matching (alpha + sigma = 1) differ in these two tables and
in what the network predicts; nothing else in the project tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Latents = Float[Tensor, "batch channels height width"]
PerSample = Float[Tensor, "batch"]

CLEAN = -1
"""The timestep of a picture without noise: alpha = 1, sigma = 0."""


@dataclass(frozen=True)
class NoiseLevels:
    """alpha_t and sigma_t of every training timestep, from little noise to much."""

    alphas: Float[Tensor, "timesteps"]
    sigmas: Float[Tensor, "timesteps"]

    @classmethod
    def variance_preserving(cls, alphas_cumprod: Float[Tensor, "timesteps"]) -> NoiseLevels:
        """Of a model with abar_t: alpha = sqrt(abar), sigma = sqrt(1 - abar) (Ho et al. 2020)."""
        return cls(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt())

    @classmethod
    def flow(cls, sigmas: Float[Tensor, "timesteps"]) -> NoiseLevels:
        """Of a model with straight paths: alpha = 1 - sigma (Lipman et al. 2023)."""
        return cls(1 - sigmas, sigmas)

    def __len__(self) -> int:
        return len(self.alphas)

    def at(self, timesteps: Int[Tensor, "batch"]) -> tuple[PerSample, PerSample]:
        """alpha and sigma of each sample; 1 and 0 at CLEAN."""
        is_clean, index = timesteps == CLEAN, timesteps.clamp(min=0)
        one, zero = self.alphas.new_ones(()), self.alphas.new_zeros(())
        return torch.where(is_clean, one, self.alphas[index]), torch.where(is_clean, zero, self.sigmas[index])

    def add_noise(self, latents: Latents, noise: Latents, timesteps: Int[Tensor, "batch"]) -> Latents:
        """x_t, with one timestep per sample."""
        alpha, sigma = self.at(timesteps)
        return alpha[:, None, None, None] * latents + sigma[:, None, None, None] * noise
