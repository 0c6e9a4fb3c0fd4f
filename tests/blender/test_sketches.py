"""Sketches in Blender: drawn or taken from a view, sent with a job, changed while it runs; and what cannot be sent."""

import statistics
import time

import bpy
import numpy as np
import pytest
from job_server import JobServer
from mathutils import Matrix, Vector
from recording_layout import RecordingLayout, drawn
from session import Session

from blender_addon import handlers, panel, sketch_overlay, sketch_panel, sketch_updates, sketches
from blender_addon.jobs import JOBS
from blender_addon.protocol.messages import SubmitJob, UpdateJob
from blender_addon.sketch_reading import digest_of, read_strokes
from blender_addon.sketch_strokes import project


def items():
    return sketches.of(bpy.context.scene).items


def active():
    return sketches.active_of(bpy.context.scene)


def draw(drawing, *polylines, radius=0.02, colours=None, is_closed=False):
    """Adds strokes, given in the scene, to the first layer of a Grease Pencil object."""
    bpy.context.view_layer.update()
    to_local = drawing.matrix_world.inverted()
    found = drawing.data.layers[0].current_frame().drawing
    before = len(found.strokes)
    found.add_strokes([len(each) for each in polylines])
    for number, polyline in enumerate(polylines):
        stroke = found.strokes[before + number]
        stroke.cyclic = is_closed
        for point, place in zip(stroke.points, polyline, strict=True):
            point.position, point.radius = to_local @ Vector(place), radius
            if colours is not None:
                point.vertex_color = colours[number]
    found.tag_positions_changed()


