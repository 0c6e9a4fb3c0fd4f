"""What each picture shall show and what its caption says, decided before anything is rendered.

Captions are joined by the backend's own functions, so a job speaks the words that the embedded prior has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.cameras import OrbitRange
from backend.diffusion.prompts import (
    AUTHORS_TARGET_SUFFIX_2D,
    BLOCKOUT_PHRASE,
    FLAW_SYNONYMS,
    FLAW_WORDS,
    PAINTING_WORD,
    QUALITY_SUFFIX,
    QUALITY_WORDS,
    fine_view_words,
    join_prompt,
    view_words,
    with_article,
)
from tools.embedded_world.colours import COLOUR_NAMES, held_out_pairs
from tools.embedded_world.shapes import SHAPE_NAMES

Style = Literal["render", "painting", "blockout"]

GEOMETRY_FLAWS = ("bad structure", "malformed")
"""Flaws of the mesh; all others are done to the picture."""
PICTURE_FLAWS = tuple(word for word in FLAW_WORDS if word not in GEOMETRY_FLAWS)

VIEWS_PER_INSTANCE = 4
"""Pictures that share one mesh, so that it goes to the rasteriser once."""


@dataclass(frozen=True)
class CaptionShares:
    """How often each kind of picture and each kind of words comes up."""

    painting: float = 0.08
    blockout: float = 0.08
    flawed: float = 1 / 3  # of all pictures
    quality_words: float = 1 / 3  # of the renders without flaws
    fine_view_words: float = 0.7
    view_words: float = 0.1
    colour_left_out: float = 0.03  # "a mug": people will ask for it
    synonym: float = 0.4  # of the flaw words, both synonyms together
    flaw_counts: tuple[float, float, float] = (0.5, 0.3, 0.2)  # one, two, three flaws

    def __post_init__(self) -> None:
        for name in (
            "painting", "blockout", "flawed", "quality_words", "fine_view_words", "view_words", "colour_left_out",
            "synonym",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share within [0, 1], got {getattr(self, name)}")
        if self.fine_view_words + self.view_words > 1:
            raise ValueError(
                "a caption has fine or coarse view words, not both, but their shares sum to "
                f"{self.fine_view_words + self.view_words:.2f}"
            )
        if self.painting + self.blockout + self.flawed > 1:
            raise ValueError(
                f"painting, blockout and flawed pictures exclude each other, but their shares sum to "
                f"{self.painting + self.blockout + self.flawed:.2f}"
            )
        if abs(sum(self.flaw_counts) - 1) > 1e-6:
            raise ValueError(f"flaw_counts must sum to 1, got {self.flaw_counts}")


@dataclass(frozen=True)
class PicturePlan:
    """One picture before it is rendered."""

    shape: str
    variant: int
    """Which of the ready-made instances of the class (or of its flawed or blocked-out kind)."""
    colour: str
    style: Style
    flaws: tuple[str, ...]
    """Canonical flaw words, whatever synonym the caption uses."""
    quality_words: tuple[str, ...]
    azimuth_degrees: float
    elevation_degrees: float
    fov_degrees: float
    distance_metres: float
    caption: str
    seed: tuple[int, int, int]
    """For everything else in the picture: jitter of the colour, light, background, strength of the flaws."""


def plan_pictures(
    count: int,
    seed: int,
    *,
    first: int = 0,
    variants: tuple[int, int] = (0, 24),
    shares: CaptionShares = CaptionShares(),
    pairs: frozenset[tuple[str, str]] | None = None,
) -> list[PicturePlan]:
    """Plans pictures `first` to `first + count` of the endless sequence that belongs to a seed.

    Args:
        variants: From which to before which instance; a disjoint range gives other proportions of every shape.
        pairs: The (colour, shape) pairs to draw from; None is all but the held-out ones.
    """
    if pairs is None:
        pairs = frozenset((c, s) for c in COLOUR_NAMES for s in SHAPE_NAMES) - held_out_pairs()
    colours_of = {shape: [colour for colour in COLOUR_NAMES if (colour, shape) in pairs] for shape in SHAPE_NAMES}
    colours_of = {shape: colours for shape, colours in colours_of.items() if colours}
    plans: list[PicturePlan] = []
    first_group, skipped = divmod(first, VIEWS_PER_INSTANCE)
    group = first_group
    while len(plans) < count + skipped:
        plans += _plan_group(seed, group, variants, shares, colours_of)
        group += 1
    return plans[skipped : skipped + count]


def groups_of(plans: list[PicturePlan]) -> Iterator[list[PicturePlan]]:
    """Neighbouring plans that show the same mesh."""
    group: list[PicturePlan] = []
    for plan in plans:
        if group and mesh_key(plan) != mesh_key(group[0]):
            yield group
            group = []
        group.append(plan)
    if group:
        yield group


def mesh_key(plan: PicturePlan) -> tuple[str, int, Style, bool, bool]:
    """Pictures with equal keys show the same mesh."""
    is_blockout: Style = "blockout" if plan.style == "blockout" else "render"
    return plan.shape, plan.variant, is_blockout, "bad structure" in plan.flaws, "malformed" in plan.flaws


def _plan_group(
    seed: int, group: int, variants: tuple[int, int], shares: CaptionShares, colours_of: dict[str, list[str]]
) -> list[PicturePlan]:
    rng = np.random.default_rng([seed, group])
    shape = str(rng.choice(list(colours_of)))
    variant = int(rng.integers(*variants))
    is_blockout = rng.random() < shares.blockout
    geometry_flaws = () if is_blockout else _draw_geometry_flaws(rng, shares)
    plans = []
    for index in range(VIEWS_PER_INSTANCE):
        style: Style = "blockout" if is_blockout else "render"
        # Paintings come out of the groups without geometry flaws, blockouts from groups of their own.
        free = 1 - shares.blockout
        flawed_by_shape = _geometry_share(shares) * free
        flaws: tuple[str, ...] = ()
        if geometry_flaws:
            flaws = _add_picture_flaws(rng, geometry_flaws, shares)
        elif not is_blockout:
            rest = free - flawed_by_shape
            chance = rng.random()
            if chance < shares.painting / rest:
                style = "painting"
            elif chance < (shares.painting + shares.flawed - flawed_by_shape) / rest:
                flaws = _draw_picture_flaws(rng, shares)
        quality = _draw_quality_words(rng, shares) if style == "render" and not flaws else ()
        colour = str(rng.choice(colours_of[shape]))
        azimuth, elevation, fov, distance = _draw_camera(rng)
        caption = _write_caption(rng, shape, colour, style, flaws, quality, azimuth, elevation, shares)
        plans.append(
            PicturePlan(
                shape, variant, colour, style, flaws, quality, azimuth, elevation, fov, distance, caption,
                (seed, group, index),
            )
        )  # fmt: skip
    return plans


def _mean_flaws(shares: CaptionShares) -> float:
    return sum((index + 1) * share for index, share in enumerate(shares.flaw_counts))


def _geometry_share(shares: CaptionShares) -> float:
    """Share of the meshes with a flaw, such that each of the ten words comes up equally often."""
    return shares.flawed * _mean_flaws(shares) * len(GEOMETRY_FLAWS) / len(FLAW_WORDS)


def _draw_geometry_flaws(rng: np.random.Generator, shares: CaptionShares) -> tuple[str, ...]:
    if rng.random() >= _geometry_share(shares):
        return ()
    if rng.random() < 0.08:
        return GEOMETRY_FLAWS
    return (str(rng.choice(GEOMETRY_FLAWS)),)


def _draw_picture_flaws(rng: np.random.Generator, shares: CaptionShares) -> tuple[str, ...]:
    count = 1 + int(rng.choice(3, p=shares.flaw_counts))
    return tuple(str(word) for word in rng.choice(PICTURE_FLAWS, size=count, replace=False))


def _add_picture_flaws(
    rng: np.random.Generator, geometry_flaws: tuple[str, ...], shares: CaptionShares
) -> tuple[str, ...]:
    count = 1 + int(rng.choice(3, p=shares.flaw_counts))
    more = rng.choice(PICTURE_FLAWS, size=max(0, count - len(geometry_flaws)), replace=False)
    return geometry_flaws + tuple(str(word) for word in more)


def _draw_quality_words(rng: np.random.Generator, shares: CaptionShares) -> tuple[str, ...]:
    if rng.random() >= shares.quality_words:
        return ()
    if rng.random() < 0.65:
        return QUALITY_WORDS
    chosen = set(rng.choice(QUALITY_WORDS, size=int(rng.integers(1, 4)), replace=False))
    return tuple(word for word in QUALITY_WORDS if word in chosen)


def _draw_camera(rng: np.random.Generator, orbit: OrbitRange = OrbitRange()) -> tuple[float, float, float, float]:
    """Azimuth, elevation, field of view in degrees and distance in metres; mostly from a little above the horizon."""
    azimuth = float(rng.uniform(0, 360))
    elevation = float(rng.uniform(-5, 35) if rng.random() < 0.65 else rng.uniform(-10, 75))
    fov = float(rng.uniform(*orbit.fov_degrees))
    framing = float(rng.uniform(*orbit.framing))
    return azimuth, elevation, fov, framing / float(np.tan(np.radians(fov) / 2))


def _write_caption(
    rng: np.random.Generator,
    shape: str,
    colour: str,
    style: Style,
    flaws: tuple[str, ...],
    quality: tuple[str, ...],
    azimuth_degrees: float,
    elevation_degrees: float,
    shares: CaptionShares,
) -> str:
    is_colour_named = rng.random() >= shares.colour_left_out
    subject = with_article(f"{colour} {shape}" if is_colour_named else shape)
    view, chance = "", rng.random()
    if chance < shares.fine_view_words:
        view = fine_view_words(azimuth_degrees, elevation_degrees)
    elif chance < shares.fine_view_words + shares.view_words:
        view = view_words(azimuth_degrees, elevation_degrees)
    style_words = {"render": "", "painting": PAINTING_WORD, "blockout": BLOCKOUT_PHRASE}[style]
    suffix = ", ".join(_say_flaw(rng, flaw, shares) for flaw in rng.permutation(np.array(flaws, dtype=object)))
    if quality == QUALITY_WORDS:
        suffix = AUTHORS_TARGET_SUFFIX_2D if rng.random() < 0.15 else QUALITY_SUFFIX
    elif quality:
        suffix = ", ".join(quality)
    # Tasks put the view words right after the prompt; a few the other way round cost nothing and free the order.
    if rng.random() < 0.15:
        return join_prompt(subject, style_words, suffix, view)
    return join_prompt(subject, view, style_words, suffix)


def _say_flaw(rng: np.random.Generator, flaw: str, shares: CaptionShares) -> str:
    return str(rng.choice(FLAW_SYNONYMS[flaw])) if rng.random() < shares.synonym else flaw
