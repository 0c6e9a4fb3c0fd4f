"""`table` with the embedded prior and few steps: its files, what it refuses, and that it goes on."""

import csv
from pathlib import Path

import pytest
from typed_command import messages, sketchbridge

from backend.commands import table as table_command
from backend.commands.table import TableCommand
from backend.evaluation import table_scores


@pytest.fixture(autouse=True)
def _two_prompts_in_an_empty_folder(an_empty_folder, monkeypatch):
    monkeypatch.setattr(table_scores, "RESAMPLES", 50)
    Path("prompts.txt").write_text("a red mug\na blue cone\n")


SMALL = ("table", "--methods", "sds,csd", "--prompts", "prompts.txt", "--seeds", 1, "--steps", 2)


def test_a_table_is_written_stopped_and_gone_on_with(monkeypatch):
    really = table_command.make_table

    def stopped(*arguments):
        made = arguments[-1].step

        def stop(step):
            made(step)
            raise KeyboardInterrupt

        watch = table_command.Watch(arguments[-1].planned, arguments[-1].cell_begins, stop)
        return really(*arguments[:-1], watch)

    monkeypatch.setattr(table_command, "make_table", stopped)
    interrupted = sketchbridge(*SMALL)
    assert interrupted.exit_code == 130
    assert "go on with sketchbridge table --methods sds,csd --prompts prompts.txt" in messages(interrupted)

    monkeypatch.setattr(table_command, "make_table", really)
    result = sketchbridge(*SMALL, "-o", "out")

    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["cells", "pictures.png", "table.csv", "table.html", "table.md"]
    rows = list(csv.DictReader(Path("out/table.csv").read_text().splitlines()))
    assert [(row["method"], float(row["evaluations"])) for row in rows] == [("sds", 4.0), ("csd", 6.0)]
    assert "No Inception features" in Path("out/table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "sds,dds"], "method must be one of ddim, sds"),
        (["--prompts", "missing.txt"], "the prompts in missing.txt cannot be read: No such file"),
        (["--seeds", "0"], "seeds must be from 1 to 64; got 0"),
        (["--study", "switch", "--methods", "sds"], "study switch has rows of its own, so --methods cannot be given"),
        (["--out", "prompts.txt"], "prompts.txt is a file; give a folder"),
    ],
)
def test_wrong_input_is_told_before_the_prior_is_loaded(arguments, message, monkeypatch):
    monkeypatch.setattr(table_command, "set_up_prior", lambda settings: pytest.fail("the prior was loaded"))

    result = sketchbridge("table", *arguments)

    assert result.exit_code == 2
    assert message in messages(result)


def test_the_command_is_told_as_one_types_it():
    command = TableCommand({"methods": "sds,csd", "seeds": 2}, Path("my table"), Path("refs"), with_diagnosis=True)

    assert command.words() == (
        "sketchbridge table --methods sds,csd --seeds 2 --out 'my table' --references refs --diagnose"
    )
