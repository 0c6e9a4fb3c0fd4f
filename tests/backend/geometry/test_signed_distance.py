import json
import math

import numpy as np
import pytest
import torch
import trimesh
from surface_facts import is_closed, volume

from backend.errors import BadInput, UnreadableMesh
from backend.geometry.components import face_components
from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.mesh_input import MESH_SUFFIXES
from backend.geometry.placed_mesh import load_initial_mesh
from backend.geometry.signed_distance import (
    box,
    ellipsoid,
    signed_distance_of_mesh,
    signed_distance_on_lattice,
    sphere,
)
from backend.geometry.tetrahedral_grid import TetrahedralGrid


def random_points(count=500, seed=0):
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1


def arrays(mesh):
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)


def surface_on(mesh, resolution):
    grid = TetrahedralGrid(resolution)
    return marching_tetrahedra(signed_distance_on_lattice(*arrays(mesh), grid), grid)


# Formulas


def test_a_sphere_has_its_distance_from_its_centre():
    points = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 1.3], [3.1, 0.2, 0.3]])

    torch.testing.assert_close(sphere(points, 0.5, centre=(0.1, 0.2, 0.3)), torch.tensor([-0.5, 0.5, 2.5]))


def test_a_box_is_exact_inside_beside_and_beyond_a_corner():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.0, 0.0], [1.5, 0.0, 0.5], [4.0, 6.0, 0.0], [2.0, 4.0, 2.5]])

    # Half sides 1, 2, 0.5: nearest wall in z; near the wall in x; beside it; 3-4-5 beyond an edge; 1-2-2 beyond a
    # corner.
    expected = torch.tensor([-0.5, -0.1, 0.5, 5.0, 3.0])

    torch.testing.assert_close(box(points, (1.0, 2.0, 0.5)), expected)


def test_an_ellipsoid_is_zero_at_its_ends_and_slopes_by_one_there():
    radii = (0.3, 0.6, 0.9)
    ends = torch.diag(torch.tensor(radii)).requires_grad_()

    distances = ellipsoid(ends, radii)
    (slopes,) = torch.autograd.grad(distances.sum(), ends)

    torch.testing.assert_close(distances, torch.zeros(3))
    torch.testing.assert_close(slopes, torch.eye(3))
    torch.testing.assert_close(ellipsoid(torch.zeros(1, 3), radii), torch.tensor([-0.3]))


def test_an_ellipsoid_of_equal_radii_is_a_sphere():
    points = random_points()

    torch.testing.assert_close(ellipsoid(points, (0.4, 0.4, 0.4)), sphere(points, 0.4))


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_sizes_must_be_positive(size):
    for shape in (
        lambda: sphere(torch.zeros(1, 3), size),
        lambda: box(torch.zeros(1, 3), (1.0, size, 1.0)),
        lambda: ellipsoid(torch.zeros(1, 3), (1.0, size, 1.0)),
    ):
        with pytest.raises(ValueError, match="must be positive"):
            shape()


# Meshes


def test_a_box_of_triangles_has_the_distance_of_the_formula():
    points = random_points()

    distances = signed_distance_of_mesh(*arrays(trimesh.creation.box((0.8, 1.0, 0.6))), points)

    torch.testing.assert_close(distances, box(points, (0.4, 0.5, 0.3)), atol=1e-5, rtol=0)


def test_a_mesh_turned_inside_out_has_the_same_inside():
    vertices, faces = arrays(trimesh.creation.icosphere(radius=0.6))
    points = random_points()

    torch.testing.assert_close(
        signed_distance_of_mesh(vertices, faces[:, ::-1], points), signed_distance_of_mesh(vertices, faces, points)
    )


