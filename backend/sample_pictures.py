"""DDIM sampling as a job that makes steps, so that it is shown, stopped and resumed as an optimisation is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from backend.diffusion.prior import DiffusionPrior
from backend.losses.full_bridge import ode_path, solve_ode
from backend.losses.score_distillation import guided_noise
from backend.noise_levels import Latents
from backend.optimise_pictures import PictureStep
from backend.picture_config import SamplingConfig


class PictureSampling:
    """What the model draws by itself: node by node what `diffusion.sampling.ddim_sample` does in one go.

    Args:
        prompts: One per picture.
        seed: Of the noise to begin with.
    """

    def __init__(self, prompts: list[str], config: SamplingConfig, prior: DiffusionPrior, seed: int) -> None:
        self.prompts, self.config, self.prior = prompts, config, prior
        generator = torch.Generator().manual_seed(seed)
        self._latents = torch.randn((len(prompts), *prior.latent_shape), generator=generator).to(prior.device)
        last = torch.full((len(prompts),), len(prior.noise_levels) - 1, device=prior.device)
        self._path = ode_path(last, config.steps).flip(0)
        self._embeddings = prior.embed_prompts([""] * len(prompts) + prompts)
        self._step = 0

    def steps(self) -> Iterator[PictureStep]:
        """Makes the steps that are left, one each time the next is asked for."""
        while self._step < self.config.steps:
            started = time.perf_counter()
            here, there = self._path[self._step], self._path[self._step + 1]
            nodes = torch.stack([here, there])
            self._latents = solve_ode(self._latents, nodes, self._predict, self.prior.noise_levels)
            self._step += 1
            yield PictureStep(
                number=self._step,
                total=self.config.steps,
                stage="DDIM",
                gradient_norm=None,
                losses={},
                timestep_range=(max(int(there[0]), 0), int(here[0]) + 1),
                seconds={"prior": time.perf_counter() - started},
            )

    def pictures(self) -> Float[Tensor, "pictures height width 3"]:
        """As they are now: noise at first."""
        return self.prior.decode_latents(self._latents)

    def views(self) -> Float[Tensor, "pictures height width 3"]:
        """The same."""
        return self.pictures()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `PictureOptimisation.state`."""
        return {"latents": self._latents.clone()}, {"step": self._step}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """See `PictureOptimisation.load_state`."""
        if tensors["latents"].shape != self._latents.shape:
            raise ValueError(f"saved for shape {tuple(tensors['latents'].shape)}, not {tuple(self._latents.shape)}")
        self._step = int(metadata["step"])
        self._latents = tensors["latents"].to(self.prior.device, copy=True)

    def _predict(self, latents: Latents, timesteps: Tensor) -> Latents:
        both = self.prior.predict_noise(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), self._embeddings)
        unconditional, conditional = both.chunk(2)
        return guided_noise(unconditional, conditional, self.config.guidance_scale)
