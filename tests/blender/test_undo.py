"""Ctrl+Z and Ctrl+Shift+Z while a mesh forms and after: one step at the start, one at the finish, and no lost work."""

import bpy
import numpy as np
from job_server import CORNERS
from session import positions


def undo():
    bpy.ops.ed.undo()


def redo():
    bpy.ops.ed.redo()


def streaming(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)
    return job


def finished(connected, server):
    job = streaming(connected, server)
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")
    return job


def test_undo_while_it_forms_takes_the_object_away_and_the_job_goes_on(connected, server):
    job = streaming(connected, server)

    undo()
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)

    assert not bpy.data.objects
    assert job.is_active
    assert job.shown == "nothing"


def test_the_panel_can_put_an_undone_object_back_with_the_newest_mesh(connected, server):
    job = streaming(connected, server)
    undo()
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)

    bpy.ops.sketchbridge.put_back()
    connected.until(lambda: connected.object)

    assert positions(connected.object) == (CORNERS * 2).tolist()


def test_redo_brings_the_object_back_and_it_goes_on_forming(connected, server):
    job = streaming(connected, server)
    undo()
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)

    redo()
    connected.until(lambda: connected.object and positions(connected.object) == (CORNERS * 2).tolist())

    assert len(bpy.data.objects) == 1


def test_undoing_something_else_leaves_the_newest_mesh(connected, server):
    job = streaming(connected, server)
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="Add Cube")
    server.send_mesh(job.job, CORNERS[:3] * 5, np.array([[0, 1, 2]], np.int32))
    connected.until(lambda: len(connected.object.data.vertices) == 3)

    undo()
    connected.tick_for(0.05)

    assert [each.name for each in bpy.data.objects] == [connected.object.name]
    assert positions(connected.object) == (CORNERS[:3] * 5).tolist()


def test_snapshots_make_no_undo_steps(connected, server):
    job = streaming(connected, server)
    for step in range(2, 6):
        server.move(job.job, CORNERS * step, step=step)
        connected.until(lambda step=step: job.newest.step == step)

    undo()

    assert not bpy.data.objects


def test_finishing_is_one_step_and_is_not_done_again_after_its_undo(connected, server):
    job = finished(connected, server)

    undo()
    connected.tick_for(0.1)

    assert job.shown == "mesh"
    assert not connected.object.data.materials[:]
    redo()
    connected.tick_for(0.1)
    assert job.shown == "result"
    assert len(connected.object.data.materials) == 1


def test_an_undone_result_can_be_shown_again(connected, server):
    job = finished(connected, server)
    undo()

    bpy.ops.sketchbridge.put_back()
    connected.until(lambda: job.shown == "result")

    assert connected.object.data.materials[0].node_tree.nodes.get("Principled BSDF")


def test_accepting_is_one_step(connected, server):
    job = finished(connected, server)
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.sketchbridge.accept()
    bpy.ops.ed.undo_push(message="Accept")  # in the background, operators push none themselves

    undo()

    assert job.shown == "result"
    assert connected.object.users_collection[0].name == "Sketchbridge: a red mushroom"
    redo()
    assert job.shown == "accepted"


def test_settings_may_be_rolled_back_but_the_state_of_the_job_is_not(connected, server):
    job = finished(connected, server)

    undo()
    undo()

    assert not bpy.data.objects
    assert job.status == "finished"
    assert connected.job is job


def test_a_renamed_object_goes_on_forming(connected, server):
    job = streaming(connected, server)
    connected.object.name = "Größe 🍄 茸"

    server.move(job.job, CORNERS * 2)
    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())

    assert [each.name for each in bpy.data.objects] == ["Größe 🍄 茸"]


def test_a_deleted_object_is_offered_back(connected, server):
    job = streaming(connected, server)

    bpy.data.objects.remove(connected.object)
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.shown == "nothing")

    assert bpy.ops.sketchbridge.put_back.poll()


def test_a_step_waits_until_the_user_has_left_edit_mode(connected, server):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    job = connected.generate()

    server.send_mesh(job.job)
    connected.until(lambda: connected.object)
    connected.tick_for(0.05)
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.ed.undo_push(message="Left Edit Mode")
    connected.tick_for(0.05)

    undo()
    assert {each.name for each in bpy.data.objects} == {"Cube", "a red mushroom"}
