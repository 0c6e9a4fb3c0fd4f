"""Stage two: the U-Net and the text encoder, trained together on the latents of all pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from backend.diffusion.prompts import (
    BLOCKOUT_PHRASE,
    FINE_ELEVATION_WORDS,
    FLAW_SYNONYMS,
    FLAW_WORDS,
    PAINTING_WORD,
)
from tools.embedded_training.architecture import make_scheduler
from tools.embedded_training.checkpoints import MovingAverage
from tools.embedded_training.stage import SMALLER_SHARE, StageSettings, mixed_precision, train_stage

VIEW_WORDS_WEIGHT = 2.0
"""Of captions that say finely where the camera stands: what a job in 3D asks for, and the slowest to learn."""
SIDED_SHAPES = frozenset({"mug", "chair", "table", "snowman", "rocket", "house", "star", "heart", "car"})
SIDED_WEIGHT = 2.0
"""Of shapes that look different from another side: each is 8 pictures to learn where a cone is one."""
BACKGROUND_WEIGHT = 0.3
"""Of the loss where there is nothing of the object. Backgrounds are many and mean nothing; at full weight their noise
drowns what words say of the object's pose: 5,000 steps did not learn one word on the camera."""
HIGH_NOISE_SHARE, HIGH_NOISE_FROM = 0.5, 400
"""So many samples are drawn from this timestep on, where layout and pose are decided; the rest from all of them."""
CLEAN_WEIGHT = 2.0
"""Of pictures without flaws that are no paintings and no blockouts."""
CAPTION_DROPOUT = 0.1  # Ho and Salimans 2022, section 5: 10 to 20 % teach the unconditional model


class TextConditionedDenoiser(nn.Module):
    """The two networks that train together, as one module for the optimiser."""

    def __init__(self, denoiser: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder


def caption_weights(captions: list[str]) -> Tensor:
    """How often a picture comes up in training, by what its caption says [captions]."""
    heights = {words for _, words in FINE_ELEVATION_WORDS}
    others = {PAINTING_WORD, *BLOCKOUT_PHRASE.split(", "), *FLAW_WORDS}
    others |= {synonym for pair in FLAW_SYNONYMS.values() for synonym in pair}
    weights = []
    for caption in captions:
        phrases = set(caption.split(", "))
        is_fine, is_clean = not heights.isdisjoint(phrases), others.isdisjoint(phrases)
        is_sided = caption.split(", ")[0].split()[-1] in SIDED_SHAPES
        weight = (VIEW_WORDS_WEIGHT if is_fine else 1.0) * (CLEAN_WEIGHT if is_clean else 1.0)
        weights.append(weight * (SIDED_WEIGHT if is_sided else 1.0))
    return torch.tensor(weights)


def loss_weights(coverage: Tensor, side: int) -> Tensor:
    """Of every latent pixel, from how much of it the object covers [pictures, height, width] uint8; mean 1 a picture.

    The object, its outline and the pixels around it weigh 1, everything else `BACKGROUND_WEIGHT`.

    Args:
        side: Height and width of the result [pictures, 1, side, side]; a divisor of the height and width of `coverage`.
    """
    covered = functional.max_pool2d((coverage > 0).float()[:, None], coverage.shape[-1] // side)
    is_object = functional.max_pool2d(covered, 3, stride=1, padding=1)
    weights = BACKGROUND_WEIGHT + (1 - BACKGROUND_WEIGHT) * is_object
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The velocity, from noisy latents, timesteps, the tokens of captions and the indices of the pictures."""


def velocity_loss(
    predict: Predict,
    tokenizer: CLIPTokenizer,
    latents: list[Tensor],
    coverage: Tensor,
    captions: list[str],
    caption_dropout: float,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """The loss of a batch of pictures, from their indices, at every size; it can be recorded as a CUDA graph.

    Args:
        latents: Scaled latents of the pictures at every size, the largest first, on the device.
        coverage: How much of each latent pixel of the largest size the object covers [pictures, height, width], uint8.
        caption_dropout: Share of the samples that are shown without their caption.
    """
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
    no_caption = tokenizer([""], padding="max_length", return_tensors="pt").input_ids.to(device)
    alphas_cumprod = make_scheduler().alphas_cumprod.to(device)
    coverage = coverage.to(device)

    def loss_at(indices: Tensor, of_size: Tensor) -> Tensor:
        count = len(indices)
        clean = of_size[indices].float()
        is_dropped = torch.rand(count, 1, device=device) < caption_dropout
        ids = torch.where(is_dropped, no_caption, tokens[indices])
        timesteps = torch.randint(1000, (count,), device=device)
        is_high = torch.rand(count, device=device) < HIGH_NOISE_SHARE
        timesteps = torch.where(is_high, HIGH_NOISE_FROM + timesteps * (1000 - HIGH_NOISE_FROM) // 1000, timesteps)
        noise = torch.randn_like(clean)
        alpha = alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
        with mixed_precision(device):
            predicted = predict(alpha * clean + sigma * noise, timesteps, ids, indices)
        velocity = alpha * noise - sigma * clean  # Salimans and Ho 2022, appendix D
        weights = loss_weights(coverage[indices], clean.shape[-1])
        return (weights * (predicted.float() - velocity).square()).mean()

    def loss_of_batch(indices: Tensor) -> Tensor:
        total = loss_at(indices, latents[0])
        for smaller in latents[1:]:
            total = total + loss_at(indices[: max(1, len(indices) // SMALLER_SHARE)], smaller) / SMALLER_SHARE
        return total

    return loss_of_batch


def train_denoiser(
    networks: TextConditionedDenoiser,
    tokenizer: CLIPTokenizer,
    latents: list[Tensor],
    coverage: Tensor,
    captions: list[str],
    settings: StageSettings,
    folder: Path,
    device: torch.device,
    on_checkpoint: Callable[[MovingAverage, int], None],
) -> dict:
    """Trains in place and leaves the averaged weights in `networks`. Returns the record.

    Args:
        latents: Scaled latents of the pictures at every size, the largest first, each [pictures, channels, height,
            width] in half precision.
        coverage: How much of each latent pixel of the largest size the object covers [pictures, height, width], uint8.
    """
    latents = [each.to(device) for each in latents]
    networks.denoiser.to(memory_format=torch.channels_last)

    def predict(noisy: Tensor, timesteps: Tensor, ids: Tensor, indices: Tensor) -> Tensor:
        return networks.denoiser(noisy, timesteps, networks.text_encoder(ids).last_hidden_state).sample

    loss_of_batch = velocity_loss(predict, tokenizer, latents, coverage, captions, CAPTION_DROPOUT, device)
    average, record = train_stage(
        "denoiser",
        networks,
        loss_of_batch,
        caption_weights(captions),
        settings,
        folder / "denoiser.safetensors",
        on_checkpoint,
    )
    average.copy_to(networks)
    networks.denoiser.to(memory_format=torch.contiguous_format)
    return record