def test_a_sphere_with_a_hole_keeps_its_inside():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    vertices, faces = arrays(mesh)
    faces = faces[vertices[faces].mean(axis=1)[:, 1] < 0.5]  # the polar cap above y = 0.5 is open
    assert not trimesh.Trimesh(vertices, faces, process=False).is_watertight
    points = random_points(2000)
    points = points[(points[:, 1] < 0.3) & ((points.norm(dim=1) - 0.6).abs() > 0.01)]

    distances = signed_distance_of_mesh(vertices, faces, points)

    assert torch.equal(distances < 0, points.norm(dim=1) < 0.6)
    # On the side away from the hole the nearest point is the same.
    low = points[:, 1] < -0.1
    torch.testing.assert_close(distances[low], sphere(points[low], 0.6), atol=0.005, rtol=0)


def test_overlapping_boxes_with_a_fin_are_one_solid():
    """Non-manifold: the boxes cut through each other, and a triangle is glued on along one edge."""
    first, second = trimesh.creation.box((0.8, 0.8, 0.8)), trimesh.creation.box((0.4, 0.4, 1.6))
    vertices, faces = arrays(trimesh.util.concatenate([first, second]))
    corners = [int(np.argmin(np.linalg.norm(vertices - corner, axis=1))) for corner in ([0.4] * 3, [0.4, 0.4, -0.4])]
    vertices = np.concatenate([vertices, [[0.9, 0.9, 0.0]]])
    faces = np.concatenate([faces, [[*corners, len(vertices) - 1]]])
    points = random_points(3000)
    union = torch.minimum(box(points, (0.4, 0.4, 0.4)), box(points, (0.2, 0.2, 0.8)))

    distances = signed_distance_of_mesh(vertices, faces, points)

    clear = union.abs() > 1e-4
    assert torch.equal((distances < 0)[clear], (union < 0)[clear])


@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_walls_inside_a_solid_leave_no_trace_on_its_surface(shift):
    # Two boxes that overlap, or that share the wall x = 0 on which a layer of lattice vertices lies.
    halves = [
        trimesh.creation.box((0.5 + shift, 0.9, 0.9)).apply_translation((side * (0.25 - shift / 2), 0, 0))
        for side in (-1, 1)
    ]
    grid = TetrahedralGrid(32)

    on_lattice = signed_distance_on_lattice(*arrays(trimesh.util.concatenate(halves)), grid)
    mesh = marching_tetrahedra(on_lattice, grid)

    expected = box(grid.positions().view(-1, 3), (0.5, 0.45, 0.45)).view(on_lattice.shape)
    near = expected.abs() < grid.cell_metres
    torch.testing.assert_close(on_lattice[near], expected[near], atol=0.2 * grid.cell_metres, rtol=0)
    assert face_components(mesh).max() == 0
    one_box = marching_tetrahedra(expected, grid)
    assert volume(mesh) == pytest.approx(volume(one_box), rel=0.003)


def test_points_keep_their_type():
    points = random_points(4).double()

    assert signed_distance_of_mesh(*arrays(trimesh.creation.box()), points).dtype == torch.float64
    assert signed_distance_of_mesh(*arrays(trimesh.creation.box()), points[:0]).shape == (0,)


@pytest.mark.parametrize("resolution", [24, 64])
def test_the_lattice_has_exact_distances_near_the_surface_and_good_ones_far_away(resolution):
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5).apply_translation((0.1, 0.0, -0.2))
    grid = TetrahedralGrid(resolution)

    on_lattice = signed_distance_on_lattice(*arrays(mesh), grid).view(-1)
    exact = signed_distance_of_mesh(*arrays(mesh), grid.positions().view(-1, 3))

    near = exact.abs() < 2 * grid.cell_metres
    torch.testing.assert_close(on_lattice[near], exact[near])
    torch.testing.assert_close(on_lattice, exact, atol=0.05, rtol=0)
    assert torch.equal(on_lattice < 0, exact < 0)


