"""Legs, tunnels and backs, counted on right and on wrong solids."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from world_meshes import canonical, cuboid, instance, of_solids, stool, turned

from backend.evaluation.occupancy import OccupancyGrid, occupancy_grid
from backend.evaluation.part_counts import _closed, _euler_characteristic, _tunnels, back_count, leg_count, tunnel_count
from backend.geometry.triangle_mesh import TriangleMesh
from tools.embedded_world.shapes import SHAPE_NAMES
from tools.embedded_world.solids import ball, box, ring, rod

LEGS = {"chair": 4, "table": 4, "mushroom": 1, "cylinder": 1, "cube": 1, "bottle": 1, "mug": 1}
TUNNELS = {"mug": 1, "donut": 1, "hourglass": 3}  # the gaps between three posts and the bulbs


@cache
def grid_of(name: str, seed: int | None = None) -> OccupancyGrid:
    """Of the canonical mesh, or of an instance with proportions of its own."""
    return occupancy_grid(canonical(name) if seed is None else instance(name, seed))


def counted(mesh: TriangleMesh) -> tuple[int, int, int]:
    """Legs, tunnels, backs."""
    grid = occupancy_grid(mesh)
    return leg_count(grid), tunnel_count(grid), back_count(grid)


# --- The world's own shapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEGS)
def test_shapes_stand_on_as_many_legs_as_they_were_built_with(name):
    assert [leg_count(grid_of(name, seed)) for seed in (None, 0, 1, 2, 3)] == [LEGS[name]] * 5


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_shapes_have_as_many_tunnels_as_they_were_built_with(name):
    assert tunnel_count(grid_of(name)) == TUNNELS.get(name, 0)


@pytest.mark.parametrize("name", ["mug", "donut", "chair", "table", "bottle"])
def test_so_have_instances_with_other_proportions(name):
    assert [tunnel_count(grid_of(name, seed)) for seed in (0, 1, 2)] == [TUNNELS.get(name, 0)] * 3


def test_chairs_have_one_back_and_tables_none():
    for seed in (None, 0, 1, 2, 3, 4):
        assert back_count(grid_of("chair", seed)) == 1
        assert back_count(grid_of("table", seed)) == 0


def test_a_turned_chair_has_the_same_parts():
    for degrees in (20.0, 45.0):
        assert counted(turned(canonical("chair"), degrees)) == (4, 0, 1)


# --- Wrong ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solids", "expected"),
    [
        ([rod(0.5, 0, 1.35)], (1, 0, 0)),
        (stool(backs=0), (4, 0, 0)),
        (stool(backs=2), (4, 0, 2)),
        (stool(legs=3, backs=1), (3, 0, 1)),
        (stool(legs=2, backs=1), (2, 0, 1)),
        ([box((0.9, 0.76, 0.9), (0, 0.38, 0)), *stool(backs=1)], (1, 0, 1)),
    ],
    ids=["cylinder", "stool", "two backs", "three legs", "two legs", "no room between the legs"],
)
def test_wrong_chairs_are_counted_as_they_are(solids, expected):
    assert counted(of_solids(*solids)) == expected


def test_a_wall_around_the_seat_is_no_single_back():
    tub = of_solids(*stool(), rod(0.45, 0.7, 1.5) - rod(0.35, 0.6, 1.6))

    assert back_count(occupancy_grid(tub)) >= 2


def test_a_back_of_two_posts_is_one_back():
    posts = [box((0.12, 0.9, 0.12), (x, 1.15, -0.39)) for x in (-0.35, 0.35)]

    assert back_count(occupancy_grid(of_solids(*stool(), *posts))) == 1


def test_mugs_without_and_with_a_second_handle_have_no_and_two_tunnels():
    cup = rod(0.46, 0, 1.0) - rod(0.38, 0.1, 1.1)
    hollow = rod(0.38, 0.1, 1.1)
    handles = [ring(0.3, 0.075).rotate([90, 0, 0]).translate([x, 0.5, 0]) - hollow for x in (-0.48, 0.48)]

    assert [tunnel_count(occupancy_grid(of_solids(cup, *handles[:count]))) for count in (0, 1, 2)] == [0, 1, 2]


def test_a_mug_without_a_bottom_has_a_tunnel_more():
    tube = rod(0.46, 0, 1.0) - rod(0.38, -0.1, 1.1)

    assert tunnel_count(occupancy_grid(of_solids(tube))) == 1


def test_pin_holes_are_no_tunnels():
    holes = [rod(0.018, -1, 1, sides=8).translate([x, 0, 0.1]) for x in (-0.3, 0.0, 0.3)]
    solid = box((1, 0.3, 1))
    for hole in holes:
        solid = solid - hole
    mesh = of_solids(solid)

    assert _tunnels(occupancy_grid(mesh).inside) == 3
    assert tunnel_count(occupancy_grid(mesh)) == 0


def test_a_cavity_is_no_tunnel():
    assert tunnel_count(occupancy_grid(of_solids(box((1, 1, 1)) - ball(0.3)))) == 0


def test_splinters_are_no_legs():
    splinter = box((0.03, 0.7, 0.03), (0, 0.35, 0))

    assert leg_count(occupancy_grid(of_solids(*stool(), splinter))) == 4


# --- The mathematics -------------------------------------------------------------------------------------------------


def test_the_euler_characteristic_is_one_for_a_cube_and_none_for_a_ring_of_cubes():
    cube = np.ones((1, 1, 1), dtype=bool)
    ring_of_eight = np.ones((3, 1, 3), dtype=bool)
    ring_of_eight[1, 0, 1] = False
    hollow = np.ones((3, 3, 3), dtype=bool)
    hollow[1, 1, 1] = False

    # Parts - tunnels + cavities: 1 - 0 + 0, 1 - 1 + 0, 1 - 0 + 1.
    assert [_euler_characteristic(solid) for solid in (cube, ring_of_eight, hollow)] == [1, 0, 2]
    assert [_tunnels(solid) for solid in (cube, ring_of_eight, hollow)] == [0, 1, 0]


def test_closing_fills_what_is_narrow_and_leaves_a_convex_solid_as_it_is():
    slit = np.ones((9, 9, 9), dtype=bool)
    slit[4] = False
    cube = np.ones((5, 5, 5), dtype=bool)

    assert _closed(slit, 1.0).sum() > slit.sum() + 0.5 * 81
    assert _closed(cube, 2.0).sum() == cube.sum()


def test_an_open_sheet_has_no_parts():
    sheet = cuboid(1, 1, 1)
    grid = occupancy_grid(TriangleMesh(sheet.positions, sheet.faces[:1]))

    assert (leg_count(grid), tunnel_count(grid), back_count(grid)) == (0, 0, 0)
    assert torch.tensor(grid.volume) == 0
