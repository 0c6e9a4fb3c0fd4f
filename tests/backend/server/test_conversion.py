"""Wire to backend and back: coordinates, meshes, settings and pictures, with a prior that knows colours alone."""

import io
import math
import re

import numpy as np
import pytest
import torch
import trimesh
from colour_prior import ColourPrior
from PIL import Image

from backend.config import TextToMeshSettings, TextureMeshSettings
from backend.errors import BadInput, BadPicture, MissingModel, UnreadableMesh
from backend.picture_config import TextToImageSettings
from backend.server.conversion import JobRequest
from backend.server.mesh_conversion import client_positions, placed_mesh, placement_of
from backend.server.worker_config import WorkerConfig, read_worker_config
from backend.sketch_config import SketchToMeshSettings
from protocol.geometry import InputMesh
from protocol.messages import SketchChange, SubmitJob, UpdateJob
from protocol.settings import Placement, Settings
from protocol.sketches import OrbitCamera, PresetCamera, Sketch

TURN = np.linspace(0, 2 * np.pi, 60)
ELLIPSE = np.stack([0.5 + 0.2 * np.cos(TURN), 0.5 + 0.4 * np.sin(TURN)], axis=1)
"""Twice as high as wide."""
CONFIG = WorkerConfig({"embedded": "embedded", "large": "/models/large"})


def job(task="text", settings=None, **fields):
    return SubmitJob(key="a-key-of-a-test", task=task, prompt="a red mug", settings=settings or Settings(), **fields)


def request(*arguments, **fields):
    return JobRequest.of(job(*arguments, **fields), CONFIG)


def wire_mesh(mesh, **more):
    return InputMesh(positions=np.asarray(mesh.vertices, np.float32), faces=np.asarray(mesh.faces, np.int32), **more)


def box_mesh(centre=(5.0, -3.0, 2.0), sides=(2.0, 1.0, 0.5), **more):
    box = trimesh.creation.box(sides)
    box.apply_translation(centre)
    return wire_mesh(box, **more)


def loader(name, device):
    return ColourPrior({"red": (0.9, 0.1, 0.1)})


def png_of(picture):
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def test_blenders_front_and_top_become_the_backends():
    placement = placement_of(job(placement=Placement(centre=(1.0, 2.0, 3.0), radius_metres=1.8)))
    front, top, right = [1.0, 0.2, 3.0], [1.0, 2.0, 4.8], [2.8, 2.0, 3.0]  # on the ball: -Y, +Z, +X

    placed = placement.place(np.array([front, top, right]))

    # Front is +Z, up is +Y, and the ball has a radius of 0.9.
    np.testing.assert_allclose(placed, [[0, 0, 0.9], [0, 0.9, 0], [0.9, 0, 0]], atol=1e-12)


def test_without_a_placement_it_is_the_ball_around_the_mesh():
    placement = placement_of(job(mesh=box_mesh()))

    assert placement.centre == (5.0, -3.0, 2.0)
    # The corners are as far from the middle as the ball's radius.
    assert placement.scale == pytest.approx(0.9 / np.linalg.norm([1.0, 0.5, 0.25]))


def test_without_a_mesh_it_is_the_ball_around_the_origin():
    assert placement_of(job()).place(np.array([[0.0, 0.0, 0.9]])).tolist() == [[0.0, 0.9, 0.0]]


@pytest.mark.parametrize("ball", [None, Placement(centre=(5.5, -3.0, 2.0), radius_metres=2.5)])
def test_a_mesh_comes_back_where_it_was(ball):
    mesh = box_mesh()
    placement = placement_of(job(mesh=mesh, placement=ball))

    back = client_positions(placed_mesh(mesh, placement).triangle_mesh(), placement)

    np.testing.assert_allclose(back, mesh.positions, atol=1e-5)


def test_a_surface_that_begins_with_a_mesh_is_where_the_client_has_it():
    mesh = wire_mesh(trimesh.creation.icosphere(subdivisions=3, radius=40.0).apply_translation([100.0, 0.0, 50.0]))
    asked = request(settings=Settings(steps=1, quality="draft"), mesh=mesh)

    result = asked.partial("job-1", asked.make_task(print, loader), 0, 0.0).mesh

    distances = np.linalg.norm(result.positions - [100.0, 0.0, 50.0], axis=1)
    cell = 2 / 32 * 40.0 / 0.9  # metres of the client's scene
    assert np.abs(distances - 40.0).max() < cell / 4
    outwards = ((result.positions - [100.0, 0.0, 50.0]) * result.normals).sum(1) / distances
    assert outwards.min() > 0.8  # the normals and the order of the corners are the client's


