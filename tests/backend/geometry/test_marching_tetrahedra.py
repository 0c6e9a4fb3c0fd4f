import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_marching_tetrahedra import naive_marching_tetrahedra
from surface_facts import area, euler_characteristic, is_closed, sorted_triangles, volume

from backend.geometry.marching_tetrahedra import (
    SMALLEST_DISTANCE_CELLS,
    WALL_DISTANCE_CELLS,
    find_crossings,
    marching_tetrahedra,
)
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh

IMPLEMENTATIONS = ("numba", "torch")
both = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

# Cells of one metre from -2 to 2: lattice vertex (x, y, z) is at (x - 2, y - 2, z - 2).
GRID = TetrahedralGrid(resolution=4, half_extent_metres=2.0)


def outside(value=1.0, dtype=torch.float32):
    return torch.full((5, 5, 5), value, dtype=dtype)


def sphere_distances(grid, radius, dtype=torch.float32):
    return grid.positions(dtype=dtype).norm(dim=-1) - radius


def random_distances(seed, side=9, dtype=torch.float32):
    """Every sign pattern there is, and values that differ."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(side, side, side, generator=generator, dtype=torch.float64).to(dtype)


def closed_off(distances, grid):
    """The distances as the marching sees them at the lattice's end."""
    wall = WALL_DISTANCE_CELLS * grid.cell_metres
    closed = distances.clamp(min=wall)
    closed[1:-1, 1:-1, 1:-1] = distances[1:-1, 1:-1, 1:-1]
    return closed


# Worked out by hand


@both
@pytest.mark.parametrize("value", [1.0, 0.0, float("nan")])
def test_all_outside_gives_an_empty_mesh(implementation, value):
    mesh = marching_tetrahedra(outside(value), GRID, implementation=implementation)

    assert mesh.is_empty
    assert mesh.positions.shape == (0, 3)


@both
def test_one_vertex_inside_is_wrapped_by_a_crossing_on_each_of_its_fourteen_edges(implementation):
    distances = outside(3.0)
    distances[2, 2, 2] = -1.0  # the origin; the crossings are a quarter of the way out

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)

    # Seven directions up and seven down, sorted by the vertex where the edge starts and then by direction. Those that
    # start below: (-1,-1,-1) in direction 7, then (-1,-1,0) in 6, (-1,0,-1) in 5, (-1,0,0) in 4, (0,-1,-1) in 3, ...
    down = [(-1, -1, -1), (-1, -1, 0), (-1, 0, -1), (-1, 0, 0), (0, -1, -1), (0, -1, 0), (0, 0, -1)]
    up = [(0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    torch.testing.assert_close(mesh.positions, torch.tensor(down + up) * 0.25)
    # 24 tetrahedra meet at a vertex, and each gives one triangle; 14 - 36 + 24 = 2.
    assert mesh.faces.shape == (24, 3)
    assert is_closed(mesh)
    assert euler_characteristic(mesh) == 2
    # The 24 tetrahedra of 1/6 m3, shrunk to a quarter.
    assert volume(mesh) == pytest.approx(24 / 6 / 4**3)


@both
def test_two_neighbours_inside_give_one_part_with_quadrilaterals_between_them(implementation):
    distances = outside(1.0)
    distances[2, 2, 2] = distances[3, 2, 2] = -1.0  # along x

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)

    # 14 edges each, less the one between them at either end. Six tetrahedra hold that edge and give two triangles each;
    # the other 18 + 18 give one.
    assert mesh.positions.shape == (26, 3)
    assert mesh.faces.shape == (48, 3)
    assert is_closed(mesh)
    assert euler_characteristic(mesh) == 2
    # By mid-points. One vertex of a tetrahedron cuts off 1/8 of it, and two cut off 1/2: 36 * 1/8 + 6 * 1/2 sixths.
    assert volume(mesh) == pytest.approx((36 / 8 + 6 / 2) / 6)


@both
def test_two_vertices_across_an_antidiagonal_are_two_parts(implementation):
    distances = outside(1.0)
    distances[2, 2, 1] = distances[2, 1, 2] = -1.0  # (0, 0, -1) and (0, -1, 0): their difference is no edge direction

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)

    assert mesh.faces.shape == (48, 3)
    assert euler_characteristic(mesh) == 4
    assert is_closed(mesh)


