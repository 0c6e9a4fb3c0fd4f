"""Against a real server that computes on the embedded prior: small jobs, everything that an artist does to one."""

import socket

import bpy
import numpy as np
import pytest
from real_server import ENVIRONMENT, PYTHON, can_serve

from blender_addon import history
from blender_addon.backend_process import BACKEND
from blender_addon.scene_mesh import read_positions

pytestmark = pytest.mark.skipif(not can_serve(), reason="the backend is installed in no environment here: make setup")
SECONDS = 600.0
"""On a machine that does something else as well; some 20 s on a quiet one."""
SMALL = {"quality": "draft", "texture_size": "512"}


def seen_until(session, condition):
    """Ticks until something is so; returns the steps whose mesh the scene has had on the way."""
    steps = []

    def look():
        shown = session.job.placed.snapshot
        if shown is not None and (not steps or shown.step != steps[-1]):
            steps.append(shown.step)
        return condition()

    session.until(look, SECONDS)
    return steps


def size_of(session):
    """The diagonal of the box around the mesh in the scene, in metres."""
    points = read_positions(session.object.data)
    return float(np.linalg.norm(points.max(0) - points.min(0)))


def sizes_until(session, condition):
    """The sizes that the mesh in the scene has had until something is so."""
    sizes = []

    def look():
        sizes.append(size_of(session))
        return condition()

    session.until(look, SECONDS)
    return sizes


def scale(session, factor):
    """As a user does it, in Edit mode."""
    job = session.job
    bpy.context.view_layer.objects.active = session.object
    bpy.ops.object.mode_set(mode="EDIT")
    session.until(lambda: job.is_held or job.status == "paused", SECONDS)
    session.tick_for(0.05)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.resize(value=(factor, factor, factor))
    bpy.ops.object.mode_set(mode="OBJECT")
    session.until(lambda: job.has_edit, SECONDS)


def test_a_mesh_forms_and_is_paused_steered_edited_and_cancelled(session):
    job = session.generate("a red mushroom", steps=1000, **SMALL)
    steps = seen_until(session, lambda: job.placed.snapshot is not None and job.placed.snapshot.step >= 2)
    assert steps == sorted(steps)
    assert len(session.object.data.polygons) > 100
    assert session.object.data.color_attributes

    bpy.ops.sketchbridge.pause()
    session.until(lambda: job.status == "paused" and job.asked == "", SECONDS)
    session.tick_for(0.5)
    at = job.step
    session.tick_for(2.0)
    assert job.step == at

    session.settings.prompt = "a blue mushroom"
    bpy.ops.sketchbridge.steer()
    session.until(lambda: job.asked == "", SECONDS)
    assert not job.sentence
    assert job.steered["prompt"] == "a blue mushroom"

    # An edit of a paused job, which takes it when it goes on: the mesh is half as large, and stays so.
    before = size_of(session)
    scale(session, 0.5)
    bpy.ops.sketchbridge.send_edit()
    session.until(lambda: job.asked == "" and not job.has_edit, SECONDS)
    bpy.ops.sketchbridge.resume()
    sizes = sizes_until(session, lambda: job.placed.snapshot is not None and job.step >= at + 2)
    assert max(sizes) < 0.75 * before

    # And one of a running job: nothing of the state before it is shown again.
    scale(session, 2.0)
    edited = size_of(session)
    bpy.ops.sketchbridge.send_edit()
    session.until(lambda: job.asked == "" and not job.has_edit, SECONDS)
    sizes = sizes_until(session, lambda: job.step >= job.stale_until_step + 3)
    assert min(sizes) > 0.75 * edited

    bpy.ops.sketchbridge.cancel()
    session.until(lambda: job.status == "cancelled" and job.shown == "result", SECONDS)
    assert bpy.ops.sketchbridge.accept.poll()
    assert (history.user_folder() / f"{job.key}.png").is_file()  # the thumbnail in the history


def test_a_finished_mesh_has_its_texture(session):
    job = session.generate("a red mushroom", steps=6, **SMALL)

    session.until(lambda: job.shown == "result" or job.status == "failed", SECONDS)

    assert job.shown == "result", job.sentence
    mesh = session.object.data
    assert len(mesh.uv_layers) == 1
    images = {node.image.name for node in mesh.materials[0].node_tree.nodes if node.type == "TEX_IMAGE"}
    picture = next(bpy.data.images[name] for name in images if "base-colour" in name)
    assert tuple(picture.size) == (512, 512)
    assert picture.packed_file is not None
    pixels = np.empty(512 * 512 * 4, np.float32)
    picture.pixels.foreach_get(pixels)
    assert pixels.reshape(-1, 4)[:, :3].std() > 0.01  # it is a picture of something


def test_the_local_backend_of_the_preferences_serves(blender, tmp_path, monkeypatch):
    """The real one, started by Generate in the project's environment, and stopped with the extension."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        blender.preferences.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    blender.preferences.backend_python = str(PYTHON)
    blender.preferences.backend_folder = str(tmp_path / "state")
    blender.settings.prompt = "a red mushroom"

    bpy.ops.sketchbridge.generate()
    blender.until(lambda: blender.job.job or BACKEND.state == "ended", SECONDS)

    assert BACKEND.state == "running", BACKEND.sentence
    process = BACKEND._process
    bpy.ops.sketchbridge.discard() if bpy.ops.sketchbridge.discard.poll() else bpy.ops.sketchbridge.cancel()
    bpy.ops.preferences.addon_disable(module="blender_addon")
    bpy.ops.preferences.addon_enable(module="blender_addon")
    assert process.wait(120) == 0
