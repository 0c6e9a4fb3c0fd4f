"""The whole table with a network of random weights: its rows, its reference, and that it goes on where it was."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from random_prior import RandomPrior

from backend.evaluation import table_scores
from backend.evaluation.classifier import load_classifier
from backend.evaluation.further_features import FurtherFeatures
from backend.evaluation.measures import FRECHET
from backend.evaluation.method_table import OTHERS, OTHERS_DECODED, Watch, make_table
from backend.evaluation.table_documents import (
    SHOWN_PIXELS,
    Figure,
    TableText,
    csv_text,
    html_page,
    markdown,
    picture_grid,
    write_documents,
)
from backend.evaluation.table_plan import TableSettings
from backend.evaluation.table_scores import PictureSet, References

PROMPTS = ("a red mug", "a <b>blue</b> | cone")
SETTINGS = TableSettings(methods=("ddim", "sds", "bridge"), prompts=PROMPTS, seeds=2, steps=4)
TEXT = TableText("Methods <side> by side", "made here")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(table_scores, "RESAMPLES", 50)


def made_of(folder, settings=SETTINGS, **parts):
    return make_table(settings, folder, RandomPrior(), load_classifier(), **parts)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_scores, "RESAMPLES", 50)
        return made_of(tmp_path_factory.mktemp("table"))


def pictures(seed):
    images = np.random.default_rng(seed).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    return PictureSet(PROMPTS, images)


def test_each_method_has_a_row_with_its_cost(table):
    assert [row.name for row in table.rows] == ["ddim", "sds", "bridge"]
    assert [row.per_picture("evaluations") for row in table.rows] == [100, 4 * 2, 4 * 2]
    assert all(row.per_picture("cpu_seconds") > 0 for row in table.rows)
    assert all(FRECHET in row.measures for row in table.rows)
    assert table.floors == []


def test_without_references_ddim_from_other_noise_is_compared_with(table):
    ddim = table.rows[0]

    assert "from other noise" in table.reference_is
    assert not np.array_equal(ddim.pictures.images, table.reference.images)


def test_the_order_that_the_paper_claims_is_tested_for_the_rows_that_are_there(table):
    assert [(each.nearer, each.farther) for each in table.comparisons] == [("ddim", "bridge"), ("bridge", "sds")]
    ddim, sds, bridge = (row.measures[FRECHET].estimate for row in table.rows)
    assert [each.difference.estimate for each in table.comparisons] == pytest.approx([ddim - bridge, bridge - sds])


def test_a_study_compares_every_row_with_its_first(tmp_path):
    study = dataclasses.replace(SETTINGS, study="switch", steps=2)

    table = made_of(tmp_path, study, references=References(pictures(0), None))

    assert [each.nearer for each in table.comparisons] == [f"from {start} on" for start in ("0%", "25%", "50%", "75%")]
    assert {each.farther for each in table.comparisons} == {"sds"}


def test_given_references_are_compared_with_and_their_others_are_the_floor(tmp_path):
    sds = dataclasses.replace(SETTINGS, methods=("sds",))
    table = made_of(tmp_path, sds, references=References(pictures(0), pictures(1)))

    assert table.reference_is == "pictures that were given"
    assert [row.name for row in table.floors] == [OTHERS, OTHERS_DECODED]
    np.testing.assert_array_equal(table.floors[0].pictures.images, pictures(1).images)
    assert table.floors[1].pictures.images.shape == (4, 8, 8, 3)  # what the prior of the tests decodes to
    assert table.floors[0].per_picture("evaluations") is None


def test_a_table_that_was_stopped_goes_on_with_the_cells_that_are_missing(tmp_path):
    planned, begun = [], []

    def stop_at_the_second(cell):
        begun.append(cell.row.name)
        if len(begun) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_of(tmp_path, watch=Watch(cell_begins=stop_at_the_second))
    made_of(tmp_path, watch=Watch(planned=planned.extend))

    assert begun == ["ddim", "sds"]
    assert [cell.row.name for cell in planned] == ["sds", "bridge", "ddim, other noise"]


def test_further_features_bring_a_column_without_an_interval(tmp_path):
    def means(images):
        return images.float().mean(dim=(2, 3))

    sds = dataclasses.replace(SETTINGS, methods=("sds",))
    table = made_of(
        tmp_path,
        sds,
        references=References(pictures(0), None),
        further=FurtherFeatures((("means", means),), ("No eyes.",)),
    )

    measure = table.rows[0].measures["Fréchet distance, means"]
    assert measure.estimate > 0
    assert measure.interval is None
    assert "No eyes." in markdown(table, TEXT)


# --- Documents -------------------------------------------------------------------------------------------------------


def test_markdown_tells_n_the_reference_and_the_published_figures_as_what_they_are(table):
    text = markdown(table, TEXT)

    assert "2 prompts, 2 pictures of each: n = 4 per row, 4 steps" in text
    assert "Stable Diffusion 2.1, prompts of COCO" in text
    assert "| vsd-full-bridge | 55.65 | - | 21.46 |" in text
    sds = next(line.split(" | ") for line in text.splitlines() if line.startswith("| sds |"))
    assert sds[-4:-2] == ["8", "-"]  # evaluations, of which none in training
    assert "[" in sds[1]


def test_csv_has_plain_numbers_for_programs(table):
    lines = list(csv.DictReader(io.StringIO(csv_text(table))))

    assert [line["method"] for line in lines] == ["ddim", "sds", "bridge"]
    assert float(lines[1][FRECHET]) == table.rows[1].measures[FRECHET].estimate
    assert float(lines[1][f"{FRECHET} low"]) <= float(lines[1][f"{FRECHET} high"])
    assert (lines[1]["n"], lines[1]["steps"], float(lines[1]["evaluations"])) == ("4", "4", 8.0)


def test_html_escapes_what_a_user_wrote_and_loads_nothing(table):
    figure = Figure("a.svg", "A figure", "what <it> says", "<svg></svg>")

    page = html_page(table, TEXT, b"png", [figure])

    assert "Methods &lt;side&gt; by side" in page
    assert "what &lt;it&gt; says" in page
    assert "<svg></svg>" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_grid_has_a_row_per_prompt_and_a_column_per_method(table):
    grid = picture_grid(table)

    assert grid.shape[0] // SHOWN_PIXELS == 2
    first = table.rows[0].pictures.images[0].mean()
    x, y = grid.shape[1] - 3 * SHOWN_PIXELS, grid.shape[0] - 2 * SHOWN_PIXELS
    assert grid[y : y + SHOWN_PIXELS, x : x + SHOWN_PIXELS].mean() == pytest.approx(first, abs=3)


def test_all_documents_are_written(table, tmp_path):
    written = write_documents(table, TEXT, tmp_path / "new", [Figure("a.svg", "A", "b", "<svg/>")])

    assert [path.name for path in written] == ["table.md", "table.csv", "table.html", "pictures.png", "a.svg"]
    assert all(path.stat().st_size > 0 for path in written)
    assert "![A](a.svg)" in (tmp_path / "new" / "table.md").read_text()
