"""What every task needs before its first step: a device, a rasteriser for meshes, the prior. And their previews."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.cameras import turntable_cameras
from backend.config import DistillationConfig, JobSettings, MeshSettings, OptimisationConfig
from backend.diffusion.diffusers_prior import load_prior
from backend.diffusion.prior import DiffusionPrior
from backend.diffusion.prompts import join_prompt
from backend.errors import BadInput
from backend.optimise import MeshOptimisation
from backend.render.rasteriser import Rasteriser, choose_rasteriser
from backend.render.shading import headlight

SMALL_MACHINE_CORES = 4


@dataclass(frozen=True)
class SetUp:
    """What a job runs with."""

    config: OptimisationConfig
    """The one asked for, with views of the prior's size."""
    device: torch.device
    rasteriser: Rasteriser
    prior: DiffusionPrior


PriorLoader = Callable[[str, torch.device], DiffusionPrior]
"""`load_prior`, or what keeps a prior between jobs."""


def set_up(
    settings: MeshSettings,
    config: OptimisationConfig,
    notice: Callable[[str], None],
    loader: PriorLoader | None = None,
) -> SetUp:
    """Chooses the device and the rasteriser, and loads the prior.

    Args:
        notice: Told of the end of a prompt that the model has no room for.
        loader: None loads the prior for this job alone.

    Raises:
        SketchbridgeError: One of them is not there.
    """
    device = _prepare_device(settings.device)
    rasteriser = choose_rasteriser(device, settings.rasteriser)
    prior = (loader or load_prior)(settings.prior, device)
    config = dataclasses.replace(config, views=config.views.fitted_to(prior.image_sizes))
    tell_about_view_prompts(settings.prompt, config.distillation, prior, notice)
    return SetUp(config, device, rasteriser, prior)


def set_up_prior(settings: JobSettings, loader: PriorLoader | None = None) -> DiffusionPrior:
    """Chooses the device and loads the prior, which is all that a task in 2D needs; `loader` as in `set_up`.

    Raises:
        SketchbridgeError: One of them is not there, or the model is distilled from guidance.
    """
    prior = (loader or load_prior)(settings.prior, _prepare_device(settings.device))
    network = getattr(getattr(prior, "unet", None), "config", None)
    if getattr(network, "time_cond_proj_dim", None) is not None:
        raise BadInput(
            f"{settings.prior} is distilled from guidance: it takes the guidance scale as an input and has no opinion "
            "without one; give the model that it was made from"
        )
    return prior


def tell_about_view_prompts(
    prompt: str, config: DistillationConfig, prior: DiffusionPrior, notice: Callable[[str], None]
) -> None:
    """Says, for a mesh, what of a prompt is ignored when words on the camera follow."""
    _tell_what_is_cut(prompt, "overhead view", config, prior, notice)


def tell_about_prompts(
    prompt: str, config: DistillationConfig, prior: DiffusionPrior, notice: Callable[[str], None]
) -> None:
    """Says, for a task in 2D, what of a prompt is ignored, and that source and target are the same."""
    source, target = (join_prompt(prompt, suffix) for suffix in (config.source_suffix, config.target_suffix))
    if config.method in ("bridge", "full-bridge") and source == target:
        notice(f"source and target are the same, {source!r}, so the gradient of the bridge is zero")
    _tell_what_is_cut(prompt, "", config, prior, notice)


def preview_of(
    optimisation: MeshOptimisation, view_count: int, resolution: int
) -> UInt8[Tensor, "views height width 3"]:
    """The surface as it is, from around, under a light that moves with the camera."""
    cameras = turntable_cameras(view_count, first_azimuth_degrees=30.0, device=optimisation.prior.device)
    views = optimisation.render(cameras, resolution, lighting=headlight(cameras))
    return (views.images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def use_few_threads() -> None:
    """One torch thread on a small machine, unless OMP_NUM_THREADS says otherwise.

    Two threads of a small network spend more time waiting for each other than they save, and on cores that are busy
    with something else a step takes 10 to 50 times as long.
    """
    if "OMP_NUM_THREADS" not in os.environ and (os.cpu_count() or 1) <= SMALL_MACHINE_CORES:
        torch.set_num_threads(1)


def choose_device(choice: str) -> torch.device:
    """The device for a setting: `auto` takes CUDA where there is a GPU.

    Raises:
        BadInput: CUDA was asked for by name and is not there.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "--device cuda: torch sees no NVIDIA GPU here; use --device auto or cpu, or see: sketchbridge doctor"
        )
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)


def _prepare_device(choice: str) -> torch.device:
    device = choose_device(choice)
    if device.type == "cpu":
        use_few_threads()
    return device


def _tell_what_is_cut(
    prompt: str, view: str, config: DistillationConfig, prior: DiffusionPrior, notice: Callable[[str], None]
) -> None:
    """Says what the model has no room for, once, for the shortest of its prompts that is too long."""
    for suffix, which in (
        ("", "the prompt"),
        (config.target_suffix, "the prompt with the target words"),
        (config.source_suffix, "the prompt with the source words"),
    ):
        cut = prior.cut_from_prompt(join_prompt(prompt, view, suffix))
        if cut:
            notice(f"{which} is longer than this model reads; it ignores the end: {cut!r}")
            return
