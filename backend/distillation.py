"""From latents to the gradient that a method gives: timesteps, noise, prompts, calls of the network, the loss.

The loop that optimises meshes and the one that optimises pictures both ask here. Every method is a function of the same
noisy latents; `backend.losses` has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.config import DistillationConfig
from backend.diffusion.control_network import Control, ControllablePrior
from backend.diffusion.current_model import AdaptablePrior, CurrentModel
from backend.diffusion.prior import DiffusionPrior, Embeddings
from backend.diffusion.prompts import join_prompt
from backend.errors import BadInput
from backend.losses.classifier_score import csd_gradient
from backend.losses.delta_denoising import dds_gradient
from backend.losses.full_bridge import Denoiser, bridge_by_inversion, bridge_by_shared_noise
from backend.losses.noise_free import nfsd_gradient
from backend.losses.perpendicular_negatives import perp_neg_noise
from backend.losses.score_distillation import bridge_gradient, guided_noise, sds_gradient, time_weight
from backend.losses.variational import vsd_gradient
from backend.noise_levels import Latents, PerSample

Cameras = Float[Tensor, "batch 16"]


@dataclass(frozen=True)
class NoisyLatents:
    """Latents with noise on them, one timestep per sample."""

    clean: Latents
    noise: Latents
    noisy: Latents
    timesteps: Int[Tensor, "batch"]
    alpha: PerSample
    sigma: PerSample
    views: list[str]
    """What each sample's prompt says of its camera; empty strings in 2D."""
    opposite_views: list[str] | None
    """The same for the cameras on the other side."""
    cameras: Cameras | None
    control: Control | None
    """Drawings, one per sample."""
    progress: float


@dataclass(frozen=True)
class Distilled:
    """What a method says of some latents."""

    gradient: Latents
    """To descend; per sample, not averaged."""
    stage: str
    timestep_range: tuple[int, int]


@dataclass(frozen=True)
class Reference:
    """The picture that an edit begins with."""

    latents: Latents
    prompt: str