def test_thick_shapes_are_not_touched_by_the_care_for_thin_ones():
    rotation = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3))
    mesh = trimesh.creation.box((0.9, 1.1, 0.7)).apply_transform(rotation)
    grid = TetrahedralGrid(32)

    on_lattice = signed_distance_on_lattice(*arrays(mesh), grid).view(-1)

    torch.testing.assert_close(
        on_lattice, signed_distance_of_mesh(*arrays(mesh), grid.positions().view(-1, 3)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("resolution", [32, 64])
def test_legs_and_a_top_thinner_than_a_cell_stay_one_table(resolution):
    # Nothing of it passes through a lattice vertex: the cells are 0.0625 or 0.03125 wide.
    parts = [trimesh.creation.box((1.2, 0.015, 0.8)).apply_translation((0, 0.315, 0))]
    parts += [
        trimesh.creation.box((0.012, 0.7, 0.012)).apply_translation((x * 0.51, -0.035, z * 0.31))
        for x in (-1, 1)
        for z in (-1, 1)
    ]

    mesh = surface_on(trimesh.util.concatenate(parts), resolution)

    cell = 2 / resolution
    assert is_closed(mesh)
    assert face_components(mesh).max() == 0
    low, high = mesh.positions.amin(dim=0), mesh.positions.amax(dim=0)
    torch.testing.assert_close(low, torch.tensor([-0.6, -0.385, -0.4]), atol=1.2 * cell, rtol=0)
    torch.testing.assert_close(high, torch.tensor([0.6, 0.3225, 0.4]), atol=1.2 * cell, rtol=0)


def test_an_open_sheet_becomes_a_thin_solid():
    vertices = np.array([[-0.6, 0.01, -0.6], [0.6, 0.01, -0.6], [0.6, 0.01, 0.6], [-0.6, 0.01, 0.6]])

    mesh = surface_on(trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], process=False), 32)

    assert is_closed(mesh)
    assert face_components(mesh).max() == 0
    thickness = 2 * 0.75 * 2 / 32
    assert volume(mesh) == pytest.approx(1.2 * 1.2 * thickness, rel=0.2)


# Files


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_every_known_kind_of_file_is_read(tmp_path, suffix):
    path = tmp_path / f"box{suffix.upper() if suffix == '.ply' else suffix}"
    mesh = trimesh.creation.box((1, 2, 2)).apply_translation((5, 6, 7))
    if suffix == ".gltf":
        for name, data in trimesh.Scene(mesh).export(file_type="gltf").items():
            (tmp_path / (path.name if name == "model.gltf" else name)).write_bytes(data)
    else:
        mesh.export(path)

    read = load_initial_mesh(path)

    # The corner (0.5, 1, 1) is 1.5 away from the middle, and comes to 0.9.
    assert read.placement.centre == pytest.approx((5, 6, 7))
    assert read.placement.scale == pytest.approx(0.6)
    solid = trimesh.Trimesh(read.vertices, read.faces, process=False)
    assert solid.bounds == pytest.approx(np.array([[-0.3, -0.6, -0.6], [0.3, 0.6, 0.6]]))
    assert solid.volume == pytest.approx(4 * 0.6**3)


def test_objects_of_a_scene_stay_in_their_places(tmp_path):
    scene = trimesh.Scene()
    cube = trimesh.creation.box((1, 1, 1)).apply_translation((1, 0, 0))
    scene.add_geometry(cube, geom_name="cube", transform=np.diag([-1.0, 1, 1, 1]))  # mirrored to x = -1
    moved = trimesh.transformations.translation_matrix((9, 0, 0))
    scene.graph.update("second cube", geometry="cube", matrix=moved)  # the same mesh again at x = 10
    scene.add_geometry(trimesh.PointCloud(np.full((3, 3), 100.0)))
    scene.export(tmp_path / "scene.glb")

    read = load_initial_mesh(tmp_path / "scene.glb")

    assert read.placement.centre == pytest.approx(((10.5 - 1.5) / 2, 0, 0))
    assert len(read.faces) == 24
    solid = trimesh.Trimesh(read.vertices, read.faces, process=False)
    assert solid.volume / read.placement.scale**3 == pytest.approx(2.0)  # both outward, also the mirrored one
    in_file = np.array([[-1.0, 0, 0], [10, 0, 0], [4.5, 0, 0]])
    points = torch.from_numpy((in_file - read.placement.centre) * read.placement.scale)
    assert (signed_distance_of_mesh(read.vertices, read.faces, points) < 0).tolist() == [True, True, False]


