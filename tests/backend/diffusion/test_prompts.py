"""View words by azimuth and elevation, and how additions join a prompt."""

import pytest

from backend.diffusion.prompts import (
    AUTHORS_SOURCE_SUFFIX,
    FLAW_SYNONYMS,
    FLAW_WORDS,
    ViewWordThresholds,
    describe_view,
    fine_view_words,
    join_prompt,
    view_words,
    with_article,
)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 0, "front view"),
        (44, 0, "front view"),
        (316, 20, "front view"),
        (-44, 20, "front view"),
        (46, 0, "side view"),
        (90, 0, "side view"),
        (270, 0, "side view"),
        (136, 0, "back view"),
        (180, 0, "back view"),
        (-180, 0, "back view"),
        (540, 0, "back view"),
        (0, 61, "overhead view"),
        (90, -30, "side view"),
    ],
)
def test_view_words(azimuth, elevation, expected):
    assert view_words(float(azimuth), float(elevation)) == expected


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 20, "front view, slightly above"),
        (22, 20, "front view, slightly above"),
        (23, 20, "front right view, slightly above"),
        (90, 5, "right side view, eye level"),
        (135, -10, "back right view, eye level"),
        (180, 45, "back view, from above"),
        (-180, 45, "back view, from above"),
        (225, 45, "back left view, from above"),
        (270, 89, "left side view, overhead"),
        (337, 90, "front left view, overhead"),
        (338, 20, "front view, slightly above"),
    ],
)
def test_fine_view_words(azimuth, elevation, expected):
    assert fine_view_words(float(azimuth), float(elevation)) == expected


def test_a_view_is_described_in_the_wording_that_the_model_knows():
    assert describe_view(90.0, 20.0, "none") == ""
    assert describe_view(90.0, 20.0, "coarse") == "side view"
    assert describe_view(90.0, 20.0, "fine") == "right side view, slightly above"


def test_narrow_thresholds_leave_more_to_the_side():
    assert view_words(40.0, 0.0, ViewWordThresholds(front_degrees=30.0, back_degrees=30.0)) == "side view"


def test_thresholds_that_overlap_are_refused():
    with pytest.raises(ValueError, match="sum to"):
        ViewWordThresholds(front_degrees=120.0, back_degrees=90.0)


def test_join_takes_commas_from_either_side():
    assert join_prompt("a red mug", ", blurry", "front view,", "") == "a red mug, blurry, front view"


def test_the_source_suffix_is_the_authors_to_the_letter():
    # SDS-Bridge, 2D_experiments/guidance.py.
    assert AUTHORS_SOURCE_SUFFIX == (
        ", oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
    )


def test_every_flaw_has_two_synonyms_of_its_own():
    synonyms = [synonym for flaw in FLAW_WORDS for synonym in FLAW_SYNONYMS[flaw]]

    assert len(set(synonyms)) == 2 * len(FLAW_WORDS)
    assert not set(synonyms) & set(FLAW_WORDS)


def test_article():
    assert with_article("orange cone") == "an orange cone"
    assert with_article("red mug") == "a red mug"
