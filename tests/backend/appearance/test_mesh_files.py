from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import finish_shapes
import numpy as np
import pytest
import torch
import trimesh
from finish_shapes import albedo_at, lookup, smooth_field
from PIL import Image

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.appearance.mesh_files import check_output_path, read_mesh_file, write_mesh
from backend.errors import BadInput, OutputNotWritable
from backend.geometry.decimate import is_closed
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig

PROMPT = "a café's  blob,\nhigh quality"


@pytest.fixture(scope="module")
def finished() -> FinishedMesh:
    own = UnwrapConfig(packer="own")
    return finish_mesh(finish_shapes.blob(), smooth_field, texture_size=256, name=PROMPT, unwrap_config=own)


def assert_colours_are_where_they_belong(texture: np.ndarray, uv: np.ndarray, positions: np.ndarray) -> None:
    """`texture` with `uv` (v = 0 at row 0) shows red where x is large, green where y is, blue where z is."""
    colours = lookup(torch.tensor(texture[..., :3]), torch.tensor(uv, dtype=torch.float32)) / 255
    torch.testing.assert_close(colours, albedo_at(torch.tensor(positions)).float(), atol=0.012, rtol=0)


def test_a_glb_holds_what_the_standard_asks_for(finished, tmp_path):
    """Reads the bytes as glTF 2.0 describes them, without the library that wrote them."""
    write_mesh(tmp_path / "blob.glb", finished)

    content = (tmp_path / "blob.glb").read_bytes()
    magic, version, length, json_length = struct.unpack("<4sIII", content[:16])
    tree = json.loads(content[20 : 20 + json_length])
    blob = content[28 + json_length :]

    def bytes_of(view: int) -> bytes:
        start = tree["bufferViews"][view].get("byteOffset", 0)
        return blob[start : start + tree["bufferViews"][view]["byteLength"]]

    def floats_of(accessor: int) -> np.ndarray:
        description = tree["accessors"][accessor]
        assert description["componentType"] == 5126
        columns = {"VEC2": 2, "VEC3": 3}[description["type"]]
        content = bytes_of(description["bufferView"])[description.get("byteOffset", 0) :]
        return np.frombuffer(content, np.float32)[: columns * description["count"]].reshape(-1, columns)

    assert (magic, version, length) == (b"glTF", 2, len(content))
    (node,) = tree["nodes"]
    assert node["name"] == "a café's blob, high quality"
    assert tree["scenes"] == [{"nodes": [0]}]
    (primitive,) = tree["meshes"][node["mesh"]]["primitives"]
    material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material.get("baseColorFactor", [1, 1, 1, 1]) == [1, 1, 1, 1]
    assert material.get("metallicFactor", 1) == 1
    assert material.get("roughnessFactor", 1) == 1

    def texture(name: str) -> np.ndarray:
        image = tree["images"][tree["textures"][material[name]["index"]]["source"]]
        assert image["mimeType"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(bytes_of(image["bufferView"]))))

    positions, uv = (floats_of(primitive["attributes"][name]) for name in ("POSITION", "TEXCOORD_0"))
    normals = floats_of(primitive["attributes"]["NORMAL"])
    # glTF: the first row of an image is at v = 0.
    assert_colours_are_where_they_belong(texture("baseColorTexture"), uv, positions)
    assert np.array_equal(texture("metallicRoughnessTexture"), finished.textures.metallic_roughness.numpy())
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert ((normals * positions).sum(1) > 0).all()


def test_a_glb_comes_back_as_it_went(finished, tmp_path):
    write_mesh(tmp_path / "blob.glb", finished)

    back = read_mesh_file(tmp_path / "blob.glb")

    assert torch.equal(back.mesh.positions, finished.mesh.positions)
    assert torch.equal(back.mesh.faces, finished.mesh.faces)
    torch.testing.assert_close(back.uv, finished.uv, atol=1e-6, rtol=0)
    assert torch.equal(back.base_colour, finished.textures.base_colour)
    assert torch.equal(back.metallic_roughness, finished.textures.metallic_roughness)
    assert back.name == "a café's blob, high quality"


def test_a_glb_is_closed_after_merging_by_position(finished, tmp_path):
    write_mesh(tmp_path / "blob.glb", finished)

    loaded = trimesh.load_mesh(tmp_path / "blob.glb", process=False)
    loaded.merge_vertices(merge_tex=True, merge_norm=True)

    assert loaded.is_watertight
    assert loaded.is_winding_consistent
    assert loaded.body_count == 1
    assert loaded.volume > 0


