"""What a diffusion model is to this project: pictures to latents, words to embeddings, noisy latents to noise."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.noise_levels import Latents, NoiseLevels

Embeddings = Float[Tensor, "batch tokens embedding"]


@runtime_checkable
class DiffusionPrior(Protocol):
    """A frozen latent-diffusion model. Everything is differentiable with respect to its pictures and latents only."""

    name: str
    image_size: int
    """Height and width of the pictures that the model is for, in pixels."""
    image_sizes: tuple[int, ...]
    """All sizes that it was trained on, ascending; `image_size` is the last."""
    latent_shape: tuple[int, int, int]
    """Channels, height and width of the latents of one picture of `image_size`."""
    noise_levels: NoiseLevels
    """alpha_t and sigma_t of every training timestep."""
    device: torch.device
    evaluations: int
    """How many samples the denoiser has seen so far; a loss's cost is counted with it."""

    def encode_images(self, images: Float[Tensor, "batch image_height image_width 3"]) -> Latents:
        """Scaled latents of sRGB-coded pictures in [0, 1]; differentiable.

        Pictures of a size that is not in `image_sizes` are resized to `image_size`.
        """
        ...

    def decode_latents(self, latents: Latents) -> Float[Tensor, "batch image_height image_width 3"]:
        """sRGB-coded pictures, clamped to [0, 1]."""
        ...

    def embed_prompts(self, prompts: list[str]) -> Embeddings:
        """What the text encoder makes of the prompts; each distinct prompt is encoded once and kept."""
        ...

    def cut_from_prompt(self, prompt: str) -> str:
        """The end of a prompt that the tokenizer has no room for; empty if all of it fits."""
        ...

    def predict_noise(self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings) -> Latents:
        """The noise in `noisy`, whatever the network itself predicts. One call of the network; no gradient."""
        ...
