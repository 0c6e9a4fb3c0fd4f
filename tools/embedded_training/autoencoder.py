"""Stage one: the autoencoder between pictures and latents. The encoder is computed, the decoder is trained."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.diffusion.diffusers_prior import skip_idle_residual_blocks
from tools.embedded_training.architecture import PIXELS_PER_LATENT
from tools.embedded_training.patch_pca import write_components_into_encoder
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import SMALLER_SHARE, StageSettings, mixed_precision, train_stage

MOST_FOR_COMPONENTS = 6000
"""The first so many pictures, every second of them: more do not change the components."""
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


def compute_encoder(
    autoencoder: AutoencoderKL, pictures: PictureShards, folder: Path, device: torch.device, sizes: tuple[int, ...]
) -> None:
    """Writes the components of some of the pictures into the encoder, freezes it, and sets the scaling factor.

    What was computed stays in `folder`, since the decoder and the denoiser fit this one code alone.

    Args:
        sizes: Of the pictures that the code is for; the largest first.
    """
    path = folder / "encoder.safetensors"
    if path.exists():
        with safe_open(path, framework="pt") as file:
            scaling_factor = float(file.metadata()["scaling_factor"])
        autoencoder.load_state_dict(load_file(path), strict=False)
    else:
        some = torch.arange(0, min(len(pictures), MOST_FOR_COMPONENTS), 2)
        shown = [_mosaic(pictures.batch(some, "cpu", size), sizes[0]) for size in sizes]
        write_components_into_encoder(autoencoder.cpu(), torch.cat(shown))
        autoencoder.to(device)
        latents = encode_pictures(autoencoder, pictures, some[:1000], device)
        # Diffusion models expect latents of unit variance (Rombach et al. 2022, appendix G).
        scaling_factor = round(1.0 / latents.float().std().item(), 5)
        weights = {
            name: value.contiguous().cpu()
            for name, value in autoencoder.state_dict().items()
            if not name.startswith("decoder.")
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, path, {"scaling_factor": str(scaling_factor)})
    autoencoder.to(device)
    freeze_encoder(autoencoder)
    autoencoder.register_to_config(scaling_factor=scaling_factor)


def _mosaic(pictures: Tensor, size: int) -> Tensor:
    """Small pictures [n, 3, h, w] laid side by side to large ones of `size`; a remainder is left out."""
    per_side = size // pictures.shape[-1]
    rows = pictures[: len(pictures) // per_side**2 * per_side**2].unflatten(0, (-1, per_side, per_side))
    return rows.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, size, size)


def freeze_encoder(autoencoder: AutoencoderKL) -> None:
    """Keeps the code as it is: a denoiser knows no other."""
    for frozen in (autoencoder.encoder, autoencoder.quant_conv, autoencoder.post_quant_conv):
        frozen.requires_grad_(False)


def train_decoder(
    autoencoder: AutoencoderKL,
    pictures: PictureShards,
    latents: list[Tensor],
    settings: StageSettings,
    folder: Path,
    device: torch.device,
) -> dict:
    """Trains in place and leaves the averaged weights in `autoencoder.decoder`. Returns the record.

    Args:
        pictures: On the device.
        latents: Of the pictures at every size, the largest first; unscaled, as `encode_pictures` gives them.
    """
    noise = LATENT_NOISE / autoencoder.config.scaling_factor
    autoencoder.decoder.to(memory_format=torch.channels_last)

    def loss_at(indices: Tensor, of_size: Tensor) -> Tensor:
        code = of_size[indices].float()
        with mixed_precision(device):
            restored = autoencoder.decode(code + noise * torch.randn_like(code)).sample
        wanted = pictures.batch(indices, device, code.shape[-1] * PIXELS_PER_LATENT)
        return reconstruction_loss(restored.float(), wanted)

    def loss_of_batch(indices: Tensor) -> Tensor:
        total = loss_at(indices, latents[0])
        for smaller in latents[1:]:
            total = total + loss_at(indices[: max(1, len(indices) // SMALLER_SHARE)], smaller) / SMALLER_SHARE
        return total

    average, record = train_stage(
        "decoder",
        autoencoder.decoder,
        loss_of_batch,
        torch.ones(len(pictures)),
        settings,
        folder / "decoder.safetensors",
    )
    average.copy_to(autoencoder.decoder)
    autoencoder.decoder.to(memory_format=torch.contiguous_format)
    some = torch.arange(0, len(pictures), max(1, len(pictures) // 1000))
    record["psnr"] = {
        f"{size} pixels": round(peak_signal_to_noise(autoencoder, pictures, some, device, size), 2)
        for size in (each.shape[-1] * PIXELS_PER_LATENT for each in latents)
    }
    print(f"decoder: PSNR {record['psnr']} dB, scaling factor {autoencoder.config.scaling_factor}", flush=True)
    return record


@torch.no_grad()
def encode_pictures(
    autoencoder: AutoencoderKL,
    pictures: PictureShards,
    indices: Tensor,
    device: torch.device,
    size: int | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Means of the latents of the pictures, unscaled: [pictures, channels, height, width] in half precision.

    Args:
        size: Of the pictures, if not their own.
    """
    autoencoder = copy.deepcopy(autoencoder)  # what is saved keeps its blocks
    skip_idle_residual_blocks(autoencoder)
    latents = []
    for part in indices.split(batch_size):
        with mixed_precision(device):
            latents.append(autoencoder.encode(pictures.batch(part, device, size)).latent_dist.mean.half())
    return torch.cat(latents) if latents else torch.zeros(0)


@torch.no_grad()
def peak_signal_to_noise(
    autoencoder: AutoencoderKL, pictures: PictureShards, indices: Tensor, device: torch.device, size: int
) -> float:
    """PSNR in dB of the restored pictures, in [0, 1]."""
    squared = []
    for part in indices.split(64):
        batch = pictures.batch(part, device, size)
        restored = autoencoder.decode(autoencoder.encode(batch).latent_dist.mean).sample
        squared.append(((restored - batch) / 2).square().mean())
    return -10 * torch.log10(torch.stack(squared).mean()).item()