def ellipse(wide=0.5, high=0.8, points=64, centre=(0, 0, 0)):
    """As seen from the front."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    flat = np.zeros(points)
    return np.stack([wide * np.cos(angles), flat, high * np.sin(angles)], axis=1) + centre


def draw_sketch(view="FRONT", **given):
    bpy.ops.sketchbridge.draw_sketch(view=view, **given)
    return active()


@pytest.fixture
def front(connected):
    """An ellipse, drawn from the front."""
    sketch = draw_sketch()
    draw(sketch.drawing, ellipse(), is_closed=True)
    return sketch


@pytest.fixture
def job(connected, server, front):
    job = connected.generate()
    server.set_state(job.job, "running")
    connected.until(lambda: job.status == "running")
    connected.tick_for(0.1)
    return job


def viewport():
    """The first 3D viewport, for an operator to be used in."""
    window = bpy.context.window_manager.windows[0]
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    region = next(each for each in area.regions if each.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=area, region=region)


def refused(message, operator=bpy.ops.sketchbridge.generate, **given):
    with pytest.raises(RuntimeError):  # what a report of an error is for a script
        operator(**given)
    assert message in JOBS.problem


def updates(server):
    return server.of(UpdateJob)


# --- what is sent


def test_a_job_has_the_sketch_as_its_camera_sees_it(connected, server, front):
    connected.generate()

    (request,) = server.of(SubmitJob)
    (sketch,) = request.sketches
    assert (request.task, sketch.name, sketch.drawn, sketch.weight) == ("sketch", "Front", "outline", 1.0)
    assert sketch.stroke_lengths.tolist() == [65]  # 64, and the first one again
    # The default size of 1.8 m, 1.3 times of which an axis view shows: 0.5 m are 0.5 / 2.34 of the picture.
    assert sketch.camera.projection == "orthographic"
    assert sketch.camera.height_metres == pytest.approx(2.34)
    np.testing.assert_allclose(sketch.points.min(axis=0), (0.5 - 0.5 / 2.34, 0.5 - 0.8 / 2.34), atol=1e-5)
    np.testing.assert_allclose(sketch.points.max(axis=0), (0.5 + 0.5 / 2.34, 0.5 + 0.8 / 2.34), atol=1e-5)
    assert sketch.line_width == pytest.approx(0.04 / 2.34, rel=1e-5)
    assert sketch.stroke_colours is None  # black
    # It stands at -Y, its right is +X and its up is +Z.
    np.testing.assert_allclose(
        np.array(sketch.camera.camera_to_world).reshape(4, 4)[:3],
        [[1, 0, 0, 0], [0, 0, -1, -3.6], [0, 1, 0, 0]],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("view", "right", "up"),
    [
        ("FRONT", (1, 0, 0), (0, 0, 1)),
        ("BACK", (-1, 0, 0), (0, 0, 1)),
        ("LEFT", (0, -1, 0), (0, 0, 1)),
        ("RIGHT", (0, 1, 0), (0, 0, 1)),
        ("TOP", (1, 0, 0), (0, 1, 0)),
        ("BOTTOM", (1, 0, 0), (0, -1, 0)),
    ],
)
def test_axis_views_are_blenders(blender, view, right, up):
    """As `PresetCamera` has them."""
    matrix = sketches.view_of(draw_sketch(view)).matrix

    np.testing.assert_allclose(matrix[:3, 0], right, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 1], up, atol=1e-6)


def test_the_object_is_to_be_where_it_was_drawn_and_as_large(connected, server, front):
    draw(front.drawing, ellipse(centre=(3, 0, 3)))  # far outside of the picture: it does not count

    connected.generate()

    placement = server.of(SubmitJob)[0].placement
    assert placement.centre == pytest.approx((0, 0, 0), abs=1e-6)
    # Half the diagonal of 1 m x 1.6 m, with 5 % around it.
    assert placement.radius_metres == pytest.approx(np.hypot(0.5, 0.8) * 1.05, rel=1e-4)
    assert connected.job.placed.frame.rows[3::4] == pytest.approx((0, 0, 0), abs=1e-6)


def test_it_can_be_at_the_cursor_instead(connected, server, front):
    sketches.of(bpy.context.scene).fits = False
    bpy.context.scene.cursor.location = (0.1, 0.2, 0.3)

    connected.generate(size_metres=2.0)

    placement = server.of(SubmitJob)[0].placement
    assert placement.centre == pytest.approx((0.1, 0.2, 0.3))
    assert placement.radius_metres == 1.0


def test_a_blocked_out_mesh_goes_with_the_sketches(connected, server):
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 4))
    cube = bpy.context.active_object
    connected.settings.begin_with = "SELECTED"
    sketch = draw_sketch()
    assert tuple(sketch.drawing.location) == (0, 0, 4)  # drawn over what it begins with
    draw(sketch.drawing, ellipse(centre=(0, 0, 4)))
    sketch.drawing.select_set(False)
    cube.select_set(True)

    connected.generate()

    (request,) = server.of(SubmitJob)
    assert request.task == "sketch"
    assert len(request.mesh.faces) == 12
    assert request.placement is None
    assert len(request.sketches) == 1


def test_colours_of_materials_and_of_painted_points_are_hints(connected, server, front):
    red = bpy.data.materials.new("Red")
    bpy.data.materials.create_gpencil_data(red)
    red.grease_pencil.color = (1, 0, 0, 1)
    front.drawing.data.materials.append(red)
    draw(front.drawing, [(0, 0, 0), (0.1, 0, 0)], [(0, 0, 0), (0, 0, 0.1)], colours=[(0, 0, 0, 0), (0, 0, 1, 1)])
    found = front.drawing.data.layers[0].current_frame().drawing
    found.strokes[1].material_index = found.strokes[2].material_index = 1

    connected.generate()

    colours = server.of(SubmitJob)[0].sketches[0].stroke_colours
    assert colours[1].tolist() == [255, 0, 0]
    assert colours[2].tolist() == [0, 0, 255]
    front.has_colours = False
    bpy.ops.sketchbridge.new_job()
    connected.generate()
    assert server.of(SubmitJob)[1].sketches[0].stroke_colours is None


def test_hidden_layers_and_materials_are_left_out(connected, server, front):
    front.drawing.data.layers[0].hide = True
    layer = front.drawing.data.layers.new("Other")
    layer.frames.new(1)
    layer.current_frame().drawing.add_strokes([2])
    bpy.context.view_layer.update()

    assert read_strokes(front, bpy.context.scene).lengths.tolist() == [2]

    front.drawing.data.materials[0].grease_pencil.hide = True
    assert len(read_strokes(front, bpy.context.scene).points) == 0


@pytest.mark.skipif(bpy.app.version < (5, 2), reason="before Blender 5.2 the material says what of a stroke shows")
def test_strokes_without_line_and_fill_are_left_out(connected, server, front):
    found = front.drawing.data.layers[0].current_frame().drawing
    found.add_strokes([2])
    before = digest_of(front, bpy.context.scene)
    found.strokes[0].hide_stroke = True

    assert read_strokes(front, bpy.context.scene).lengths.tolist() == [2]
    assert digest_of(front, bpy.context.scene) != before

    found.strokes[0].fill_id = 1
    assert len(read_strokes(front, bpy.context.scene).lengths) == 2


def test_a_moved_turned_and_scaled_drawing_counts_where_it_is(connected, front):
    drawing = front.drawing
    before = read_strokes(front, bpy.context.scene)
    matrix = Matrix.LocRotScale((1, 2, 3), Matrix.Rotation(0.5, 3, "Z"), (2, 2, 2))

    drawing.matrix_world = matrix
    bpy.context.view_layer.update()
    after = read_strokes(front, bpy.context.scene)

    expected = before.points @ np.array(matrix)[:3, :3].T + np.array(matrix)[:3, 3]
    np.testing.assert_allclose(after.points, expected, atol=1e-5)
    np.testing.assert_allclose(after.radii, 2 * before.radii, rtol=1e-5)


# --- views


def test_the_current_view_is_what_the_viewport_shows(blender):
    with viewport():
        region = bpy.context.region_data
        view_matrix, window_matrix = region.view_matrix.copy(), region.window_matrix.copy()
        bpy.ops.sketchbridge.draw_sketch(view="VIEW")
        drawing = bpy.context.active_object
        assert drawing.mode == "PAINT_GREASE_PENCIL"
        assert region.view_perspective == "PERSP"

    points = np.random.default_rng(3).uniform(-1, 1, (20, 3))
    places, _ = project(sketches.view_of(active()), points)

    clip = np.concatenate([points, np.ones((20, 1))], axis=1) @ np.array(window_matrix @ view_matrix).T
    np.testing.assert_allclose(places, clip[:, :2] / clip[:, 3:] / 2 + 0.5, atol=1e-4)


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_the_scene_camera_is_what_it_renders(blender, kind):
    from bpy_extras.object_utils import world_to_camera_view

    data = bpy.data.cameras.new("Camera")
    data.type, data.shift_x, data.shift_y, data.ortho_scale = kind, 0.1, -0.2, 5
    camera = bpy.data.objects.new("Camera", data)
    bpy.context.scene.collection.objects.link(camera)
    camera.matrix_world = Matrix.LocRotScale((4, -5, 3), Matrix.Rotation(1.0, 3, (1, 0.3, 0.6)), (1, 1, 1))
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    points = [camera.matrix_world @ Vector(each) for each in ((0, 0, -5), (1, 0.5, -4), (-1, 1, -7))]

    places, _ = project(sketches.view_of(draw_sketch("CAMERA")), np.array(points))

    expected = [world_to_camera_view(bpy.context.scene, camera, each)[:2] for each in points]
    np.testing.assert_allclose(places, expected, atol=1e-4)


def test_without_a_camera_or_a_viewport_it_says_so(blender):
    refused("The scene has no camera", bpy.ops.sketchbridge.draw_sketch, view="CAMERA")
    refused("There is no 3D viewport here", bpy.ops.sketchbridge.draw_sketch, view="VIEW")
    assert len(items()) == 0


def test_look_through_turns_the_viewport_to_the_sketch(connected, front):
    with viewport():
        bpy.ops.sketchbridge.look_through()
        region, lens = bpy.context.region_data, bpy.context.space_data.lens
        wide_by_high = bpy.context.region.width / bpy.context.region.height
        assert region.view_perspective == "ORTHO"
        assert (region.view_rotation @ Vector((0, 0, -1))).to_tuple(5) == (0, 1, 0)
        assert region.view_location.to_tuple(4) == (0, 0, 0)
        # Blender's longer side spans 72 mm / lens times the distance; the picture's 2.34 m fit in the height.
        assert region.view_distance * 72 / lens / wide_by_high == pytest.approx(2.34)
        assert region.is_orthographic_side_view  # where Blender has its grid
        assert bpy.context.active_object.mode == "PAINT_GREASE_PENCIL"


def test_look_through_a_view_that_is_along_no_axis(connected, front):
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    camera.data.type, camera.rotation_euler = "ORTHO", (1.2, 0.1, 0.3)
    bpy.context.view_layer.update()
    draw_sketch("CAMERA")
    with viewport():
        region = bpy.context.region_data
        for index, is_along_axis in ((0, True), (1, False), (0, True)):
            sketches.of(bpy.context.scene).active_index = index
            bpy.ops.sketchbridge.look_through()
            assert region.is_orthographic_side_view == is_along_axis
            if not is_along_axis:
                wanted = camera.matrix_world.to_quaternion()
                assert region.view_rotation.rotation_difference(wanted).angle < 1e-3


# --- taken views


def test_take_view_makes_sketches_of_one_drawing_from_two_sides(connected, server, front):
    bpy.context.view_layer.objects.active = front.drawing
    bpy.ops.sketchbridge.take_view(view="LEFT", kind="lines")
    taken = active()
    assert taken.drawing == items()[0].drawing

    draw(taken.drawing, [(0, -0.5, 0), (0, 0.5, 0)])
    connected.generate()

    front_sketch, left = server.of(SubmitJob)[0].sketches
    assert left.drawn == "lines"
    assert np.ptp(front_sketch.points[-2:, 0]) == pytest.approx(0, abs=1e-6)  # seen from its end
    assert left.points[-2, 0] > left.points[-1, 0]  # from the left, -Y is to the right


def camera_with_image(pixels, **given):
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("paper", width, height, alpha=True)
    image.pixels.foreach_set(np.ascontiguousarray(pixels[::-1], np.float32).reshape(-1))
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    camera.location = (0, -6, 0)
    camera.rotation_euler = (np.pi / 2, 0, 0)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    data.show_background_images = True
    found = data.background_images.new()
    found.image = image
    found.frame_method = "FIT"  # the default from 5.0 on; before that it was STRETCH
    for name, value in given.items():
        setattr(found, name, value)
    bpy.context.view_layer.update()
    return image


def paper(width=60, height=60):
    """White, with a black bar in its upper left quarter."""
    pixels = np.ones((height, width, 4), np.float32)
    pixels[height // 8 : height // 4, width // 8 : width // 3, :3] = 0
    return pixels


def decoded(png):
    path = bpy.app.tempdir + "sent.png"
    with open(path, "wb") as file:
        file.write(png)
    image = bpy.data.images.load(path)
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(image.size[1], image.size[0], 4)[::-1]


def test_the_image_behind_the_camera_is_sent_as_a_picture(connected, server):
    camera_with_image(paper())
    bpy.ops.sketchbridge.take_view()

    connected.generate()

    (sketch,) = server.of(SubmitJob)[0].sketches
    np.testing.assert_allclose(decoded(sketch.picture), paper(), atol=0.01)
    assert sketch.points is None
    assert sketch.aspect == pytest.approx(1.0)
    # Fitted into a frame of 16 : 9, it is as high as that: 36 mm wide, 20.25 mm high, 50 mm away.
    assert sketch.camera.fov_degrees == pytest.approx(2 * np.degrees(np.arctan(20.25 / 2 / 50)), rel=1e-4)


@pytest.mark.parametrize(
    ("given", "high", "aspect"),
    [
        ({"frame_method": "CROP"}, 16 / 9, 1.0),
        ({"frame_method": "STRETCH"}, 1.0, 16 / 9),
        ({"scale": 0.5}, 0.5, 1.0),
    ],
)
def test_the_picture_is_as_large_as_the_camera_shows_it(blender, given, high, aspect):
    camera_with_image(paper(), **given)

    bpy.ops.sketchbridge.take_view()

    view = sketches.view_of(active())
    assert np.tan(np.radians(view.fov_degrees) / 2) == pytest.approx(high * 20.25 / 2 / 50, rel=1e-4)
    assert view.aspect == pytest.approx(aspect, rel=1e-4)


def test_a_stretched_and_mirrored_picture_is_sent_as_it_is_seen(connected, server):
    camera_with_image(paper(), frame_method="STRETCH", use_flip_x=True)
    bpy.ops.sketchbridge.take_view()

    connected.generate()

    pixels = decoded(server.of(SubmitJob)[0].sketches[0].picture)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(16 / 9, rel=0.02)
    rows, columns = np.nonzero(pixels[..., 0] < 0.5)
    assert rows.max() < pixels.shape[0] / 2
    assert columns.min() > pixels.shape[1] / 2


def test_take_view_says_what_is_missing(blender):
    refused("No Grease Pencil object is active. The scene has no camera", bpy.ops.sketchbridge.take_view)
    refused("no Grease Pencil object", bpy.ops.sketchbridge.take_view, source="STROKES")
    image = camera_with_image(paper(), rotation=0.5)
    refused("is turned", bpy.ops.sketchbridge.take_view)
    bpy.data.images.remove(image)
    refused("shows no image in its background", bpy.ops.sketchbridge.take_view)


# --- the list


def test_sketches_can_be_moved_removed_and_have_names_of_their_own(blender):
    first, second = draw_sketch().name, draw_sketch().name
    assert (first, second) == ("Front", "Front 2")

    bpy.ops.sketchbridge.move_sketch(direction="UP")
    assert [each.name for each in items()] == ["Front 2", "Front"]
    bpy.ops.sketchbridge.move_sketch(direction="UP")  # already there
    drawing = active().drawing
    bpy.ops.sketchbridge.remove_sketch()

    assert [each.name for each in items()] == ["Front"]
    assert drawing.name in bpy.context.scene.objects
    bpy.ops.sketchbridge.remove_sketch()
    assert not bpy.ops.sketchbridge.remove_sketch.poll()


def test_hiding_a_sketch_hides_its_drawing_and_it_is_sent_all_the_same(connected, server, front):
    front.is_shown = False
    assert front.drawing.hide_viewport

    connected.generate()

    assert len(server.of(SubmitJob)[0].sketches) == 1


def test_sketches_are_saved_with_the_scene_and_jobs_are_not(connected, front, job, tmp_path):
    matrix = tuple(front.camera_to_world)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "sketches.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert len(items()) == 0

    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "sketches.blend"))

    assert tuple(active().camera_to_world) == matrix
    assert len(read_strokes(active(), bpy.context.scene).points) == 65
    assert bpy.app.timers.is_registered(handlers._on_timer)  # which makes the thumbnails


def test_drawing_and_removing_a_sketch_is_undone_in_one_step(blender):
    bpy.ops.ed.undo_push(message="Before")
    draw_sketch()
    bpy.ops.ed.undo_push(message="Draw Sketch")
    bpy.ops.ed.undo()

    assert len(items()) == 0
    blender.tick_for(0.05)


def test_a_thumbnail_comes_once_it_is_drawn(connected, front, monkeypatch):
    shown = {}
    monkeypatch.setattr(sketch_updates.thumbnails, "show", lambda key, place, png: shown.update({key: png}))

    connected.until(lambda: front.uid in shown)

    pixels = decoded(shown[front.uid])
    assert pixels.shape == (96, 96, 4)
    rows, columns = np.nonzero(pixels[..., 0] < 0.4)
    # An ellipse of 1 m x 1.6 m in a picture of 2.34 m.
    assert np.ptp(columns) == pytest.approx(96 / 2.34, abs=3)
    assert np.ptp(rows) == pytest.approx(96 * 1.6 / 2.34, abs=3)


# --- while a job runs


def test_nothing_is_sent_while_nothing_changes(connected, server, job):
    connected.tick_for(1.0)

    assert updates(server) == []


def test_a_new_stroke_is_sent_once_it_has_settled_and_only_that_sketch(connected, server, job):
    other = draw_sketch("LEFT")
    draw(other.drawing, [(0, -0.5, 0), (0, 0.5, 0.5)])
    connected.until(lambda: updates(server))
    assert [each.name for each in updates(server)[0].add_sketches] == ["Left"]

    for height in (0.1, 0.2, 0.3):
        draw(other.drawing, [(0, -0.5, height), (0, 0.5, height)])
        connected.tick_for(0.1)
    connected.until(lambda: len(updates(server)) > 1)
    connected.tick_for(1.0)

    (_, update) = updates(server)
    (sketch,) = update.add_sketches
    assert (sketch.name, len(sketch.stroke_lengths)) == ("Left", 4)
    assert (update.remove_sketches, update.sketch_weights, update.prompt) == ((), (), None)
    assert job.sentence == ""


def test_a_new_weight_is_sent_alone(connected, server, job, front):
    front.weight = 2.5
    connected.until(lambda: updates(server))

    (update,) = updates(server)
    assert [(each.name, each.weight) for each in update.sketch_weights] == [("Front", 2.5)]
    assert update.add_sketches == ()


def test_another_kind_is_sent(connected, server, job, front):
    front.kind = "lines"
    connected.until(lambda: updates(server))

    assert [each.drawn for each in updates(server)[0].add_sketches] == ["lines"]


def test_a_renamed_and_a_removed_sketch(connected, server, job, front):
    front.name = "Side"
    connected.until(lambda: updates(server))
    assert updates(server)[0].remove_sketches == ("Front",)
    assert [each.name for each in updates(server)[0].add_sketches] == ["Side"]

    other = draw_sketch("TOP")
    draw(other.drawing, [(0, 0, 0), (0.3, 0.3, 0)])
    connected.until(lambda: len(updates(server)) == 2)
    sketches.of(bpy.context.scene).active_index = 0
    bpy.ops.sketchbridge.remove_sketch()
    connected.until(lambda: len(updates(server)) == 3)

    assert updates(server)[2].remove_sketches == ("Side",)
    assert updates(server)[2].add_sketches == ()


def test_the_last_sketch_is_not_removed_from_the_job(connected, server, job):
    bpy.ops.sketchbridge.remove_sketch()

    connected.until(lambda: job.sentence == sketch_updates.ONE_MUST_REMAIN)
    assert updates(server) == []


def test_renaming_the_drawing_changes_nothing(connected, server, job, front):
    front.drawing.name, front.drawing.data.name = "Нарисовано", "x"
    connected.tick_for(1.2)

    assert updates(server) == []


def test_undoing_a_stroke_is_sent_as_well(connected, server, job):
    front = active()
    uid = front.uid
    draw(front.drawing, [(0, 0, 0), (0.3, 0, 0.3)])
    bpy.ops.ed.undo_push(message="before")
    connected.until(lambda: len(updates(server)) == 1)
    draw(active().drawing, [(0, 0, 0), (-0.3, 0, 0.3)])
    bpy.ops.ed.undo_push(message="stroke")
    connected.until(lambda: len(updates(server)) == 2)

    bpy.ops.ed.undo()
    connected.until(lambda: len(updates(server)) == 3)

    assert active().uid == uid
    assert [len(each.add_sketches[0].stroke_lengths) for each in updates(server)] == [2, 3, 2]


def test_a_refused_change_is_said_and_not_sent_again_until_it_changes(connected, server, job, front):
    server.refusals["UpdateJob"] = ("bad-message", "The sketch Front is a scribble, which this server cannot.")
    front.kind = "scribble"
    connected.until(lambda: job.sentence.startswith("The sketch Front is a scribble"))
    connected.tick_for(1.0)
    assert len(updates(server)) == 1

    server.refusals.clear()
    front.kind = "lines"
    connected.until(lambda: len(updates(server)) == 2)

    assert updates(server)[1].add_sketches[0].drawn == "lines"
    connected.until(lambda: job.sentence == "")


def test_an_emptied_or_deleted_drawing_waits_and_says_so(connected, server, job, front):
    front.drawing.data.layers[0].current_frame().drawing.remove_strokes()
    connected.until(lambda: "The sketch Front is empty" in job.sentence)

    bpy.data.objects.remove(front.drawing)
    connected.until(lambda: "was deleted" in sketch_updates.problem_of(front))
    front.weight = 3
    connected.tick_for(1.0)

    assert updates(server) == []


def test_another_scene_is_not_the_jobs(connected, server, job):
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    sketch = draw_sketch()
    draw(sketch.drawing, ellipse())
    connected.tick_for(1.2)

    assert updates(server) == []


# --- what cannot be sent


def test_no_sketch(connected):
    connected.settings.prompt, connected.settings.task = "a red mug", "sketch"

    refused("There is no sketch: press Draw Sketch")


def test_an_empty_sketch(connected):
    draw_sketch()
    connected.settings.prompt = "a red mug"

    refused("The sketch Front is empty")


def test_strokes_outside_of_the_view(connected):
    sketch = draw_sketch()
    draw(sketch.drawing, ellipse(centre=(9, 0, 0)))
    connected.settings.prompt = "a red mug"

    refused("All strokes of the sketch Front are outside its view")


def test_a_deleted_drawing(connected, front):
    connected.settings.prompt = "a red mug"
    bpy.ops.object.select_all(action="DESELECT")
    front.drawing.select_set(True)
    bpy.ops.object.delete()  # the sketch still points at it, so that it stays in the file

    refused("The drawing of the sketch Front was deleted")
    refused("was deleted", bpy.ops.sketchbridge.look_through)


def test_two_sketches_of_one_name(connected, front):
    second = draw_sketch("LEFT")
    draw(second.drawing, ellipse())
    second.name = "Front"
    connected.settings.prompt = "a red mug"

    refused("Two sketches are called Front")


def test_more_sketches_than_the_server_takes(blender):
    with JobServer(sketches=1) as small:
        blender.connect(small.address)
        for _ in range(2):
            draw(draw_sketch().drawing, ellipse())
        blender.settings.prompt = "a red mug"

        refused("There are 2 sketches, and the server takes 1")


def test_a_server_without_sketches(blender):
    with JobServer(tasks=("text",)) as old:
        blender.connect(old.address)
        draw(draw_sketch().drawing, ellipse())
        blender.settings.prompt = "a red mug"

        refused("This server makes nothing from sketches")


def test_too_many_strokes(connected):
    sketch = draw_sketch()
    found = sketch.drawing.data.layers[0].current_frame().drawing
    found.add_strokes([1] * 20_001)
    connected.settings.prompt = "a red mug"

    refused("The sketch Front has 20,001 strokes, and at most 20,000 can be sent")


def test_points_that_nobody_tells_apart_are_not_too_many(connected, server):
    sketch = draw_sketch()
    found = sketch.drawing.data.layers[0].current_frame().drawing
    found.add_strokes([300_000])
    found.attributes["position"].data.foreach_set("vector", ellipse(points=300_000).astype(np.float32).reshape(-1))

    connected.generate()

    assert len(server.of(SubmitJob)[0].sketches[0].points) < 20_000


def test_the_servers_refusal_of_a_scribble_is_a_sentence(connected, server, front):
    server.refusals["SubmitJob"] = ("bad-message", "The sketch Front is a scribble; send it as lines.")
    front.kind, connected.settings.prompt = "scribble", "a red mug"
    bpy.ops.sketchbridge.generate()
    connected.until(lambda: connected.job.status == "failed")

    assert "The sketch Front is a scribble" in " ".join(drawn(panel.SKETCHBRIDGE_PT_main).text.split())
    assert "generate" in drawn(panel.SKETCHBRIDGE_PT_main).operators


# --- the panel, the overlay, the timer


def drawn_item(sketch):
    layout = RecordingLayout()
    own = sketches.of(bpy.context.scene)
    sketch_panel.SKETCHBRIDGE_UL_sketches.draw_item(None, bpy.context, layout, own, sketch, 0, own, "active_index")
    return layout.drawn


def test_the_list_has_name_kind_weight_and_visibility(connected, front):
    layout = drawn(panel.SKETCHBRIDGE_PT_main)

    assert {"draw_sketch", "take_view", "remove_sketch", "move_sketch", "look_through"} <= set(layout.operators)
    assert [what for kind, what in drawn_item(front) if kind == "prop"] == ["name", "kind", "weight", "is_shown"]
    connected.settings.task = "text"
    assert "draw_sketch" not in drawn(panel.SKETCHBRIDGE_PT_main).operators


def test_the_panel_says_what_is_wrong_with_the_chosen_sketch(connected):
    sketch = draw_sketch()
    connected.until(lambda: sketch_updates.problem_of(sketch))

    assert "The sketch Front is empty" in " ".join(drawn(panel.SKETCHBRIDGE_PT_main).text.split())


def said_of_sketches():
    said = []
    sketch_panel.draw_sketches(RecordingLayout(), bpy.context, lambda layout, text, icon: said.append((icon, text)))
    return said


def test_a_sketch_that_was_just_begun_is_no_reason_for_a_warning(connected):
    sketch = draw_sketch()
    connected.until(lambda: sketch_updates.problem_of(sketch))
    assert said_of_sketches() == [("INFO", "The sketch Front is empty: draw in it, or remove it")]

    draw(sketch.drawing, ellipse(centre=(9, 0, 0)))
    connected.until(lambda: "outside its view" in sketch_updates.problem_of(sketch))
    assert [icon for icon, _ in said_of_sketches()] == ["ERROR"]

    draw(sketch.drawing, ellipse())
    connected.until(lambda: not sketch_updates.problem_of(sketch))
    assert said_of_sketches() == []


def test_sketches_cost_the_artist_nothing(connected, server, job):
    """The project's bars: 0.5 ms to draw, 2 ms a tick; with 16 sketches of 2000 points. Medians of thread CPU time."""
    for number in range(15):
        draw(draw_sketch("FRONT").drawing, ellipse(points=2000) * (1, 1, 1 - number / 40))
    connected.until(lambda: len(updates(server)) > 0)
    connected.tick_for(1.0)

    def median_ms(function):
        times = []
        for _ in range(200):
            before = time.thread_time()
            function()
            times.append(1000 * (time.thread_time() - before))
        return statistics.median(times)

    class Quiet:
        """A layout that does nothing: what is timed is the panel's own work."""

        def __getattr__(self, name):
            return lambda *values, **given: Quiet()

        def __setattr__(self, name, value):
            pass

    stand_in = type("Self", (), {"layout": Quiet()})()
    own = sketches.of(bpy.context.scene)

    def draw_all():
        panel.SKETCHBRIDGE_PT_main.draw(stand_in, bpy.context)
        for each in own.items[:3]:
            sketch_panel.SKETCHBRIDGE_UL_sketches.draw_item(
                None, bpy.context, Quiet(), own, each, 0, own, "active_index"
            )

    drawing, looking = median_ms(draw_all), median_ms(sketch_updates.look)
    print(f"draw {drawing:.3f} ms, look {looking:.3f} ms")
    assert drawing < 0.5
    assert looking < 2.0


