"""Settings of the tasks that make pictures: what the user chose, and what follows from it. Frozen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from backend.config import (
    DistillationConfig,
    JobSettings,
    LinearRamp,
    check_one_of,
    check_prompt,
    check_whole_number,
)
from backend.diffusion.prompts import AUTHORS_TARGET_SUFFIX_2D, PAINTING_WORD
from backend.errors import BadInput

Variable = Literal["latent", "pixels"]
Optimiser = Literal["adamw", "sgd"]
Transform = Literal["rotate-180", "rotate-90", "flip", "overlay"]

METHODS_FOR_PICTURES = ("ddim", "sds", "nfsd", "csd", "vsd", "bridge", "full-bridge", "vsd-full-bridge")
METHODS_FOR_EDITS = ("dds", "bridge")
MOST_PICTURES = 64
PIXEL_LEARNING_RATE = 0.01
"""Of the grids that pixels are made of, which add up: at 0.03 an embedded prior's pictures end in black and white."""
PROMPTS_OF_A_TRANSFORM: dict[str, tuple[int, int]] = {
    "rotate-180": (2, 2),
    "rotate-90": (2, 4),
    "flip": (2, 2),
    "overlay": (2, 4),
}
"""At least and at most so many, one for each view."""


@dataclass(frozen=True)
class PictureConfig:
    """Everything that the loop over pictures needs to know."""

    steps: int
    distillation: DistillationConfig
    variable: Variable = "latent"
    optimiser: Optimiser = "adamw"
    learning_rate: float = 0.01  # the authors' 2D script
    weight_decay: float = 0.01  # the same, by torch's default; not for pixels, which it would pull to grey
    start_deviation: float = 1.0
    """Of the normal distribution that the latents are drawn from, as in the authors' 2D script; pixels start grey."""


@dataclass(frozen=True)
class SamplingConfig:
    """Of DDIM, which samples and optimises nothing."""

    steps: int
    guidance_scale: float


@dataclass(frozen=True)
class PictureSettings(JobSettings):
    """What the user asks for in every task that ends in pictures."""

    @property
    def is_for_embedded_prior(self) -> bool:
        return self.prior == "embedded"

    def resolve(self) -> PictureConfig:
        """The defaults of the prior and the task, then what the user chose."""
        base = self._defaults()
        distillation = self.chosen_distillation(base.distillation)
        return dataclasses.replace(base, steps=self.steps or base.steps, distillation=distillation)

    def resolved_to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self.resolve())

    def _defaults(self) -> PictureConfig:
        return _embedded_defaults() if self.is_for_embedded_prior else _large_model_defaults()


@dataclass(frozen=True)
class TextToImageSettings(PictureSettings):
    """Pictures from a sentence."""

    count: int = 1
    variable: str = "latent"  # a Variable

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_number("count", self.count, 1, MOST_PICTURES)
        check_one_of("variable", self.variable, get_args(Variable))
        if self.method == "ddim" and self.variable == "pixels":
            raise BadInput("ddim samples latents, so the variable cannot be pixels; leave --variable out")

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        return METHODS_FOR_PICTURES

    def resolve_sampling(self) -> SamplingConfig:
        """For the method ddim."""
        guidance_scale = 4.0 if self.is_for_embedded_prior else 7.5  # measured; Stable Diffusion's own default
        if self.guidance_scale is not None:
            guidance_scale = self.guidance_scale
        return SamplingConfig(self.steps or 50, guidance_scale)

    def resolved_to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self.resolve_sampling()) if self.method == "ddim" else super().resolved_to_json()

    def _defaults(self) -> PictureConfig:
        base = super()._defaults()
        return as_pixels(base) if self.variable == "pixels" else base


@dataclass(frozen=True)
class EditSettings(PictureSettings):
    """A picture that shows `prompt` instead of `source_prompt`, and else stays what it is."""

    picture: str = field(kw_only=True)
    """The file."""
    source_prompt: str = field(kw_only=True)
    """What the picture shows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_picture_name(self.picture)
        check_prompt(self.source_prompt)

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        return METHODS_FOR_EDITS

    def _defaults(self) -> PictureConfig:
        base = _delta_denoising_defaults()
        if self.method != "bridge":
            return base
        scale = 4.0 if self.is_for_embedded_prior else base.distillation.guidance_scale  # measured; as DDS
        distillation = dataclasses.replace(
            base.distillation,
            method="bridge",
            bridge_start=0.0,
            bridge_scale=scale if self.guidance_scale is None else self.guidance_scale,
            bridge_time_weighting="uniform",
            # Source and target each have the whole of their prompt in the suffix; the loop adds nothing to it.
            source_suffix=self.source_prompt,
            target_suffix=self.prompt,
        )
        return dataclasses.replace(base, distillation=distillation)


@dataclass(frozen=True)
class PaintSettings(PictureSettings):
    """A painting that becomes a photograph: the bridge from `prompt, painting` to `prompt`."""

    picture: str = field(kw_only=True)
    """The file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_picture_name(self.picture)

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        return ("bridge",)

    def _defaults(self) -> PictureConfig:
        return _painting_defaults(super()._defaults(), self.is_for_embedded_prior)


