"""From Generate to an accepted mesh, over real ZeroMQ."""

import bpy
import numpy as np
from job_server import CORNERS, TETRAHEDRON, JobServer
from session import positions

from blender_addon.connection import CONNECTION
from blender_addon.jobs import JOBS
from blender_addon.protocol.messages import CancelJob, PauseJob, ResumeJob, SubmitJob, UpdateJob, WatchJob


def test_generate_asks_for_what_the_panel_says(connected, server):
    bpy.context.scene.cursor.location = (1, 2, 3)

    connected.generate("a blue vase", seed=7, quality="draft", method="bridge", guidance_scale=7.5, size_metres=3)

    (request,) = server.of(SubmitJob)
    assert (request.task, request.prompt, request.mesh) == ("text", "a blue vase", None)
    assert (request.settings.seed, request.settings.quality, request.settings.method) == (7, "draft", "bridge")
    assert request.settings.guidance_scale == 7.5
    assert (request.placement.centre, request.placement.radius_metres) == ((1.0, 2.0, 3.0), 1.5)


def test_generate_connects_by_itself(blender, server):
    blender.preferences.address = server.address

    job = blender.generate()

    assert job.status == "queued"
    assert CONNECTION.sentence.endswith("a test's device")


def test_the_first_snapshot_makes_an_object_in_a_collection_of_its_own_at_the_cursor(connected, server):
    bpy.context.scene.cursor.location = (1, 2, 3)
    job = connected.generate("a red mushroom")

    server.send_mesh(job.job, CORNERS + np.array([1, 2, 3], np.float32))
    connected.until(lambda: connected.object)

    found = connected.object
    assert found.name == "a red mushroom"
    assert [each.name for each in found.users_collection] == ["Sketchbridge: a red mushroom"]
    assert tuple(found.location) == (1.0, 2.0, 3.0)
    assert positions(found) == CORNERS.tolist()
    assert [list(face.vertices) for face in found.data.polygons] == TETRAHEDRON.tolist()
    assert not any(edge.is_loose for edge in found.data.edges)
    assert len(found.data.edges) == 6


def test_the_selection_stays_when_the_object_appears(connected, server):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.active_object
    job = connected.generate()

    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    assert bpy.context.active_object == cube
    assert bpy.context.selected_objects == [cube]


def test_moved_vertices_move_in_the_scene_and_faces_stay(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)
    edges = connected.object.data.edges[0].as_pointer()

    server.move(job.job, CORNERS * 2)
    connected.until(lambda: positions(connected.object) == (CORNERS * 2).tolist())

    assert connected.object.data.edges[0].as_pointer() == edges


def test_another_topology_replaces_the_faces(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    server.send_mesh(job.job, CORNERS[:3], TETRAHEDRON[:1] * 0 + np.array([[0, 1, 2]], np.int32))
    connected.until(lambda: len(connected.object.data.vertices) == 3)

    assert [list(face.vertices) for face in connected.object.data.polygons] == [[0, 1, 2]]


def test_colours_come_with_the_snapshots(connected, server):
    job = connected.generate()
    colours = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 255], [255, 255, 255]], np.uint8)

    server.send_mesh(job.job, colours=colours)
    connected.until(lambda: connected.object)

    attribute = connected.object.data.color_attributes.active_color
    shown = [[round(255 * number) for number in each.color_srgb[:3]] for each in attribute.data]
    assert shown == colours.tolist()


def test_progress_is_known(connected, server):
    job = connected.generate()

    server.set_state(job.job, "running")
    server.progress(job.job, 25, 100)
    connected.until(lambda: job.step == 25)

    assert (job.status, job.stage, job.share, job.seconds_left) == ("running", "bridge", 0.25, 15.0)


def test_pause_and_resume(connected, server):
    job = connected.generate()
    server.set_state(job.job, "running")
    connected.until(lambda: job.status == "running")

    bpy.ops.sketchbridge.pause()
    connected.until(lambda: job.status == "paused")
    bpy.ops.sketchbridge.resume()
    connected.until(lambda: job.status == "running")

    assert len(server.of(PauseJob)) == len(server.of(ResumeJob)) == 1


