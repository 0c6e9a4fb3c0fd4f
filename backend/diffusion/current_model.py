"""A model of the pictures as they are now: low-rank adapters on a prior's own U-Net, trained while it is distilled.

The U-Net is one and the same for both models: with the adapters off it is the frozen prior to the bit, with them on it
is the second model, so that it costs megabytes and not another network (Wang et al. 2023; "single-model" in
threestudio).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from backend.diffusion.prediction import PredictionKind, noise_of, target_of
from backend.diffusion.prior import Embeddings
from backend.noise_levels import Latents, NoiseLevels

ATTENTION_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
ADAPTER = "current"
CAMERA_DROPOUT = 0.1  # of the training samples; the authors' code
CAMERA_NUMBERS = 16


@runtime_checkable  # for the type checker of the tests
class AdaptablePrior(Protocol):
    """What adapters need of a prior: its U-Net of diffusers' kind, and how it is called."""

    unet: Any
    noise_levels: NoiseLevels
    prediction_kind: PredictionKind
    device: torch.device

    def run_unet(self, noisy: Latents, timesteps: Int[Tensor, "batch"], embeddings: Embeddings) -> Latents: ...


class CurrentModel:
    """Predicts the noise of pictures from the distribution that is being optimised.

    Args:
        prior: Keeps working as before; its U-Net gets adapters that are off except inside this class.
        generator: Of the adapters' start and of every random number in training.
        rank: Of the adapters; 4 is diffusers' default and the authors'.
        learning_rate: 1e-4 in the authors' 3D code, 3e-4 in their 2D code.
    """

    def __init__(
        self, prior: AdaptablePrior, generator: torch.Generator, rank: int = 4, learning_rate: float = 1e-4
    ) -> None:
        from peft import LoraConfig

        self._prior, self._unet, self._generator = prior, prior.unet, generator
        if ADAPTER in getattr(self._unet, "peft_config", {}):
            self._unet.delete_adapters(ADAPTER)  # of an earlier job: one prior serves one second model at a time
        self._unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION_LAYERS), ADAPTER)
        self._adapters = {
            name: parameter for name, parameter in self._unet.named_parameters() if f".{ADAPTER}." in name
        }
        self._start_adapters()
        self._unet.disable_adapters()
        width = self._unet.config.cross_attention_dim
        # The authors add the camera to the timestep, which needs a U-Net with a class embedding. One more word does
        # the same for any U-Net.
        self.camera_word = nn.Sequential(nn.Linear(CAMERA_NUMBERS, width), nn.SiLU(), nn.Linear(width, width))
        self.camera_word.to(prior.device)
        with torch.no_grad():
            for parameter in self.camera_word.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
        self._optimiser = torch.optim.AdamW(
            [*self._adapters.values(), *self.camera_word.parameters()], lr=learning_rate, weight_decay=0.0
        )

    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Latents,
        timesteps: Int[Tensor, "batch"],
        embeddings: Embeddings,
        cameras: Float[Tensor, "batch 16"] | None = None,
    ) -> Latents:
        """The noise in `noisy`, as if it were made from the pictures of now. No gradient.

        Args:
            cameras: Camera-to-world matrices, row by row; None in 2D.
        """
        alpha, sigma = self._prior.noise_levels.at(timesteps)
        with self._adapters_on():
            output = self._run(noisy, timesteps, embeddings, cameras)
        return noise_of(output, noisy, alpha, sigma, self._prior.prediction_kind)

    def learn(
        self, latents: Latents, embeddings: Embeddings, cameras: Float[Tensor, "batch 16"] | None = None
    ) -> float:
        """One step of denoising training on the pictures of now. Returns the loss."""
        latents = latents.detach()
        noise = torch.randn(latents.shape, generator=self._generator).to(latents.device)
        total = len(self._prior.noise_levels)
        timesteps = torch.randint(total, (len(latents),), generator=self._generator).to(latents.device)
        if cameras is not None:
            is_kept = torch.rand(len(latents), 1, generator=self._generator) >= CAMERA_DROPOUT
            cameras = cameras * is_kept.to(cameras)
        alpha, sigma = self._prior.noise_levels.at(timesteps)
        noisy = self._prior.noise_levels.add_noise(latents, noise, timesteps)
        # On until the gradient is there: peft freezes adapters that it switches off.
        with torch.enable_grad(), self._adapters_on():
            output = self._run(noisy, timesteps, embeddings.detach(), cameras)
            target = target_of(latents, noise, alpha, sigma, self._prior.prediction_kind)
            loss = functional.mse_loss(output, target)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
        self._optimiser.step()
        return loss.item()

    def state(self) -> dict[str, Tensor]:
        """Adapters, the camera's word and Adam's moments; `load_state` goes on from them."""
        tensors = {f"adapter.{name}": value.detach().clone() for name, value in self._adapters.items()}
        tensors |= {f"camera.{name}": value.clone() for name, value in self.camera_word.state_dict().items()}
        for index, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value).clone() for name, value in moments.items()}
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to what `state` told.

        Raises:
            KeyError: A tensor is missing.
        """
        for name, parameter in self._adapters.items():
            parameter.copy_(tensors[f"adapter.{name}"])
        self.camera_word.load_state_dict({name: tensors[f"camera.{name}"] for name in self.camera_word.state_dict()})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, index, kind = name.split(".")
                moments.setdefault(int(index), {})[kind] = value.clone()
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def remove(self) -> None:
        """Takes the adapters out of the prior's U-Net again."""
        self._unet.delete_adapters(ADAPTER)

    def _run(self, noisy: Latents, timesteps: Tensor, embeddings: Embeddings, cameras: Tensor | None) -> Latents:
        if cameras is not None:
            embeddings = torch.cat([embeddings, self.camera_word(cameras)[:, None]], dim=1)
        return self._prior.run_unet(noisy, timesteps, embeddings)

    @contextmanager
    def _adapters_on(self) -> Iterator[None]:
        self._unet.enable_adapters()
        try:
            yield
        finally:
            self._unet.disable_adapters()

    @torch.no_grad()
    def _start_adapters(self) -> None:
        """As peft does, from our own generator: `up` at zero, so that the second model starts as the first."""
        for name, parameter in self._adapters.items():
            parameter.requires_grad_(True)
            if "lora_A" in name:
                bound = parameter.shape[1] ** -0.5
                uniform = torch.rand(parameter.shape, generator=self._generator)
                parameter.copy_((2 * uniform - 1) * bound)
            else:
                parameter.zero_()
