"""What every task needs before its first step: a device, a rasteriser, the prior. And its previews."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.cameras import turntable_cameras
from backend.config import JobSettings, OptimisationConfig
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


def set_up(settings: JobSettings, config: OptimisationConfig, notice: Callable[[str], None]) -> SetUp:
    """Chooses the device and the rasteriser, and loads the prior.

    Args:
        notice: Told of the end of a prompt that the model has no room for.

    Raises:
        SketchbridgeError: One of them is not there.
    """
    device = choose_device(settings.device)
    if device.type == "cpu":
        use_few_threads()
    rasteriser = choose_rasteriser(device, settings.rasteriser)
    prior = load_prior(settings.prior, device)
    # Pictures of another size would only be scaled to the model's.
    views = dataclasses.replace(config.views, resolution=prior.image_size)
    config = dataclasses.replace(config, views=views)
    _tell_what_is_cut(settings.prompt, config, prior, notice)
    return SetUp(config, device, rasteriser, prior)


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


def _tell_what_is_cut(
    prompt: str, config: OptimisationConfig, prior: DiffusionPrior, notice: Callable[[str], None]
) -> None:
    """Says what the model has no room for, once, for the shortest of its prompts that is too long."""
    for suffix, which in (
        ("", "the prompt"),
        (config.distillation.target_suffix, "the prompt with the target words"),
        (config.distillation.source_suffix, "the prompt with the source words"),
    ):
        cut = prior.cut_from_prompt(join_prompt(prompt, "overhead view", suffix))
        if cut:
            notice(f"{which} is longer than this model reads; it ignores the end: {cut!r}")
            return