def test_cancelling_keeps_the_mesh_as_it_is_and_the_panel_is_ready_again(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    bpy.ops.sketchbridge.cancel()
    connected.until(lambda: job.shown == "result")

    assert job.status == "cancelled"
    assert server.of(CancelJob)[0].result == "keep"
    assert bpy.ops.sketchbridge.generate.poll()
    assert bpy.ops.sketchbridge.accept.poll()


def test_apply_sends_only_what_was_changed(connected, server):
    job = connected.generate("a red mushroom", guidance_scale=10)
    server.set_state(job.job, "running")
    connected.until(lambda: job.status == "running")
    connected.settings.prompt = "a blue mushroom"
    connected.settings.smoothness = 2

    bpy.ops.sketchbridge.steer()
    connected.until(lambda: job.asked == "")

    (update,) = server.of(UpdateJob)
    assert (update.prompt, update.smoothness_weight) == ("a blue mushroom", 2.0)
    assert update.guidance_scale is update.mesh_weight is update.source_suffix is None


def test_the_result_is_welded_and_has_a_uv_map_and_three_packed_textures(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    mesh = connected.object.data
    assert (len(mesh.vertices), len(mesh.polygons), len(mesh.edges)) == (4, 4, 6)
    # The first face has the doubled corner, which is the vertex 0 with a UV of its own.
    assert list(mesh.polygons[0].vertices) == [0, 2, 1]
    assert [tuple(mesh.uv_layers.active.uv[corner].vector) for corner in range(3)] == [(0.5, 0.25), (0, 1), (1, 0)]
    nodes = mesh.materials[0].node_tree.nodes
    images = {node.image.colorspace_settings.name: node.image for node in nodes if node.type == "TEX_IMAGE"}
    assert len([node for node in nodes if node.type == "TEX_IMAGE"]) == 3
    assert set(images) == {"sRGB", "Non-Color"}
    assert all(image.packed_file and tuple(image.size) == (4, 4) for image in images.values())


def test_accepting_makes_an_ordinary_object(connected, server):
    job = connected.generate("a red mushroom")
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    bpy.ops.sketchbridge.accept()

    assert [each.name for each in connected.object.users_collection] == ["Scene Collection"]
    assert "Sketchbridge: a red mushroom" not in bpy.data.collections
    assert job.shown == "accepted"


def test_accepting_as_an_asset(connected, server):
    job = connected.generate("a red mushroom", marks_as_asset=True)
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    bpy.ops.sketchbridge.accept()

    assert connected.object.asset_data is not None


def test_discarding_leaves_nothing_in_the_scene_and_the_history_can_put_it_back(connected, server):
    job = connected.generate()
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    bpy.ops.sketchbridge.discard()

    assert not bpy.data.objects
    assert not bpy.data.collections
    bpy.ops.sketchbridge.put_back()
    connected.until(lambda: job.shown == "result")
    assert connected.object is not None


def test_discarding_a_running_job_cancels_it(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)

    bpy.ops.sketchbridge.discard()
    connected.until(lambda: job.status == "cancelled")

    assert server.of(CancelJob)[0].result == "drop"
    assert not bpy.data.objects


def test_a_failure_is_a_sentence_and_the_button_is_usable_again(connected, server):
    job = connected.generate()

    server.fail(job.job)
    connected.until(lambda: job.status == "failed" and job.sentence)

    assert job.sentence == "The shape vanished; try another seed. (log log-1)"
    assert bpy.ops.sketchbridge.generate.poll()


def test_a_refused_job_says_why(connected, server):
    server.refusals["SubmitJob"] = ("unknown-name", "There is no prior called embedded here; there is larger.")
    connected.settings.prompt = "a red mushroom"

    bpy.ops.sketchbridge.generate()
    connected.until(lambda: connected.job.status == "failed")

    assert connected.job.sentence == "There is no prior called embedded here; there is larger."
    server.refusals.clear()
    bpy.ops.sketchbridge.try_again()
    connected.until(lambda: connected.job.status == "queued")


def test_with_live_updates_off_only_the_result_comes(connected, server):
    connected.preferences.live_per_second = 0
    job = connected.generate()

    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    assert "mesh" not in server.of(WatchJob)[0].channels


def test_two_jobs_form_side_by_side(connected, server):
    first = connected.generate("a red mushroom")
    bpy.ops.sketchbridge.new_job()
    second = connected.generate("a blue vase")

    server.send_mesh(first.job)
    server.send_mesh(second.job)
    connected.until(lambda: first.shown == second.shown == "mesh")

    assert {each.name for each in bpy.data.objects} == {"a red mushroom", "a blue vase"}


def test_jobs_go_on_when_the_server_comes_back(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: connected.object)
    address, states, keys = server.address, server.states, server.keys
    server.close()
    connected.until(lambda: CONNECTION.state == "lost")
    tick_states = JOBS.current.shown

    with JobServer(address, server.hello.server_id) as again:
        again.states, again.keys = states, keys
        connected.until(lambda: CONNECTION.is_connected and again.of(WatchJob), 15)
        again.send_mesh(job.job, CORNERS * 3)
        connected.until(lambda: positions(connected.object) == (CORNERS * 3).tolist())

    assert tick_states == "mesh"


def test_a_job_of_the_same_name_at_another_server_is_another_job(connected, server):
    first = connected.generate("a red mushroom")
    with JobServer() as other:
        connected.connect(other.address)
        second = connected.generate("a blue vase")
        assert first.job == second.job

        other.send_mesh(second.job)
        connected.until(lambda: second.shown == "mesh")

    assert first.shown == "nothing"
