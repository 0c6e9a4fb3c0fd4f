import pytest
import torch
from surface_facts import is_closed, volume

from backend.geometry.components import face_components, keep_faces, remove_floaters
from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def three_parts():
    """A lone triangle, a tetrahedron, and a tetrahedron with a fin, with unused vertices between them."""
    positions = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fin = torch.tensor([[10, 11, 14]])
    faces = torch.cat([torch.tensor([[0, 1, 2]]), TETRAHEDRON + 4, TETRAHEDRON + 10, fin])
    return TriangleMesh(positions, faces.int())


def test_parts_are_numbered_from_the_largest_down():
    parts = face_components(three_parts())

    assert parts.tolist() == [2] + 4 * [1] + 5 * [0]


def test_only_the_largest_part_stays_with_its_vertices_and_gradients():
    mesh = three_parts()

    kept = remove_floaters(mesh)

    assert torch.equal(kept.positions, mesh.positions[10:15])
    assert kept.faces.tolist() == [*TETRAHEDRON.tolist(), [0, 1, 4]]
    kept.positions.sum().backward()
    assert mesh.positions.grad.sum(dim=1).tolist() == [0] * 10 + [3] * 5 + [0]


@pytest.mark.parametrize(("share", "face_count"), [(0.9, 5), (0.8, 9), (0.3, 9), (0.2, 10)])
def test_parts_with_enough_faces_stay(share, face_count):
    assert len(remove_floaters(three_parts(), smallest_share=share).faces) == face_count


def test_of_two_equal_parts_the_first_stays():
    positions = torch.randn(8, 3)
    mesh = TriangleMesh(positions, torch.cat([TETRAHEDRON, TETRAHEDRON + 4]).int())

    assert torch.equal(remove_floaters(mesh).positions, positions[:4])


def test_a_cavity_goes_with_its_wall():
    grid = TetrahedralGrid(24)
    radius = grid.positions().norm(dim=-1)
    shell = marching_tetrahedra((radius - 0.5).abs() - 0.2, grid)

    solid = remove_floaters(shell)

    assert is_closed(solid)
    assert volume(solid) == pytest.approx(volume(marching_tetrahedra(radius - 0.7, grid)))


def test_an_empty_mesh_stays_empty():
    mesh = TriangleMesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))

    assert remove_floaters(mesh).is_empty
    assert len(face_components(mesh)) == 0


def test_a_share_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"at most 1, got 2\.0"):
        remove_floaters(three_parts(), smallest_share=2.0)


def test_keeping_no_face_leaves_nothing():
    mesh = three_parts()

    assert keep_faces(mesh, torch.zeros(10, dtype=torch.bool)).is_empty
