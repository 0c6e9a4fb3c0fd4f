import math

import pytest
import torch
from surface_facts import half_edges

from backend.geometry.marching_tetrahedra import find_crossings, marching_tetrahedra
from backend.geometry.smoothness import (
    _laplacian_roughness,
    _normal_consistency,
    _sorted_edges,
    laplacian_roughness,
    normal_consistency,
    sign_change_entropy,
    unique_edges_with_faces,
)
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh

CORNERS = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
FACES = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]


def mesh_of(positions, faces):
    return TriangleMesh(torch.as_tensor(positions, dtype=torch.float64), torch.tensor(faces, dtype=torch.int32))


def bumpy_sphere(dtype=torch.float64, resolution=8):
    grid = TetrahedralGrid(resolution)
    positions = grid.positions(dtype=dtype)
    noise = torch.randn(positions.shape[:3], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mesh = marching_tetrahedra(positions.norm(dim=-1) - 0.6 + 0.05 * noise.to(dtype), grid)
    return TriangleMesh(mesh.positions.detach().requires_grad_(), mesh.faces)


# Edges


@pytest.mark.parametrize("find", [unique_edges_with_faces, _sorted_edges])
def test_a_tetrahedron_has_six_edges_between_its_faces(find):
    edges = find(torch.tensor(FACES, dtype=torch.int32), 4)

    found = {
        tuple(ends): tuple(sides) for ends, sides in zip(edges.vertices.tolist(), edges.faces.tolist(), strict=True)
    }
    assert found == {(0, 2): (0, 3), (1, 2): (0, 2), (0, 1): (0, 1), (1, 3): (1, 2), (0, 3): (1, 3), (2, 3): (2, 3)}


@pytest.mark.parametrize("find", [unique_edges_with_faces, _sorted_edges])
def test_borders_have_one_face_and_fans_are_paired(find):
    # Three triangles around the edge 0-1, numbered 0, 1, 2.
    edges = find(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]], dtype=torch.int32), 5)

    found = sorted(zip(edges.vertices.tolist(), edges.faces.tolist(), strict=True))
    assert found[:2] == [([0, 1], [0, 1]), ([0, 1], [2, -1])]
    assert [sides for _, sides in found[2:]] == [[0, -1], [1, -1], [2, -1], [0, -1], [1, -1], [2, -1]]


def test_both_ways_find_the_same_edges_of_a_surface():
    mesh = bumpy_sphere()
    ours, other = (find(mesh.faces, len(mesh.positions)) for find in (unique_edges_with_faces, _sorted_edges))

    rows = [sorted(torch.cat([edges.vertices, edges.faces], dim=1).tolist()) for edges in (ours, other)]
    assert rows[0] == rows[1]
    expected = half_edges(mesh.faces).sort(dim=1).values.unique(dim=0)
    assert len(ours.vertices) == len(expected) == 3 * len(mesh.faces) // 2
    assert ours.faces.min() >= 0


def test_no_faces_have_no_edges():
    for find in (unique_edges_with_faces, _sorted_edges):
        assert len(find(torch.zeros(0, 3, dtype=torch.int32), 0).vertices) == 0


def test_faces_that_point_nowhere_are_refused():
    with pytest.raises(ValueError, match="faces point at vertices 0 to 3, but there are 3"):
        unique_edges_with_faces(torch.tensor(FACES, dtype=torch.int32), 3)


# Normals


@pytest.mark.parametrize("weights", ["area", "equal"])
def test_a_plane_is_consistent(weights):
    mesh = mesh_of([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 3, 0]], [[0, 1, 2], [0, 2, 3]])

    assert normal_consistency(mesh, weights=weights) == 0


@pytest.mark.parametrize("weights", ["area", "equal"])
def test_a_right_angle_counts_one(weights):
    mesh = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 2], [1, 0, 3]])

    assert normal_consistency(mesh, weights=weights).item() == pytest.approx(1.0)