class Distillation:
    """One method on one prompt for all samples, or on a prompt for each.

    Variational methods hold a second model here, of the pictures as they are now: adapters on the prior's network.

    Args:
        prompt: A list holds one prompt per sample.
        generator: Of timesteps, noise and the second model; shared with the loop, so that a seed means one sequence.
        reference: For DDS.

    Raises:
        BadInput: The prior cannot serve the method.
    """

    def __init__(
        self,
        prompt: str | list[str],
        config: DistillationConfig,
        prior: DiffusionPrior,
        generator: torch.Generator,
        reference: Reference | None = None,
    ) -> None:
        self.prompt, self.config, self.prior = prompt, config, prior
        self._generator, self._reference = generator, reference
        if config.method == "dds" and reference is None:
            raise BadInput("delta denoising (dds) edits a picture, so it needs the picture to begin with")
        self._current = self._make_current_model() if config.method in _VARIATIONAL else None

    def state(self) -> dict[str, Tensor]:
        """What a variational method has learnt so far; empty for the others."""
        return self._current.state() if self._current is not None else {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to what `state` told."""
        if self._current is not None:
            self._current.load_state(tensors)

    def is_second_stage(self, progress: float) -> bool:
        """Whether a method of two stages is in its second one at this share of the job."""
        return _STAGES[self.config.method][1] is not None and progress >= self.config.bridge_start

    def gradient_of(
        self,
        latents: Latents,
        views: list[str],
        progress: float,
        cameras: Cameras | None = None,
        opposite_views: list[str] | None = None,
        control: Control | None = None,
    ) -> Distilled:
        """The gradient of the method at this share of the job.

        Args:
            latents: As they are; nothing is differentiated.
            views: One description of the camera per sample, as `describe_view` gives it; empty in 2D.
            progress: In [0, 1).
            cameras: Camera-to-world matrices, for a second model that learns them.
            opposite_views: As `views`, of the cameras on the other side; for Perp-Neg.
            control: Drawings that the prior reads beside the samples; it must be a `ControllablePrior` then.
        """
        noisy, timestep_range = self._add_noise(latents.detach(), progress)
        noisy = replace(noisy, views=views, opposite_views=opposite_views, cameras=cameras, control=control)
        name, method = self._stage(progress)
        # Half-precision networks overflow now and then; the authors do the same.
        gradient = torch.nan_to_num(method(self, noisy))
        return Distilled(gradient, name, timestep_range)

    # --- Methods: noisy latents to a gradient ------------------------------------------------------------------------

    def _sds(self, noisy: NoisyLatents) -> Latents:
        if self.config.perp_neg_weight != 0 and noisy.opposite_views is not None:
            return self._sds_with_perp_neg(noisy, noisy.opposite_views)
        unconditional, conditional = self._predict(noisy, self._empty(noisy), self._prompts(noisy))
        weight = self._weight(noisy)
        return sds_gradient(unconditional, conditional, noisy.noise, weight, self.config.guidance_scale)

    def _sds_with_perp_neg(self, noisy: NoisyLatents, opposite_views: list[str]) -> Latents:
        opposite = self._prompts(replace(noisy, views=opposite_views))
        unconditional, conditional, negative = self._predict(noisy, self._empty(noisy), self._prompts(noisy), opposite)
        weights = torch.full_like(noisy.alpha, self.config.perp_neg_weight)[None]
        guided = perp_neg_noise(unconditional, conditional, negative[None], weights, self.config.guidance_scale)
        return bridge_gradient(guided, noisy.noise, self._weight(noisy))

    def _bridge(self, noisy: NoisyLatents) -> Latents:
        source, target = self._predict(
            noisy,
            self._prompts(noisy, self.config.source_suffix),
            self._prompts(noisy, self.config.target_suffix),
        )
        return bridge_gradient(target, source, self._bridge_weight(noisy), self.config.bridge_scale)

    def _nfsd(self, noisy: NoisyLatents) -> Latents:
        negative = [self.config.negative_prompt] * len(noisy.views)
        unconditional, conditional, bad = self._predict(noisy, self._empty(noisy), self._prompts(noisy), negative)
        weight, scale = self._weight(noisy), self.config.guidance_scale
        return nfsd_gradient(unconditional, conditional, bad, noisy.timesteps, weight, scale)

    def _csd(self, noisy: NoisyLatents) -> Latents:
        negative = self._prompts(noisy, self.config.csd_negative_suffix)
        unconditional, conditional, bad = self._predict(noisy, self._empty(noisy), self._prompts(noisy), negative)
        positive, negative_weight = (
            self.config.guidance_scale * ramp.at(noisy.progress)
            for ramp in (self.config.csd_positive_weight, self.config.csd_negative_weight)
        )
        return csd_gradient(conditional, unconditional, bad, self._weight(noisy), positive, negative_weight)

    def _vsd(self, noisy: NoisyLatents) -> Latents:
        current, plain = self._learn(noisy)
        unconditional, conditional = self._predict(noisy, self._empty(noisy), self._prompts(noisy))
        source = current.predict_noise(noisy.noisy, noisy.timesteps, plain, noisy.cameras)
        return vsd_gradient(unconditional, conditional, source, self._weight(noisy), self.config.guidance_scale)

    def _dds(self, noisy: NoisyLatents) -> Latents:
        assert self._reference is not None  # asked for when this was made
        reference = self._reference.latents.expand_as(noisy.clean)
        reference_noisy = self.prior.noise_levels.add_noise(reference, noisy.noise, noisy.timesteps)
        count = len(noisy.views)
        prompts = [""] * count + self._prompts(noisy) + [""] * count + [self._reference.prompt] * count
        both = torch.cat([noisy.noisy] * 2 + [reference_noisy] * 2)
        predicted = self.prior.predict_noise(both, noisy.timesteps.repeat(4), self.prior.embed_prompts(prompts))
        edited_empty, edited, reference_empty, of_reference = predicted.chunk(4)
        weight, scale = self._weight(noisy), self.config.guidance_scale
        return dds_gradient(edited_empty, edited, reference_empty, of_reference, weight, scale)

    def _full_bridge(self, noisy: NoisyLatents) -> Latents:
        source = self._prompts(noisy, self.config.source_suffix)
        target = self._prompts(noisy, self.config.target_suffix)
        levels, steps = self.prior.noise_levels, self.config.bridge_steps
        weight = self._bridge_weight(noisy) * self.config.bridge_scale
        if self.config.bridge_form == "shared-noise":
            both = self._denoiser(noisy, source, target)
            return bridge_by_shared_noise(noisy.noisy, noisy.timesteps, both, levels, weight, steps)
        up, down = self._denoiser(noisy, source, None), self._denoiser(noisy, None, target)
        return bridge_by_inversion(noisy.clean, noisy.timesteps, up, down, levels, weight, steps)

    def _vsd_full_bridge(self, noisy: NoisyLatents) -> Latents:
        current, plain = self._learn(noisy)

        def as_they_are(latents: Latents, timesteps: Tensor) -> Latents:
            return current.predict_noise(latents, timesteps, plain, noisy.cameras)

        down = self._guided_denoiser(noisy, self._prompts(noisy))
        levels, steps = self.prior.noise_levels, self.config.bridge_steps
        weight = self._weight(noisy)
        return bridge_by_inversion(noisy.clean, noisy.timesteps, as_they_are, down, levels, weight, steps)

    def _learn(self, noisy: NoisyLatents) -> tuple[CurrentModel, Embeddings]:
        """One step of the second model's training, and the prompts that it knows: those without words on the camera.

        Before the pictures move, as the authors do.
        """
        assert self._current is not None  # made for the methods that come here
        plain = self.prior.embed_prompts(self._subjects(noisy))
        self._current.learn(noisy.clean, plain, noisy.cameras)
        return self._current, plain

    # --- What they share ---------------------------------------------------------------------------------------------

    def _stage(self, progress: float) -> tuple[str, Callable[[Distillation, NoisyLatents], Latents]]:
        first, second = _STAGES[self.config.method]
        return second if second is not None and self.is_second_stage(progress) else first

    def _predict(self, noisy: NoisyLatents, *prompts: list[str]) -> tuple[Latents, ...]:
        """The noise under each list of prompts, all in one call of the network. The second list is the target's."""
        embeddings = self.prior.embed_prompts([prompt for each in prompts for prompt in each])
        count = len(prompts)
        predicted = self._call(
            noisy.noisy.repeat(count, 1, 1, 1),
            noisy.timesteps.repeat(count),
            embeddings,
            self._control(noisy, [index == 1 for index in range(count)]),
        )
        return predicted.chunk(count)

    def _denoiser(self, noisy: NoisyLatents, source: list[str] | None, target: list[str] | None) -> Denoiser:
        """Of latents under the source's prompts, or the target's, or of a batch of both in this order."""
        prompts = [each for each in (source, target) if each is not None]
        embeddings = self.prior.embed_prompts([prompt for each in prompts for prompt in each])
        is_target = [False] * (source is not None) + [True] * (target is not None)
        control = self._control(noisy, is_target)
        return lambda latents, timesteps: self._call(latents, timesteps, embeddings, control)

    def _guided_denoiser(self, noisy: NoisyLatents, prompts: list[str]) -> Denoiser:
        embeddings = self.prior.embed_prompts([""] * len(prompts) + prompts)
        control = self._control(noisy, [False, True])

        def predict(latents: Latents, timesteps: Tensor) -> Latents:
            both = self._call(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), embeddings, control)
            unconditional, conditional = both.chunk(2)
            return guided_noise(unconditional, conditional, self.config.guidance_scale)

        return predict

    def _call(self, noisy: Latents, timesteps: Tensor, embeddings: Embeddings, control: Control | None) -> Latents:
        if control is None:
            return self.prior.predict_noise(noisy, timesteps, embeddings)
        assert isinstance(self.prior, ControllablePrior)  # whoever gives drawings has asked
        return self.prior.predict_controlled_noise(noisy, timesteps, embeddings, control)

    def _control(self, noisy: NoisyLatents, is_target: list[bool]) -> Control | None:
        """The drawings for a batch that holds the samples once per entry; which of these are the target's."""
        if noisy.control is None:
            return None
        return noisy.control.repeated([target or self.config.control_branches == "both" for target in is_target])

    def _prompts(self, noisy: NoisyLatents, suffix: str = "") -> list[str]:
        pairs = zip(self._subjects(noisy), noisy.views, strict=True)
        return [join_prompt(subject, view, suffix) for subject, view in pairs]

    def _subjects(self, noisy: NoisyLatents) -> list[str]:
        """What each sample is to show, without a word on its camera."""
        return [self.prompt] * len(noisy.views) if isinstance(self.prompt, str) else self.prompt

    @staticmethod
    def _empty(noisy: NoisyLatents) -> list[str]:
        return [""] * len(noisy.views)

    def _weight(self, noisy: NoisyLatents) -> PerSample:
        return time_weight(noisy.alpha, noisy.sigma, self.config.time_weighting)

    def _bridge_weight(self, noisy: NoisyLatents) -> PerSample:
        return time_weight(noisy.alpha, noisy.sigma, self.config.bridge_time_weighting)

    def _make_current_model(self) -> CurrentModel:
        if not isinstance(self.prior, AdaptablePrior):
            raise BadInput(
                f"the method {self.config.method} trains adapters on the model's network, and {self.prior.name} has "
                "none that they fit; choose another, such as bridge"
            )
        rank, rate = self.config.adapter_rank, self.config.adapter_learning_rate
        return CurrentModel(self.prior, self._generator, rank, rate)

    def _add_noise(self, latents: Latents, progress: float) -> tuple[NoisyLatents, tuple[int, int]]:
        timesteps, timestep_range = self.sample_timesteps(len(latents), progress)
        levels = self.prior.noise_levels
        alpha, sigma = levels.at(timesteps)
        noise = torch.randn(latents.shape, generator=self._generator).to(latents.device)
        noisy = levels.add_noise(latents, noise, timesteps)
        unseen = [""] * len(latents)
        return (
            NoisyLatents(latents, noise, noisy, timesteps, alpha, sigma, unseen, None, None, None, progress),
            timestep_range,
        )

    def sample_timesteps(self, count: int, progress: float) -> tuple[Int[Tensor, "batch"], tuple[int, int]]:
        """One timestep per sample, and the range they are from at this moment.

        Stratified over the range, so that every step sees much and little noise.
        """
        total = len(self.prior.noise_levels)
        low = int(self.config.lowest_noise.at(progress) * total)
        high = max(low + 1, int(self.config.highest_noise.at(progress) * total))
        strata = torch.randperm(count, generator=self._generator)
        uniform = (strata + torch.rand(count, generator=self._generator)) / count
        timesteps = (low + uniform * (high - low)).long().clamp(max=total - 1)
        return timesteps.to(self.prior.device), (low, high)


_SDS = ("SDS", Distillation._sds)
_STAGES: dict[str, tuple[tuple[str, Any], tuple[str, Any] | None]] = {
    "sds": (_SDS, None),
    "nfsd": (("NFSD", Distillation._nfsd), None),
    "csd": (("CSD", Distillation._csd), None),
    "vsd": (("VSD", Distillation._vsd), None),
    "dds": (("DDS", Distillation._dds), None),
    "bridge": (_SDS, ("bridge", Distillation._bridge)),
    "full-bridge": (_SDS, ("full bridge", Distillation._full_bridge)),
    "vsd-full-bridge": (("VSD", Distillation._vsd), ("full bridge", Distillation._vsd_full_bridge)),
}
"""What each method does first, and what from `bridge_start` on."""
_VARIATIONAL = ("vsd", "vsd-full-bridge")
"""Methods that learn a model of the pictures as they are."""
