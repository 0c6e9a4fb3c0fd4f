"""Draws with the prior by DDIM, to look at and to let the classifier judge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from backend.diffusion.prompts import with_article
from backend.evaluation.classifier import WorldClassifier
from tools.embedded_training.architecture import PIXELS_PER_LATENT, make_scheduler
from tools.embedded_training.control import controlled_prediction, drawn_conditions
from tools.embedded_training.stage import mixed_precision


@dataclass(frozen=True)
class Networks:
    """The parts of the pipeline that sampling needs."""

    autoencoder: AutoencoderKL
    denoiser: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


@torch.no_grad()
def draw(
    networks: Networks,
    prompts: list[str],
    *,
    guidance_scale: float = 4.0,
    steps: int = 25,
    seed: int = 0,
    size: int | None = None,
    control: tuple[ControlNetModel, Tensor] | None = None,
) -> Tensor:
    """DDIM samples (Song et al. 2020) with classifier-free guidance: [prompts, 3, height, width] in [0, 1].

    Args:
        size: Height and width in pixels, if not the prior's own.
        control: A ControlNet and the ink of a drawing per prompt [prompts, height, width], uint8.
    """
    device = networks.denoiser.device
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    ids = networks.tokenizer([""] * len(prompts) + prompts, **options).input_ids.to(device)
    config = networks.denoiser.config
    side = config.sample_size if size is None else size // PIXELS_PER_LATENT
    shape = (len(prompts), config.in_channels, side, side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    with mixed_precision(device):
        embeddings = networks.text_encoder(ids).last_hidden_state
        for timestep in scheduler.timesteps:
            noisy = latents.repeat(2, 1, 1, 1)
            if control is None:
                both = networks.denoiser(noisy, timestep, embeddings).sample.float()
            else:
                conditions = drawn_conditions(control[1].to(device), side * PIXELS_PER_LATENT).repeat(2, 1, 1, 1)
                both = controlled_prediction(
                    networks.denoiser, control[0], noisy, timestep, embeddings, conditions
                ).float()
            unconditional, conditional = both.chunk(2)
            guided = unconditional + guidance_scale * (conditional - unconditional)
            latents = scheduler.step(guided, timestep, latents).prev_sample
        pictures = networks.autoencoder.decode(latents / networks.autoencoder.config.scaling_factor).sample
    return (pictures.float() / 2 + 0.5).clamp(0, 1)


def judge_samples(
    networks: Networks,
    classifier: WorldClassifier,
    pairs: list[tuple[str, str]],
    samples_per_pair: int,
    seed: int = 0,
    batch_size: int = 64,
    size: int | None = None,
) -> dict:
    """Accuracy of the drawn shapes and colours, in all and per word.

    Args:
        pairs: (colour, shape) words.
        size: Height and width in pixels, if not the prior's own.
    """
    asked = [pair for pair in pairs for _ in range(samples_per_pair)]
    right: list[tuple[bool, bool]] = []
    for start in range(0, len(asked), batch_size):
        part = asked[start : start + batch_size]
        prompts = [with_article(f"{colour} {shape}") for colour, shape in part]
        with torch.no_grad():
            pictures = draw(networks, prompts, seed=seed + start, size=size)
            shapes, colours = classifier(pictures)
        for (colour, shape), shape_id, colour_id in zip(part, shapes.argmax(1), colours.argmax(1), strict=True):
            right.append((classifier.shapes[shape_id] == shape, classifier.colours[colour_id] == colour))

    def share(which: int, word: str | None = None) -> float:
        chosen = [r[which] for r, pair in zip(right, asked, strict=True) if word is None or word in pair]
        return round(sum(chosen) / max(1, len(chosen)), 4)

    return {
        "samples": len(asked),
        "shape": share(0),
        "colour": share(1),
        "per_shape": {shape: share(0, shape) for shape in sorted({s for _, s in asked})},
        "per_colour": {colour: share(1, colour) for colour in sorted({c for c, _ in asked})},
    }


def contact_sheet(pictures: Tensor, labels: list[str], columns: int = 8, zoom: int = 2) -> Image.Image:
    """A labelled grid of pictures [n, 3, height, width] in [0, 1]."""
    size = pictures.shape[-1] * zoom
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (size + 4), rows * (size + 18)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = index % columns * (size + 4), index // columns * (size + 18)
        pixels = (picture.permute(1, 2, 0).cpu().numpy() * 255).round().astype("uint8")
        sheet.paste(Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST), (x, y))
        pen.text((x + 2, y + size + 2), label[: size // 6], fill="black")
    return sheet
