"""Strokes in the scene become strokes in a picture, by the conventions of the protocol."""

import math

import numpy as np
import pytest

from blender_addon.protocol.arrays import picture_size
from blender_addon.sketch_strokes import (
    THINNED_ABOVE,
    Strokes,
    View,
    draw_picture,
    picture_of,
    png_of,
    project,
    rigid,
    unproject,
    view_from_matrices,
)

FROM_ABOVE = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1)
"""A camera at (0, 0, 5) that looks down, with +Y up."""


def strokes(*polylines, radius=0.05, colours=None):
    points = np.concatenate([np.array(each, float) for each in polylines])
    count = len(points)
    return Strokes(
        points,
        np.array([len(each) for each in polylines]),
        np.full(count, radius),
        np.ones(count),
        np.array(colours if colours is not None else [[0, 0, 0]] * len(polylines), np.uint8),
    )


def test_a_flat_picture_has_x_to_the_right_and_y_upwards():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0, aspect=2.0)

    places, depth = project(view, np.array([[0, 0, 0], [2, 1, 0], [-2, -1, 1]]))

    # 2 m high and, by its aspect, 4 m wide.
    np.testing.assert_allclose(places, [[0.5, 0.5], [1, 1], [0, 0]])
    np.testing.assert_allclose(depth, [5, 5, 4])


def test_in_perspective_what_is_nearer_is_larger():
    view = View(FROM_ABOVE, fov_degrees=2 * math.degrees(math.atan(0.2)))  # 1 m to each side at 5 m

    places, _ = project(view, np.array([[1, 1, 0], [0.5, 0.5, 2.5], [0, 0, 6]]))

    np.testing.assert_allclose(places[:2], [[1, 1], [1, 1]])
    assert np.isnan(places[2]).all()  # behind the camera


def test_a_lens_shift_moves_the_picture_by_shares_of_its_height():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0, shift=(0.5, -0.25), aspect=2.0)

    places, _ = project(view, np.array([[1.0, -0.5, 0.0]]))  # the middle of the moved picture: 2 m times the shift

    np.testing.assert_allclose(places, [[0.5, 0.5]])


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_unproject_undoes_project(projection):
    rng = np.random.default_rng(1)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 3] = (1, 2, 3)
    view = View(rigid(matrix), projection, 35.0, 3.0, (0.1, -0.2), 1.5)
    places = rng.uniform(0, 1, (10, 2))

    found, depth = project(view, unproject(view, places, 4.0))

    np.testing.assert_allclose(found, places)
    np.testing.assert_allclose(depth, 4.0)


@pytest.mark.parametrize("is_flat", [False, True])
def test_a_view_from_matrices_projects_as_they_do(is_flat):
    """Compared with OpenGL's own rule: window matrix, division by w, -1 .. 1 to 0 .. 1."""
    wide, high = 0.4, 0.3
    window = np.array([[1 / wide, 0, 0.3, 0], [0, 1 / high, -0.2, 0], [0, 0, -1, -0.2], [0, 0, -1, 0]])
    if is_flat:
        window = np.array([[1 / wide, 0, 0, 0.3], [0, 1 / high, 0, -0.2], [0, 0, -0.1, 0], [0, 0, 0, 1]])
    view_matrix = np.linalg.inv(np.array(FROM_ABOVE, float).reshape(4, 4))
    points = np.random.default_rng(2).uniform(-1, 1, (20, 3))

    places, _ = project(view_from_matrices(view_matrix, window), points)

    clip = np.concatenate([points, np.ones((20, 1))], axis=1) @ (window @ view_matrix).T
    np.testing.assert_allclose(places, clip[:, :2] / clip[:, 3:] / 2 + 0.5)


def test_scale_and_mirroring_are_taken_out_of_a_matrix():
    found = np.array(rigid(np.diag([2.0, -3.0, 0.5, 1.0]))).reshape(4, 4)

    assert np.linalg.det(found[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


def test_width_and_pressure_are_those_of_the_drawn_line():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0)
    given = strokes([[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]])
    given.radii[1] = 0.025
    given.opacity[2] = 0.5

    picture = picture_of(view, given)

    assert picture.line_width == pytest.approx(0.05)  # a diameter of 0.1 m in a picture of 2 m
    np.testing.assert_allclose(picture.pressure, [1.0, 0.5, 0.5])


def test_a_stroke_that_goes_behind_the_camera_is_cut_in_two():
    view = View(FROM_ABOVE)
    given = strokes([[0, 0, 0], [1, 0, 0], [0, 0, 9], [0, 1, 0], [0, 0, 0], [0.1, 0, 0]], [[0, 0, 1], [0, 0.5, 1]])

    picture = picture_of(view, given)

    assert picture.lengths.tolist() == [2, 3, 2]
    assert picture.lengths.sum() == len(picture.points) == len(picture.pressure)


def test_colours_are_hints_unless_all_are_greys():
    view = View(FROM_ABOVE)
    two = [[[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]]]

    assert picture_of(view, strokes(*two)).colours is None
    coloured = picture_of(view, strokes(*two, colours=[[0, 0, 0], [200, 10, 10]]))
    assert coloured.colours.tolist() == [[0, 0, 0], [200, 10, 10]]


def test_the_share_inside_the_picture():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0)

    assert picture_of(view, strokes([[0, 0, 0], [3, 0, 0]])).inside == 0.5
    assert picture_of(view, strokes([[2, 0, 0], [3, 0, 0]])).inside == 0


def test_of_very_many_points_those_in_one_place_are_left_out():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0)
    angles = np.linspace(0, 2 * np.pi, 100_000)
    circle = np.stack([np.cos(angles) / 2, np.sin(angles) / 2, 0 * angles], axis=1)

    picture = picture_of(view, strokes(circle))

    assert len(picture.points) < THINNED_ABOVE
    assert picture.lengths.tolist() == [len(picture.points)]
    np.testing.assert_allclose(np.linalg.norm(picture.points - 0.5, axis=1), 0.25, atol=1e-6)
    assert np.abs(np.diff(picture.points, axis=0)).max() < 0.002


def test_a_thumbnail_shows_the_strokes_the_right_way_up():
    view = View(FROM_ABOVE, "orthographic", height_metres=2.0)
    picture = picture_of(view, strokes([[-1, 0.9, 0], [1, 0.9, 0]], colours=[[200, 10, 10]]))

    pixels = draw_picture(picture, 1.0, 64)

    rows = np.flatnonzero((pixels[..., :3] == (200, 10, 10)).all(axis=2).any(axis=1))
    assert rows.min() >= 1
    assert rows.max() <= 5  # 5 % below the upper edge of 64 rows


def test_a_png_file_has_its_size():
    assert picture_size(png_of(np.zeros((3, 5, 4), np.uint8))) == (5, 3)
