"""What a table is to hold: prompts, rows, cells, and what is refused."""

import dataclasses

import pytest

from backend.diffusion.prompts import FLAW_SYNONYMS, FLAW_WORDS
from backend.errors import BadInput
from backend.evaluation.table_plan import (
    DEFAULT_PROMPTS,
    DESCRIPTOR_SETS,
    MOST_FASTER,
    TableRow,
    TableSettings,
    cells_of,
    folder_name,
    read_prompts,
    words_of,
)
from backend.picture_config import METHODS_FOR_PICTURES, TextToImageSettings

TWO = ("a red mug", "a blue cone")


def test_the_default_table_has_every_method_on_twenty_prompts():
    settings = TableSettings()

    assert [row.method for row in settings.rows] == list(METHODS_FOR_PICTURES)
    assert len(set(DEFAULT_PROMPTS)) == 20
    assert [len(batch) for batch in settings.batches] == [5, 5, 5, 5]
    assert sum(settings.batches, ()) == DEFAULT_PROMPTS


def test_every_row_sees_the_same_prompts_with_the_same_noise():
    settings = TableSettings(methods=("sds", "bridge"), prompts=TWO, seeds=3)

    sds, bridge = (cells_of(settings, row) for row in settings.rows)

    assert [(cell.prompts, cell.seed, cell.steps) for cell in sds] == [
        (cell.prompts, cell.seed, cell.steps) for cell in bridge
    ]
    assert sds[0].picture_prompts == ["a red mug"] * 3 + ["a blue cone"] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"row": TableRow("sds", "sds")},
        {"row": TableRow("bridge", "bridge", bridge_start=0.1)},
        {"row": TableRow("bridge", "bridge", source_suffix=", foggy")},
        {"prompts": TWO[:1]},
        {"seeds": 2},
        {"seed": 5},
        {"steps": 31},
    ],
)
def test_a_cell_has_another_file_when_anything_that_decides_changes(tmp_path, change):
    cell = cells_of(TableSettings(prompts=TWO, seeds=1, steps=30), TableRow("bridge", "bridge"))[0]

    assert dataclasses.replace(cell, **change).path(tmp_path) != cell.path(tmp_path)
    renamed = dataclasses.replace(cell, row=TableRow("another name", "bridge"))
    assert renamed.path(tmp_path) == cell.path(tmp_path)


def test_few_steps_are_larger_ones_up_to_a_bound():
    usual = TextToImageSettings("a red mug", method="sds").resolve()

    def rate(steps):
        return cells_of(TableSettings(prompts=TWO, steps=steps), TableRow("sds", "sds"))[0].config.learning_rate

    assert rate(usual.steps) == usual.learning_rate
    assert rate(usual.steps // 2) == pytest.approx(2 * usual.learning_rate)
    assert rate(10) == pytest.approx(MOST_FASTER * usual.learning_rate)
    assert rate(2 * usual.steps) == usual.learning_rate


def test_the_second_stage_of_a_long_ode_is_foretold_to_take_longer():
    def work(method):
        return cells_of(TableSettings(prompts=TWO, seeds=1, steps=40), TableRow(method, method))[0].work

    # Two pictures, 40 steps: SDS asks twice a step; the full bridge twenty times in the last quarter.
    assert work("sds") == 2 * 40 * 2
    assert work("full-bridge") == 2 * (30 * 2 + 10 * 20)
    assert work("ddim") == 2 * 50 * 2


def test_the_descriptor_study_has_five_sets_of_words_that_the_embedded_prior_knows():
    known = set(FLAW_WORDS) | {word for words in FLAW_SYNONYMS.values() for word in words}

    rows = TableSettings(study="descriptors").rows

    assert [row.name for row in rows] == ["sds", *DESCRIPTOR_SETS]
    assert len(DESCRIPTOR_SETS) == 5
    for suffix in DESCRIPTOR_SETS.values():
        assert {word.strip() for word in suffix.split(",") if word.strip()} <= known


def test_the_switch_study_begins_the_bridge_at_four_points():
    assert [row.bridge_start for row in TableSettings(study="switch").rows] == [None, 0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ("dds",)}, "method must be one of ddim, sds"),
        ({"methods": ()}, "there is no method; choose from ddim"),
        ({"prompts": ("a red mug",)}, "at least two different prompts; got 1"),
        ({"prompts": ("a red mug", "a cone", "a cone")}, "'a cone' comes up twice"),
        ({"prompts": ("a red mug", " ")}, "prompt is empty"),
        ({"seeds": 0}, "seeds must be from 1 to 64; got 0"),
        ({"steps": 0}, "steps must be from 1"),
        ({"study": "colours"}, "study must be one of methods, descriptors, switch"),
    ],
)
def test_wrong_settings_are_refused_with_what_would_be_right(values, message):
    with pytest.raises(BadInput, match=message):
        TableSettings(**values)


def test_prompts_are_read_one_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a red mug\n\n# a comment\n  a blue cone \n")

    assert read_prompts(path) == TWO


def test_a_file_without_prompts_is_refused(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadInput, match="there is no prompt in"):
        read_prompts(empty)
    with pytest.raises(BadInput, match="no UTF-8 text"):
        read_prompts(binary)
    with pytest.raises(BadInput, match="No such file"):
        read_prompts(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("prompt", "folder"),
    [("a red mug", "a-red-mug"), ("../../etc", "etc"), ("A DSLR photo, of a dolphin!", "a-dslr-photo-of-a-dolphin")],
)
def test_a_prompt_names_a_folder_that_stays_where_it_is(prompt, folder):
    assert folder_name(prompt) == folder


def test_the_one_known_word_of_a_prompt_is_found():
    assert words_of("a red mug", ["red", "blue"]) == "red"
    assert words_of("a tired mug", ["red", "blue"]) is None
    assert words_of("a red and blue mug", ["red", "blue"]) is None
