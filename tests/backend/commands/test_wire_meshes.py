"""Files to the wire and back: axes, V, sRGB. The wire has Z up and its front at -Y; glTF Y up and its front at +Z."""

import dataclasses
import io

import numpy as np
import pytest
import torch
import trimesh
from fake_job_server import partial_result, png, textured_result
from PIL import Image
from trimesh.visual import TextureVisuals

from backend.appearance.mesh_files import read_mesh_file, write_mesh
from backend.commands.coloured_mesh_files import write_coloured_mesh
from backend.commands.wire_meshes import decoded_png, finished_mesh, read_wire_mesh
from backend.errors import BadInput, OutputNotWritable
from examples import CORNERS, TETRAHEDRON
from protocol.geometry import Texture

# In glTF: one metre to the right, two upwards, three to the front. In Blender the front is at -Y.
RIGHT_UP_FRONT_GLTF = [1, 2, 3]
RIGHT_UP_FRONT_BLENDER = [1, -3, 2]


def write_triangle(path, corner, uv=None):
    visual = None if uv is None else TextureVisuals(uv=np.array(uv, float))
    vertices = np.array([[0, 0, 0], corner, [1, 0, 0]], float)
    trimesh.Trimesh(vertices, [[0, 1, 2]], process=False, visual=visual).export(path)


@pytest.mark.parametrize(("up", "corner"), [("y", RIGHT_UP_FRONT_GLTF), ("z", RIGHT_UP_FRONT_BLENDER)])
def test_a_file_comes_to_the_wire_with_blenders_axes(up, corner, tmp_path):
    write_triangle(tmp_path / "mesh.ply", corner)

    mesh = read_wire_mesh(tmp_path / "mesh.ply", up, pytest.fail)

    np.testing.assert_allclose(mesh.positions[mesh.faces[0, 1]], RIGHT_UP_FRONT_BLENDER)
    assert mesh.positions.dtype == np.float32


def test_uvs_are_sent_by_corner_with_v_upwards(tmp_path):
    write_triangle(tmp_path / "mesh.obj", [0, 1, 0], uv=[[0, 0], [0, 1], [1, 0]])

    mesh = read_wire_mesh(tmp_path / "mesh.obj", "y", pytest.fail)

    # OBJ has V upwards as well: what the file says is what is sent.
    np.testing.assert_allclose(mesh.uv[0], [[0, 0], [0, 1], [1, 0]])


def test_uvs_that_the_wire_cannot_say_are_left_out_with_a_sentence(tmp_path):
    write_triangle(tmp_path / "mesh.obj", [0, 1, 0], uv=[[0, 0], [0, 20_000], [1, 0]])
    said = []

    mesh = read_wire_mesh(tmp_path / "mesh.obj", "y", said.append)

    assert mesh.uv is None
    assert "they reach 2e+04 textures far" in said[0]


def test_a_mesh_too_far_away_is_named_with_its_file(tmp_path):
    write_triangle(tmp_path / "mesh.ply", [0, 2e6, 0])

    with pytest.raises(BadInput, match=r"mesh\.ply cannot be sent: positions\[.*it must be a number from -1000000 to"):
        read_wire_mesh(tmp_path / "mesh.ply", "y", pytest.fail)


def test_a_result_is_written_as_gltf_has_it(tmp_path):
    write_mesh(tmp_path / "mesh.glb", finished_mesh(textured_result(), "a red mushroom", "y"))

    read = read_mesh_file(tmp_path / "mesh.glb")
    # The wire's (x, y, z) is glTF's (x, z, -y).
    torch.testing.assert_close(read.mesh.positions, torch.tensor(CORNERS[:, [0, 2, 1]] * [1, 1, -1]).float())
    assert torch.equal(read.mesh.faces, torch.tensor(TETRAHEDRON))
    assert read.name == "a red mushroom"
    assert read.base_colour[1:].unique(dim=0).tolist() == [[[200, 0, 0]] * 4]
    assert read.metallic_roughness[2, 2].tolist() == [255, 128, 0]


