"""The drawings that were made by hand: each is what the table beside them says, is read, and closes."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from backend.sketches.drawing import ready_drawing
from backend.sketches.view_argument import parse_view, read_sketch
from tools.embedded_world.colours import held_out_pairs

FOLDER = Path(__file__).parents[3] / "examples" / "drawings"
TABLE = re.findall(
    r"^\| `([a-z-]+)\.svg` \| `([^`]+)` \| (outline|lines) \| (\d+) \|", (FOLDER / "README.md").read_text(), re.M
)
"""Name, view, kind, holes of the shape."""


def drawing_of(name, view, notice=pytest.fail):
    return ready_drawing(read_sketch(parse_view(f"{view}@{FOLDER}/{name}.svg")), notice)


def test_the_table_has_every_file_and_ten_held_out_things():
    names = {name for name, *_ in TABLE}

    assert names == {path.stem for path in FOLDER.glob("*.svg")}
    assert len(names) == 10
    assert {tuple(name.split("-")) for name in names} <= held_out_pairs()


@pytest.mark.parametrize(("name", "view", "kind", "holes"), TABLE)
def test_each_is_read_and_closes(name, view, kind, holes):
    drawing = drawing_of(name, view)

    regions, count = ndimage.label(~np.pad(drawing.shape, 1))
    sizes = np.bincount(regions.ravel())[1:]
    assert drawing.sketch.drawn == kind
    assert ndimage.label(drawing.shape)[1] == 1
    assert 0.08 < drawing.shape.mean() < 0.4
    assert (sizes > 0.002 * drawing.shape.size).sum() - 1 == int(holes), count


@pytest.mark.parametrize(("name", "view", "kind", "holes"), TABLE)
def test_each_is_irregular(name, view, kind, holes):
    """Several strokes, whose points lie at uneven distances."""
    strokes = read_sketch(parse_view(f"{view}@{FOLDER}/{name}.svg")).strokes
    steps = np.concatenate([np.linalg.norm(np.diff(points, axis=0), axis=1) for points, _ in strokes.each()])

    assert len(strokes.lengths) >= 2
    assert steps.std() > 0.1 * steps.mean()
