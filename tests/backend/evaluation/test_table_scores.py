"""Judging pictures: known sets give known numbers, and references are read or refused."""

import numpy as np
import pytest
from PIL import Image

from backend.errors import BadInput
from backend.evaluation import table_scores
from backend.evaluation.classifier import load_classifier
from backend.evaluation.measures import FRECHET, KERNEL
from backend.evaluation.table_scores import (
    COLOUR_RIGHT,
    SATURATION,
    SHAPE_RIGHT,
    Judge,
    PictureSet,
    read_references,
)
from tools.embedded_world.references import write_references

PROMPTS = ("a red mushroom", "a blue rocket", "a yellow cone", "a green tree")
SEEDS = 4


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(table_scores, "RESAMPLES", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    for number, prompt in enumerate(PROMPTS):
        write_references(prompt, folder / prompt.replace(" ", "-"), 2 * SEEDS, 64, number)
    return folder


@pytest.fixture(scope="module")
def references(folder):
    return read_references(folder, PROMPTS, SEEDS, 64)


@pytest.fixture(scope="module")
def judge(references):
    return Judge(load_classifier(), references.reference)


def grey():
    return PictureSet(PROMPTS, np.full((len(PROMPTS) * SEEDS, 64, 64, 3), 128, np.uint8))


def test_the_reference_is_at_no_distance_from_itself(judge, references):
    scores = judge.scores(references.reference)

    assert scores[FRECHET].estimate == pytest.approx(0, abs=1e-6)


def test_other_renders_are_nearer_than_grey_pictures_and_named_right(judge, references):
    others, nothing = judge.scores(references.others), judge.scores(grey())

    assert others[FRECHET].estimate < 0.5 * nothing[FRECHET].estimate
    assert others[KERNEL].estimate < 0.5 * nothing[KERNEL].estimate
    assert others[SHAPE_RIGHT].estimate > 0.8
    assert others[COLOUR_RIGHT].estimate > 0.8
    assert (others[FRECHET] - nothing[FRECHET]).interval[1] < 0


def test_saturation_is_that_of_the_pictures(judge):
    red = grey()
    red.images[..., 1:] = 0

    assert judge.scores(red)[SATURATION].estimate == 1.0
    assert judge.scores(grey())[SATURATION].estimate == 0.0


def test_names_are_left_out_where_a_prompt_has_none(references):
    prompts = (*PROMPTS[:3], "a tall tower")
    judge = Judge(load_classifier(), PictureSet(prompts, references.reference.images))

    scores = judge.scores(PictureSet(prompts, references.others.images))

    assert SHAPE_RIGHT not in scores
    assert COLOUR_RIGHT not in scores
    assert FRECHET in scores


def test_larger_pictures_are_judged_at_the_size_that_the_classifier_knows(judge, references):
    larger = PictureSet(PROMPTS, references.others.images.repeat(2, axis=1).repeat(2, axis=2))

    same, enlarged = judge.scores(references.others), judge.scores(larger)

    assert enlarged[FRECHET].estimate == pytest.approx(same[FRECHET].estimate, rel=1e-4)


def test_sets_of_other_prompts_or_sizes_are_not_compared(judge, references):
    with pytest.raises(ValueError, match="as many pictures of the same prompts"):
        judge.scores(PictureSet(PROMPTS[::-1], references.others.images))
    with pytest.raises(ValueError, match="as many pictures of the same prompts"):
        judge.scores(PictureSet(PROMPTS, references.others.images[:4]))


def test_references_and_others_are_different_pictures_in_the_order_of_their_names(folder, references):
    first = np.asarray(Image.open(folder / "a-red-mushroom" / "00.png"))
    fifth = np.asarray(Image.open(folder / "a-red-mushroom" / "04.png"))

    np.testing.assert_array_equal(references.reference.images[0], first)
    np.testing.assert_array_equal(references.others.images[0], fifth)


def test_without_enough_pictures_for_others_there_are_none(folder):
    assert read_references(folder, PROMPTS, SEEDS + 1, 64).others is None


def test_missing_references_are_refused_with_what_is_missing(folder, tmp_path):
    with pytest.raises(BadInput, match=r"there is no folder .*nowhere"):
        read_references(tmp_path / "nowhere", PROMPTS, 1, 64)
    with pytest.raises(BadInput, match="a-pink-donut with pictures of 'a pink donut'"):
        read_references(folder, (*PROMPTS, "a pink donut"), 1, 64)
    with pytest.raises(BadInput, match=r"has 8 pictures of 'a red mushroom', but 9 are compared with.*--seeds 8"):
        read_references(folder, PROMPTS, 9, 64)


def test_references_of_a_prompt_outside_of_the_world_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"'a red dolphin' must name one colour .* and one shape"):
        write_references("a red dolphin", tmp_path, 1, 64, 0)
