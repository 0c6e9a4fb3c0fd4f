"""The study of settings: its variants are real, its table says what was measured, its records save work."""

import argparse
import json

import pytest

from benchmarks import recipes
from benchmarks.recipes import DEFAULTS, GROUPS, PROMPTS, Variant, key, report, run_of

ARGUMENTS = argparse.Namespace(groups=["guidance"], prompts=2, seeds=[0], write=False)


def records(**of_variant):
    """The same numbers for all variants but those that are named by their guidance scale."""
    plain = {"shape": 0.5, "colour": 1.0, "IoU": 0.5, "parts": 0.0, "saturation": 0.8, "seconds": 30.0}
    found = {}
    for variant in (DEFAULTS, *GROUPS["guidance"]):
        for colour, shape in PROMPTS[:2]:
            found[key(run_of(variant, colour, shape, 0))] = plain | of_variant.get(variant.name.split()[-1], {})
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_every_question_holds_the_defaults_once_and_names_real_settings(group):
    configs = [run_of(variant, "orange", "mug", 0).config for variant in GROUPS[group]]

    assert configs.count(run_of(DEFAULTS, "orange", "mug", 0).config) == 1
    assert len(set(map(str, configs))) == len(configs)


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="DistillationConfig has no 'guidance'"):
        key(run_of(Variant("?", (("distillation.guidance", 3.0),)), "orange", "mug", 0))


def test_the_table_marks_the_default_and_tells_the_difference_from_it():
    text = report(records(**{"3.0": {"IoU": 0.7, "parts": 1.0}}), ARGUMENTS)

    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "**guidance_scale = 5.0**" in rows
    assert "+0.20 (+0.20 to +0.20)" in rows["guidance_scale = 3.0"]
    assert "100%" in rows["guidance_scale = 3.0"]
    assert "+0.00" in rows["guidance_scale = 10.0"]


def test_what_was_measured_is_not_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "RECORDS", tmp_path / "records.json")
    monkeypatch.setattr(recipes, "make_mesh", lambda run: pytest.fail(f"{run.prompt} is made again"))
    monkeypatch.setattr("sys.argv", ["recipes.py", "--groups", "guidance", "--prompts", "2"])
    (tmp_path / "records.json").write_text(json.dumps(records()))

    recipes.main()

    assert "## Guidance" in capsys.readouterr().out
