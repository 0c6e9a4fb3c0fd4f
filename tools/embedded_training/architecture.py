"""The networks of the embedded prior: small, but of exactly the kinds that Stable Diffusion is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from backend.diffusion.prompts import (
    BLOCKOUT_PHRASE,
    FINE_AZIMUTH_WORDS,
    FINE_ELEVATION_WORDS,
    FLAW_SYNONYMS,
    FLAW_WORDS,
    PAINTING_WORD,
    QUALITY_WORDS,
    VIEW_WORDS,
)
from tools.embedded_world.colours import COLOUR_NAMES
from tools.embedded_world.shapes import SHAPE_NAMES

PICTURE_SIZES = (64, 128)
TRAINED_SIZES = {64: (64,), 128: (128, 64)}
"""What a prior of a size learns to draw, the largest first: one of 128 pixels draws 64 at 0.4 of the time."""
LATENT_CHANNELS = 24
PIXELS_PER_LATENT = 8
TEXT_WIDTH = 160
TEXT_TOKENS = 48
"""Room for a prompt with all ten flaw words and a view word (30 tokens), and for a user's longer sentence."""


def make_autoencoder(picture_size: int = 64) -> AutoencoderKL:
    """8 x 8 pixels to one latent pixel of 24 channels: few places, so that the denoiser is cheap on a CPU.

    Without attention in the middle: a latent then depends on its neighbourhood alone.
    """
    return AutoencoderKL(
        sample_size=picture_size,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def make_denoiser(picture_size: int = 64) -> UNet2DConditionModel:
    """A U-Net with cross-attention on its two lower levels; 128 pixels have one more level, of convolutions, on top.

    The larger one has 9.8 instead of 7.3 million parameters and takes 1.25 times as long on a CPU: its convolutions at
    16 x 16 are narrow, so that four times the pixels cost little. It wants far more training.
    """
    widths, levels = {64: ((96, 160), ("CrossAttn",) * 2), 128: ((64, 96, 192), ("", "CrossAttn", "CrossAttn"))}[
        picture_size
    ]
    return UNet2DConditionModel(
        sample_size=picture_size // PIXELS_PER_LATENT,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=widths,
        down_block_types=tuple(f"{level}DownBlock2D" for level in levels),
        up_block_types=tuple(f"{level}UpBlock2D" for level in reversed(levels)),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=3 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


@torch.no_grad()
def teach_more_words(text_encoder: CLIPTextModel, known: CLIPTokenizer, wanted: CLIPTokenizer) -> CLIPTextModel:
    """A text encoder for another vocabulary that reads the words of the old one as before.

    Args:
        known: The tokenizer that `text_encoder` was trained with.
        wanted: The tokenizer of the new encoder. Words that only it knows start at random.
    """
    special = {f"{name}_token_id": getattr(wanted, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = CLIPTextConfig.from_dict(text_encoder.config.to_dict() | special | {"vocab_size": len(wanted)})
    taught = CLIPTextModel(config)
    old_rows, new_rows = text_encoder.get_input_embeddings().weight, taught.get_input_embeddings().weight
    old_ids = known.get_vocab()
    for token, index in wanted.get_vocab().items():
        if token in old_ids:
            new_rows[index] = old_rows[old_ids[token]]
    taught.load_state_dict(
        {name: value for name, value in text_encoder.state_dict().items() if "token_embedding" not in name},
        strict=False,
    )
    return taught


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, predicting the velocity.

    At high noise, where score distillation decides the shape, a small network predicts the velocity far better than
    the noise: the noise is then nearly the input itself, and the picture is the small remainder.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )


def caption_words() -> list[str]:
    """Every word and mark that a caption or a prompt of this project says; digits are tokens of their own to CLIP."""
    phrases = [*COLOUR_NAMES, *SHAPE_NAMES, *FLAW_WORDS, *QUALITY_WORDS, *VIEW_WORDS, PAINTING_WORD, BLOCKOUT_PHRASE]
    phrases += [*FINE_AZIMUTH_WORDS, *(words for _, words in FINE_ELEVATION_WORDS)]
    phrases += [synonym for pair in FLAW_SYNONYMS.values() for synonym in pair]
    phrases += ["a an the of on with and , . - photo picture render model style color colour shaped"]
    return [word for phrase in phrases for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", phrase.lower())]


def make_tokenizer(words: list[str]) -> CLIPTokenizer:
    """A CLIP tokenizer to which each of `words` is one token; other words fall apart into letters.

    Args:
        words: Lower-case words and punctuation, without spaces.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(sorted(set(words)), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]

    tokens = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(pair) for pair in merges]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_TOKENS)


def save_pipeline(
    folder: Path,
    autoencoder: AutoencoderKL,
    denoiser: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Writes a folder that `StableDiffusionPipeline.from_pretrained` loads; safetensors only.

    The convolutions are stored in half precision, which diffusers reads back as float32. The text encoder stays
    float32: transformers keeps the precision of the file, and a half-precision text would not fit the U-Net.
    """
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        unet=denoiser.half(),
        text_encoder=text_encoder.float(),
        tokenizer=tokenizer,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    # Back to full precision, so that whoever goes on measures the rounded weights that were written.
    autoencoder.float(), denoiser.float()
    # transformers 4 reads these two instead of tokenizer.json.
    learned = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(learned["vocab"], ensure_ascii=False))
    merges = [" ".join(pair) for pair in learned["merges"]]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