def test_the_frame_is_where_it_was_drawn(connected, front):
    corners = np.array(sketch_overlay.corners_of(front))

    np.testing.assert_allclose(corners[0], (-1.17, 0, -1.17), atol=1e-5)
    np.testing.assert_allclose(corners[2], (1.17, 0, 1.17), atol=1e-5)


def overlay_pixels(side=64):
    """What the overlay draws, seen from the front: float [side, side, 4], the first row on top."""
    import gpu

    scene = bpy.context.scene  # in the background, the graphics library is there after a first render only
    scene.camera = scene.camera or bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "BLENDER_WORKBENCH", 16, 9
    bpy.ops.render.render()
    offscreen = gpu.types.GPUOffScreen(side, side)
    with offscreen.bind():
        gpu.state.active_framebuffer_get().clear(color=(0, 0, 0, 1))
        with gpu.matrix.push_pop(), gpu.matrix.push_pop_projection():
            half = 1.3
            gpu.matrix.load_projection_matrix(
                Matrix(((1 / half, 0, 0, 0), (0, 1 / half, 0, 0), (0, 0, -0.01, 0), (0, 0, 0, 1)))
            )
            gpu.matrix.load_matrix(Matrix.Rotation(-np.pi / 2, 4, "X"))
            sketch_overlay.draw()
        buffer = gpu.state.active_framebuffer_get().read_color(0, 0, side, side, 4, 0, "FLOAT")
    offscreen.free()
    return np.array(buffer.to_list()).reshape(side, side, 4)[::-1]