def test_edges_weigh_as_much_as_their_smaller_face():
    # The corner of a cube: three right angles between faces of area 1/2. The face in front has area sqrt(3)/2 and an
    # angle of cosine -1/sqrt(3) to each of them.
    mesh = mesh_of(CORNERS, FACES)
    front = 1 + 1 / math.sqrt(3)

    assert normal_consistency(mesh, weights="equal").item() == pytest.approx((3 + 3 * front) / 6)
    assert normal_consistency(mesh, weights="area").item() == pytest.approx(
        (3 + 3 * front) / 6
    )  # smaller ones all equal

    flat = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.1]], FACES)
    # Faces 1 and 3 have area 0.05, 0 has 0.5 and 2 has sqrt(0.51) * ... : by hand from |cross| / 2.
    bottom, side, slope = 0.5, 0.05, math.sqrt(0.1**2 + 0.1**2 + 1) / 2
    cos_slope = 1 / math.sqrt(0.1**2 + 0.1**2 + 1)  # between the slope and the vertical
    bends = {
        ("bottom", "side"): (1.0, side),
        ("bottom", "side again"): (1.0, side),
        ("side", "side again"): (1.0, side),
        ("bottom", "slope"): (1 + cos_slope, min(bottom, slope)),
        ("side", "slope"): (1 + 0.1 * cos_slope, side),
        ("side again", "slope"): (1 + 0.1 * cos_slope, side),
    }
    expected = sum(bend * weight for bend, weight in bends.values()) / sum(weight for _, weight in bends.values())
    assert normal_consistency(flat).item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", ["area", "equal"])
def test_the_kernel_for_normals_agrees_with_torch(weights):
    mesh = bumpy_sphere()
    edges = unique_edges_with_faces(mesh.faces, len(mesh.positions))

    ours, other = normal_consistency(mesh, edges, weights), _normal_consistency(mesh, edges, weights)

    torch.testing.assert_close(ours, other)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, mesh.positions), torch.autograd.grad(3 * other, mesh.positions)
    )


def test_slivers_do_not_drown_the_gradient():
    """A vertex 1e-5 beside an edge: by equal weights its gradient is as large as the sliver is thin."""
    positions = [[0, 0, 0], [1, 0, 0], [0.5, 1, 0.2], [0.5, -1e-5, 1e-6], [0.5, -1, 0.3]]
    mesh = mesh_of(positions, [[0, 1, 2], [1, 0, 3], [0, 4, 3], [1, 3, 4]])
    sizes = {}
    for weights in ("area", "equal"):
        leaf = mesh.positions.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(normal_consistency(TriangleMesh(leaf, mesh.faces), weights=weights), leaf)
        sizes[weights] = gradient.norm().item()

    assert sizes["equal"] > 1000
    assert sizes["area"] < 10