def test_a_textured_mesh_keeps_its_numbers_its_uvs_and_their_direction():
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * 0.9 + 0.05
    plane = InputMesh(
        positions=np.array([[9.1, 3, 0.3], [10.1, 3, 0.3], [10.1, 3, 1.3], [9.1, 3, 1.3]], np.float32),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        uv=corners[[[0, 1, 2], [0, 2, 3]]],
        colours=np.array([[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]], np.uint8),
    )
    asked = request("texture", Settings(steps=1, texture_size=64), mesh=plane)

    finished, _ = asked.finished("job-1", asked.make_task(print, loader), 0, 1.5, False, print)

    mesh = finished.mesh
    assert np.array_equal(mesh.positions, plane.positions[mesh.source_vertices])
    np.testing.assert_allclose(mesh.uv, corners[mesh.source_vertices], atol=1e-6)
    assert mesh.normals[:, 1].max() == pytest.approx(-1.0)  # it faces -Y, Blender's front
    base = np.asarray(Image.open(io.BytesIO(finished.textures[0].picture)))
    # The first row of the picture is at V = 1, where the upper corners are, which are blue.
    assert base[8, 32].argmax() == 2
    assert base[-8, 32].argmax() == 0
    assert [each.use for each in finished.textures] == ["base-colour", "metallic-roughness"]


def test_vertices_with_several_uvs_are_one_vertex_for_the_client():
    box = trimesh.creation.box()
    mesh = wire_mesh(box, uv=np.arange(12 * 3 * 2, dtype=np.float32).reshape(12, 3, 2) / 72)

    placed = placed_mesh(mesh, placement_of(job(mesh=mesh)))

    assert len(placed.vertices) == 36  # each corner has a UV of its own
    assert np.array_equal(np.unique(placed.sources), np.arange(8))
    back = client_positions(placed.triangle_mesh(), placed.placement)
    np.testing.assert_allclose(back, mesh.positions[placed.sources], atol=1e-6)
    assert placed.uv[:, 1].min() == pytest.approx(1 - 71 / 72, abs=1e-6)


def test_vertices_that_no_face_uses_are_left_out():
    box = box_mesh()
    stray = InputMesh(
        positions=np.concatenate([[[1e5, 1e5, 1e5]], box.positions]).astype(np.float32), faces=box.faces + np.int32(1)
    )

    placed = placed_mesh(stray, placement_of(job(mesh=stray)))

    assert np.array_equal(placed.sources, np.arange(1, 9))


def test_locked_vertices_are_locked_after_unused_ones_are_left_out():
    locked = np.array([0, 1, 0, 1, 1], np.uint8)
    mesh = InputMesh(
        positions=np.array([[9, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
        faces=np.array([[1, 2, 3], [1, 3, 4]], np.int32),
        locked=locked,
    )

    placed = placed_mesh(mesh, placement_of(job(mesh=mesh)))

    assert placed.locked.tolist() == [True, False, True, True]
    assert placed_mesh(box_mesh(), placement_of(job(mesh=box_mesh()))).locked is None


def test_mirrors_across_the_clients_axes_are_mirrors_across_ours():
    for theirs, ours in (((), None), (("x",), "x"), (("y",), "z"), (("z", "x", "z"), "xy")):
        assert request(settings=Settings(symmetry=theirs)).settings.symmetry == ours


def test_a_mesh_without_area_is_refused():
    line = InputMesh(
        positions=np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), faces=np.array([[0, 1, 2]], np.int32)
    )
    point = InputMesh(positions=np.ones((3, 3), np.float32), faces=np.array([[0, 1, 2]], np.int32))

    with pytest.raises(UnreadableMesh, match="none of the 1 faces of the mesh has an area"):
        placed_mesh(line, placement_of(job(mesh=line)))
    with pytest.raises(UnreadableMesh, match="all vertices of the mesh are in one place"):
        placement_of(job(mesh=point))


def test_a_mesh_outside_of_its_ball_is_refused_with_both_sizes():
    ball = Placement(centre=(0.0, 0.0, 0.0), radius_metres=1.0)

    with pytest.raises(UnreadableMesh, match=r"reaches 6 m .* a radius of 1 m"):
        placed_mesh(box_mesh(), placement_of(job(mesh=box_mesh(), placement=ball)))


def test_settings_reach_the_task_and_the_prior_goes_by_its_place():
    wire = Settings(
        prior="large", quality="high", steps=70, seed=5, texture_size=512, faces=9000, method="csd",
        guidance_scale=20.0, bridge_start=0.4, source_suffix=", bad", target_suffix=", good", device="cpu",
        rasteriser="portable",
    )  # fmt: skip

    assert request(settings=wire).settings == TextToMeshSettings(
        "a red mug", prior="/models/large", quality="high", steps=70, seed=5, texture_size=512, faces=9000,
        method="csd", guidance_scale=20.0, bridge_start=0.4, source_suffix=", bad", target_suffix=", good",
        device="cpu", rasteriser="portable",
    )  # fmt: skip


def test_each_task_has_its_settings():
    texture = request("texture", Settings(faces=900), mesh=box_mesh()).settings
    image = request("image", Settings(steps=9)).settings

    assert isinstance(texture, TextureMeshSettings)
    assert texture.up == "z"
    assert image == TextToImageSettings("a red mug", steps=9)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (Settings(prior="lost"), MissingModel, "the model lost is not on the server any more; it has: embedded, large"),
        (Settings(lora="ink"), BadInput, "cannot use the LoRA ink"),
        (Settings(environment="studio"), BadInput, "cannot use the light studio"),
    ],
)
def test_what_is_not_there_is_refused_by_name(settings, error, words):
    with pytest.raises(error, match=words):
        request(settings=settings)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(BadInput, match="no NVIDIA GPU that can be used; ask for the device auto or cpu"):
        request(settings=Settings(device="cuda"))