def test_the_overlay_shows_frames_and_pictures_of_what_is_shown(connected, front):
    frame = overlay_pixels()
    assert (frame[..., :3].max(axis=2) > 0.1).sum() > 100
    assert frame[20:44, 20:44, :3].max() == 0  # nothing inside
    front.is_shown = False
    assert overlay_pixels()[..., :3].max() == 0

    camera_with_image(paper())
    bpy.context.view_layer.objects.active = None
    bpy.ops.sketchbridge.take_view()
    picture = overlay_pixels()
    # 6 m away it is 2.43 m high. Its black bar is in the upper left quarter, and its white is half there.
    assert picture[48, 32, 0] == pytest.approx(0.5, abs=0.1)
    assert picture[13, 16, 0] == pytest.approx(0, abs=0.05)


def test_the_overlay_is_not_left_behind(blender):
    bpy.ops.preferences.addon_disable(module="blender_addon")
    handle = sketch_overlay._Drawing.handle
    bpy.ops.preferences.addon_enable(module="blender_addon")

    assert handle is None
    assert not hasattr(bpy.types.Object, "sketchbridge_sketches")


def test_the_timer_goes_on_while_there_are_sketches_and_never_raises(blender, capsys):
    assert handlers._on_timer() is None
    sketch = draw_sketch()
    assert bpy.app.timers.is_registered(handlers._on_timer)
    assert handlers._on_timer() == handlers.IDLE_SECONDS

    bpy.data.objects.remove(sketch.drawing)
    for _ in range(3):
        handlers._on_timer()
    bpy.ops.wm.read_homefile(use_empty=True)
    assert handlers._on_timer() is None
    assert "Traceback" not in capsys.readouterr().err
    Session().forget_history()