@both
def test_one_vertex_outside_in_a_block_gives_an_inward_looking_cavity(implementation):
    grid = TetrahedralGrid(resolution=6, half_extent_metres=3.0)
    distances = torch.full((7, 7, 7), -1.0)
    distances[3, 3, 3] = 1.0

    mesh = marching_tetrahedra(distances, grid, implementation=implementation)

    assert is_closed(mesh)
    cavity = mesh.positions.norm(dim=-1) < 1
    inner = mesh.faces[cavity[mesh.faces.long()].all(dim=1)]
    assert inner.shape == (24, 3)
    # By mid-points, as above, and turned over.
    assert volume(TriangleMesh(mesh.positions, inner)) == pytest.approx(-24 / 6 / 8)


@both
def test_crossings_lie_on_displaced_lattice_edges(implementation):
    distances = outside(3.0)
    distances[2, 2, 2] = -1.0
    offsets = torch.zeros(3, 5, 5, 5)
    offsets[:, 2, 2, 2] = torch.tensor([0.1, 0.0, 0.0])
    offsets[:, 2, 2, 3] = torch.tensor([0.0, 0.2, 0.4])

    mesh = marching_tetrahedra(distances, GRID, offsets, implementation)

    # The first edge upwards goes along z, from (0.1, 0, 0) to (0, 0.2, 1.4).
    torch.testing.assert_close(mesh.positions[7], torch.tensor([0.75 * 0.1, 0.25 * 0.2, 0.25 * 1.4]))


# Properties


@both
@pytest.mark.parametrize("radius", [0.3, 0.72])
def test_a_sphere_is_closed_outward_and_as_large_as_it_should_be(implementation, radius):
    grid = TetrahedralGrid(32)
    mesh = marching_tetrahedra(sphere_distances(grid, radius), grid, implementation=implementation)

    assert is_closed(mesh)
    assert euler_characteristic(mesh) == 2
    # A polyhedron inside the sphere. A face as long as a diagonal of a cell lies up to 3 cell^2 / (8 radius) deep: of
    # the volume, 3 * 3 / 8 * (cell / radius)^2 = 4.9 % at a radius of 0.3 for the worst face, and about half of it
    # for all.
    assert 0.97 < volume(mesh) / (4 / 3 * math.pi * radius**3) < 1
    assert 0.97 < area(mesh) / (4 * math.pi * radius**2) < 1
    centres = mesh.positions[mesh.faces.long()].mean(dim=1)
    normals = mesh.face_normals()
    assert ((normals * centres).sum(-1) > 0).all()
    torch.testing.assert_close(
        mesh.positions.norm(dim=-1), torch.full((len(mesh.positions),), radius), atol=0.01, rtol=0
    )


def test_a_torus_has_euler_characteristic_zero():
    grid = TetrahedralGrid(32)
    positions = grid.positions()
    ring = positions[..., :2].norm(dim=-1) - 0.6
    distances = torch.stack([ring, positions[..., 2]], dim=-1).norm(dim=-1) - 0.2

    mesh = marching_tetrahedra(distances, grid)

    assert is_closed(mesh)
    assert euler_characteristic(mesh) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_both_implementations_give_the_same_mesh_in_the_same_order(seed, dtype):
    grid = TetrahedralGrid(8)
    distances = random_distances(seed, dtype=dtype)
    offsets = 0.02 * torch.stack([random_distances(seed + number, dtype=dtype) for number in (10, 20, 30)])

    ours, other = (marching_tetrahedra(distances, grid, offsets, name) for name in IMPLEMENTATIONS)

    assert torch.equal(ours.faces, other.faces)
    torch.testing.assert_close(ours.positions, other.positions)
    assert torch.equal(find_crossings(distances, "numba").edges, find_crossings(distances, "torch").edges)


@both
@pytest.mark.parametrize("seed", range(4))
def test_the_surface_is_that_of_the_published_way(implementation, seed):
    grid = TetrahedralGrid(8)
    distances = random_distances(seed, dtype=torch.float64)

    mesh = marching_tetrahedra(distances, grid, implementation=implementation)
    positions, faces = naive_marching_tetrahedra(
        closed_off(distances, grid).view(-1), grid.positions(dtype=torch.float64).view(-1, 3), grid.tetrahedra()
    )

    assert len(positions) == len(mesh.positions)
    assert len(faces) == len(mesh.faces) > 1000
    torch.testing.assert_close(
        sorted_triangles(mesh.positions, mesh.faces), sorted_triangles(positions, faces), atol=1e-12, rtol=0
    )


