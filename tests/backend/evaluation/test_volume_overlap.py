"""Intersection over union after alignment."""

from __future__ import annotations

import igl
import numpy as np
import pytest
import torch
from world_meshes import canonical, cuboid, instance, turned

from backend.evaluation.occupancy import occupancy_grid
from backend.evaluation.volume_overlap import volume_iou
from backend.geometry.triangle_mesh import TriangleMesh
from tools.embedded_world.shapes import SHAPE_NAMES, canonical_mesh
from tools.embedded_world.solids import signed_volume


@pytest.mark.parametrize("name", ["chair", "mug", "car"])
def test_a_mesh_turned_scaled_and_moved_fills_the_same_space_as_before(name):
    reference = canonical(name)
    moved = turned(reference, 77.0, 0.8, torch.tensor([0.3, -0.2, 0.1]))

    overlap = volume_iou(moved, reference)

    assert overlap.iou > 0.95
    assert overlap.scale == pytest.approx(1 / 0.8, rel=0.01)
    assert overlap.yaw_degrees == pytest.approx(360 - 77, abs=1.5)


def test_the_scale_of_two_cubes_is_their_ratio_and_their_heights_cannot_be_scaled_away():
    big, small, flat = cuboid(1, 1, 1), cuboid(0.5, 0.5, 0.5, (0.2, 0, 0)), cuboid(1, 0.5, 1)

    assert volume_iou(small, big).scale == pytest.approx(2, rel=0.02)
    assert volume_iou(small, big).iou > 0.95
    # Of a 1 x 1/2 x 1 slab scaled by s >= 1 in a unit cube, s/2 of the volume is shared and s^3/2 + 1 - s/2 is the
    # union: the best is s = 1 with 1/2.
    assert volume_iou(flat, big).iou == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("one", "other"), [("donut", "bottle"), ("table", "sphere"), ("star", "chair")])
def test_unlike_shapes_share_little_space(one, other):
    assert volume_iou(canonical(one), canonical(other)).iou < 0.35


def test_an_instance_with_other_proportions_shares_most_of_it():
    assert 0.7 < volume_iou(instance("mushroom", 3), canonical("mushroom")).iou < 0.97


def test_a_mesh_upside_down_is_not_turned_back():
    cone = canonical("cone")
    upside_down = TriangleMesh(cone.positions * torch.tensor([1.0, -1.0, -1.0]), cone.faces)

    assert volume_iou(upside_down, cone).iou < 0.5


def test_the_grid_has_the_volume_of_the_mesh():
    for name in ("cube", "donut", "house"):
        assert occupancy_grid(canonical(name)).volume == pytest.approx(signed_volume(canonical_mesh(name)), rel=0.03)


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_counting_crossings_finds_the_same_cells_as_winding_numbers_at_every_point(name):
    mesh = canonical(name)
    grid = occupancy_grid(mesh, cells=24)

    points = grid.origin + np.indices(grid.inside.shape).reshape(3, -1).T * grid.cell_metres
    winding = igl.winding_number(mesh.positions.double().numpy(), mesh.faces.long().numpy(), points)

    assert (grid.inside.ravel() != (np.abs(winding) > 0.5)).mean() < 1e-3  # centres that lie on a face


def test_the_solid_of_a_mesh_turned_inside_out_is_the_same():
    mug = canonical("mug")

    turned_over = occupancy_grid(TriangleMesh(mug.positions, mug.faces.flip(1)))

    assert (turned_over.inside == occupancy_grid(mug).inside).all()


def test_a_mesh_with_a_missing_face_still_has_most_of_its_solid():
    cube = canonical("cube")

    for missing in range(len(cube.faces)):
        is_kept = torch.arange(len(cube.faces)) != missing
        opened = occupancy_grid(TriangleMesh(cube.positions, cube.faces[is_kept]), cells=12)
        assert 0.8 < opened.inside.sum() / 12**3 <= 1


def test_a_mesh_without_faces_is_refused():
    nothing = TriangleMesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))

    with pytest.raises(ValueError, match="no faces"):
        volume_iou(nothing, canonical("cube"))
