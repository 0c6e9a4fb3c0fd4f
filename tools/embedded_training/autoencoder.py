"""Stage one: the autoencoder between pictures and latents."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import StageSettings, train_stage

KL_WEIGHT = 1e-4
"""Per latent number, against an error per pixel: enough to keep latents near unit scale without blurring the picture."""


def reconstruction_loss(restored: Tensor, pictures: Tensor) -> Tensor:
    """Absolute and squared error, and the absolute error of the differences between neighbours.

    The differences stand in for a perceptual loss: they are what an eye misses first in a blurred edge.
    """
    error = restored - pictures
    along_rows = error[..., 1:] - error[..., :-1]
    along_columns = error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + 2 * error.square().mean() + along_rows.abs().mean() + along_columns.abs().mean()


def train_autoencoder(
    autoencoder: AutoencoderKL, pictures: PictureShards, settings: StageSettings, folder: Path, device: torch.device
) -> dict:
    """Trains in place and leaves the averaged weights in `autoencoder`, with its scaling factor set. Returns the record."""

    def loss_of_batch(indices: Tensor) -> Tensor:
        batch = pictures.batch(indices, device)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = autoencoder.encode(batch).latent_dist
            latents = posterior.sample()
            restored = autoencoder.decode(latents).sample
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        return reconstruction_loss(restored.float(), batch) + KL_WEIGHT * kl

    average, record = train_stage(
        "autoencoder", autoencoder, loss_of_batch, len(pictures), settings, folder / "autoencoder.safetensors"
    )
    average.copy_to(autoencoder)
    some = torch.arange(0, len(pictures), max(1, len(pictures) // 1000))
    latents = encode_pictures(autoencoder, pictures, some, device)
    # Diffusion models expect latents of unit variance (Rombach et al. 2022, appendix G).
    autoencoder.register_to_config(scaling_factor=round(1.0 / latents.float().std().item(), 5))
    record["scaling_factor"] = autoencoder.config["scaling_factor"]
    record["psnr"] = round(peak_signal_to_noise(autoencoder, pictures, some, device), 2)
    print(f"autoencoder: PSNR {record['psnr']} dB, scaling factor {record['scaling_factor']}", flush=True)
    return record


@torch.no_grad()
def encode_pictures(
    autoencoder: AutoencoderKL, pictures: PictureShards, indices: Tensor, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Means of the latents of the pictures, unscaled: [pictures, channels, height, width] in half precision."""
    latents = []
    for part in indices.split(batch_size):
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(autoencoder.encode(pictures.batch(part, device)).latent_dist.mean.half().cpu())
    return torch.cat(latents)


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