@pytest.mark.parametrize("weights", ["area", "equal"])
@pytest.mark.parametrize("term", [normal_consistency, _normal_consistency])
def test_faces_without_area_count_for_nothing(term, weights):
    mesh = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0]], [[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    leaf = mesh.positions.clone().requires_grad_()

    loss = term(TriangleMesh(leaf, mesh.faces), unique_edges_with_faces(mesh.faces, 5), weights)
    (gradient,) = torch.autograd.grad(loss, leaf)

    assert loss.item() == pytest.approx(1.0)
    assert gradient.isfinite().all()


# Laplacian


def test_the_laplacian_is_the_way_to_the_mean_of_the_neighbours():
    # A square pyramid without its base: the tip sees four neighbours, each base corner two others and the tip.
    base = [[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]
    mesh = mesh_of([*base, [0, 0, 3]], [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])

    # Tip: 3 down. Corner (1, 1, 0): mean of (-1, 1, 0), (1, -1, 0) and (0, 0, 3) is (0, 0, 1), sqrt(3) away.
    assert laplacian_roughness(mesh).item() == pytest.approx((3 + 4 * math.sqrt(3)) / 5)


def test_the_kernel_for_the_laplacian_agrees_with_torch():
    mesh = bumpy_sphere()
    edges = unique_edges_with_faces(mesh.faces, len(mesh.positions))

    ours, other = laplacian_roughness(mesh, edges), _laplacian_roughness(mesh.positions, edges)

    torch.testing.assert_close(ours, other)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, mesh.positions), torch.autograd.grad(3 * other, mesh.positions)
    )


def test_unused_vertices_do_not_count():
    used = mesh_of(CORNERS, FACES)
    with_unused = mesh_of([*CORNERS, [9.0, 9.0, 9.0]], FACES)

    torch.testing.assert_close(laplacian_roughness(with_unused), laplacian_roughness(used))
    edges = unique_edges_with_faces(with_unused.faces, 5)
    torch.testing.assert_close(_laplacian_roughness(with_unused.positions, edges), laplacian_roughness(used))


@pytest.mark.parametrize("term", [normal_consistency, laplacian_roughness])
def test_an_empty_mesh_is_smooth(term):
    positions = torch.zeros(0, 3, requires_grad=True)

    loss = term(TriangleMesh(positions, torch.zeros(0, 3, dtype=torch.int32)))
    loss.backward()

    assert loss == 0


@pytest.mark.parametrize("term", [normal_consistency, laplacian_roughness])
def test_descending_makes_a_bumpy_sphere_smoother(term):
    mesh = bumpy_sphere(resolution=16)
    positions = mesh.positions.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([positions], lr=1e-3)
    values = []
    for _ in range(30):
        loss = term(TriangleMesh(positions, mesh.faces))
        values.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert values[-1] < 0.8 * values[0]


# Signs


def test_the_entropy_of_one_vertex_inside_is_worked_out_by_hand():
    distances = torch.full((5, 5, 5), 2.0, dtype=torch.float64)
    distances[2, 2, 2] = -1.0

    # Each of the 14 edges: BCE(sigmoid(-1), 1) + BCE(sigmoid(2), 0) = log(1 + e) + log(1 + e^2).
    expected = math.log1p(math.e) + math.log1p(math.e**2)
    assert sign_change_entropy(distances).item() == pytest.approx(expected)
    assert sign_change_entropy(10 * distances, cell_metres=10.0).item() == pytest.approx(expected)


def test_each_end_is_drawn_to_the_sign_of_the_other():
    distances = torch.full((5, 5, 5), 0.5)
    distances[2, 2, 2] = -0.5
    distances.requires_grad_()

    sign_change_entropy(distances).backward()

    assert distances.grad[2, 2, 2] < 0  # descending raises it: the loose vertex goes
    assert distances.grad[2, 2, 3] > 0
    assert (distances.grad != 0).sum() == 15


def test_fewer_crossings_after_descending():
    distances = torch.randn(9, 9, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimiser = torch.optim.Adam([distances], lr=0.05)
    before = len(find_crossings(distances.detach()).edges)
    for _ in range(20):
        optimiser.zero_grad()
        sign_change_entropy(distances).backward()
        optimiser.step()

    assert len(find_crossings(distances.detach()).edges) < 0.8 * before


def test_distances_on_the_wall_of_the_lattice_are_outside_and_get_no_gradient_inside():
    distances = torch.full((5, 5, 5), -0.5, requires_grad=True)

    sign_change_entropy(distances).backward()

    assert distances.grad[0, 0, 0] == distances.grad[0, 2, 2] == 0
    assert distances.grad[1, 2, 2] < 0


@pytest.mark.parametrize("value", [1.0, 0.5])
def test_an_empty_surface_has_no_entropy(value):
    distances = torch.full((5, 5, 5), value, requires_grad=True)

    loss = sign_change_entropy(distances)
    loss.backward()

    assert loss == 0
    assert (distances.grad == 0).all()
