"""A ControlNet beside a U-Net: what it adds to the U-Net's features for drawings (Zhang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from backend.diffusion import EMBEDDED_CONTROL_FOLDER
from backend.diffusion.prior import Embeddings
from backend.diffusion.quiet_libraries import quiet_libraries
from backend.errors import BadInput, MissingModel
from backend.noise_levels import Latents

MATCHING_SETTINGS = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block")
"""Of both configurations: what is added must have the shapes of what it is added to, and read the same texts."""


@dataclass(frozen=True)
class Control:
    """A drawing for each sample of a batch."""

    ink: Float[Tensor, "batch ink_height ink_width"]
    """How much of each pixel is line, in [0, 1]; row 0 is the top. Any size: it is scaled to that of the pictures."""
    strengths: tuple[float, ...]
    """By what the additions are multiplied, one per sample; at 0 a drawing is not even read."""

    def __post_init__(self) -> None:
        if len(self.strengths) != len(self.ink) or min(self.strengths, default=0.0) < 0:
            raise ValueError(f"{len(self.ink)} drawings need as many strengths of at least 0; got {self.strengths}")

    def repeated(self, is_controlled: list[bool]) -> Control:
        """For a batch that holds these samples once per prompt; without effect where `is_controlled` says no."""
        strengths = [strength * chosen for chosen in is_controlled for strength in self.strengths]
        return Control(self.ink.repeat(len(is_controlled), 1, 1), tuple(strengths))


@runtime_checkable
class ControllablePrior(Protocol):
    """A prior that reads drawings."""

    def use_control_network(self, identifier: str) -> None:
        """Loads a ControlNet, see `load_control_network`; nothing happens if it is the one in use."""
        ...

    def predict_controlled_noise(
        self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings, control: Control
    ) -> Latents:
        """As `DiffusionPrior.predict_noise`, with a drawing beside each sample."""
        ...


class ControlNetwork:
    """What diffusers loaded, frozen, for one U-Net."""

    def __init__(self, network: Any, dtype: torch.dtype, pixels_per_latent: int) -> None:
        self._network, self._dtype, self._pixels_per_latent = network, dtype, pixels_per_latent

    def residuals(
        self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings, control: Control
    ) -> tuple[list[Tensor], Tensor] | None:
        """What the U-Net's `down_block_additional_residuals` and `mid_block_additional_residual` are to be.

        The network sees only the samples whose strength is above 0; None if there is none.
        """
        chosen = [index for index, strength in enumerate(control.strengths) if strength > 0]
        if not chosen:
            return None
        where = torch.tensor(chosen, device=noisy.device)
        size = noisy.shape[-1] * self._pixels_per_latent
        ink = functional.interpolate(control.ink[where, None].to(noisy.device), size, mode="area").clamp(0, 1)
        down, middle = self._network(
            noisy[where].to(self._dtype),
            timesteps[where],
            embeddings[where].to(self._dtype),
            controlnet_cond=ink.expand(-1, 3, -1, -1).to(self._dtype),
            return_dict=False,
        )
        strengths = torch.tensor([control.strengths[index] for index in chosen], device=noisy.device)
        weights = strengths.to(self._dtype)[:, None, None, None]

        def spread(added: Tensor) -> Tensor:
            whole = torch.zeros((len(noisy), *added.shape[1:]), device=added.device, dtype=added.dtype)
            return whole.index_copy(0, where, added * weights)

        return [spread(added) for added in down], spread(middle)


def load_control_network(
    identifier: str, unet: Any, device: torch.device, dtype: torch.dtype, pixels_per_latent: int
) -> ControlNetwork:
    """Loads the embedded prior's (`embedded`), a folder or a hub id. Only safetensors weights are read.

    Raises:
        MissingModel: There is no such folder or hub id, or a file of it is damaged.
        BadInput: It was made for another U-Net.
    """
    folder = EMBEDDED_CONTROL_FOLDER if identifier == "embedded" else Path(identifier).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (identifier == "embedded" or identifier.count("/") != 1 or identifier[0] in "./~"):
        raise MissingModel(
            f"no folder {folder} with a ControlNet. Give a folder with its config.json and safetensors weights, or a "
            "hub id such as lllyasviel/control_v11p_sd15_scribble"
        )
    with quiet_libraries():
        from diffusers import ControlNetModel

        try:
            network = ControlNetModel.from_pretrained(
                folder if is_folder else identifier, use_safetensors=True, local_files_only=is_folder
            )
        except Exception as error:
            # As for pipelines: each of the libraries below has errors of its own.
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise MissingModel(f"the ControlNet {identifier} cannot be loaded: {reason}") from error
    for name in MATCHING_SETTINGS:
        own, wanted = getattr(network.config, name), getattr(unet.config, name)
        if _as_plain(own) != _as_plain(wanted):
            raise BadInput(
                f"the ControlNet {identifier} was made for another model: its {name} is {_as_plain(own)}, and that of "
                f"this model {_as_plain(wanted)}"
            )
    return ControlNetwork(network.to(device, dtype).eval().requires_grad_(False), dtype, pixels_per_latent)


def _as_plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
