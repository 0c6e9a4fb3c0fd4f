"""What the tasks that make pictures share: a loop that is stepped, saved and shown. A task says how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.optimise_pictures import PictureOptimisation, PictureStep
from backend.pictures import to_bytes
from backend.sample_pictures import PictureSampling
from backend.steering import Steering
from backend.tasks.setting_up import tell_about_prompts

MOST_PREVIEWS = 8


class PictureTask:
    """Hands on to a loop what a command asks of a job.

    Args:
        loop: An optimisation, or a sampling.
    """

    def __init__(self, loop: PictureOptimisation | PictureSampling) -> None:
        self._loop = loop

    @property
    def total_steps(self) -> int:
        return self._loop.config.steps

    @property
    def device(self) -> torch.device:
        return self._loop.prior.device

    def steps(self) -> Iterator[PictureStep]:
        """The steps that are left. Closing the iterator cancels between two of them."""
        return self._loop.steps()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `PictureOptimisation.state`."""
        return self._loop.state()

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """See `PictureOptimisation.load_state`."""
        self._loop.load_state(tensors, metadata)

    def steer(self, change: Steering) -> list[str]:
        """Takes a change, between two steps; sentences for the user about what it cannot do."""
        if not isinstance(self._loop, PictureOptimisation):
            return ["a picture that is sampled cannot be steered"]
        self._loop.steer(change)
        notices = [f"the {name} of a picture cannot be steered: it is for meshes" for name in change.for_meshes_alone]
        if change.prompt is not None or change.source_suffix is not None or change.target_suffix is not None:
            distillation = self._loop.config.distillation
            tell_about_prompts(self._loop.prompts[0], distillation, self._loop.prior, notices.append)
        return notices

    def preview(self) -> UInt8[Tensor, "views height width 3"]:
        """The first few of the pictures, or of their views, as they are."""
        return torch.from_numpy(to_bytes(self._loop.views()[:MOST_PREVIEWS]))
