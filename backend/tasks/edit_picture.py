"""Edits of a picture by two prompts: what it shows, and what it is to show. Delta denoising or the bridge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from backend.diffusion.prior import DiffusionPrior
from backend.distillation import Reference
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import EditSettings
from backend.pictures import FinishedPictures, read_picture, side_by_side, to_bytes
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import set_up_prior, tell_about_prompts


class EditPicture(PictureTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as that the picture is cropped.
    """

    def __init__(self, settings: EditSettings, notice: Callable[[str], None] = lambda sentence: None) -> None:
        prior = set_up_prior(settings)
        self._before = read_picture(Path(settings.picture), prior.image_size, notice).to(prior.device)
        super().__init__(self._make_loop(settings, prior, notice))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedPictures:
        """The picture so far, and a sheet of before and after."""
        before, after = to_bytes(torch.cat([self._before[None], self._loop.pictures()]))
        return FinishedPictures({"": after}, side_by_side([before, after], columns=2))

    def _make_loop(
        self, settings: EditSettings, prior: DiffusionPrior, notice: Callable[[str], None]
    ) -> PictureOptimisation:
        config, start = settings.resolve(), self._before[None]
        if config.distillation.method == "bridge":
            # Its two prompts are the whole suffixes.
            tell_about_prompts("", config.distillation, prior, notice)
            return PictureOptimisation([""], config, prior, settings.seed, start)
        if settings.prompt.strip() == settings.source_prompt.strip():
            notice(f"source and target are the same, {settings.prompt!r}, so nothing is edited")
        with torch.no_grad():
            reference = Reference(prior.encode_images(start), settings.source_prompt)
        return PictureOptimisation([settings.prompt], config, prior, settings.seed, start, reference=reference)
