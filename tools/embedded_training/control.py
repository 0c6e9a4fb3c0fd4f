"""The ControlNet of the embedded prior: a copy of the U-Net's way down that reads a drawing, trained beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from tools.embedded_training.architecture import make_scheduler
from tools.embedded_training.denoiser import (
    TextConditionedDenoiser,
    caption_weights,
    loss_weights,
    velocity_loss,
)
from tools.embedded_training.stage import StageSettings, train_stage

CAPTION_DROPOUT = 0.5  # Zhang et al. 2023, section 3.3: so that the drawing alone says what it can


def make_control_network(denoiser: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for this U-Net that begins with its weights, without attention in the middle: 6 MB instead of 10."""
    config = denoiser.config
    network = ControlNetModel(
        in_channels=config.in_channels,
        conditioning_channels=3,
        down_block_types=config.down_block_types,
        mid_block_type="UNetMidBlock2D",
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        attention_head_dim=config.attention_head_dim,
        norm_num_groups=config.norm_num_groups,
        conditioning_embedding_out_channels=(16, 32, 64, 96),
    )
    known, wanted = denoiser.state_dict(), network.state_dict()
    shared = {name: value for name, value in known.items() if name in wanted and value.shape == wanted[name].shape}
    network.load_state_dict(shared, strict=False)
    return network


def drawn_conditions(drawings: Tensor, size: int) -> Tensor:
    """What the network reads, white lines on black [drawings, 3, size, size].

    Args:
        drawings: Ink [drawings, height, width], uint8.
    """
    ink = drawings[:, None].float() / 255
    return functional.interpolate(ink, size, mode="area").expand(-1, 3, -1, -1)


def train_control_network(
    network: ControlNetModel,
    networks: TextConditionedDenoiser,
    tokenizer: CLIPTokenizer,
    latents: list[Tensor],
    drawings: Tensor,
    coverage: Tensor,
    captions: list[str],
    settings: StageSettings,
    folder: Path,
    device: torch.device,
) -> dict:
    """Trains in place and leaves the averaged weights in `network`; the denoiser stays as it is. Returns the record.

    Args:
        latents: Scaled latents of the pictures at every size, the largest first, each [pictures, channels, height,
            width] in half precision.
        drawings: Ink of the drawing of every picture [pictures, height, width], uint8.
        coverage: How much of each latent pixel of the largest size the object covers [pictures, height, width], uint8.
    """
    networks.requires_grad_(False).eval()
    latents, drawings = [each.to(device) for each in latents], drawings.to(device)
    pixels_per_latent = drawings.shape[-1] // latents[0].shape[-1]
    network.to(memory_format=torch.channels_last)

    def predict(noisy: Tensor, timesteps: Tensor, ids: Tensor, indices: Tensor) -> Tensor:
        embeddings = networks.text_encoder(ids).last_hidden_state
        conditions = drawn_conditions(drawings[indices], noisy.shape[-1] * pixels_per_latent)
        return controlled_prediction(networks.denoiser, network, noisy, timesteps, embeddings, conditions)

    loss_of_batch = velocity_loss(predict, tokenizer, latents, coverage, captions, CAPTION_DROPOUT, device)
    average, record = train_stage(
        "control", network, loss_of_batch, caption_weights(captions), settings, folder / "control.safetensors"
    )
    average.copy_to(network)
    network.to(memory_format=torch.contiguous_format)
    return record


def controlled_prediction(
    denoiser: UNet2DConditionModel,
    network: ControlNetModel,
    noisy: Tensor,
    timesteps: Tensor,
    embeddings: Tensor,
    conditions: Tensor,
) -> Tensor:
    """What the U-Net says when the ControlNet has read the drawings."""
    down, middle = network(noisy, timesteps, embeddings, controlnet_cond=conditions, return_dict=False)
    return denoiser(
        noisy,
        timesteps,
        embeddings,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
    )[0]


@torch.no_grad()
def control_error(
    networks: TextConditionedDenoiser,
    network: ControlNetModel | None,
    tokenizer: CLIPTokenizer,
    latents: Tensor,
    drawings: Tensor,
    coverage: Tensor,
    captions: list[str],
    timestep: int,
    device: torch.device,
) -> float:
    """Mean square error of the predicted velocity at one timestep, with the same noise for every network.

    Args:
        network: None for the denoiser alone.
        latents: Scaled [pictures, channels, height, width].
    """
    generator = torch.Generator().manual_seed(0)
    alphas_cumprod = make_scheduler().alphas_cumprod
    alpha, sigma = alphas_cumprod[timestep].sqrt().item(), (1 - alphas_cumprod[timestep]).sqrt().item()
    total, count = 0.0, 0
    for begin in range(0, len(latents), 64):
        part = slice(begin, begin + 64)
        clean = latents[part].float().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy, timesteps = alpha * clean + sigma * noise, torch.full((len(clean),), timestep, device=device)
        ids = tokenizer(captions[part], padding="max_length", truncation=True, return_tensors="pt").input_ids
        embeddings = networks.text_encoder(ids.to(device)).last_hidden_state
        if network is None:
            predicted = networks.denoiser(noisy, timesteps, embeddings).sample
        else:
            size = clean.shape[-1] * (drawings.shape[-1] // latents.shape[-1])
            conditions = drawn_conditions(drawings[part].to(device), size)
            predicted = controlled_prediction(networks.denoiser, network, noisy, timesteps, embeddings, conditions)
        weights = loss_weights(coverage[part].to(device), clean.shape[-1])
        wrong = weights * (predicted - (alpha * noise - sigma * clean)).square()
        total += wrong.mean(dim=(1, 2, 3)).sum().item()
        count += len(clean)
    return total / count