def sketch_of(*points, **options):
    points = np.array(points if points else ELLIPSE, np.float32)
    given = {"name": "front", "camera": PresetCamera(view="front"), "drawn": "outline", "points": points}
    return Sketch(**(given | {"stroke_lengths": np.array([len(points)], np.int32)} | options))


def test_a_sketch_job_begins_as_what_was_drawn_in_the_clients_scene():
    settings = Settings(steps=1, quality="draft", texture_size=64, faces=900)
    asked = request("sketch", settings, sketches=(sketch_of(),), placement=Placement(centre=(5.0, 0.0, 1.0)))

    mesh = asked.partial("job-1", asked.make_task(print, loader), 0, 0.0).mesh

    assert asked.settings == SketchToMeshSettings(
        "a red mug", views=None, steps=1, quality="draft", texture_size=64, faces=900, controlnet="embedded"
    )
    width, depth, height = np.ptp(mesh.positions, axis=0)
    assert height == pytest.approx(2 * width, rel=0.1)  # as was drawn, in the view from -Y
    assert depth == pytest.approx(width, rel=0.15)
    np.testing.assert_allclose((mesh.positions.min(0) + mesh.positions.max(0)) / 2, [5, 0, 1], atol=0.05)


def test_a_sketch_job_with_a_mesh_is_held_to_it():
    asked = request("sketch", Settings(steps=1, quality="draft"), sketches=(sketch_of(),), mesh=box_mesh())

    task = asked.make_task(print, loader)

    # A box of 2 x 1 x 0.5 m, and not the egg that was drawn; half of the strongest hold, as in the local command.
    assert np.ptp(task.mesh.given_vertices(), axis=0) == pytest.approx([2.0, 1.0, 0.5])
    assert task.config.surface.mesh_weight == 10.0


def test_a_finished_sketch_job_says_how_well_it_fits():
    asked = request("sketch", Settings(steps=1, quality="draft", texture_size=64, faces=400), sketches=(sketch_of(),))

    finished, notes = asked.finished("job-1", asked.make_task(print, loader), 0, 0.0, False, print)

    assert len(finished.textures) == 2
    assert re.fullmatch(r"how well the drawings fit: front: IoU 0\.9\d", notes[-1])


def test_a_sketch_in_3d_needs_no_drawing_and_is_bridged_from_the_first_step():
    asked = request("sketch", Settings(steps=1, quality="draft", to_real=True), mesh=box_mesh())

    task = asked.make_task(print, loader)
    (step,) = list(task.steps())

    assert step.stage == "bridge"
    assert task.config.distillation.source_suffix.startswith(", a rough 3D sketch, simple shapes, untextured")
    assert task.scores() == []


def test_a_bad_sketch_of_a_new_job_is_refused_by_name():
    with pytest.raises(BadInput, match=r"the sketch front is a scribble, .* and this job has none"):
        request("sketch", sketches=(sketch_of(drawn="scribble"),)).make_task(print, loader)
    with pytest.raises(BadInput, match="all strokes of the sketch far lie outside of the view"):
        request("sketch", sketches=(sketch_of((3, 3), (4, 4), name="far"),)).make_task(print, loader)


