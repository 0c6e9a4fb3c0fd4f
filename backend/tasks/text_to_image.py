"""Text to image: one or several pictures from a sentence, by sampling or by any of the distillation methods."""

from __future__ import annotations

from collections.abc import Callable

from backend.config import DistillationConfig
from backend.diffusion.prior import DiffusionPrior
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import TextToImageSettings
from backend.pictures import FinishedPictures, side_by_side, to_bytes
from backend.sample_pictures import PictureSampling
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import set_up_prior, tell_about_prompts


class TextToImage(PictureTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user.
    """

    def __init__(self, settings: TextToImageSettings, notice: Callable[[str], None] = lambda sentence: None) -> None:
        prior = set_up_prior(settings)
        super().__init__(_make_loop(settings, prior, notice))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedPictures:
        """The pictures so far, and a sheet of them if there are several."""
        pictures = to_bytes(self._loop.pictures())
        if len(pictures) == 1:
            return FinishedPictures({"": pictures[0]})
        return FinishedPictures(
            {str(number): picture for number, picture in enumerate(pictures)}, side_by_side(list(pictures))
        )


def _make_loop(
    settings: TextToImageSettings, prior: DiffusionPrior, notice: Callable[[str], None]
) -> PictureOptimisation | PictureSampling:
    prompts = [settings.prompt] * settings.count
    if settings.method == "ddim":
        plain = DistillationConfig(method="sds", source_suffix="", target_suffix="")  # samples without any suffix
        tell_about_prompts(settings.prompt, plain, prior, notice)
        return PictureSampling(prompts, settings.resolve_sampling(), prior, settings.seed)
    config = settings.resolve()
    tell_about_prompts(settings.prompt, config.distillation, prior, notice)
    return PictureOptimisation(prompts, config, prior, settings.seed)
