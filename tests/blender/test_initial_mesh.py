"""What the user has selected becomes one mesh in scene coordinates, whatever it was; or a sentence says why not."""

import math

import bpy
import numpy as np
import pytest
from scene_objects import as_instance

from blender_addon.initial_mesh import UnusableSelection, read_selected
from blender_addon.protocol.settings import Limits

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


@pytest.fixture(autouse=True)
def _empty_file(blender):
    return blender


def add(name="Square", vertices=SQUARE, faces=((0, 1, 2, 3),)):
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    made.select_set(True)
    bpy.context.view_layer.objects.active = made
    return made


def read(**given):
    bpy.context.view_layer.update()
    return read_selected(bpy.context, **given)[0]


def signed_volume(mesh):
    """Positive if the faces are counter-clockwise from outside: the sum of the tetrahedra to the origin."""
    corners = mesh.positions[mesh.faces].astype(float)
    return np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6


def test_a_square_is_two_triangles_where_it_stands():
    add().location = (0, 0, 5)

    mesh = read()

    assert mesh.positions.tolist() == [[x, y, 5] for x, y, _ in SQUARE]
    assert sorted(sorted(face) for face in mesh.faces.tolist()) in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]])


def test_modifiers_count():
    made = add()
    made.modifiers.new("Mirror", "MIRROR").use_mirror_merge = False

    assert len(read().positions) == 8


def test_several_objects_are_joined_and_the_active_one_is_named_first():
    add("First")
    active = add("Second")
    bpy.context.view_layer.update()

    mesh, objects = read_selected(bpy.context)

    assert len(mesh.positions) == 8
    assert mesh.faces.max() == 7
    assert objects[0] == active


def test_a_negative_scale_does_not_turn_the_inside_out():
    bpy.ops.mesh.primitive_cube_add(size=2)
    bpy.context.active_object.scale = (-1, 1, 1)

    assert signed_volume(read()) == pytest.approx(8)  # a cube of 2 m


def test_an_unapplied_rotation_and_scale_count():
    made = add()
    made.scale = (2, 1, 1)
    made.rotation_euler = (0, 0, math.radians(90))

    np.testing.assert_allclose(read().positions[1], [0, 2, 0], atol=1e-6)


@pytest.mark.parametrize(
    "adding",
    [
        lambda: bpy.ops.object.text_add(),
        lambda: bpy.ops.object.metaball_add(type="BALL"),
        lambda: bpy.ops.surface.primitive_nurbs_surface_sphere_add(),
    ],
    ids=["text", "metaball", "surface"],
)
def test_what_is_no_mesh_is_converted(adding):
    adding()

    assert len(read().faces) > 0


def test_a_curve_without_thickness_has_no_faces_and_one_with_it_has_some():
    bpy.ops.curve.primitive_bezier_curve_add()
    with pytest.raises(UnusableSelection, match="BézierCurve: no faces to begin with"):
        read()

    bpy.context.active_object.data.bevel_depth = 0.1

    assert len(read().faces) > 0


def test_instances_of_a_collection_are_made_real():
    as_instance(add(), (0, 0, 7))

    assert read().positions[0].tolist() == [0, 0, 7]


def test_an_object_of_a_linked_library_can_be_used(tmp_path):
    made = add("Größe")
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {made})
    bpy.data.objects.remove(made)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, linked):
        linked.objects = ["Größe"]
    bpy.context.scene.collection.objects.link(linked.objects[0])
    linked.objects[0].select_set(True)

    assert len(read().positions) == 4


def test_in_edit_mode_the_mesh_is_as_it_looks():
    add()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 3))

    mesh = read()

    assert mesh.positions[:, 2].tolist() == [3, 3, 3, 3]


def test_a_vertex_group_locks_from_half_its_weight_on():
    made = add(faces=((0, 1, 2), (0, 2, 3)))
    group = made.vertex_groups.new(name="Keep")
    group.add([0, 1], 1.0, "REPLACE")
    group.add([2], 0.5, "REPLACE")
    group.add([3], 0.4, "REPLACE")

    assert read(locked_group="Keep").locked.tolist() == [1, 1, 1, 0]


def test_a_missing_vertex_group_is_named():
    add()

    with pytest.raises(UnusableSelection, match="Square: no vertex group is called Kepe"):
        read(locked_group="Kepe")


def test_uv_and_colours_come_along():
    made = add()
    layer = made.data.uv_layers.new()
    layer.uv.foreach_set("vector", [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    colours = made.data.color_attributes.new("Paint", "BYTE_COLOR", "POINT")
    colours.data.foreach_set("color_srgb", [1.0, 0.0, 0.0, 1.0] * 4)
    made.data.color_attributes.active_color = colours

    mesh = read()

    # The square lies in the plane of its UV.
    assert (mesh.uv == mesh.positions[mesh.faces][:, :, :2]).all()
    assert mesh.colours.tolist() == [[255, 0, 0]] * 4


def test_nothing_selected_says_what_to_do():
    with pytest.raises(UnusableSelection, match="No object is selected: select the mesh to begin with"):
        read()


def test_lights_and_cameras_are_no_mesh():
    bpy.ops.object.light_add()

    with pytest.raises(UnusableSelection, match="No object is selected"):
        read()


def test_an_empty_mesh_is_named():
    add("Nothing There", [], [])

    with pytest.raises(UnusableSelection, match="Nothing There: no faces to begin with"):
        read()


def test_too_many_faces_say_the_limit_and_how_to_get_below_it():
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=10, y_subdivisions=10)

    with pytest.raises(UnusableSelection, match=r"Grid: 200 triangles .* takes 100: add a Decimate .* 0.5 or less"):
        read(limits=Limits(faces=100))


def test_a_vertex_at_infinity_is_named():
    add(vertices=[(0, 0, 0), (1, 0, 0), (math.inf, 1, 0)], faces=[(0, 1, 2)])

    with pytest.raises(UnusableSelection, match="Square: the mesh cannot be used: a vertex is infinitely far away"):
        read()


def test_open_and_non_manifold_meshes_are_taken():
    add(vertices=[*SQUARE, (0, 0, 1)], faces=[(0, 1, 2), (0, 1, 3), (0, 1, 4)])

    assert len(read().faces) == 3
