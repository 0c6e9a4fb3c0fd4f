"""Each statistic tells the world's own renders with its flaw from those without: this is what makes it a measure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from backend.diffusion.prompts import QUALITY_WORDS
from backend.evaluation.picture_statistics import (
    FLAW_STATISTICS,
    QUALITY_STATISTIC,
    block_contrast,
    brightness,
    clipped_share,
    contrast,
    gradient_energy,
    laplacian_energy,
    noise_level,
    saturation,
    separation,
    vividness,
)
from tools.embedded_world.captions import CaptionShares, plan_pictures
from tools.embedded_world.pictures import render_plans

COUNT = 40
ALL_STATISTICS = (
    block_contrast, brightness, clipped_share, contrast, gradient_energy, laplacian_energy, noise_level, saturation,
    vividness,
)  # fmt: skip


@cache
def renders(flaws: tuple[str, ...] = (), quality_words: tuple[str, ...] = ()) -> np.ndarray:
    """The same forty scenes each time, but for the flaws: float pictures in [0, 1]."""
    shares = CaptionShares(painting=0, blockout=0, flawed=0, quality_words=0)
    plans = plan_pictures(COUNT, 3, shares=shares)
    return render_plans([replace(plan, flaws=flaws, quality_words=quality_words) for plan in plans]).images / 255


@pytest.mark.parametrize(
    ("flaw", "statistic"),
    [(flaw, statistic) for flaw, statistics in FLAW_STATISTICS.items() for statistic in statistics],
    ids=lambda value: value if isinstance(value, str) else value.name.replace(" ", "-"),
)
def test_statistics_move_as_said_when_a_scene_gets_the_flaw(flaw, statistic):
    plain, flawed = statistic.measure(renders()), statistic.measure(renders((flaw,)))

    # Fog leaves the contrast of one scene in six alone: where the object is as dark as its ground.
    assert statistic.share_moved(plain, flawed).mean() >= (0.75 if statistic.name == "contrast" else 0.9)


@pytest.mark.parametrize("flaw", FLAW_STATISTICS)
def test_the_first_statistic_of_a_flaw_separates_scenes_that_are_not_paired(flaw):
    statistic = FLAW_STATISTICS[flaw][0]

    # Scenes differ far more in colour than oversaturation moves them.
    bar = 0.75 if flaw == "oversaturated" else 0.85
    assert separation(statistic.measure(renders()), statistic.measure(renders((flaw,))), statistic.rises) > bar


def test_quality_words_sharpen_every_render():
    plain = QUALITY_STATISTIC.measure(renders())
    sharpened = QUALITY_STATISTIC.measure(renders(quality_words=QUALITY_WORDS))

    assert QUALITY_STATISTIC.share_moved(plain, sharpened).mean() >= 0.95


def test_a_blur_is_not_taken_for_noise_nor_noise_for_blocks():
    assert noise_level(renders(("blurry",))).mean() <= noise_level(renders()).mean()
    assert block_contrast(renders(("noisy",))).mean() <= block_contrast(renders()).mean()
    assert laplacian_energy(renders(("noisy",))).mean() > laplacian_energy(renders()).mean()


def test_statistics_of_a_flat_grey_picture():
    grey = np.full((1, 64, 64, 3), 0.5)

    assert brightness(grey) == pytest.approx([0.5])
    assert block_contrast(grey) == pytest.approx([0.0])
    for nothing in (gradient_energy, laplacian_energy, noise_level, contrast, saturation, vividness, clipped_share):
        assert nothing(grey) == pytest.approx([0.0], abs=1e-12)


def test_statistics_of_half_red_and_half_black():
    picture = np.zeros((1, 64, 64, 3))
    picture[:, :, :32, 0] = 1.0

    assert brightness(picture) == pytest.approx([0.299 / 2])  # the weight of red in BT.601
    assert contrast(picture) == pytest.approx([0.299 / 2])
    assert saturation(picture) == pytest.approx([0.5])
    assert vividness(picture) == pytest.approx([1.0])
    assert clipped_share(picture) == pytest.approx([1.0])
    # One of the 63 columns of differences is 0.299; rows do not differ.
    assert gradient_energy(picture) == pytest.approx([0.299**2 / 63 / 2])
    # Two of the 62 columns of inner pixels have a Laplacian of +-0.299.
    assert laplacian_energy(picture) == pytest.approx([2 * 0.299**2 / 62])


def test_block_contrast_sees_blocks_from_the_corner_and_not_those_elsewhere():
    rng = np.random.default_rng(0)
    blocks = rng.random((1, 17, 17, 3)).repeat(4, axis=1).repeat(4, axis=2)

    assert block_contrast(blocks[:, :64, :64]) > 5
    assert block_contrast(blocks[:, 2:66, 2:66]) < 1


def test_each_picture_of_a_batch_has_its_own_value():
    batch = renders()[:3]

    for statistic in ALL_STATISTICS:
        np.testing.assert_allclose(statistic(batch), np.concatenate([statistic(each[None]) for each in batch]))


def test_separation_is_the_share_of_pairs_in_order_with_ties_counting_half():
    plain, flawed = np.array([1.0, 2.0]), np.array([2.0, 3.0])

    # (2 > 1), (2 = 2), (3 > 1), (3 > 2): 3.5 of 4.
    assert separation(plain, flawed) == pytest.approx(3.5 / 4)
    assert separation(plain, flawed, rises=False) == pytest.approx(0.5 / 4)
