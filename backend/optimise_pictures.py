"""The loop over pictures: a generator that yields steps, as `backend.optimise` is for meshes. It never saves or shows.

A batch holds independent pictures: each has its own prompt, its own noise and its own gradient, which is not averaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from backend.diffusion.prior import DiffusionPrior
from backend.distillation import Distillation, Reference
from backend.errors import BadInput
from backend.noise_levels import Latents
from backend.picture_config import PictureConfig
from backend.picture_variables import LatentVariable, Pictures, PictureVariable, PixelVariable
from backend.saved_tensors import moments_of, restore_moments, under
from backend.steering import Steered, Steering

Show = Callable[[Tensor], Tensor]
"""Pictures to the views that the prompts are about, differentiable."""
LARGEST_GRADIENT = 1e15
"""Beyond it the optimiser's squares overflow."""


@dataclass(frozen=True)
class PictureStep:
    """What happened in one step."""

    number: int
    """From 1."""
    total: int
    stage: str
    """Of the method."""
    gradient_norm: float | None
    """Mean over the pictures of the norm of the gradient on the latents; None where nothing is optimised."""
    losses: dict[str, float]
    """Empty: nothing regularises pictures."""
    timestep_range: tuple[int, int]
    notices: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time per part: encode, prior, update."""


class PictureOptimisation:
    """Pictures on their way to their prompts.

    Args:
        prompts: One per picture; with `show`, one per view.
        seed: Of every random number in the loop.
        start: Where the pictures begin, of the prior's size; None draws latents, and takes grey pixels.
        show: For pixels: what the prompts are about, if not the pictures as they are.
        reference: For delta denoising.

    Raises:
        BadInput: There is no prompt, or the prior cannot serve the method.
        ValueError: `show` with latents, of which it knows nothing.
    """

    def __init__(
        self,
        prompts: list[str],
        config: PictureConfig,
        prior: DiffusionPrior,
        seed: int,
        start: Float[Tensor, "pictures height width 3"] | None = None,
        show: Show | None = None,
        reference: Reference | None = None,
    ) -> None:
        if not prompts:
            raise BadInput("there is no prompt; give one for each picture")
        if show is not None and config.variable != "pixels":
            raise ValueError("what is shown is made of pixels, so the variable must be pixels")
        self.prompts, self.config, self.prior = prompts, config, prior
        self._first_prompts, self._first_config, self._steered = prompts, config, Steered()
        self._show, self._step = show, 0
        self._generator = torch.Generator().manual_seed(seed)
        self._distillation = Distillation(prompts, config.distillation, prior, self._generator, reference)
        self.variable = self._make_variable(start)
        self._optimiser = self._make_optimiser()

    @property
    def step(self) -> int:
        """How many steps have been made."""
        return self._step

    def steps(self) -> Iterator[PictureStep]:
        """Makes the steps that are left, one each time the next is asked for."""
        while self._step < self.config.steps:
            yield self._make_step()

    @torch.no_grad()
    def pictures(self) -> Float[Tensor, "pictures height width 3"]:
        """As they are now."""
        return self.variable.pictures()

    @torch.no_grad()
    def views(self) -> Float[Tensor, "views height width 3"]:
        """What the prompts are about: the pictures, or what `show` makes of them."""
        pictures = self.pictures()
        return pictures if self._show is None else self._show(pictures)

    def steer(self, change: Steering) -> None:
        """Takes a change, between two steps; a new prompt is that of every picture. What is for meshes is ignored."""
        self._take(self._steered.after(change, self._step, self._first_config.steps))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts from which `load_state` goes on as if nothing had been broken off."""
        tensors = {f"variable.{index}": value.detach().clone() for index, value in enumerate(self.variable.tensors)}
        tensors |= moments_of(self._optimiser, self._named_parameters())
        tensors |= {f"distillation.{name}": value for name, value in self._distillation.state().items()}
        tensors["random"] = self._generator.get_state().clone()
        return tensors, {"step": self._step, "steered": self._steered.to_json()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Goes back to what `state` told. Shapes that do not fit raise ValueError."""
        self._step = int(metadata["step"])
        self._take(Steered.from_json(metadata.get("steered", {})))
        for index, parameter in enumerate(self.variable.tensors):
            saved = tensors[f"variable.{index}"]
            if saved.shape != parameter.shape:
                raise ValueError(f"saved for shape {tuple(saved.shape)}, but this job has {tuple(parameter.shape)}")
            parameter.copy_(saved)
        self._distillation.load_state(under("distillation.", tensors))
        self._optimiser = self._make_optimiser()
        restore_moments(self._optimiser, self._named_parameters(), tensors)
        self._generator.set_state(tensors["random"].cpu())

    def _take(self, steered: Steered) -> None:
        """Goes on with these changes to what the job began with."""
        self._steered = steered
        self.config = steered.picture_config(self._first_config)
        prompt = steered.prompt
        self.prompts = self._first_prompts if prompt is None else [prompt] * len(self._first_prompts)
        self._distillation.prompt, self._distillation.config = self.prompts, self.config.distillation

    def _named_parameters(self) -> dict[str, Tensor]:
        return {f"optimiser.{index}": tensor for index, tensor in enumerate(self.variable.tensors)}

    def _make_step(self) -> PictureStep:
        progress = self._steered.progress(self._step, self._first_config.steps)
        started = time.perf_counter()
        latents = self._latents()
        encoded = time.perf_counter()
        distilled = self._distillation.gradient_of(latents, [""] * len(self.prompts), progress)
        predicted = time.perf_counter()

        self._optimiser.zero_grad(set_to_none=True)
        # Straight onto the latents, each picture for itself: a mean would make the rate depend on the batch.
        torch.autograd.backward([latents], [distilled.gradient])
        notices = self._descend(progress)
        self._step += 1
        return PictureStep(
            number=self._step,
            total=self.config.steps,
            stage=distilled.stage,
            gradient_norm=distilled.gradient.flatten(1).norm(dim=1).mean().item(),
            losses={},
            timestep_range=distilled.timestep_range,
            notices=notices,
            seconds={
                "encode": encoded - started,
                "prior": predicted - encoded,
                "update": time.perf_counter() - predicted,
            },
        )

    def _descend(self, progress: float) -> tuple[str, ...]:
        gradients = [tensor.grad for tensor in self.variable.tensors if tensor.grad is not None]
        # False for NaN as well.
        if not all((gradient.abs() < LARGEST_GRADIENT).all() for gradient in gradients):
            return (f"The gradient held numbers that are not finite at step {self._step + 1}; the step was left out.",)
        is_second_stage = self._distillation.is_second_stage(progress)
        factor = self.config.distillation.bridge_learning_rate_factor if is_second_stage else 1.0
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * factor
        self._optimiser.step()
        return ()

    def _latents(self) -> Latents:
        """One per prompt, differentiable in the variable."""
        if isinstance(self.variable, LatentVariable):
            return self.variable.latents()
        pictures = self.variable.pictures()
        return self.prior.encode_images(pictures if self._show is None else self._show(pictures))

    def _make_variable(self, start: Pictures | None) -> PictureVariable:
        prior = self.prior
        if self.config.variable == "pixels":
            grey = torch.full((len(self.prompts), prior.image_size, prior.image_size, 3), 0.5)
            return PixelVariable((grey if start is None else start).to(prior.device))
        if start is not None:
            with torch.no_grad():
                return LatentVariable(prior.encode_images(start.to(prior.device)), prior)
        drawn = torch.randn((len(self.prompts), *prior.latent_shape), generator=self._generator)
        return LatentVariable((self.config.start_deviation * drawn).to(prior.device), prior)

    def _make_optimiser(self) -> torch.optim.Optimizer:
        rate, decay = self.config.learning_rate, self.config.weight_decay
        if self.config.optimiser == "sgd":
            return torch.optim.SGD(self.variable.tensors, lr=rate, weight_decay=decay)
        # The authors' betas and epsilon, in 2D and in 3D.
        return torch.optim.AdamW(self.variable.tensors, lr=rate, betas=(0.9, 0.99), eps=1e-15, weight_decay=decay)
