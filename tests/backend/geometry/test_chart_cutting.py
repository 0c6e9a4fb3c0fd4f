from __future__ import annotations

import chart_shapes
import numpy as np
import pytest
import torch

from backend.geometry import chart_kernels
from backend.geometry.chart_cutting import AXES, ChartCuttingConfig, Charts, cut_charts
from backend.geometry.triangle_mesh import TriangleMesh

SHAPES = chart_shapes.ALL


def cut(mesh: TriangleMesh, config: ChartCuttingConfig | None = None) -> Charts:
    return cut_charts(mesh.positions.numpy(), mesh.faces.numpy(), config)


def signed_areas(triangles: np.ndarray) -> np.ndarray:
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_face_is_in_one_chart_and_charts_are_numbered_without_gaps(shape):
    mesh = shape()

    charts = cut(mesh)

    assert charts.chart_of_face.shape == (len(mesh.faces),)
    assert np.array_equal(np.unique(charts.chart_of_face), np.arange(len(charts)))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_faces_of_a_chart_overlap(shape):
    charts = cut(shape())

    for chart in range(len(charts)):
        triangles = charts.corner_uv[charts.chart_of_face == chart]
        assert len(chart_kernels.find_overlaps(triangles, 1e-6)) == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_faces_are_seen_from_the_front_and_keep_a_share_of_their_area(shape):
    mesh = shape()
    areas = mesh.face_normals().norm(dim=-1).numpy() / 2

    charts = cut(mesh)

    has_area = areas > 1e-9
    shares = signed_areas(charts.corner_uv)[has_area] / areas[has_area]
    assert shares.min() >= 0.09  # least_cosine_when_merging, and float32 normals
    assert shares.max() <= 1.001


def test_a_cube_falls_into_its_six_sides():
    charts = cut(chart_shapes.cube())

    assert len(charts) == 6
    assert np.array_equal(np.sort(charts.axis_of_chart), np.arange(6))
    assert signed_areas(charts.corner_uv).sum() == pytest.approx(6.0)  # nothing is squeezed


def test_a_sphere_falls_into_six_charts():
    assert len(cut(chart_shapes.sphere())) == 6


def test_a_sheet_that_lies_above_itself_is_split():
    charts = cut(chart_shapes.spiral_ramp(turns=2.5))

    assert set(charts.axis_of_chart) == {2}  # all of it is seen from +Y
    assert np.array_equal(AXES[2], [0, 1, 0])
    assert 3 <= len(charts) <= 8  # two and a half turns need three layers


def test_a_sheet_of_less_than_one_turn_stays_whole():
    assert len(cut(chart_shapes.spiral_ramp(turns=0.9))) == 1


def test_a_sheet_that_ends_far_above_its_beginning_is_cut_there():
    # One turn: in the plane the end lies beside the beginning, 0.63 m above it. Nothing overlaps.
    ramp = chart_shapes.spiral_ramp(turns=0.998)
    positions, faces = ramp.positions.numpy(), ramp.faces.numpy()

    charts = cut_charts(positions, faces, gap_metres=0.05)

    assert len(cut_charts(positions, faces)) == 1
    assert len(charts) == 2
    heights = positions[faces][:, :, 1]
    ranges = np.stack([heights.min(axis=1), heights.max(axis=1)], axis=1).astype(np.float64)
    for chart in range(2):
        members = charts.chart_of_face == chart
        near = chart_kernels.find_conflicts(charts.corner_uv[members], ranges[members], 1e-6, 0.05, 10.0, 0.0125)
        assert len(near) == 0


def test_a_closed_shape_needs_no_more_charts_for_a_gap():
    mesh = chart_shapes.torus()
    positions, faces = mesh.positions.numpy(), mesh.faces.numpy()

    assert len(cut_charts(positions, faces, gap_metres=0.04)) == len(cut_charts(positions, faces))


def test_a_speck_joins_the_chart_around_it():
    plane = chart_shapes.grid_faces(21, 21)
    x, y = torch.meshgrid(torch.linspace(-1, 1, 21), torch.linspace(-1, 1, 21), indexing="ij")
    positions = torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(-1, 3)
    positions[220, 2] = 0.12  # one vertex sticks out: its faces lean towards other axes
    mesh = TriangleMesh(positions, plane.int())
    own_axis_at_once = ChartCuttingConfig(smoothing_rounds=0, neighbour_weight=0.0, smallest_chart_share=0.01)

    assert len(cut(mesh, own_axis_at_once)) == 1


def test_faces_without_area_do_as_their_surroundings_do():
    mesh = chart_shapes.sphere(12)
    # A needle between two ends of an edge, and a face that is a point.
    a, b = mesh.faces[0, 0], mesh.faces[0, 1]
    needles = torch.tensor([[a, b, b], [a, a, a]], dtype=torch.int32)

    charts = cut(TriangleMesh(mesh.positions, torch.cat([mesh.faces, needles])))

    assert np.isfinite(charts.corner_uv).all()
    assert len(charts.chart_of_face) == len(mesh.faces) + 2


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(ValueError, match="no faces"):
        cut_charts(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32))


def test_cosines_that_leave_a_normal_without_axis_are_refused():
    with pytest.raises(ValueError, match=r"0\.577"):
        ChartCuttingConfig(least_cosine=0.6)


def overlap_by_clipping(first: np.ndarray, second: np.ndarray) -> float:
    """Area common to two triangles, by clipping one with the edges of the other (Sutherland and Hodgman 1974)."""
    if signed_areas(first[None])[0] < 0:
        first = first[::-1]
    if signed_areas(second[None])[0] < 0:
        second = second[::-1]
    polygon = list(first)
    for i in range(3):
        start, edge = second[i], second[(i + 1) % 3] - second[i]
        inside = [edge[0] * (p[1] - start[1]) - edge[1] * (p[0] - start[0]) for p in polygon]
        clipped = []
        for j in range(len(polygon)):
            here, there = inside[j - 1], inside[j]
            if (here < 0) != (there < 0):
                clipped.append(polygon[j - 1] + (polygon[j] - polygon[j - 1]) * here / (here - there))
            if there >= 0:
                clipped.append(polygon[j])
        polygon = clipped
    if len(polygon) < 3:
        return 0.0
    corners = np.array(polygon)
    following = np.roll(corners, -1, axis=0)
    return 0.5 * float((corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]).sum())


def test_overlaps_are_those_that_clipping_finds():
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, 10, (60, 1, 2))
    triangles = centres + rng.uniform(-1, 1, (60, 3, 2)) * rng.choice([0.2, 1.0, 3.0], (60, 1, 1))
    expected = {
        (i, j) for i in range(60) for j in range(i + 1, 60) if overlap_by_clipping(triangles[i], triangles[j]) > 1e-6
    }

    found = chart_kernels.find_overlaps(triangles, 1e-9)

    assert {(int(i), int(j)) for i, j in found} == expected
    assert len(found) == len(expected)  # no pair twice


def test_neighbours_do_not_overlap_however_odd_their_coordinates_are():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (50, 2)) / 3
    fan = np.argsort(np.arctan2(*(points[1:] - points[0]).T)) + 1  # around the first point, none overlaps
    triangles = np.stack([np.broadcast_to(points[0], (len(fan), 2)), points[fan], points[np.roll(fan, -1)]], axis=1)
    is_proper = np.abs(signed_areas(triangles)) > 0
    turns_left = signed_areas(triangles) < 0

    assert len(chart_kernels.find_overlaps(np.ascontiguousarray(triangles[is_proper & turns_left]), 0.0)) == 0
