"""Cells: made once, found again, made anew when their file is damaged."""

import numpy as np
import pytest
from random_prior import RandomPrior

from backend.evaluation.table_cells import find_cell, make_cell
from backend.evaluation.table_plan import Cell, TableRow


def cell_of(method="sds", steps=3):
    return Cell(TableRow(method, method), ("a mug", "a cone"), 2, 0, steps, "embedded", "cpu")


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ("sds", 3 * 2),
        ("nfsd", 3 * 3),
        ("vsd", 3 * 4),  # two guided, one of the second model, one in training
        ("ddim", 50 * 2),  # its own number of steps
    ],
)
def test_a_cell_tells_how_often_the_network_was_asked_for_each_picture(tmp_path, method, evaluations):
    made = make_cell(cell_of(method), tmp_path, RandomPrior())

    assert made.pictures.shape == (4, 8, 8, 3)
    assert made.cost.pictures == 4
    assert made.cost.evaluations == 4 * evaluations
    assert made.cost.in_training == (4 * 3 if method == "vsd" else 0)


def test_a_cell_that_was_made_is_found_and_not_made_again(tmp_path):
    steps = []
    first = make_cell(cell_of(), tmp_path, RandomPrior(), steps.append)

    unasked = RandomPrior()
    again = make_cell(cell_of(), tmp_path, unasked, steps.append)

    assert len(steps) == 3
    assert unasked.calls == []
    np.testing.assert_array_equal(again.pictures, first.pictures)
    assert again.cost == first.cost


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_a_damaged_cell_is_made_again(tmp_path, content):
    path = cell_of().path(tmp_path)
    path.write_bytes(content)

    assert find_cell(cell_of(), tmp_path) is None
    made = make_cell(cell_of(), tmp_path, RandomPrior())
    assert find_cell(cell_of(), tmp_path).cost == made.cost


def test_methods_of_two_stages_share_their_first_stage_bit_for_bit(tmp_path):
    """With the switch after the last step the bridge is SDS, from the same noise."""
    late = Cell(TableRow("late", "bridge", bridge_start=1.0), ("a mug", "a cone"), 2, 0, 3, "embedded", "cpu")

    bridge = make_cell(late, tmp_path, RandomPrior())
    sds = make_cell(cell_of(), tmp_path, RandomPrior())

    np.testing.assert_array_equal(bridge.pictures, sds.pictures)
