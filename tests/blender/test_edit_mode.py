"""Editing the mesh while it forms: nothing of the user's is written over, and what was edited can be sent back."""

import bpy
import numpy as np
import pytest
from job_server import CORNERS, TETRAHEDRON
from session import positions

from blender_addon.protocol.messages import UpdateJob


@pytest.fixture
def job(connected, server):
    """One that forms, with its object active."""
    bpy.context.scene.cursor.location = (0, 0, 1)
    job = connected.generate()
    server.set_state(job.job, "running")
    server.send_mesh(job.job, CORNERS + np.array([0, 0, 1], np.float32))
    connected.until(lambda: connected.object and job.status == "running")
    bpy.context.view_layer.objects.active = connected.object
    connected.object.select_set(True)
    return job


def edit(mode="EDIT"):
    bpy.ops.object.mode_set(mode=mode)


def move_first_corner():
    """To (-1, 0, 0), as the user might: in Object mode right after editing, which the add-on cannot tell apart."""
    mesh = bpy.context.active_object.data
    mesh.vertices[0].co = (-1, 0, 0)


def test_the_newest_mesh_waits_in_edit_mode_and_comes_afterwards(connected, server, job):
    edit()
    server.move(job.job, CORNERS * 2 + np.array([0, 0, 1], np.float32))
    connected.until(lambda: job.is_held)
    assert bpy.ops.sketchbridge.pause.poll()

    edit("OBJECT")
    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())

    assert not job.is_held


def test_sculpt_mode_waits_as_well(connected, server, job):
    edit("SCULPT")
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.is_held)

    assert positions(connected.object) == CORNERS.tolist()
    edit("OBJECT")


def test_another_topology_waits_too(connected, server, job):
    edit()
    server.send_mesh(job.job, CORNERS[:3], np.array([[0, 1, 2]], np.int32))
    connected.until(lambda: job.newest.number == 2)
    connected.tick_for(0.02)

    edit("OBJECT")
    connected.until(lambda: len(connected.object.data.vertices) == 3)


def test_an_edit_is_not_written_over(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 5))
    edit("OBJECT")

    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)
    connected.tick_for(0.05)

    assert job.has_edit
    assert positions(connected.object) == (CORNERS + np.array([0, 0, 5])).tolist()


def test_an_edit_in_edit_mode_is_sent_in_scene_coordinates(connected, server, job):
    connected.object.location = (9, 9, 9)  # moved aside by the user: the job does not know and need not
    edit()
    connected.until(lambda: job.is_held)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 5))

    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.asked == "")

    (update,) = server.of(UpdateJob)
    np.testing.assert_allclose(update.mesh.positions, CORNERS + np.array([0, 0, 6]), atol=1e-5)
    assert update.mesh.faces.tolist() == TETRAHEDRON.tolist()
    edit("OBJECT")


def test_after_an_edit_was_sent_the_mesh_goes_on_forming(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 5))
    edit("OBJECT")
    connected.until(lambda: job.has_edit)
    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.asked == "")

    server.move(job.job, CORNERS * 3 + np.array([0, 0, 1], np.float32), step=3)
    connected.until(lambda: positions(connected.object) == (CORNERS * 3).tolist())

    assert not job.has_edit


@pytest.mark.parametrize(
    ("steps_per_second", "last_stale"),
    [(0.5, 8), (10.0, 13)],  # the step under way; and those of half a second, after which the news may have come
)
def test_a_snapshot_of_the_step_that_was_under_way_when_the_edit_was_sent_is_not_shown(
    connected, server, job, steps_per_second, last_stale
):
    server.progress(job.job, 7, steps_per_second=steps_per_second)
    edit()
    connected.until(lambda: job.is_held and job.step == 7)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 5))
    edit("OBJECT")
    connected.until(lambda: job.has_edit)
    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.asked == "")

    server.move(job.job, CORNERS * 9, step=last_stale)  # begun before the edit came
    connected.until(lambda: job.step == last_stale)

    assert positions(connected.object) == (CORNERS + np.array([0, 0, 5])).tolist()
    server.move(job.job, CORNERS * 3 + np.array([0, 0, 1], np.float32), step=last_stale + 1)
    connected.until(lambda: positions(connected.object) == (CORNERS * 3).tolist())


def test_an_edit_sent_to_a_paused_job_is_seen_at_the_same_step(connected, server, job):
    server.progress(job.job, 7)
    server.set_state(job.job, "paused", step=7)
    connected.until(lambda: job.status == "paused" and job.step == 7)
    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.asked == "")

    server.move(job.job, CORNERS * 3 + np.array([0, 0, 1], np.float32), step=7)

    connected.until(lambda: positions(connected.object) == (CORNERS * 3).tolist())


def test_an_edit_that_was_sent_from_edit_mode_is_no_edit_when_that_is_left(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 5))
    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.asked == "")

    edit("OBJECT")
    server.move(job.job, CORNERS * 3 + np.array([0, 0, 1], np.float32), step=3)

    connected.until(lambda: positions(connected.object) == (CORNERS * 3).tolist())


def test_dropping_an_edit_shows_the_newest_mesh(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)
    edit("OBJECT")
    move_first_corner()
    connected.until(lambda: job.has_edit)
    server.move(job.job, CORNERS * 2 + np.array([0, 0, 1], np.float32))
    connected.until(lambda: job.newest.step == 2)

    bpy.ops.sketchbridge.drop_edit()
    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())


def test_a_result_waits_for_the_edit_as_well(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)

    server.finish(job.job)
    connected.until(lambda: job.finished is not None)
    connected.tick_for(0.05)
    assert job.shown == "mesh"
    edit("OBJECT")

    connected.until(lambda: job.shown == "result")


def test_a_refused_edit_is_kept_and_the_panel_says_why(connected, server, job):
    edit()
    connected.until(lambda: job.is_held)
    edit("OBJECT")
    move_first_corner()
    connected.until(lambda: job.has_edit)
    server.refusals["UpdateJob"] = ("too-large", "The mesh is too large.")

    bpy.ops.sketchbridge.send_edit()
    connected.until(lambda: job.sentence)

    assert job.sentence == "The mesh is too large."
    assert positions(connected.object)[0] == [-1, 0, 0]
