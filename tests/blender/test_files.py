"""File > Open, New and Save while a mesh forms; several scenes; playback; rendering."""

import bpy
import pytest
from job_server import CORNERS
from session import positions


@pytest.fixture
def job(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)
    return job


def test_another_file_leaves_the_job_at_the_server_and_offers_its_mesh(connected, server, job):
    bpy.ops.wm.read_homefile(use_empty=True)
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)
    connected.tick_for(0.05)
    assert not bpy.data.objects
    assert job.shown == "nothing"

    bpy.ops.sketchbridge.put_back()
    connected.until(lambda: connected.object)

    assert positions(connected.object) == (CORNERS * 2).tolist()


def test_a_job_without_a_mesh_yet_does_not_appear_in_another_file_by_itself(connected, server):
    job = connected.generate()
    bpy.ops.wm.read_homefile(use_empty=True)

    server.send_mesh(job.job)
    connected.until(lambda: job.newest)
    connected.tick_for(0.05)

    assert not bpy.data.objects
    assert bpy.ops.sketchbridge.put_back.poll()


def test_a_saved_file_has_the_mesh_as_an_ordinary_object_and_nothing_of_the_job(connected, server, job, tmp_path):
    path = str(tmp_path / "half.blend")

    bpy.ops.wm.save_as_mainfile(filepath=path)
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())
    bpy.ops.wm.open_mainfile(filepath=path)
    connected.tick_for(0.05)

    (found,) = bpy.data.objects
    assert positions(found) == CORNERS.tolist()
    assert job.key.encode() not in (tmp_path / "half.blend").read_bytes()
    assert not found.keys()
    assert not found.data.keys()


def test_the_mesh_stays_in_the_scene_in_which_generate_was_pressed(connected, server):
    first = bpy.context.scene
    job = connected.generate()
    bpy.ops.scene.new(type="EMPTY")

    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    assert connected.object.users_scene == (first,)


def test_playback_goes_on(connected, server, job):
    scene = bpy.context.scene
    for frame in range(1, 6):
        scene.frame_set(frame)
        server.move(job.job, CORNERS * (frame + 1), step=frame + 1)
        connected.until(lambda frame=frame: positions(connected.object) == (CORNERS * (frame + 1)).tolist())

    assert scene.frame_current == 5


def test_nothing_is_written_while_a_render_runs(connected, server, job, monkeypatch):
    monkeypatch.setattr("blender_addon.live_update._is_rendering", lambda: True)

    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.newest.step == 2)
    connected.tick_for(0.05)
    assert positions(connected.object) == CORNERS.tolist()
    monkeypatch.undo()

    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())
