"""What the panel cannot ask for, it says at once, in a sentence; and what begins with a mesh looks like it."""

import bpy
import pytest
from job_server import JobServer
from session import positions

from blender_addon.jobs import JOBS
from blender_addon.protocol.messages import SubmitJob, UpdateJob


def refused(**settings):
    """Presses Generate, which must fail; returns what the panel says."""
    for name, value in settings.items():
        setattr(bpy.context.scene.sketchbridge, name, value)
    with pytest.raises(RuntimeError):  # what a report of an error is for a script
        bpy.ops.sketchbridge.generate()
    assert JOBS.current is None
    return JOBS.problem


def test_an_empty_prompt(connected):
    assert refused(prompt="  ") == "The prompt is empty: write what to make, such as: a red mushroom"


def test_nothing_to_begin_with(connected):
    assert refused(prompt="a red mushroom", begin_with="SELECTED").startswith("No object is selected")


def test_a_texture_for_nothing(connected):
    assert refused(prompt="a red mushroom", task="texture").startswith("No object is selected")


def test_a_mesh_larger_than_the_server_takes(blender):
    with JobServer(faces=100) as small:
        blender.connect(small.address)
        bpy.ops.mesh.primitive_uv_sphere_add()

        assert "and the server takes 100: add a Decimate" in refused(prompt="a ball", begin_with="SELECTED")


def test_a_model_with_a_name_that_cannot_be(connected):
    assert "prior is '../x'; it must be text of 1 to 64 characters" in refused(prompt="a red mushroom", prior="../x")


def test_a_job_that_begins_with_a_mesh_stands_and_turns_like_it_and_hides_it(connected, server):
    bpy.ops.mesh.primitive_cube_add(location=(1, 2, 3), rotation=(0, 0, 0.5), scale=(2, 2, 2))
    cube = bpy.context.active_object

    job = connected.generate(begin_with="SELECTED")
    (request,) = server.of(SubmitJob)
    server.send_mesh(job.job, request.mesh.positions, request.mesh.faces)
    connected.until(lambda: connected.object)

    assert request.placement is None
    found = connected.object
    assert tuple(found.location) == (1, 2, 3)
    assert tuple(found.rotation_euler) == pytest.approx((0, 0, 0.5))
    assert tuple(found.scale) == pytest.approx((1, 1, 1))
    # A cube of 2 m with a scale of 2: corners at 2 m in its own coordinates.
    assert {abs(number) for corner in positions(found) for number in corner} == {2.0}
    assert cube.hide_get()
    bpy.ops.sketchbridge.discard()
    assert not cube.hide_get()


def test_a_texture_job_sends_the_mesh_with_its_uv(connected, server):
    bpy.ops.mesh.primitive_cube_add()

    connected.generate(task="texture")

    (request,) = server.of(SubmitJob)
    assert request.task == "texture"
    assert request.mesh.uv.shape == (12, 3, 2)


def test_the_strength_of_the_first_shape_is_sent_once_the_job_is_there(connected, server):
    bpy.ops.mesh.primitive_cube_add()

    connected.generate(begin_with="SELECTED", initial_strength=3)
    connected.until(lambda: server.of(UpdateJob))

    assert server.of(UpdateJob)[0].mesh_weight == 3.0


def test_selected_objects_are_made_real_as_a_sketch_in_3d(connected, server):
    bpy.ops.mesh.primitive_cube_add()

    job = connected.generate(begin_with="SELECTED", makes_real=True)

    (request,) = server.of(SubmitJob)
    assert (request.task, request.settings.to_real, request.sketches) == ("sketch", True, ())
    assert request.mesh is not None
    assert job.task == "text"  # as the panel calls it


def test_nothing_selected_leaves_nothing_to_make_real(connected, server):
    connected.generate(makes_real=True)

    (request,) = server.of(SubmitJob)
    assert (request.task, request.settings.to_real) == ("text", False)


def test_a_new_seed_each_time(connected, server):
    seeds = []
    for _ in range(2):
        connected.generate(is_new_seed=True)
        bpy.ops.sketchbridge.new_job()
    seeds = [request.settings.seed for request in server.of(SubmitJob)]

    assert len(set(seeds)) == 2
