"""Text to image: one or several pictures from a sentence, by sampling or by any of the distillation methods."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from backend.config import DistillationConfig
from backend.diffusion.prior import DiffusionPrior
from backend.errors import BadInput
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import TextToImageSettings
from backend.pictures import FinishedPictures, side_by_side, to_bytes
from backend.sample_pictures import PictureSampling
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import PriorLoader, set_up_prior, tell_about_prompts


class TextToImage(PictureTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user.
        read_start: Gives the picture to begin with, for the model's size in pixels; None begins with noise.
        loader: Of the prior; see `set_up_prior`.

    Raises:
        BadInput: There is a picture to begin with, and the method samples.
    """

    def __init__(
        self,
        settings: TextToImageSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        read_start: Callable[[int], Float[Tensor, "size size 3"]] | None = None,
        loader: PriorLoader | None = None,
    ) -> None:
        prior = set_up_prior(settings, loader)
        start = None if read_start is None else read_start(prior.image_size)
        super().__init__(_make_loop(settings, prior, notice, start))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedPictures:
        """The pictures so far, and a sheet of them if there are several."""
        pictures = to_bytes(self._loop.pictures())
        if len(pictures) == 1:
            return FinishedPictures({"": pictures[0]})
        return FinishedPictures(
            {str(number): picture for number, picture in enumerate(pictures)}, side_by_side(list(pictures))
        )


def _make_loop(
    settings: TextToImageSettings,
    prior: DiffusionPrior,
    notice: Callable[[str], None],
    start: Float[Tensor, "size size 3"] | None,
) -> PictureOptimisation | PictureSampling:
    prompts = [settings.prompt] * settings.count
    if settings.method == "ddim":
        if start is not None:
            raise BadInput("ddim samples from noise and cannot begin with a picture; choose another method")
        plain = DistillationConfig(method="sds", source_suffix="", target_suffix="")  # samples without any suffix
        tell_about_prompts(settings.prompt, plain, prior, notice)
        return PictureSampling(prompts, settings.resolve_sampling(), prior, settings.seed)
    config = settings.resolve()
    tell_about_prompts(settings.prompt, config.distillation, prior, notice)
    first = None if start is None else start[None].repeat(settings.count, 1, 1, 1)
    return PictureOptimisation(prompts, config, prior, settings.seed, start=first)