def test_gradients_are_those_of_the_published_way():
    grid = TetrahedralGrid(8)
    distances = random_distances(5, dtype=torch.float64).requires_grad_()
    lattice = grid.positions(dtype=torch.float64)
    offsets = torch.zeros(3, 9, 9, 9, dtype=torch.float64, requires_grad=True)

    def loss(positions, faces):
        # Depends on every triangle, but not on the order of any.
        return positions[faces.long()].mean(dim=1).pow(3).sum()

    mesh = marching_tetrahedra(distances, grid, offsets)
    ours = torch.autograd.grad(loss(mesh.positions, mesh.faces), (distances, offsets))
    moved = (lattice + offsets.movedim(0, -1)).view(-1, 3)
    naive = naive_marching_tetrahedra(closed_off(distances, grid).view(-1), moved, grid.tetrahedra())
    expected = torch.autograd.grad(loss(*naive), (distances, offsets))

    torch.testing.assert_close(ours, expected)


@both
def test_gradients_agree_with_finite_differences(implementation):
    # Away from zero by more than the step of the differences, so that no sign changes.
    distances = random_distances(1, side=5, dtype=torch.float64)
    distances = (distances + 0.1 * distances.sign()).requires_grad_()
    offsets = (0.1 * torch.stack([random_distances(seed, 5, torch.float64) for seed in (2, 3, 4)])).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda d, o: marching_tetrahedra(d, GRID, o, implementation).positions, (distances, offsets)
    )


def test_without_offsets_only_the_distances_get_a_gradient():
    distances = random_distances(2).requires_grad_()

    marching_tetrahedra(distances, TetrahedralGrid(8)).positions.sum().backward()

    assert distances.grad.isfinite().all()
    # Far from the surface nothing is touched.
    assert (distances.grad == 0).any()


@both
def test_an_empty_surface_has_gradients_of_zero(implementation):
    distances = outside().requires_grad_()

    marching_tetrahedra(distances, GRID, implementation=implementation).positions.sum().backward()

    assert torch.equal(distances.grad, torch.zeros(5, 5, 5))


@both
def test_a_distance_of_zero_is_outside_and_makes_no_degenerate_triangle(implementation):
    # An octahedron around the origin, whose six tips are lattice vertices with distance zero.
    distances = (GRID.positions().abs().sum(dim=-1) - 1.0).requires_grad_()
    assert (distances == 0).sum() == 6

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)
    mesh.positions.sum().backward()

    assert is_closed(mesh)
    assert (mesh.face_normals().norm(dim=-1) > 0).all()
    # The tips come short of those vertices by a ten-thousandth of the edge.
    assert 1 - 2 * SMALLEST_DISTANCE_CELLS < mesh.positions.abs().max() < 1
    assert distances.grad.isfinite().all()


@both
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), inside_share=st.floats(0.02, 0.98))
def test_every_pattern_of_signs_is_closed(implementation, seed, inside_share):
    generator = torch.Generator().manual_seed(seed)
    distances = torch.where(torch.rand(5, 5, 5, generator=generator) < inside_share, -0.3, 0.7)

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)

    assert is_closed(mesh)


@both
def test_a_surface_that_would_leave_the_lattice_is_closed_inside_it(implementation):
    distances = sphere_distances(GRID, 3.0).requires_grad_()  # beyond the sides at 2, within the corners at 3.46

    mesh = marching_tetrahedra(distances, GRID, implementation=implementation)
    mesh.positions.sum().backward()

    assert is_closed(mesh)
    assert mesh.positions.abs().max() < 2.0
    assert distances.grad[0, 2, 2] == 0  # negative on the wall: what counts there is not this distance


def test_the_same_input_gives_the_same_bits():
    grid = TetrahedralGrid(16)
    distances = random_distances(7, side=17).requires_grad_()
    runs = []
    for _ in range(2):
        mesh = marching_tetrahedra(distances, grid)
        (gradient,) = torch.autograd.grad(mesh.positions.square().sum(), distances)
        runs.append((mesh.positions, mesh.faces, gradient))

    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_crossed_edges_start_inside_or_end_inside():
    distances = random_distances(8)
    distances[0] = distances[-1] = distances[:, 0] = distances[:, -1] = 1.0
    distances[:, :, 0] = distances[:, :, -1] = 1.0

    edges = find_crossings(distances).edges.long()

    assert ((distances.view(-1)[edges] < 0).sum(dim=1) == 1).all()
    # Sorted by start and direction, each once.
    keys = edges[:, 0] * 1000 + edges[:, 1]
    assert (keys.diff() > 0).all()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="4 cells has 5 vertices a side, but there are 4"):
        marching_tetrahedra(torch.zeros(4, 4, 4), GRID)
    with pytest.raises(ValueError, match=r"offsets are torch\.float64"):
        marching_tetrahedra(outside(), GRID, torch.zeros(3, 5, 5, 5, dtype=torch.float64))
