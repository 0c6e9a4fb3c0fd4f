from itertools import combinations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from backend.geometry.tetrahedral_grid import (
    CORNER_OFFSETS,
    DIRECTIONS,
    TETRAHEDRA,
    TetrahedralGrid,
    cube_cases,
    inside_vertices,
    refine,
    refine_and_add,
)


def test_six_tetrahedra_of_positive_volume_fill_the_cube():
    corners = torch.tensor(CORNER_OFFSETS, dtype=torch.float64)[torch.tensor(TETRAHEDRA)]

    volumes = torch.linalg.det(corners[:, 1:] - corners[:, :1]) / 6

    torch.testing.assert_close(volumes, torch.full((6,), 1 / 6, dtype=torch.float64))


def test_all_edges_of_the_tetrahedra_go_along_the_seven_directions():
    directions = set()
    for corners in TETRAHEDRA:
        for a, b in combinations(sorted(corners), 2):
            directions.add(
                tuple(upper - lower for lower, upper in zip(CORNER_OFFSETS[a], CORNER_OFFSETS[b], strict=True))
            )

    assert directions == set(DIRECTIONS)


def test_a_lattice_is_conforming_so_that_inner_triangles_have_two_tetrahedra_and_outer_ones_one():
    tetrahedra = TetrahedralGrid(2).tetrahedra()
    triangles = torch.cat([tetrahedra[:, list(corners)] for corners in combinations(range(4), 3)]).sort(dim=1).values

    _, counts = triangles.unique(dim=0, return_counts=True)

    # The hull of the cube: 6 sides of 2 x 2 squares of 2 triangles.
    assert counts.bincount().tolist() == [0, 6 * 4 * 2, (4 * 48 - 48) // 2]


def test_positions_run_over_the_cube_with_z_fastest():
    grid = TetrahedralGrid(resolution=4, half_extent_metres=2.0)

    positions = grid.positions()

    assert grid.cell_metres == 1.0
    assert positions.shape == (5, 5, 5, 3)
    assert positions[0, 0, 1].tolist() == [-2, -2, -1]
    assert positions[4, 3, 2].tolist() == [2, 1, 0]


def test_counts_are_those_of_the_lattice():
    grid = TetrahedralGrid(32)

    assert (grid.vertex_count, grid.tetrahedron_count) == (35_937, 196_608)


@pytest.mark.parametrize(("resolution", "half_extent"), [(1, 1.0), (0, 1.0), (513, 1.0), (4, 0.0), (4, float("nan"))])
def test_senseless_lattices_are_refused(resolution, half_extent):
    with pytest.raises(ValueError, match=r"resolution|half_extent"):
        TetrahedralGrid(resolution, half_extent)


def test_the_outermost_layer_zero_and_nan_are_outside():
    distances = torch.full((4, 4, 4), -1.0)
    distances[1, 1, 1] = 0.0
    distances[1, 1, 2] = -0.0
    distances[1, 2, 1] = float("nan")

    inside = inside_vertices(distances)

    assert inside.sum() == 2**3 - 3
    assert not inside[1, 1, 1]


def test_cubes_have_at_most_twelve_triangles_and_none_when_all_corners_agree():
    counts = cube_cases().triangle_counts

    assert counts[0] == counts[255] == 0
    assert counts.max() <= 12
    assert counts[1:255].min() >= 1


def test_a_cube_and_its_opposite_have_the_same_triangles_turned_over():
    cases = cube_cases()
    for code in range(256):
        count = cases.triangle_counts[code]
        triangles = {_from_smallest(t) for t in cases.triangle_edges[code, :count].tolist()}
        turned = {_from_smallest(t[::-1]) for t in cases.triangle_edges[255 - code, :count].tolist()}
        assert triangles == turned


def _from_smallest(triangle):
    first = triangle.index(min(triangle))
    return tuple(triangle[first:] + triangle[:first])


@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 5, 5), (3, 4, 4, 4)])
def test_refining_is_trilinear_interpolation_with_its_gradient(shape):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
    side = 2 * shape[-1] - 1
    channels = values.reshape(1, -1, *shape[-3:])
    expected = F.interpolate(channels, size=(side,) * 3, mode="trilinear", align_corners=True).reshape(
        *shape[:-3], side, side, side
    )
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)

    refined = refine(values)

    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(
        torch.autograd.grad(refined, values, weights), torch.autograd.grad(expected, values, weights)
    )


def test_adding_detail_leaves_the_detail_as_it_was():
    values = torch.ones(3, 3, 3, requires_grad=True)
    detail = torch.arange(125.0).view(5, 5, 5).requires_grad_()

    total = refine_and_add(values, detail)
    total.sum().backward()

    torch.testing.assert_close(total, 1 + torch.arange(125.0).view(5, 5, 5))
    assert detail[0, 0, 1] == 1
    torch.testing.assert_close(detail.grad, torch.ones(5, 5, 5))
    assert values.grad.sum() == 125
