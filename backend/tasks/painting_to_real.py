"""Painting to real: the bridge's second stage alone, from a painting and its description to the description itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from backend.errors import BadInput
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import PaintSettings
from backend.pictures import FinishedPictures, read_picture, side_by_side, to_bytes
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import set_up_prior, tell_about_prompts


class PaintingToReal(PictureTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as that the picture is cropped.
    """

    def __init__(self, settings: PaintSettings, notice: Callable[[str], None] = lambda sentence: None) -> None:
        if os.path.isfile(settings.prompt) and not os.path.isfile(settings.picture):
            wanted = f'sketchbridge paint {settings.prompt} "{Path(settings.picture).name}"'
            raise BadInput(f"the picture comes first, then the prompt: {wanted}")
        prior = set_up_prior(settings)
        config = settings.resolve()
        self._before = read_picture(Path(settings.picture), prior.image_size, notice).to(prior.device)
        tell_about_prompts(settings.prompt, config.distillation, prior, notice)
        super().__init__(PictureOptimisation([settings.prompt], config, prior, settings.seed, start=self._before[None]))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedPictures:
        """The picture so far, and a sheet of before and after."""
        before, after = to_bytes(torch.cat([self._before[None], self._loop.pictures()]))
        return FinishedPictures({"": after}, side_by_side([before, after], columns=2))