def test_sketches_of_an_update_are_placed_as_the_job_was_and_bad_ones_left_out():
    asked = request("sketch", sketches=(sketch_of(),), placement=Placement(radius_metres=1.8))
    orbit = OrbitCamera(azimuth_degrees=90.0, elevation_degrees=0.0, distance_metres=8.0)
    update = UpdateJob(
        job="j", key="a-key-of-a-test", add_sketches=(sketch_of(name="side", camera=orbit),
        Sketch(name="grey", camera=orbit, picture=png_of(np.full((8, 8), 128, np.uint8)))),
        remove_sketches=("front",), sketch_weights=(SketchChange(name="side", weight=2.0),),
    )  # fmt: skip
    notices = []

    change = asked.steering(update, notices.append)

    (added,) = change.add_sketches
    assert (added.name, added.camera.framing_metres) == ("side", pytest.approx(4.0 * math.tan(math.radians(20.0))))
    assert (change.remove_sketches, change.sketch_weights) == (("front",), (("side", 2.0),))
    assert [notice[:45] for notice in notices] == ["a sketch was left out: the sketch grey is emp"]


def test_sketches_mean_nothing_to_other_tasks_and_that_is_told():
    notices = []

    change = request().steering(UpdateJob(job="j", key="a-key-of-a-test", add_sketches=(sketch_of(),)), notices.append)

    assert change.add_sketches == ()
    assert notices == ["sketches cannot be changed: this task does not look at them"]


def test_a_model_that_cannot_be_loaded_is_named_as_the_client_names_it():
    def broken(name, device):
        raise BadInput("/models/large is a FluxPipeline")

    with pytest.raises(MissingModel, match="the model large cannot be loaded") as caught:
        request("image", Settings(prior="large")).make_task(print, broken)

    assert "/models" not in str(caught.value)


def test_a_picture_begins_with_the_one_that_was_sent():
    blue = np.full((40, 60, 3), [0, 0, 200], np.uint8)
    asked = request("image", Settings(steps=1), picture=png_of(blue))
    notices = []

    finished = asked.partial("job-1", asked.make_task(notices.append, loader), 0, 0.0)

    drawn = np.asarray(Image.open(io.BytesIO(finished.pictures[0].picture)))
    assert np.abs(drawn.reshape(-1, 3).mean(0) - [0, 0, 200]).max() < 2
    assert "its middle square is used" in notices[0]


def test_a_picture_that_is_cut_off_is_a_bad_picture():
    whole = png_of(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))

    with pytest.raises(BadPicture, match="cannot be read"):
        request("image", picture=whole[: len(whole) // 2]).make_task(print, loader)


def test_an_update_becomes_a_change():
    update = UpdateJob(
        job="j", key="a-key-of-a-test", prompt="blue", guidance_scale=3.0, smoothness_weight=2.0, mesh_weight=1.0,
        learning_rate_factor=0.5, more_steps=7, mesh=box_mesh(colours=np.full((8, 3), 51, np.uint8)),
    )  # fmt: skip

    change = request(mesh=box_mesh()).steering(update, print)

    assert (change.prompt, change.guidance_scale, change.smoothness_factor) == ("blue", 3.0, 2.0)
    assert (change.mesh_weight, change.learning_rate_factor, change.more_steps) == (1.0, 0.5, 7)
    np.testing.assert_allclose(change.mesh.colours, 0.2)


def test_an_edited_mesh_is_placed_as_the_job_was():
    change = request(mesh=box_mesh()).steering(
        UpdateJob(job="j", key="a-key-of-a-test", mesh=box_mesh(sides=(1.0, 0.5, 0.25))), print
    )

    # Half as large as the mesh that the ball was put around.
    assert np.linalg.norm(change.mesh.vertices, axis=1).max() == pytest.approx(0.45)


def test_an_edited_mesh_that_cannot_be_used_is_left_out_and_told():
    notices = []

    change = request().steering(
        UpdateJob(job="j", key="a-key-of-a-test", mesh=box_mesh(), prompt="blue"), notices.append
    )

    assert (change.mesh, change.prompt) == (None, "blue")
    assert "the edited mesh was left out: the mesh reaches 6 m" in notices[0]


def test_a_job_takes_the_controlnet_of_its_prior():
    config = WorkerConfig({"embedded": "embedded", "large": "/models/large", "other": "/models/other"},
                          {"embedded": "embedded", "large": "/models/scribble"})  # fmt: skip

    def chosen(prior):
        message = SubmitJob(key="a-key-of-a-test", task="sketch", prompt="a mug", sketches=(sketch_of(),),
                            settings=Settings(prior=prior))  # fmt: skip
        return JobRequest.of(message, config).settings.chosen_controlnet

    assert [chosen(prior) for prior in ("embedded", "large", "other")] == ["embedded", "/models/scribble", None]


def test_the_workers_configuration_is_read_and_mistakes_are_named(tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"priors": {"large": "/models/large"}, "controlnets": {"large": "/models/scribble"}}')
    bad.write_text('{"priors": {"large": 3}}')

    assert read_worker_config(good) == WorkerConfig({"large": "/models/large"}, {"large": "/models/scribble"})
    with pytest.raises(BadInput, match="priors in the worker's configuration"):
        read_worker_config(bad)
