"""Two questions on where single-step score distillation errs, answered by numbers at each timestep.

How far does one step of the bridge go from where its whole ODE leads? And how far is what each method takes for the
source, the noise of pictures as they are now, from what a model says that knows these pictures?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.diffusion.current_model import AdaptablePrior, CurrentModel
from backend.diffusion.prior import DiffusionPrior
from backend.diffusion.prompts import join_prompt
from backend.errors import BadInput
from backend.losses.full_bridge import Denoiser, bridge_by_inversion, bridge_by_shared_noise
from backend.losses.score_distillation import bridge_gradient
from backend.noise_levels import Latents

Samples = Float[np.ndarray, "timesteps samples"]

SHARED_NOISE, INVERSION = "shared noise", "inversion"
ADDED_NOISE, LEARNT, SOURCE_PROMPT = "SDS: the added noise", "VSD: adapters", "bridge: source prompt"
PLAIN_PROMPT, EMPTY_PROMPT = "prompt alone", "empty prompt"


@dataclass(frozen=True)
class DiagnosisConfig:
    """What is looked at, and how closely."""

    source_suffix: str
    target_suffix: str
    shares: tuple[float, ...] = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98)
    """Of all timesteps: those that the methods draw from."""
    ode_steps: int = 25
    """Each way, of the full bridge."""
    vsd_steps: int = 60
    """How many steps VSD's second model has learnt for when it is asked."""
    vsd_rank: int = 4
    vsd_learning_rate: float = 1e-4
    converged_steps: int = 400
    """Of the second model that stands for the truth; it has a larger rank and rate than VSD's."""
    converged_rank: int = 16
    converged_learning_rate: float = 2e-3
    pictures_at_once: int = 8
    """In a step of learning."""
    seed: int = 0

    def timesteps(self, total: int) -> list[int]:
        """Of a model with so many of them."""
        return [min(total - 1, round(share * total)) for share in self.shares]


@dataclass(frozen=True)
class SingleStepError:
    """Of the one-step gradient against the whole ODE's, by the form of the full bridge; a sample is a picture."""

    timesteps: list[int]
    degrees: dict[str, Samples]
    """Between the two gradients."""
    norm_ratio: dict[str, Samples]
    """The one-step gradient's norm over the other's."""


@dataclass(frozen=True)
class SourceMismatch:
    """How far each method's source is from that of a model that knows the pictures."""

    timesteps: list[int]
    distance: dict[str, Samples]
    """By source: root mean square of the difference of two predictions of noise, whose own is about 1."""
    converged: tuple[float, float, float]
    """The knowing model's own error on noise it was not trained on: untrained, after three quarters, in the end."""


@torch.no_grad()
def single_step_error(
    latents: Latents, prompts: list[str], prior: DiffusionPrior, config: DiagnosisConfig
) -> SingleStepError:
    """Both forms of the full bridge, with many steps, against the gradient of one step.

    Args:
        latents: Pictures as they are in the middle of an optimisation, one per prompt.
    """
    source = _denoiser(prior, prompts, config.source_suffix)
    target = _denoiser(prior, prompts, config.target_suffix)

    def both(noisy: Latents, timesteps: Int[Tensor, "batch"]) -> Latents:
        pairs = zip((source, target), noisy.chunk(2), timesteps.chunk(2), strict=True)
        return torch.cat([denoiser(part, of_part) for denoiser, part, of_part in pairs])

    degrees: dict[str, list[np.ndarray]] = {SHARED_NOISE: [], INVERSION: []}
    ratios: dict[str, list[np.ndarray]] = {SHARED_NOISE: [], INVERSION: []}
    levels, steps = prior.noise_levels, config.ode_steps
    weight = torch.ones(len(latents), device=latents.device)
    timesteps = config.timesteps(len(levels))
    for now, noisy, _ in _noised(latents, timesteps, prior, config.seed):
        one = bridge_gradient(target(noisy, now), source(noisy, now), weight)
        whole = {
            SHARED_NOISE: bridge_by_shared_noise(noisy, now, both, levels, weight, steps),
            INVERSION: bridge_by_inversion(latents, now, source, target, levels, weight, steps),
        }
        for form, gradient in whole.items():
            degrees[form].append(angle_degrees(one, gradient))
            ratios[form].append(norm_ratio(one, gradient))
    stacked = [{form: np.stack(values) for form, values in of.items()} for of in (degrees, ratios)]
    return SingleStepError(timesteps, *stacked)


