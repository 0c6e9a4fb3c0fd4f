"""Drawings of one object brought to one scale, and a first shape made from them, against balls and boxes."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.render.contours import render_masks
from backend.render.portable_rasteriser import PortableRasteriser
from backend.sketches.camera import SketchCamera, posed
from backend.sketches.drawing import FITTED_RADIUS_METRES, coverage, ready_drawings
from backend.sketches.first_shape import first_shape, local_thickness, tell_contradictions
from backend.sketches.overlay import sketch_scores
from backend.sketches.sketch import INK_PIXELS, Sketch

RASTERISER = PortableRasteriser()


def filled(kind, box):
    """A filled shape; the box in shares of the picture, y downwards."""
    picture = Image.new("L", (INK_PIXELS, INK_PIXELS))
    getattr(ImageDraw.Draw(picture), kind)([share * INK_PIXELS for share in box], fill=255)
    return np.asarray(picture) > 127


def sketch(view, kind="ellipse", box=(0.2, 0.2, 0.8, 0.8), **options):
    return Sketch(view, SketchCamera.preset(view), ink=filled(kind, box), **options)


def extent(mesh):
    return mesh.positions.max(dim=0).values - mesh.positions.min(dim=0).values


def test_a_drawing_in_a_corner_is_moved_to_the_middle_and_scaled():
    (drawing,) = ready_drawings([sketch("front", box=(0.6, 0.1, 0.8, 0.3))])
    cameras = posed([drawing.camera])

    middle = cameras.project(torch.zeros(1, 3))[0, 0]
    corner = cameras.project(torch.tensor([[1.0, 1.0, 0.0]]) * FITTED_RADIUS_METRES / math.sqrt(2))[0, 0]

    torch.testing.assert_close(middle, torch.tensor([0.4, -0.6]), atol=0.01, rtol=0)
    torch.testing.assert_close(corner, torch.tensor([0.6, -0.8]), atol=0.01, rtol=0)


def test_drawings_of_different_scales_are_brought_to_one_height_and_told():
    notices = []
    front, left = ready_drawings(
        [sketch("front", box=(0.1, 0.1, 0.9, 0.9)), sketch("left", box=(0.3, 0.3, 0.7, 0.7))], notices.append
    )

    assert left.camera.half_height == pytest.approx(2 * front.camera.half_height, rel=0.02)
    (notice,) = notices
    # Twice as high, but for the pixels at the ends.
    assert re.fullmatch(
        r"the drawings front and left differ in height by (9[89]|100)%; the second is scaled .*", notice
    )


def test_a_camera_whose_scale_was_given_keeps_it():
    camera = SketchCamera.orbit(0.0, 0.0, projection="orthographic", height_metres=3.0)
    (drawing,) = ready_drawings([Sketch("front", camera, ink=filled("ellipse", (0.6, 0.1, 0.8, 0.3)))])

    assert drawing.camera == camera


def test_no_sketches_and_doubled_names_are_refused():
    with pytest.raises(BadInput, match="there is no sketch"):
        ready_drawings([])
    with pytest.raises(BadInput, match="two sketches are called front"):
        ready_drawings([sketch("front"), sketch("front")])


def test_lines_without_a_shape_are_told_and_outlines_refused():
    line = np.zeros((INK_PIXELS, INK_PIXELS), dtype=bool)
    line[250:253, 100:400] = True
    notices = []

    (drawing,) = ready_drawings([Sketch("front", SketchCamera.preset("front"), "lines", ink=line)], notices.append)

    assert drawing.shape is None
    assert notices == ["the lines of the sketch front enclose nothing; only the lines themselves are kept to"]
    with pytest.raises(BadInput, match="the outline of the sketch front cannot be closed"):
        ready_drawings([Sketch("front", SketchCamera.preset("front"), "outline", ink=line)])


def test_signed_distances_are_shares_of_the_picture():
    (drawing,) = ready_drawings([sketch("front", box=(0.3, 0.3, 0.7, 0.7))])

    signed = drawing.signed_distances()

    assert signed[INK_PIXELS // 2, INK_PIXELS // 2] == pytest.approx(-0.2, abs=0.005)
    assert signed[INK_PIXELS // 2, 0] == pytest.approx(0.3, abs=0.005)


def test_local_thickness_is_that_of_each_part():
    shape = filled("rectangle", (0.2, 0.2, 0.6, 0.6)) | filled("rectangle", (0.6, 0.39, 0.9, 0.41))

    thickness = local_thickness(shape) / INK_PIXELS

    assert thickness[int(0.4 * INK_PIXELS), int(0.3 * INK_PIXELS)] == pytest.approx(0.2, rel=0.1)
    assert thickness[int(0.4 * INK_PIXELS), int(0.85 * INK_PIXELS)] == pytest.approx(0.01, rel=0.3)


def test_one_round_outline_becomes_a_ball_and_fits_its_drawing():
    drawings = ready_drawings([sketch("front")])
    mesh = first_shape(drawings).triangle_mesh()

    diameter = 2 * FITTED_RADIUS_METRES / math.sqrt(2)
    torch.testing.assert_close(extent(mesh), torch.full((3,), diameter), atol=0.06, rtol=0)
    assert sketch_scores(RASTERISER, mesh, drawings)[0].silhouette_iou > 0.96


def test_two_outlines_give_the_depth_and_both_fit():
    box = (0.4, 0.2, 0.6, 0.8)
    drawings = ready_drawings([sketch("front", "rectangle"), sketch("left", "rectangle", box)])
    mesh = first_shape(drawings).triangle_mesh()

    width, height, depth = extent(mesh).tolist()

    assert depth / width == pytest.approx(1 / 3, abs=0.05)
    assert height == pytest.approx(width, rel=0.05)
    assert all(score.silhouette_iou > 0.94 for score in sketch_scores(RASTERISER, mesh, drawings))


def test_contradicting_outlines_are_told_by_pair_and_amount():
    # The first has a narrow top half, the second nothing but that half; the same heights, so not seen in the extent.
    first = sketch("front", "rectangle", (0.3, 0.2, 0.7, 0.8))
    ink = filled("rectangle", (0.3, 0.2, 0.7, 0.3)) | filled("rectangle", (0.3, 0.7, 0.7, 0.8))
    second = Sketch("left", SketchCamera.preset("left"), ink=ink)
    notices = []

    tell_contradictions(RASTERISER, ready_drawings([first, second]), notices.append)

    assert len(notices) == 1
    assert notices[0].startswith("the sketches front and left contradict each other: 6")  # two thirds are cut away


def test_coverage_keeps_the_area():
    mask = filled("ellipse", (0.2, 0.2, 0.8, 0.8))

    assert coverage(mask, 64).mean() == pytest.approx(mask.mean(), rel=1e-3)


def test_an_orthographic_view_is_rendered_where_it_was_drawn():
    drawings = ready_drawings([sketch("front", box=(0.5, 0.5, 0.9, 0.9))])
    mesh = first_shape(drawings).triangle_mesh()

    mask = render_masks(RASTERISER, mesh, posed([drawings[0].camera]), 64)[0, ..., 0]

    assert mask[45, 45] == 1
    assert mask[:30].max() == 0
