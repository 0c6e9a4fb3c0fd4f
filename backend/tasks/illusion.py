"""Illusions: a picture whose turns show other prompts, or two pictures that show them when laid one on the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch

from backend.illusions import picture_count, turning_frames, views_of
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import IllusionSettings, PictureConfig, Transform
from backend.pictures import FinishedPictures, side_by_side, to_bytes
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import set_up_prior, tell_about_prompts


class Illusion(PictureTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user.
        config: What follows from the settings, for studies that change more than the settings can; else resolved here.
    """

    def __init__(
        self,
        settings: IllusionSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: PictureConfig | None = None,
    ) -> None:
        prior = set_up_prior(settings)
        config = config or settings.resolve()
        self._transform = cast(Transform, settings.transform)
        self._count = len(settings.prompts)
        for prompt in settings.prompts:
            tell_about_prompts(prompt, config.distillation, prior, notice)
        size = prior.image_size
        grey = torch.full((picture_count(self._transform), size, size, 3), 0.5)
        show = partial(views_of, transform=self._transform, count=self._count)
        super().__init__(PictureOptimisation(settings.prompts, config, prior, settings.seed, grey, show))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedPictures:
        """The picture or the two, a sheet of their views, and the turn from one view to the next."""
        pictures = to_bytes(self._loop.pictures())
        views = to_bytes(self._loop.views())
        names = ("base", "rotator") if len(pictures) == 2 else ("picture",)
        progress("drawing the turn")
        return FinishedPictures(
            pictures=dict(zip(names, pictures, strict=True)),
            sheet=side_by_side(list(views), columns=len(views)),
            sheet_name="views",
            frames=turning_frames(pictures, self._transform, self._count),
        )