def source_mismatch(
    latents: Latents,
    prompts: list[str],
    prior: DiffusionPrior,
    config: DiagnosisConfig,
    told: Callable[[int, int], None] = lambda step, total: None,
) -> SourceMismatch:
    """Every source against the prediction of a second model that has learnt the pictures to the end.

    Args:
        latents: As for `single_step_error`; several pictures of each prompt make a distribution of it.
        told: Steps of learning that are done, and how many there are.

    Raises:
        BadInput: The prior's network takes no adapters.
    """
    if not isinstance(prior, AdaptablePrior):
        raise BadInput(f"the source mismatch needs a model whose network takes adapters; {prior.name} has none")
    generator = torch.Generator().manual_seed(config.seed)
    timesteps = config.timesteps(len(prior.noise_levels))
    probes = _noised(latents, timesteps, prior, config.seed)
    total = config.vsd_steps + config.converged_steps
    done = 0

    def learn(model: CurrentModel, steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            chosen = torch.randperm(len(latents), generator=generator)[: config.pictures_at_once]
            model.learn(latents[chosen.to(latents.device)], plain[chosen.to(latents.device)])
            done += 1
            told(done, total)

    def predictions(model: CurrentModel) -> list[Latents]:
        return [model.predict_noise(noisy, now, plain) for now, noisy, _ in probes]

    def own_error(model: CurrentModel) -> float:
        pairs = zip(predictions(model), probes, strict=True)
        return float(np.mean([rms(predicted, noise).mean() for predicted, (_, _, noise) in pairs]))

    plain = prior.embed_prompts(prompts)
    vsd = CurrentModel(prior, generator, config.vsd_rank, config.vsd_learning_rate)
    learn(vsd, config.vsd_steps)
    learnt = predictions(vsd)
    knowing = CurrentModel(prior, generator, config.converged_rank, config.converged_learning_rate)
    errors = [own_error(knowing)]
    for steps in (config.converged_steps * 3 // 4, config.converged_steps - config.converged_steps * 3 // 4):
        learn(knowing, steps)
        errors.append(own_error(knowing))
    truth = predictions(knowing)
    knowing.remove()

    asked = {
        SOURCE_PROMPT: _denoiser(prior, prompts, config.source_suffix),
        PLAIN_PROMPT: _denoiser(prior, prompts, ""),
        EMPTY_PROMPT: _denoiser(prior, [""] * len(prompts), ""),
    }
    distance: dict[str, list[np.ndarray]] = {name: [] for name in (ADDED_NOISE, LEARNT, *asked)}
    for index, (now, noisy, noise) in enumerate(probes):
        distance[ADDED_NOISE].append(rms(noise, truth[index]))
        distance[LEARNT].append(rms(learnt[index], truth[index]))
        for name, denoiser in asked.items():
            distance[name].append(rms(denoiser(noisy, now), truth[index]))
    stacked = {name: np.stack(values) for name, values in distance.items()}
    return SourceMismatch(timesteps, stacked, (errors[0], errors[1], errors[2]))


def angle_degrees(one: Latents, other: Latents) -> Float[np.ndarray, "batch"]:
    """Of each sample, between two gradients; 90 where one of them is nothing."""
    a, b = one.flatten(1).double(), other.flatten(1).double()
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).cpu().numpy()


def norm_ratio(one: Latents, other: Latents) -> Float[np.ndarray, "batch"]:
    """The norm of each sample of `one` over that of `other`."""
    smallest = torch.finfo(torch.float64).tiny
    a, b = (each.flatten(1).double().norm(dim=1) for each in (one, other))
    return (a / b.clamp(min=smallest)).cpu().numpy()


def rms(one: Latents, other: Latents) -> Float[np.ndarray, "batch"]:
    """Root mean square of the difference of each sample."""
    return (one - other).flatten(1).double().square().mean(dim=1).sqrt().cpu().numpy()


def _noised(
    latents: Latents, timesteps: list[int], prior: DiffusionPrior, seed: int
) -> list[tuple[Int[Tensor, "batch"], Latents, Latents]]:
    """Timesteps, noisy latents and the noise on them at each timestep: the same for whoever asks."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for timestep in timesteps:
        now = torch.full((len(latents),), timestep, device=latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        found.append((now, prior.noise_levels.add_noise(latents, noise, now), noise))
    return found


def _denoiser(prior: DiffusionPrior, prompts: list[str], suffix: str) -> Denoiser:
    embeddings = prior.embed_prompts([join_prompt(prompt, suffix) for prompt in prompts])
    return lambda latents, timesteps: prior.predict_noise(latents, timesteps, embeddings)