def test_the_first_row_of_a_texture_is_where_the_wire_has_v_at_1(tmp_path):
    finished = textured_result()  # its first row is white, and vertex 2 is at V = 1
    write_mesh(tmp_path / "mesh.glb", finished_mesh(finished, "x", "y"))

    read = read_mesh_file(tmp_path / "mesh.glb")

    height = len(read.base_colour)
    rows = (read.uv[:, 1] * height).long().clamp(max=height - 1)  # in glTF, row 0 is at v = 0
    assert read.base_colour[rows[2], 0].tolist() == [255, 255, 255]
    assert read.base_colour[rows[0], 0].tolist() == [200, 0, 0]


def test_a_result_with_z_up_keeps_the_axes_of_the_wire(tmp_path):
    write_mesh(tmp_path / "mesh.ply", finished_mesh(textured_result(), "x", "z"))

    np.testing.assert_allclose(trimesh.load(tmp_path / "mesh.ply", process=False).vertices, CORNERS)


def test_a_result_without_a_second_texture_is_matt():
    first, _ = textured_result().textures

    made = finished_mesh(textured_result(textures=(first,)), "x", "y")

    assert made.textures.metallic_roughness.unique(dim=0).tolist() == [[[255, 255, 0]] * 4]


def test_a_partial_result_has_no_textures_to_write():
    assert finished_mesh(partial_result(), "x", "y") is None


def test_a_damaged_texture_gets_a_sentence():
    damaged = Texture(use="base-colour", picture=png([1, 2, 3])[:40])

    with pytest.raises(BadInput, match="the server's base-colour texture is a damaged PNG file"):
        finished_mesh(textured_result(textures=(damaged,)), "x", "y")


def test_only_png_is_decoded():
    content = io.BytesIO()
    Image.new("RGB", (2, 2)).save(content, "GIF")

    with pytest.raises(BadInput, match="damaged PNG"):
        decoded_png(content.getvalue(), "picture")


@pytest.mark.parametrize(("suffix", "expected"), [(".glb", [255, 128, 0]), (".ply", [255, 188, 0])])
def test_colours_at_vertices_are_linear_in_gltf_and_srgb_elsewhere(suffix, expected, tmp_path):
    mesh = partial_result().mesh  # sRGB 188 is half of the light: ((188 / 255 + 0.055) / 1.055) ** 2.4 = 0.503

    write_coloured_mesh(tmp_path / f"mesh{suffix}", mesh.positions, mesh.faces, mesh.colours)

    (read,) = trimesh.load_scene(tmp_path / f"mesh{suffix}", process=False).geometry.values()
    assert read.visual.vertex_colors[0, :3].tolist() == expected
    np.testing.assert_allclose(read.vertices, CORNERS[:, [0, 2, 1]] * [1, 1, -1])


@pytest.mark.parametrize("suffix", [".obj", ".stl"])
def test_a_coloured_mesh_can_be_written_in_every_format_of_meshes(suffix, tmp_path):
    mesh = partial_result().mesh

    write_coloured_mesh(tmp_path / f"mesh{suffix}", mesh.positions, mesh.faces, mesh.colours, "z")

    assert trimesh.load(tmp_path / f"mesh{suffix}").bounds.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_what_cannot_be_written_is_said(tmp_path):
    mesh = partial_result().mesh
    (tmp_path / "file").touch()

    with pytest.raises(OutputNotWritable, match=r"file/mesh\.glb cannot be written"):
        write_coloured_mesh(tmp_path / "file" / "mesh.glb", mesh.positions, mesh.faces, None)
    with pytest.raises(BadInput, match=r"use one of the suffixes \.glb"):
        write_coloured_mesh(tmp_path / "mesh.fbx", mesh.positions, mesh.faces, None)


def test_the_normals_turn_with_the_positions():
    mesh = dataclasses.replace(textured_result().mesh, normals=np.tile(np.array([[0, 0, 1]], np.float32), (4, 1)))

    made = finished_mesh(textured_result(mesh=mesh), "x", "y")

    assert made.normals[0].tolist() == [0, 1, 0]
