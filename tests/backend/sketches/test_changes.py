"""Drawings that change while a job runs: what stays, what is fitted to what, and what is told."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw

from backend.sketches.camera import SketchCamera, posed
from backend.sketches.changes import changed_drawings
from backend.sketches.drawing import FITTED_RADIUS_METRES, ready_drawings
from backend.sketches.saved import restored_drawings, saved_drawings
from backend.sketches.sketch import INK_PIXELS, Sketch, Strokes


def box(view, low_x=0.3, low_y=0.2, high_x=0.7, high_y=0.8, camera=None, **options):
    """A filled rectangle; shares of the picture, y downwards."""
    picture = Image.new("L", (INK_PIXELS, INK_PIXELS))
    corners = (low_x, low_y, high_x, high_y)
    ImageDraw.Draw(picture).rectangle([share * INK_PIXELS for share in corners], fill=255)
    return Sketch(view, camera or SketchCamera.preset(view), ink=np.asarray(picture) > 127, **options)


def change(drawings, remove=(), add=(), weights=(), notice=print):
    return changed_drawings(drawings, remove, add, weights, notice)


def metres_of(drawing):
    """Height of the drawn shape at the object's middle."""
    low, high = drawing.bounding_box()
    return float(high[1] - low[1]) * drawing.camera.framing_metres


FRONT = ready_drawings([box("front")])
BOTH = ready_drawings([box("front"), box("left", 0.4, high_x=0.6)])


def test_a_new_view_gets_the_height_of_those_that_are_there_and_its_middle_in_theirs():
    drawings = change(FRONT, add=[box("left", 0.1, 0.1, 0.3, 0.4)])

    assert drawings[0] is FRONT[0]
    assert metres_of(drawings[1]) == pytest.approx(metres_of(FRONT[0]), rel=0.02)
    middle = posed([drawings[1].camera]).project(torch.zeros(1, 3))[0, 0].tolist()
    assert middle == pytest.approx([-0.6, -0.5], abs=0.01)  # of the rectangle, y downwards


def test_a_new_view_from_above_is_as_large_as_the_paper_of_the_first_and_fits_the_ball():
    small, large = change(FRONT, add=[box("top"), box("bottom", 0.0, 0.0, 1.0, 1.0)])[1:]

    assert small.camera.framing_metres == pytest.approx(FRONT[0].camera.framing_metres)
    assert large.camera.framing_metres == pytest.approx(FITTED_RADIUS_METRES / np.sqrt(2), rel=0.01)


def test_a_new_version_keeps_the_camera_so_that_a_line_more_does_not_move_the_object():
    drawings = change(BOTH, add=[box("front", high_x=0.95)])

    assert [each.name for each in drawings] == ["front", "left"]
    assert drawings[0].camera == BOTH[0].camera
    assert drawings[0].ink.sum() > BOTH[0].ink.sum()
    # Removed and added at once is a new version too.
    assert change(BOTH, ["front"], [box("front", high_x=0.95)])[1].camera == BOTH[0].camera


def test_a_camera_with_a_place_stays_and_keeps_new_ones_from_being_fitted():
    placed = SketchCamera.orbit(0.0, 0.0, projection="orthographic", height_metres=3.0)

    (first, added) = change(ready_drawings([box("front", camera=placed)]), add=[box("left")])

    assert first.camera == placed
    assert added.camera == SketchCamera.preset("left")


def test_sketches_are_removed_then_added_then_weighted():
    drawings = change(BOTH, ["left"], [box("top")], [("top", 3.0), ("front", 0.5)])

    assert [(each.name, each.sketch.weight) for each in drawings] == [("front", 0.5), ("top", 3.0)]
    assert BOTH[0].sketch.weight == 1.0


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        ({"remove": ["front", "left"]}, ["at least one sketch must remain, so that none is removed: front, left"]),
        ({"remove": ["top"]}, ["no sketch is called top, so that none was removed; there are: front, left"]),
        ({"weights": [("top", 2.0)]}, ["no sketch is called top, so that none was given a weight; there are: front,"]),
        (
            {"add": [Sketch("back", SketchCamera.preset("back"), ink=np.zeros((9, 9), bool))]},
            ["a sketch was left out: the sketch back is empty"],
        ),
        (
            {"add": [Sketch("left", SketchCamera.preset("left"), ink=np.zeros((9, 9), bool))]},
            ["a sketch was left out; the one of before stays: the sketch left is empty"],
        ),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_lost(arguments, sentences):
    notices = []

    drawings = change(BOTH, **arguments, notice=notices.append)

    assert list(drawings) == list(BOTH)
    assert len(notices) == len(sentences)
    assert all(notice.startswith(sentence) for notice, sentence in zip(notices, sentences, strict=True))


def test_a_good_sketch_is_taken_beside_a_bad_one():
    empty = Sketch("back", SketchCamera.preset("back"), ink=np.zeros((9, 9), bool))
    notices = []

    drawings = change(FRONT, ["front"], [empty, box("left")], notice=notices.append)

    assert [each.name for each in drawings] == ["left"]
    assert len(notices) == 1


def test_the_seventeenth_sketch_is_left_out_and_told():
    notices = []
    orbits = [box(f"view {at}", camera=SketchCamera.orbit(20.0 * at, 0.0)) for at in range(1, 17)]

    drawings = change(FRONT, add=orbits, notice=notices.append)

    assert len(drawings) == 16
    assert notices[-1] == "the sketch view 16 was left out: a job has at most 16; remove another first"


def test_saved_drawings_come_back_as_they_were():
    stroke = Strokes(
        np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.8], [0.2, 0.2]]),
        np.array([4]),
        pressure=np.array([0.1, 1 / 3, 0.7, 1.0]),
        colours=np.array([[250, 10, 10]], np.uint8),
        line_width=0.03,
    )
    coloured = np.zeros((30, 60, 3), np.uint8)
    coloured[10:20, 10:50] = (10, 200, 30)
    picture = Sketch("top", SketchCamera.preset("top"), ink=coloured.any(axis=-1), ink_colours=coloured)
    camera = SketchCamera.orbit(37.0, 11.0, fov_degrees=33.0)
    drawings = change(FRONT, add=[Sketch("drawn", camera, "lines", 0.7, 1.5, strokes=stroke), picture])

    tensors, facts = saved_drawings(drawings)
    content = safetensors.torch.save({f"drawing.{name}": tensor for name, tensor in tensors.items()})
    loaded = {name.removeprefix("drawing."): each for name, each in safetensors.torch.load(content).items()}
    again = restored_drawings(loaded, json.loads(json.dumps(facts)))

    for before, after in zip(drawings, again, strict=True):
        assert (after.name, after.camera, after.sketch.camera) == (before.name, before.camera, before.sketch.camera)
        assert (after.sketch.drawn, after.sketch.weight) == (before.sketch.drawn, before.sketch.weight)
        assert np.array_equal(after.ink, before.ink)
        assert np.array_equal(after.shape, before.shape)
        hints, hints_again = before.sketch.colour_hints(), after.sketch.colour_hints()
        assert (hints is None) == (hints_again is None)
        assert hints is None or all(map(np.array_equal, hints, hints_again))