@dataclass(frozen=True)
class IllusionSettings(PictureSettings):
    """One picture that shows other things when it is turned, or two that do when one lies on the other."""

    more_prompts: list[str] = field(default_factory=list)
    """Of the second view and the next ones; `prompt` is of the first."""
    transform: str = "rotate-180"  # a Transform

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("transform", self.transform, get_args(Transform))
        for prompt in self.more_prompts:
            check_prompt(prompt)
        least, most = PROMPTS_OF_A_TRANSFORM[self.transform]
        count = len(self.prompts)
        if not least <= count <= most:
            wanted = f"{least} prompts" if least == most else f"{least} to {most} prompts"
            given = ", ".join(f'"{prompt}"' for prompt in self.prompts)
            raise BadInput(f"the transform {self.transform} shows {wanted}, one for each view; got {count}: {given}")

    @property
    def prompts(self) -> list[str]:
        """One for each view."""
        return [self.prompt, *self.more_prompts]

    @property
    def title(self) -> str:
        return " / ".join(self.prompts)

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        return tuple(method for method in METHODS_FOR_PICTURES if method != "ddim")

    def _defaults(self) -> PictureConfig:
        return as_pixels(super()._defaults())


def as_pixels(config: PictureConfig) -> PictureConfig:
    """The same for pixels, with their own rate and nothing that pulls them to grey."""
    return dataclasses.replace(config, variable="pixels", learning_rate=PIXEL_LEARNING_RATE, weight_decay=0.0)


def _embedded_defaults() -> PictureConfig:
    """Measured: stage two at stage one's rate overshoots into a pattern, at a third it sharpens."""
    distillation = DistillationConfig(
        guidance_scale=10.0,
        bridge_start=0.75,
        bridge_scale=10.0,
        bridge_learning_rate_factor=0.33,
        view_wording="none",
        highest_noise=LinearRamp(0.98, 0.98),
    )
    return PictureConfig(400, distillation, learning_rate=0.03, start_deviation=0.0)


def _large_model_defaults() -> PictureConfig:
    """The authors' 2D script."""
    distillation = DistillationConfig(
        guidance_scale=40.0,
        bridge_start=0.5,
        bridge_scale=40.0,
        target_suffix=AUTHORS_TARGET_SUFFIX_2D,
        view_wording="none",
        highest_noise=LinearRamp(0.98, 0.98),
    )
    return PictureConfig(1000, distillation)


def _delta_denoising_defaults() -> PictureConfig:
    """The code of Hertz et al. 2023, for every method that edits.

    Gradient descent without moments: Adam's steps have one size everywhere, also where the edit has nothing to do.
    """
    distillation = DistillationConfig(
        method="dds",
        guidance_scale=7.5,
        time_weighting="uniform",
        view_wording="none",
        lowest_noise=LinearRamp(0.05, 0.05),
        highest_noise=LinearRamp(0.95, 0.95),
    )
    # 0.1 times the factor of their loss, 2000 over the 4096 elements of a channel.
    return PictureConfig(200, distillation, optimiser="sgd", learning_rate=0.1 * 2000 / 64**2, weight_decay=0.0)


def _painting_defaults(base: PictureConfig, is_for_embedded_prior: bool) -> PictureConfig:
    """The bridge from a picture that is there already.

    At a tenth of the rate, as people report for paintings (issue 2 of the authors' code); an embedded prior at a third.
    """
    distillation = dataclasses.replace(
        base.distillation,
        bridge_start=0.0,
        bridge_learning_rate_factor=0.33 if is_for_embedded_prior else 0.1,
        source_suffix=", " + PAINTING_WORD,
        target_suffix="",
    )
    return dataclasses.replace(base, steps=150 if is_for_embedded_prior else base.steps, distillation=distillation)


def _check_picture_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise BadInput(f"the picture must be the name of a file, such as mug.png; got {name!r}")