def test_a_read_mesh_gives_its_signed_distances(tmp_path):
    trimesh.creation.icosphere(subdivisions=4, radius=20.0).export(tmp_path / "ball.stl")
    grid = TetrahedralGrid(32)

    mesh = marching_tetrahedra(load_initial_mesh(tmp_path / "ball.stl").signed_distances(grid), grid)

    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.9**3, rel=0.02)


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 0 1 7
"""
BAD_FILES = {
    "empty.obj": (b"", "is empty"),
    "words.obj": (b"once upon a time\n", "holds no faces"),
    "bytes.obj": (bytes(range(256)) * 9, "holds no faces|cannot be read"),
    "points.obj": (b"v 0 0 0\nv 1 0 0\n", "holds no faces"),
    "nan.obj": (TRIANGLE.replace("v 1 0", "v nan inf").encode(), "1 vertices whose coordinates are not finite"),
    "line.obj": (TRIANGLE.replace("v 0 1 0", "v 2 0 0").encode(), "none of the 1 faces of .* has an area"),
    "dot.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "is 0 wide"),
    "vast.obj": (TRIANGLE.replace("1 0 0", "1e200 0 0").encode(), r"is 1e\+200 wide"),
    "range.obj": (TRIANGLE.replace("f 1 2 3", "f 1 2 9").encode(), r"cannot be read as \.obj"),
    "range.ply": (PLY.encode(), "faces point at vertex 7, but there are only 3"),
    "cut.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\n", r"cannot be read as \.ply"),
    "cut.off": (b"OFF\n3 1 0\n", r"cannot be read as \.off"),
    "cut.glb": (b"glTF\x02\x00\x00\x00 and nothing more", r"cannot be read as \.glb"),
    "words.stl": (b"once upon a time\n", "holds no faces|cannot be read"),
    "bare.gltf": (b"{}", "holds no faces|cannot be read"),
    "shape.blend": (
        b"BLENDER",
        r"cannot read '\.blend' files as a mesh: .*Known: \.glb, \.gltf, \.obj, \.off, \.ply, \.stl",
    ),
    "noname": (b"", "cannot read files without a suffix"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_hold_no_surface_get_a_clear_error(tmp_path, name):
    data, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)

    with pytest.raises(UnreadableMesh, match=message) as failure:
        load_initial_mesh(tmp_path / name)

    assert str(tmp_path / name) in str(failure.value)
    assert isinstance(failure.value, BadInput)


def test_a_missing_file_and_a_folder_get_a_clear_error(tmp_path):
    (tmp_path / "folder.obj").mkdir()
    for name in ("missing.obj", "folder.obj"):
        with pytest.raises(UnreadableMesh, match="there is no file"):
            load_initial_mesh(tmp_path / name)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/data.bin", "../../../etc/passwd"])
def test_files_that_point_elsewhere_are_not_followed(tmp_path, address):
    buffers = {"buffers": [{"uri": address, "byteLength": 36}], "bufferViews": [{"buffer": 0, "byteLength": 36}]}
    accessors = {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}]}
    meshes = {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}]}
    scene = {"asset": {"version": "2.0"}, "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    (tmp_path / "far.gltf").write_text(json.dumps(buffers | accessors | meshes | scene))

    with pytest.raises(UnreadableMesh, match=r"cannot be read as \.gltf"):
        load_initial_mesh(tmp_path / "far.gltf")


def test_too_many_faces_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.geometry.mesh_input.MOST_FACES", 11)
    trimesh.creation.box().export(tmp_path / "box.stl")

    with pytest.raises(UnreadableMesh, match="has 12 faces; at most 11 are read"):
        load_initial_mesh(tmp_path / "box.stl")
