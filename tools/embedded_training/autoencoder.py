"""Stage one: the autoencoder between pictures and latents. The encoder is computed, the decoder is trained."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from backend.diffusion.diffusers_prior import skip_idle_residual_blocks
from tools.embedded_training.patch_pca import write_components_into_encoder
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import StageSettings, mixed_precision, train_stage

LATENT_NOISE = 0.05
"""Relative to the spread of all latents: the decoder learns to forgive what a diffusion model gets slightly wrong."""


def reconstruction_loss(restored: Tensor, pictures: Tensor) -> Tensor:
    """Absolute and squared error, and the absolute error of the differences between neighbours.

    The differences stand in for a perceptual loss: they are what an eye misses first in a blurred edge.
    """
    error = restored - pictures
    along_rows = error[..., 1:] - error[..., :-1]
    along_columns = error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + 2 * error.square().mean() + along_rows.abs().mean() + along_columns.abs().mean()


def compute_encoder(autoencoder: AutoencoderKL, pictures: PictureShards, device: torch.device) -> None:
    """Writes the components of some of the pictures into the encoder, freezes it, and sets the scaling factor."""
    some = torch.arange(0, len(pictures), 10)
    autoencoder.cpu()
    write_components_into_encoder(autoencoder, pictures.batch(some, "cpu"))
    autoencoder.to(device)
    freeze_encoder(autoencoder)
    latents = encode_pictures(autoencoder, pictures, some[:1000], device)
    # Diffusion models expect latents of unit variance (Rombach et al. 2022, appendix G).
    autoencoder.register_to_config(scaling_factor=round(1.0 / latents.float().std().item(), 5))


def freeze_encoder(autoencoder: AutoencoderKL) -> None:
    """Keeps the code as it is: a denoiser knows no other."""
    for frozen in (autoencoder.encoder, autoencoder.quant_conv, autoencoder.post_quant_conv):
        frozen.requires_grad_(False)


def train_decoder(
    autoencoder: AutoencoderKL, pictures: PictureShards, settings: StageSettings, folder: Path, device: torch.device
) -> dict:
    """Trains in place and leaves the averaged weights in `autoencoder.decoder`. Returns the record."""
    noise = LATENT_NOISE / autoencoder.config.scaling_factor

    def loss_of_batch(indices: Tensor) -> Tensor:
        batch = pictures.batch(indices, device)
        with mixed_precision(device):
            with torch.no_grad():
                latents = autoencoder.encode(batch).latent_dist.mean
            restored = autoencoder.decode(latents + noise * torch.randn_like(latents)).sample
        return reconstruction_loss(restored.float(), batch)

    average, record = train_stage(
        "decoder",
        autoencoder.decoder,
        loss_of_batch,
        torch.ones(len(pictures)),
        settings,
        folder / "decoder.safetensors",
    )
    average.copy_to(autoencoder.decoder)
    some = torch.arange(0, len(pictures), max(1, len(pictures) // 1000))
    record["psnr"] = round(peak_signal_to_noise(autoencoder, pictures, some, device), 2)
    print(f"decoder: PSNR {record['psnr']} dB, scaling factor {autoencoder.config.scaling_factor}", flush=True)
    return record


@torch.no_grad()
def encode_pictures(
    autoencoder: AutoencoderKL, pictures: PictureShards, indices: Tensor, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Means of the latents of the pictures, unscaled: [pictures, channels, height, width] in half precision."""
    autoencoder = copy.deepcopy(autoencoder)  # what is saved keeps its blocks
    skip_idle_residual_blocks(autoencoder)
    latents = []
    for part in indices.split(batch_size):
        with mixed_precision(device):
            latents.append(autoencoder.encode(pictures.batch(part, device)).latent_dist.mean.half().cpu())
    return torch.cat(latents) if latents else torch.zeros(0)


@torch.no_grad()
def peak_signal_to_noise(
    autoencoder: AutoencoderKL, pictures: PictureShards, indices: Tensor, device: torch.device
) -> float:
    """PSNR in dB of the restored pictures, in [0, 1]."""
    squared = []
    for part in indices.split(64):
        batch = pictures.batch(part, device)
        restored = autoencoder.decode(autoencoder.encode(batch).latent_dist.mean).sample
        squared.append(((restored - batch) / 2).square().mean())
    return -10 * torch.log10(torch.stack(squared).mean()).item()
