"""Strokes as ink, and cameras of sketches, against places worked out by hand."""

import numpy as np
import pytest
import torch

from backend.errors import BadInput
from backend.sketches.camera import SketchCamera, posed
from backend.sketches.drawing import ready_drawings
from backend.sketches.sketch import INK_PIXELS, Sketch, Strokes, thinned

FRONT = SketchCamera.preset("front")


def strokes(*lines, **options):
    return Strokes(
        np.concatenate([np.array(line, dtype=float) for line in lines]), np.array(list(map(len, lines))), **options
    )


def seen_at(camera, point):
    """x and y of a point in the picture, -1 to 1, y downwards."""
    return posed([camera]).project(torch.tensor([point]))[0, 0]


def test_y_of_strokes_goes_upwards():
    ink = Sketch("front", FRONT, strokes=strokes([(0.4, 0.9), (0.6, 0.9)])).square_ink()

    assert ink[round(0.1 * INK_PIXELS), INK_PIXELS // 2]
    assert not ink[INK_PIXELS // 2 :].any()


def test_a_wide_picture_gets_margins_above_and_below_and_its_camera_sees_as_much_more():
    sketch = Sketch("front", FRONT, aspect=2.0, strokes=strokes([(0.0, 1.0), (1.0, 1.0)]))

    rows = np.nonzero(sketch.square_ink().any(axis=1))[0]

    assert rows.mean() == pytest.approx(INK_PIXELS / 4, abs=2)
    assert sketch.square_camera().half_height == pytest.approx(2 * FRONT.half_height)


def test_a_tall_picture_of_ink_gets_margins_at_its_sides():
    picture = np.zeros((200, 100), dtype=bool)
    picture[:, :50] = True

    ink = Sketch("front", FRONT, ink=picture).square_ink()

    columns = np.nonzero(ink.any(axis=0))[0]
    assert (columns.min(), columns.max()) == (INK_PIXELS // 4, INK_PIXELS // 2 - 1)


def test_pressure_makes_lines_wider():
    line = [(0.1, 0.5), (0.9, 0.5)]
    soft = Sketch("soft", FRONT, strokes=strokes(line, pressure=np.full(2, 0.2), line_width=0.0117)).square_ink()
    hard = Sketch("hard", FRONT, strokes=strokes(line, pressure=np.ones(2), line_width=0.0117)).square_ink()

    assert hard.sum() > 2 * soft.sum()


def test_what_a_broad_brush_draws_is_a_line_and_not_a_shape():
    ring = [(0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 60)]

    (drawing,) = ready_drawings([Sketch("front", FRONT, strokes=strokes(ring, line_width=0.08))])

    assert drawing.shape[INK_PIXELS // 2, INK_PIXELS // 2]
    assert drawing.ink.sum() < 0.1 * drawing.shape.sum()


def test_a_stroke_of_one_point_is_a_dot_as_large_as_its_brush():
    ink = Sketch("front", FRONT, strokes=strokes([(0.5, 0.5)], line_width=0.25)).square_ink()

    assert ink.sum() == pytest.approx(np.pi * (INK_PIXELS / 8) ** 2, rel=0.02)


def test_a_stroke_of_100000_points_is_thinned_and_stays_the_same_line():
    angles = np.linspace(0, 2 * np.pi, 100_000)
    points = 0.5 + 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    kept = thinned(points)

    assert len(kept) < 2500  # 2 pi 0.3 of the picture in steps of at least 0.1 %
    assert (kept[0], kept[-1]) == (0, 99_999)


def test_what_is_outside_of_the_view_is_told_or_refused():
    notices = []
    Sketch("front", FRONT, strokes=strokes([(0.5, 0.5), (0.5, 1.5)])).square_ink(notices.append)

    assert notices == ["50% of the strokes' points of the sketch front lie outside of the view"]
    with pytest.raises(BadInput, match="all strokes of the sketch front lie outside of the view: x from 2 to 3"):
        Sketch("front", FRONT, strokes=strokes([(2.0, 0.5), (3.0, 0.5)])).square_ink()


def test_empty_sketches_are_refused():
    with pytest.raises(BadInput, match="the sketch front is empty: it has no strokes"):
        Sketch("front", FRONT, strokes=Strokes(np.zeros((0, 2)), np.zeros(0, dtype=int))).square_ink()
    with pytest.raises(BadInput, match="the sketch front is empty: there is no line in it"):
        Sketch("front", FRONT, ink=np.zeros((9, 9), dtype=bool)).square_ink()
    with pytest.raises(BadInput, match="must have strokes or a picture, one of both"):
        Sketch("front", FRONT)


@pytest.mark.parametrize(
    ("view", "right", "up"),
    [
        ("front", (1.0, 0, 0), (0, 1.0, 0)),
        ("back", (-1.0, 0, 0), (0, 1.0, 0)),
        ("right", (0, 0, -1.0), (0, 1.0, 0)),
        ("left", (0, 0, 1.0), (0, 1.0, 0)),
        ("top", (1.0, 0, 0), (0, 0, -1.0)),
        ("bottom", (1.0, 0, 0), (0, 0, 1.0)),
    ],
)
def test_presets_have_the_axes_of_the_protocol(view, right, up):
    # Blender's views (protocol.sketches), in the backend's axes: its x, z, -y are our x, y, z.
    camera = SketchCamera.preset(view)

    assert seen_at(camera, right)[0] > 0.5
    assert seen_at(camera, up)[1] < -0.5


def test_an_orthographic_camera_shows_things_of_any_distance_equally_large():
    camera = SketchCamera.orbit(0.0, 0.0, projection="orthographic", height_metres=2.0)

    torch.testing.assert_close(seen_at(camera, (0.5, 0.25, 0.9)), torch.tensor([0.5, -0.25]))
    torch.testing.assert_close(seen_at(camera, (0.5, 0.25, -0.9)), torch.tensor([0.5, -0.25]))


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_a_shift_moves_the_frame_and_what_it_shows_the_other_way(projection):
    matrix = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0)
    shifted = SketchCamera.from_matrix(matrix, projection, shift=(0.25, 0.1))

    torch.testing.assert_close(seen_at(shifted, (0.0, 0.0, 0.0)), torch.tensor([-0.5, 0.2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_a_reframed_camera_has_the_origin_where_the_drawing_has_its_middle(projection):
    camera = SketchCamera.orbit(40.0, 10.0, projection=projection).reframed(0.8, (0.3, -0.2))

    torch.testing.assert_close(seen_at(camera, (0.0, 0.0, 0.0)), torch.tensor([0.3, 0.2]), atol=1e-5, rtol=0)
    assert camera.angles_degrees == pytest.approx((40.0, 10.0), abs=1e-3)


def test_matrices_that_are_no_cameras_are_refused():
    mirrored = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    with pytest.raises(BadInput, match="without scale or mirroring"):
        SketchCamera.from_matrix(mirrored)
    with pytest.raises(BadInput, match="a camera matrix has 16 finite numbers"):
        SketchCamera.from_matrix((1.0, 2.0))
    with pytest.raises(BadInput, match=r"elevation of a sketch's camera must be from -90 to 90; got 91"):
        SketchCamera.orbit(0.0, 91.0)
