"""Reading what users give with its UVs and normals; what is wrong with files is in test_signed_distance."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals

from backend.errors import UnreadableMesh
from backend.geometry.mesh_input import place_in_ball, read_mesh_input

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
UV = np.array([[0.1, 0.2], [0.9, 0.2], [0.1, 0.7]])  # v upwards, as trimesh has it


def triangle(with_uv=True, with_normals=False):
    return trimesh.Trimesh(
        CORNERS, [[0, 1, 2]], process=False,
        visual=TextureVisuals(uv=UV) if with_uv else None,
        vertex_normals=np.tile([0.0, 0.6, 0.8], (3, 1)) if with_normals else None,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_uvs_come_with_row_0_of_the_texture_at_v_0(tmp_path, suffix):
    triangle().export(tmp_path / f"triangle.{suffix}")

    read = read_mesh_input(tmp_path / f"triangle.{suffix}", with_appearance=True)

    order = np.argsort(read.vertices @ [1.0, 2.0, 0.0])
    assert read.uv[order] == pytest.approx(np.array([[0.1, 0.8], [0.9, 0.8], [0.1, 0.3]]), abs=1e-6)


@pytest.mark.parametrize("suffix", ["stl", "off"])
def test_a_file_without_uvs_and_normals_has_none(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"box.{suffix}")

    read = read_mesh_input(tmp_path / f"box.{suffix}", with_appearance=True)

    assert read.uv is None
    assert read.normals is None


def test_objects_without_uvs_among_others_have_nan(tmp_path):
    trimesh.Scene([triangle(), triangle(with_uv=False)]).export(tmp_path / "two.glb")

    read = read_mesh_input(tmp_path / "two.glb", with_appearance=True)

    assert np.isfinite(read.uv).all(axis=1).sum() == 3
    assert len(read.uv) == 6


def test_normals_follow_their_object(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(triangle(with_normals=True), transform=np.diag([-1.0, 4.0, 2.0, 1.0]))
    scene.export(tmp_path / "stretched.glb")

    read = read_mesh_input(tmp_path / "stretched.glb", with_appearance=True)

    # The inverse of the stretching: (0, 0.6 / 4, 0.8 / 2), made a unit vector. A mirror along x leaves it.
    expected = np.array([0.0, 0.15, 0.4]) / np.hypot(0.15, 0.4)
    assert read.normals == pytest.approx(np.tile(expected, (3, 1)), abs=1e-6)
    assert read.vertices.min(axis=0) == pytest.approx([-1, 0, 0])


def test_faces_without_area_and_their_order_stay(tmp_path):
    (tmp_path / "sliver.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 9 9 9\nf 1 1 2\nf 1 2 3\n")

    read = read_mesh_input(tmp_path / "sliver.obj")

    assert len(read.vertices) == 3  # no face uses the fourth
    assert read.faces.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert read.has_area().tolist() == [False, True]


def test_a_point_cloud_is_told_what_is_needed(tmp_path):
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")

    with pytest.raises(UnreadableMesh, match="holds no faces; a mesh of triangles"):
        read_mesh_input(tmp_path / "points.ply")


def test_blenders_axes_come_to_stand_up_with_the_front_ahead():
    # In Blender: up is +Z, the front looks along -Y, and the right hand of who looks at it is +X.
    vertices = np.array([[0.0, 0, 2], [0, -2, 0], [2, 0, 0], [0, 0, -2], [0, 2, 0], [-2, 0, 0]])

    placement = place_in_ball(vertices, "z")

    placed = placement.place(vertices)
    assert placed[:3] == pytest.approx(0.9 * np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    assert placement.turn_back(placement.turn(vertices)) == pytest.approx(vertices)


def test_colours_of_vertices_of_faces_and_of_textures_are_read(tmp_path):
    box = trimesh.creation.box((1.0, 1.0, 1.0)).subdivide()
    red_above = np.where(box.vertices[:, 2:] > 0, [255, 0, 0, 255], [0, 0, 255, 255]).astype(np.uint8)
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=red_above)
    box.export(tmp_path / "vertices.ply")
    picture = Image.fromarray(np.full((8, 8, 3), (0, 255, 0), np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    textured = box.copy()
    textured.visual = trimesh.visual.TextureVisuals(uv=np.full((len(box.vertices), 2), 0.5), material=material)
    textured.export(tmp_path / "texture.glb")

    vertices = read_mesh_input(tmp_path / "vertices.ply", with_appearance=True)
    texture = read_mesh_input(tmp_path / "texture.glb", with_appearance=True)

    is_above = vertices.vertices[:, 2] > 0
    assert np.allclose(vertices.colours[is_above], [1, 0, 0])
    assert np.allclose(vertices.colours[~is_above], [0, 0, 1])
    assert np.allclose(texture.colours, [0, 1, 0], atol=0.01)
    assert read_mesh_input(tmp_path / "vertices.ply").colours is None


def test_a_mesh_without_colours_has_none_and_is_grey_among_others(tmp_path):
    plain = trimesh.creation.box((1.0, 1.0, 1.0))
    plain.export(tmp_path / "plain.stl")
    red = plain.copy().apply_translation((3.0, 0.0, 0.0))
    red.visual = trimesh.visual.ColorVisuals(red, vertex_colors=np.full((8, 4), (255, 0, 0, 255), np.uint8))
    trimesh.Scene([plain, red]).export(tmp_path / "two.glb")

    two = read_mesh_input(tmp_path / "two.glb", with_appearance=True)

    assert read_mesh_input(tmp_path / "plain.stl", with_appearance=True).colours is None
    is_red = two.vertices[:, 0] > 1
    assert np.allclose(two.colours[is_red], [1, 0, 0])
    assert np.allclose(two.colours[~is_red], 0.5, atol=0.15)  # trimesh may say of grey what grey it is
