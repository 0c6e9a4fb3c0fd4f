"""Drawings cut out for a ControlNet, and the cameras of what was cut out."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from backend.sketch_config import SketchConfig
from backend.sketches.camera import SketchCamera
from backend.sketches.control import DrawnViewsOf, drawn_view
from backend.sketches.drawing import Drawing, ready_drawing
from backend.sketches.sketch import INK_PIXELS, Sketch

PLACED = {
    "perspective": SketchCamera.orbit(40.0, 20.0, distance_metres=3.0),
    "orthographic": SketchCamera.orbit(130.0, -10.0, projection="orthographic", height_metres=3.0),
}


def circle(centre=(256, 256), radius=100, width=4, fill=None):
    picture = Image.new("L", (INK_PIXELS, INK_PIXELS))
    box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    ImageDraw.Draw(picture).ellipse(box, outline=255, width=width, fill=fill)
    return np.asarray(picture) > 127


def drawing_of(ink, camera=PLACED["perspective"], drawn="scribble", name="idea", weight=1.0) -> Drawing:
    return ready_drawing(Sketch(name, camera, drawn, weight, ink=ink))


@pytest.mark.parametrize("projection", PLACED)
@pytest.mark.parametrize("centre", [(256, 256), (120, 300), (400, 60)])
def test_the_cut_out_camera_sees_everything_where_the_cut_out_shows_it(projection, centre):
    drawing = drawing_of(circle(centre, 60), PLACED[projection])
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    before = drawing.camera

    view = drawn_view(drawing, 1.0)

    from backend.sketches.camera import posed

    in_drawing = posed([before]).project(points)[0]  # -1 to 1, y downwards
    in_cut_out = view.camera.project(points)[0]
    middle = torch.tensor([2 * (centre[0] + 0.5) / INK_PIXELS - 1, 2 * (centre[1] + 0.5) / INK_PIXELS - 1])
    half = (60.5 * 2 / INK_PIXELS) * 2**0.5 * 1.2 / 0.85
    torch.testing.assert_close(in_cut_out, (in_drawing - middle) / half, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("centre", [(256, 256), (120, 300), (440, 60)])
def test_the_drawing_lies_in_the_middle_of_its_cut_out(centre):
    ink = drawn_view(drawing_of(circle(centre, 50)), 1.0).ink.numpy()

    rows, columns = np.nonzero(ink > 0.2)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(63.5, abs=1.5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(63.5, abs=1.5)
    assert (rows.max() - rows.min()) / 128 == pytest.approx(0.85 / 1.2 / 2**0.5, abs=0.03)


def test_of_a_filled_shape_its_border_is_shown():
    ink = drawn_view(drawing_of(circle(fill=255)), 1.0).ink.numpy()

    assert ink[64, 64] == 0
    assert ink.max() > 0.5


def test_the_view_is_named_by_its_side():
    view = drawn_view(drawing_of(circle(), SketchCamera.preset("left")), 1.0)

    assert view.azimuth_degrees == pytest.approx(270.0)
    assert view.elevation_degrees == pytest.approx(0.0)


def test_drawings_take_turns_and_leave_a_view_free():
    sides = ("front", "left", "back")
    drawings = [drawing_of(circle(), SketchCamera.preset(side), name=side) for side in sides]
    views = DrawnViewsOf(drawings, SketchConfig(control_views=2))

    seen = [[round(view.azimuth_degrees) for view in views(step, 8)] for step in range(3)]

    assert seen == [[0, 270], [180, 0], [270, 180]]
    assert len(views(0, 2)) == 1
    assert views(0, 1) == []


def test_only_chosen_kinds_with_a_weight_are_shown():
    outline = drawing_of(circle(), drawn="outline", name="outline")
    forgotten = drawing_of(circle(), name="forgotten", weight=0.0)
    faint = drawing_of(circle(), name="faint", weight=0.25)
    config = dataclasses.replace(SketchConfig(), control_kinds=("scribble",), control_strength=2.0)

    (view,) = DrawnViewsOf([outline, forgotten, faint], config)(0, 8)

    assert view.strength == 0.5
    assert DrawnViewsOf([outline, forgotten], config)(0, 8) == []
