"""The benchmark of illusions: its shares are those of what the classifier said, and nothing is made twice."""

import argparse
import dataclasses
import json

import pytest
from PIL import Image

from backend.evaluation.classifier import load_classifier
from benchmarks import illusions
from benchmarks.illusions import PAIRS, Run, Seen, make, parsed_change, report, sheet


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(illusions, "WORK", tmp_path)


def seen(upright, transformed):
    named = ["mug" if right else "chair" for right in (upright, transformed)]
    return Seen([upright, transformed], [True, True], named, 10.0)


def test_an_illusion_needs_both_views():
    runs = {Run(PAIRS[0], seed): each for seed, each in enumerate([seen(True, True), seen(True, False)])}

    text = report(runs, "picture")

    row = next(line for line in text.splitlines() if line.startswith(f"| {PAIRS[0]}"))
    assert "| 100% | 50% | 50% | 100% | **no** | chair 1 | 10 |" in row
    assert "Both shapes right: 50%" in text


def test_there_are_six_pairs_of_one_colour_each():
    assert len(set(PAIRS)) == 6
    assert all(pair.upright.split()[1] == pair.transformed.split()[1] for pair in PAIRS)
    assert all(pair.upright.split()[2] != pair.transformed.split()[2] for pair in PAIRS)


def test_another_setting_is_another_picture():
    changed = Run(PAIRS[0], 0, (("distillation.guidance_scale", 3.0), ("steps", 7)))

    assert (changed.config.steps, changed.config.distillation.guidance_scale) == (7, 3.0)
    assert changed.path != Run(PAIRS[0], 0).path
    assert Run(PAIRS[0], 1).path != Run(PAIRS[0], 0).path


def test_a_picture_is_made_and_judged_once(monkeypatch):
    run = Run(PAIRS[0], 0, (("steps", 2),))
    first = make(run, load_classifier())
    monkeypatch.setattr(illusions, "Illusion", lambda *_, **__: pytest.fail("made again"))

    again = make(run, load_classifier())

    assert again == first
    assert json.loads(run.path.with_suffix(".json").read_text()) == dataclasses.asdict(first)
    with Image.open(run.path) as picture:
        assert picture.size == (2 * picture.height, picture.height)
    assert sheet({run: first}).height > illusions.SHOWN_PIXELS


def test_changes_are_paths_with_values():
    assert parsed_change("steps=800") == ("steps", 800)
    assert parsed_change("distillation.method=sds") == ("distillation.method", "sds")
    with pytest.raises(argparse.ArgumentTypeError, match="must be PATH=VALUE"):
        parsed_change("steps")
