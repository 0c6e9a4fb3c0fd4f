"""UVs of a file: kept where they are good, refused with a reason where not; new ones keep the file's vertices."""

import re

import numpy as np
import pytest
import torch
import trimesh

from backend.geometry.given_mesh import creased_normals, own_layout, unwrap_given_mesh
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import overlapping_faces

# Two triangles of a square, and where they lie in the texture.
SQUARE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
FACES = [[0, 1, 2], [0, 2, 3]]
UV = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]])


def mesh_of(positions, faces):
    return TriangleMesh(torch.as_tensor(positions).float(), torch.tensor(faces, dtype=torch.int32))


def soup(solid):
    """Every face with vertices of its own, as in STL."""
    return mesh_of(np.array(solid.triangles).reshape(-1, 3), np.arange(3 * len(solid.faces)).reshape(-1, 3).tolist())


def test_good_uvs_are_kept_to_the_bit():
    layout = own_layout(mesh_of(SQUARE, FACES), UV, 256)

    assert np.array_equal(layout.uv, UV.astype(np.float32))
    assert layout.faces.tolist() == FACES
    assert layout.source_vertices.tolist() == [0, 1, 2, 3]
    assert layout.coverage == pytest.approx(0.25)
    assert layout.chart_count == 1


def test_a_face_in_another_tile_of_the_texture_moves_into_the_first_one():
    # Two squares; the second one's UVs are in the tile (2, -1), in another place of it.
    positions = torch.cat([SQUARE, SQUARE + 5])
    faces = FACES + [[a + 4, b + 4, c + 4] for a, b, c in FACES]
    uv = np.concatenate([0.8 * UV, 0.3 * UV + [2.6, -0.4]])

    layout = own_layout(mesh_of(positions, faces), uv, 256)

    assert layout.uv == pytest.approx(np.concatenate([0.8 * UV, 0.3 * UV + [0.6, 0.6]]), abs=1e-6)
    assert layout.source_vertices.tolist() == list(range(8))
    assert layout.chart_count == 2


def test_vertices_between_faces_that_move_differently_are_doubled():
    # A strip of two squares across u = 1: the left one stays, the right one moves to u = 0.
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]])
    faces = [[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]]
    uv = np.array([[0.7, 0.1], [1, 0.1], [1.3, 0.1], [0.7, 0.4], [1, 0.4], [1.3, 0.4]])

    layout = own_layout(mesh_of(positions, faces), uv, 256)

    assert sorted(layout.source_vertices.tolist()) == [0, 1, 1, 2, 3, 4, 4, 5]
    assert layout.source_vertices[layout.faces].tolist() == faces
    assert layout.uv[layout.faces[2]] == pytest.approx(np.array([[0, 0.1], [0.3, 0.1], [0.3, 0.4]]), abs=1e-6)


@pytest.mark.parametrize(
    ("uv", "reason"),
    [
        (np.where([[True], [False], [False], [False]], np.nan, UV), "some parts of it have none"),
        (3 * UV, "2 faces reach over the border"),
        (0.01 * UV, r"they cover 0\.00% of the texture"),
        (np.zeros((4, 2)), "they cover"),
        (UV * [[1], [1], [1], [0]] + [[0], [0], [0], [1]] * UV[2], "50% of the surface has no room"),
        (np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.6, 0.1]]), r"they overlap in \d+% of what they cover"),
    ],
)
def test_uvs_that_cannot_hold_a_texture_are_refused_with_the_reason(uv, reason):
    refused = own_layout(mesh_of(SQUARE, FACES), uv, 256)

    assert isinstance(refused, str)
    assert re.search(reason, refused), refused


def test_new_uvs_go_on_across_doubled_vertices_and_keep_them_apart():
    ball = soup(trimesh.creation.icosphere(2))

    layout = unwrap_given_mesh(ball, 256)

    assert layout.chart_count < 30  # not one for each of the 320 faces
    assert layout.source_vertices[layout.faces].tolist() == ball.faces.tolist()
    assert np.array_equal(layout.positions, ball.positions[layout.source_vertices.astype(int)].numpy())
    assert len(overlapping_faces(layout.uv, layout.faces, 256)) == 0


def test_faces_without_area_are_unwrapped_with_the_rest():
    mesh = mesh_of(SQUARE, [*FACES, [0, 0, 1], [1, 1, 1]])

    layout = unwrap_given_mesh(mesh, 64)

    assert layout.source_vertices[layout.faces].tolist() == mesh.faces.tolist()


def test_normals_are_smooth_on_a_ball_and_sharp_on_a_box():
    ball, box = soup(trimesh.creation.icosphere(3)), soup(trimesh.creation.box())

    # The faces of this ball meet at about 8 degrees, those of the box at 90.
    assert creased_normals(ball) == pytest.approx(ball.positions.numpy(), abs=0.02)
    flat = np.repeat(trimesh.creation.box().face_normals, 3, axis=0)
    assert creased_normals(box) == pytest.approx(flat, abs=1e-6)


def test_a_vertex_without_area_takes_the_normal_of_its_doubles():
    mesh = mesh_of(torch.cat([SQUARE, SQUARE[:1]]), [*FACES, [4, 4, 4]])

    assert creased_normals(mesh)[4] == pytest.approx([0, 0, 1])
    assert creased_normals(mesh_of(SQUARE, [[0, 0, 0], [1, 2, 3]]))[0] == pytest.approx([0, 1, 0])
