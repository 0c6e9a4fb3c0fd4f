"""What is said to the diffusion model: view words, flaw descriptors, quality words, and how they join a prompt.

The embedded prior is trained on captions built by these same functions: every word that a job says is one it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FLAW_WORDS = (
    "oversaturated", "smooth", "pixelated", "cartoon", "foggy", "hazy", "blurry", "bad structure", "noisy", "malformed",
)  # fmt: skip
"""The artefacts that describe the source distribution, in the order of the authors' code (SDS-Bridge, 2D and 3D)."""

FLAW_SYNONYMS: dict[str, tuple[str, str]] = {
    "oversaturated": ("garish", "overly vivid"),
    "smooth": ("overly soft", "plastic"),
    "pixelated": ("blocky", "low resolution"),
    "cartoon": ("cel shaded", "flat colours"),
    "foggy": ("misty", "washed out"),
    "hazy": ("low contrast", "veiled"),
    "blurry": ("out of focus", "unsharp"),
    "bad structure": ("broken", "disjointed"),
    "noisy": ("grainy", "speckled"),
    "malformed": ("deformed", "misshapen"),
}
"""Two other ways to say each flaw, for studies of the wording."""

QUALITY_WORDS = ("detailed", "high resolution", "high quality", "sharp")
"""The target words of the authors' text-to-3D examples."""

PAINTING_WORD = "painting"
BLOCKOUT_PHRASE = "a rough 3D sketch, simple shapes, untextured"
VIEW_WORDS = ("front view", "side view", "back view", "overhead view")
ViewWording = Literal["none", "coarse", "fine"]
"""Whether and how a prompt tells where the camera stands: `view_words` or `fine_view_words`."""
FINE_AZIMUTH_WORDS = (
    "front view", "front right view", "right side view", "back right view",
    "back view", "back left view", "left side view", "front left view",
)  # fmt: skip
"""Eighths of the circle around azimuth 0, 45, 90, ... degrees. The right is +X, as it is to a modelling program."""
FINE_ELEVATION_WORDS = ((10.0, "eye level"), (30.0, "slightly above"), (60.0, "from above"), (90.0, "overhead"))
"""Up to which elevation in degrees which words are said."""

AUTHORS_SOURCE_SUFFIX = ", " + ", ".join(FLAW_WORDS)
AUTHORS_TARGET_SUFFIX_2D = ", detailed high resolution, high quality, sharp"  # verbatim; no comma after "detailed"
QUALITY_SUFFIX = ", " + ", ".join(QUALITY_WORDS)
BLOCKOUT_SUFFIX = f", {BLOCKOUT_PHRASE}, oversaturated, blurry, noisy, bad geometry"
"""What a rough shape on its way to a real one looks like. Without the flaws, which a bridge from the first step brings
along, an orange house came out red."""


@dataclass(frozen=True)
class ViewWordThresholds:
    """Where one view word ends and the next begins."""

    front_degrees: float = 45.0  # half the width of the front; Fantasia3D and threestudio's class default
    back_degrees: float = 45.0
    overhead_elevation_degrees: float = 60.0  # threestudio

    def __post_init__(self) -> None:
        if not 0 < self.front_degrees + self.back_degrees <= 180:
            raise ValueError(
                f"front ({self.front_degrees}) and back ({self.back_degrees}) degrees must sum to"
                " more than 0 and at most 180"
            )


def view_words(
    azimuth_degrees: float, elevation_degrees: float, thresholds: ViewWordThresholds = ViewWordThresholds()
) -> str:
    """The word for a camera: `front view` around azimuth 0, `back view` around 180, `overhead view` from high above.

    Source: DreamFusion (Poole et al. 2022), section 3.2.
    """
    if elevation_degrees > thresholds.overhead_elevation_degrees:
        return "overhead view"
    from_front = abs((azimuth_degrees + 180.0) % 360.0 - 180.0)
    if from_front < thresholds.front_degrees:
        return "front view"
    if from_front > 180.0 - thresholds.back_degrees:
        return "back view"
    return "side view"


def fine_view_words(azimuth_degrees: float, elevation_degrees: float) -> str:
    """Eight words around and four upwards, such as `front right view, slightly above`.

    The embedded prior knows them. With them a handle or a back has one place in every view; the four words of
    `view_words` leave a model half a circle of poses, which it averages.
    """
    eighth = round((azimuth_degrees % 360.0) / 45.0) % 8
    height = next(words for limit, words in FINE_ELEVATION_WORDS if elevation_degrees <= limit)
    return f"{FINE_AZIMUTH_WORDS[eighth]}, {height}"


def describe_view(azimuth_degrees: float, elevation_degrees: float, wording: ViewWording) -> str:
    """The words for a camera in the wording that a model understands; empty for `none`."""
    match wording:
        case "none":
            return ""
        case "coarse":
            return view_words(azimuth_degrees, elevation_degrees)
        case "fine":
            return fine_view_words(azimuth_degrees, elevation_degrees)
    raise ValueError(f"view wording must be one of {get_args(ViewWording)}, got {wording!r}")


def join_prompt(prompt: str, *additions: str) -> str:
    """`prompt, addition, addition`: empty additions are left out, and so are commas that an addition brings along."""
    parts = [prompt.strip()] + [addition.strip().strip(",").strip() for addition in additions]
    return ", ".join(part for part in parts if part)


def with_article(noun_phrase: str) -> str:
    """`red mug` -> `a red mug`, `orange cone` -> `an orange cone`."""
    return ("an " if noun_phrase[0].lower() in "aeiou" else "a ") + noun_phrase