def test_an_obj_comes_with_its_material_and_textures(finished, tmp_path):
    write_mesh(tmp_path / "my blob.obj", finished)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my blob.obj",
        "my_blob.mtl",
        "my_blob_base_colour.png",
        "my_blob_metallic.png",
        "my_blob_roughness.png",
    ]
    lines = (tmp_path / "my blob.obj").read_text().split("\n")
    rows = {key: [line.split()[1:] for line in lines if line.startswith(key + " ")] for key in ("v", "vt", "vn", "f")}
    assert [line for line in lines if "mtl" in line] == ["mtllib my_blob.mtl", "usemtl baked"]
    assert len(rows["f"]) == len(finished.mesh.faces)
    assert len(rows["vn"]) == len(rows["v"])
    assert all(corner.split("/")[0] == corner.split("/")[1] for corner in rows["f"][0])
    uv = np.array(rows["vt"], dtype=np.float32)
    uv[:, 1] = 1 - uv[:, 1]  # OBJ: the first row of an image is at v = 1
    texture = np.asarray(Image.open(tmp_path / "my_blob_base_colour.png"))
    assert_colours_are_where_they_belong(texture, uv, np.array(rows["v"], dtype=np.float32)[:, :3])
    library = (tmp_path / "my_blob.mtl").read_text()
    for statement in (
        "newmtl baked",
        "map_Kd my_blob_base_colour.png",
        "map_Pr my_blob_roughness.png",
        "map_Pm my_blob_metallic.png",
    ):
        assert statement in library.split("\n")
    roughness = np.asarray(Image.open(tmp_path / "my_blob_roughness.png"))
    assert np.array_equal(roughness, finished.textures.metallic_roughness[..., 1].numpy())


def test_an_obj_comes_back_with_its_texture(finished, tmp_path):
    write_mesh(tmp_path / "blob.obj", finished)

    back = read_mesh_file(tmp_path / "blob.obj")

    assert_colours_are_where_they_belong(back.base_colour.numpy(), back.uv.numpy(), back.mesh.positions.numpy())


def test_a_ply_has_colours_and_no_seams(finished, tmp_path):
    write_mesh(tmp_path / "blob.ply", finished)

    back = read_mesh_file(tmp_path / "blob.ply")

    assert is_closed(back.mesh)
    colours = back.vertex_colours.float() / 255
    torch.testing.assert_close(colours, albedo_at(back.mesh.positions), atol=0.003, rtol=0)


def test_an_stl_has_all_faces(finished, tmp_path):
    write_mesh(tmp_path / "blob.STL", finished)

    loaded = trimesh.load_mesh(tmp_path / "blob.STL")

    assert len(loaded.faces) == len(finished.mesh.faces)
    assert loaded.is_watertight


def test_a_missing_folder_is_made(finished, tmp_path):
    write_mesh(tmp_path / "new" / "folder" / "blob.stl", finished)

    assert (tmp_path / "new" / "folder" / "blob.stl").exists()


@pytest.mark.parametrize("name", ["mesh.fbx", "mesh", "mesh.gltf", "mesh.glb.txt"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(finished, tmp_path, name):
    for attempt in (lambda: check_output_path(tmp_path / name), lambda: write_mesh(tmp_path / name, finished)):
        with pytest.raises(BadInput, match=r"\.glb, \.obj, \.ply, \.stl"):
            attempt()


def test_a_good_path_passes_and_nothing_is_left_behind(tmp_path):
    check_output_path(tmp_path / "blob.glb")
    check_output_path(tmp_path / "not" / "there" / "yet" / "blob.obj")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "blob.glb").mkdir()

    with pytest.raises(OutputNotWritable, match="is a folder; name a file in it"):
        check_output_path(tmp_path / "blob.glb")


def test_a_path_below_a_file_cannot_be_written(finished, tmp_path):
    (tmp_path / "file").touch()

    for attempt in (check_output_path, lambda path: write_mesh(path, finished)):
        with pytest.raises(OutputNotWritable, match="file"):
            attempt(tmp_path / "file" / "blob.glb")


def raising(number: int):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.ENOSPC, "disk is full")]
)
def test_a_folder_that_cannot_be_written_is_found_out_early(tmp_path, monkeypatch, number, reason):
    # Tests may run as root, who may write anywhere.
    monkeypatch.setattr(Path, "touch", raising(number))

    with pytest.raises(OutputNotWritable, match=reason):
        check_output_path(tmp_path / "blob.glb")


def test_a_disk_that_is_nearly_full_is_found_out_early(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=150_000_000))

    with pytest.raises(OutputNotWritable, match="150 MB are free"):
        check_output_path(tmp_path / "blob.glb")


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_a_full_disk_is_named_and_leaves_the_earlier_file_whole(finished, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"blob{suffix}"
    path.write_text("from an earlier run")
    monkeypatch.setattr(os, "fsync", raising(errno.ENOSPC))

    with pytest.raises(OutputNotWritable, match="the disk is full"):
        write_mesh(path, finished)

    assert path.read_text() == "from an earlier run"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_nothing_becomes_mesh(tmp_path):
    mesh = TriangleMesh(torch.eye(3), torch.tensor([[0, 1, 2]], dtype=torch.int32))
    own = UnwrapConfig(packer="own")

    write_mesh(tmp_path / "face.glb", finish_mesh(mesh, smooth_field, texture_size=64, name=" \n", unwrap_config=own))

    assert read_mesh_file(tmp_path / "face.glb").name == "mesh"
