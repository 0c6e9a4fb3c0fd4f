"""Networks of Stable Diffusion 2.1-base's architecture, of random weights: what `gpu.py` runs. No benchmark itself.

Random weights change neither times nor memory nor FLOPs. The sizes are those of the configuration files of the
published model: 866 million parameters in the U-Net, 84 million in the VAE, 340 million in the text encoder, which
has fewer here because its vocabulary is smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from backend.diffusion.diffusers_prior import DiffusersPrior
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from tools.embedded_training.architecture import caption_words, make_tokenizer

TEXT_TOKENS = 77
"""Of CLIP: what the U-Net's cross-attention looks at."""


@dataclass(frozen=True)
class Size:
    """What is measured."""

    name: str
    pixels: int
    """Height and width of a picture."""
    views: int
    """In a step of text to mesh."""
    cells: int
    """A side of the lattice."""
    widths: tuple[int, int, int, int]
    """Of the U-Net's levels."""
    heads: tuple[int, int, int, int]
    layers: int
    """Residual blocks on each level of the U-Net."""
    vae_widths: tuple[int, int, int, int]
    text_width: int
    text_layers: int
    groups: int
    """Of the group norms of both networks."""
    warm_up_runs: int
    repeats: int
    """Timed runs of each measurement, after those to warm up."""
    texture_size: int
    matrix_side: int
    """Of the product that tells what the card reaches."""
    dtype: torch.dtype = torch.bfloat16


FULL = Size(
    name="Stable Diffusion 2.1-base's architecture with random weights in bf16, 512 x 512, 4 views, lattice of 128",
    pixels=512, views=4, cells=128,
    widths=(320, 640, 1280, 1280), heads=(5, 10, 20, 20), layers=2, vae_widths=(128, 256, 512, 512),
    text_width=1024, text_layers=23, groups=32,
    warm_up_runs=3, repeats=12, texture_size=1024, matrix_side=8192,
)  # fmt: skip
TINY = Size(
    name="toy sizes",
    pixels=64, views=2, cells=16,
    widths=(32, 32, 32, 32), heads=(4, 4, 4, 4), layers=1, vae_widths=(16, 16, 16, 16),
    text_width=32, text_layers=2, groups=8, warm_up_runs=1, repeats=3, texture_size=64, matrix_side=256,
)  # fmt: skip


@dataclass(frozen=True)
class Networks:
    """What a pipeline holds that has weights."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel


def make_networks(size: Size, device: torch.device, tokenizer: CLIPTokenizer) -> Networks:
    """Made where they run and in their precision: nothing is copied and nothing is on the disk."""
    with device, _default_dtype(size.dtype):
        unet = UNet2DConditionModel(
            sample_size=size.pixels // 8, in_channels=4, out_channels=4, block_out_channels=size.widths,
            layers_per_block=size.layers, attention_head_dim=size.heads, cross_attention_dim=size.text_width,
            use_linear_projection=True, norm_num_groups=size.groups,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=size.vae_widths, layers_per_block=2, latent_channels=4, sample_size=size.pixels,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=size.groups,
        )  # fmt: skip
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=size.text_width, intermediate_size=4 * size.text_width,
                num_hidden_layers=size.text_layers, num_attention_heads=max(1, size.text_width // 64),
                hidden_act="gelu", max_position_embeddings=TEXT_TOKENS, bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    return Networks(unet, vae, text_encoder)


def make_wide_tokenizer() -> CLIPTokenizer:
    """As many tokens as CLIP reads, of the vocabulary of the embedded prior: nothing is downloaded."""
    tokenizer = make_tokenizer(caption_words())
    tokenizer.model_max_length = TEXT_TOKENS
    return tokenizer


def make_prior(size: Size, device: torch.device) -> DiffusersPrior:
    """A prior that the real loops run with."""
    torch.manual_seed(0)
    tokenizer = make_wide_tokenizer()
    networks = make_networks(size, device, tokenizer)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        clip_sample=False, set_alpha_to_one=False, prediction_type="epsilon",
    )  # fmt: skip
    pipeline = SimpleNamespace(
        unet=networks.unet,
        vae=networks.vae,
        text_encoder=networks.text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
    )
    return DiffusersPrior(pipeline, size.name, device, size.dtype)


def bumpy_ball(grid: TetrahedralGrid) -> Tensor:
    """Signed distances of a ball with bumps [side, side, side]: more than 60,000 triangles on a lattice of 128."""
    x, y, z = grid.positions().view(-1, 3).unbind(-1)
    bumps = 0.03 * (torch.sin(9 * x) + torch.sin(11 * y) + torch.sin(13 * z))
    return (torch.stack([x, y, z]).norm(dim=0) - 0.75 + bumps).view(grid.side, grid.side, grid.side)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def in_channels_last(*modules: torch.nn.Module) -> Iterator[None]:
    """With the weights of convolutions laid out channel by channel of a pixel, as tensor cores take them."""
    for module in modules:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        for module in modules:
            module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextmanager
def with_attention_of_matrices(network: Any) -> Iterator[None]:
    """With attention as two products of matrices and a softmax, in the place of torch's fused kernels."""
    from diffusers.models.attention_processor import AttnProcessor

    before = dict(network.attn_processors)
    network.set_attn_processor(AttnProcessor())
    try:
        yield
    finally:
        network.set_attn_processor(before)


@contextmanager
def with_tried_convolutions() -> Iterator[None]:
    """With cuDNN's algorithms tried at their first use, and the fastest kept."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
