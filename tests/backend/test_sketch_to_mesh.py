"""Setting a job with drawings up, stepping, saving and finishing it, with a prior that knows colours alone."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from colour_prior import ColourPrior
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.geometry.signed_distance import nearest_on_mesh
from backend.report import write_report
from backend.run_folder import RunFolder
from backend.sketch_config import SketchConfig, SketchToMeshSettings
from backend.sketches.camera import SketchCamera
from backend.sketches.overlay import SketchScore
from backend.sketches.sketch import INK_PIXELS, Sketch
from backend.steering import Steering
from backend.tasks import setting_up
from backend.tasks.sketch_to_mesh import SketchToMesh


@pytest.fixture(autouse=True)
def _a_prior_of_colours(monkeypatch):
    monkeypatch.setattr(setting_up, "load_prior", lambda *_: ColourPrior({"red": (0.9, 0.1, 0.1)}))


@pytest.fixture
def drawing(tmp_path):
    """A tall ellipse on paper."""
    picture = Image.new("L", (256, 256), 255)
    ImageDraw.Draw(picture).ellipse((88, 38, 168, 218), outline=0, width=4)
    path = tmp_path / "front.png"
    picture.save(path)
    return path


def job_for(path, steps=2, **changes):
    settings = SketchToMeshSettings("a red egg", views=(f"front={path}",), steps=steps, texture_size=64, **changes)
    config = settings.resolve()
    views = dataclasses.replace(config.views, views=2)
    surface = dataclasses.replace(config.surface, resolutions=((0.0, 16),))
    config = dataclasses.replace(config, views=views, surface=surface)
    return SketchToMesh(settings, config=config, sketch_config=SketchConfig(resolution=64))


def test_the_surface_begins_as_what_was_drawn(drawing):
    assert job_for(drawing).scores()[0].silhouette_iou > 0.9


def test_a_blocked_out_mesh_is_bent_to_the_drawing(drawing, tmp_path):
    import trimesh

    trimesh.creation.box((1.0, 1.0, 1.0)).export(tmp_path / "box.obj")
    job = job_for(drawing, steps=25, mesh=str(tmp_path / "box.obj"), strength=0.0)
    before = job.scores()[0].silhouette_iou

    steps = list(job.steps())

    assert job.scores()[0].silhouette_iou > before + 0.15
    assert steps[-1].losses["sketched outlines"] < 0.5 * steps[0].losses["sketched outlines"]
    assert steps[0].seconds["sketches"] > 0


def test_what_is_white_in_the_lock_stays_while_the_drawing_bends_the_rest(drawing, tmp_path):
    import trimesh

    box = trimesh.creation.box((1.0, 1.0, 1.0)).subdivide().subdivide()
    box.export(tmp_path / "box.obj")
    is_low = box.vertices[:, 1:2] < -0.1
    painted = np.where(is_low, [255, 255, 255, 255], [0, 0, 0, 255]).astype(np.uint8)
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=painted)
    box.export(tmp_path / "mask.ply")
    given = {"mesh": str(tmp_path / "box.obj"), "lock": str(tmp_path / "mask.ply")}

    job = job_for(drawing, steps=25, strength=0.0, symmetry="x", **given)
    list(job.steps())

    mesh = job.finish().mesh
    scale = np.abs(job.mesh.vertices).max() / 0.5
    locked, free = ([[0.1, -0.5, 0.2], [0.5, -0.4, 0.1]], [[0.1, 0.5, 0.2], [0.5, 0.4, 0.1]])
    positions, faces = mesh.positions.double().numpy(), mesh.faces.numpy()
    for points, bars in ((locked, (0.0, 0.01)), (free, (0.02, 1.0))):
        at = np.array(points) * scale
        moved = np.linalg.norm(nearest_on_mesh(positions, faces, at) - at, axis=1)
        assert (bars[0] <= moved).all(), points
        assert (moved < bars[1]).all(), points
    images = positions * [-1, 1, 1]
    assert np.linalg.norm(nearest_on_mesh(positions, faces, images) - images, axis=1).max() < 0.005 * 2 * scale


def test_a_job_that_goes_on_ends_as_if_it_had_not_been_stopped(drawing):
    unbroken, stopped = job_for(drawing, 4), job_for(drawing, 4)
    list(unbroken.steps())
    steps = stopped.steps()
    next(steps), next(steps)

    resumed = job_for(drawing, 4)
    resumed.load_state(*stopped.state())
    list(resumed.steps())

    assert torch.equal(resumed.current_mesh().positions, unbroken.current_mesh().positions)


def test_a_job_does_not_go_on_with_another_drawing(drawing):
    state = job_for(drawing).state()
    picture = Image.new("L", (256, 256), 255)
    ImageDraw.Draw(picture).rectangle((60, 60, 180, 200), outline=0, width=4)
    picture.save(drawing)

    with pytest.raises(ValueError, match="the drawings are not those that the run began with"):
        job_for(drawing).load_state(*state)


class DrawnPrior(ColourPrior):
    """Reads drawings: where there is a line it sees the opposite colour."""

    def __init__(self, colours):
        super().__init__(colours)
        self.networks, self.controls = [], []

    def use_control_network(self, identifier):
        self.networks.append(identifier)

    def predict_controlled_noise(self, noisy, timesteps, embeddings, control):
        self.controls.append(control)
        return self.predict_noise(noisy, timesteps, embeddings)


@pytest.fixture
def reader(monkeypatch):
    prior = DrawnPrior({"red": (0.9, 0.1, 0.1)})
    monkeypatch.setattr(setting_up, "load_prior", lambda *_: prior)
    return prior


def scribbled_job(path, side="left,scribble", **changes):
    settings = SketchToMeshSettings("a red egg", views=(f"{side}@{path}",), steps=2, texture_size=64, **changes)
    config = settings.resolve()
    surface = dataclasses.replace(config.surface, resolutions=((0.0, 16),))
    return SketchToMesh(settings, config=dataclasses.replace(config, surface=surface))


def test_a_scribble_is_shown_to_the_prior_and_holds_the_surface_to_nothing(drawing, reader):
    job = scribbled_job(drawing)

    steps = list(job.steps())

    assert reader.networks == ["embedded"]
    assert not any("sketched" in name for name in steps[0].losses)
    # Of eight views the last one is the drawing's, under the target prompt alone; prompts of its camera say so.
    assert [control.strengths for control in reader.controls] == [(0.0,) * 15 + (1.0,)] * 2
    assert "left" in reader.asked_prompts[-1][-1]
    assert reader.controls[0].ink[-1].sum() > 20
    assert reader.controls[0].ink[8:-1].sum() == 0
    assert job.scores()[0].silhouette_iou > 0.8  # where it began


@pytest.mark.parametrize(("side", "is_shown"), [("left", False), ("left,lines", True)])
def test_lines_are_shown_to_the_prior_and_outlines_are_not(drawing, reader, side, is_shown):
    steps = list(scribbled_job(drawing, side).steps())

    assert bool(reader.controls) == is_shown
    assert "sketched outlines" in steps[0].losses


def test_a_scribble_that_encloses_nothing_begins_as_a_ball(tmp_path, reader):
    picture = Image.new("L", (256, 256), 255)
    ImageDraw.Draw(picture).line((60, 60, 128, 200, 200, 60), fill=0, width=4)
    picture.save(tmp_path / "open.png")

    job = scribbled_job(tmp_path / "open.png", "front,scribble")
    list(job.steps())

    assert job.mesh is None
    assert job.scores()[0].silhouette_iou is None
    extent = np.ptp(job.current_mesh().positions.numpy(), axis=0)
    assert extent == pytest.approx(np.full(3, 1.2), abs=0.3)


def test_a_scribble_without_a_controlnet_is_refused(drawing, reader):
    with pytest.raises(BadInput, match=r"left,scribble is a scribble, .* through a ControlNet, which is off; make"):
        scribbled_job(drawing, controlnet="off")
    with pytest.raises(BadInput, match="through a ControlNet, and this job has none"):
        scribbled_job(drawing, prior="another")
    scribbled_job(drawing, prior="another", controlnet="a/network")

    assert reader.networks == ["a/network"]


def test_a_scribble_that_comes_later_is_taken_or_left_out(drawing, reader):
    scribble = Sketch("idea", SketchCamera.preset("back"), "scribble", ink=np.asarray(Image.open(drawing)) < 128)

    for changes, is_taken in (({}, True), ({"controlnet": "off"}, False)):
        job = scribbled_job(drawing, "left", **changes)
        notices = job.steer(Steering(add_sketches=(scribble,)))
        list(job.steps())

        assert [each.name for each in job.drawings] == ["left", "idea"][: 2 if is_taken else 1]
        assert any("the sketch idea is a scribble" in notice for notice in notices) != is_taken
    assert [control.strengths[-1] for control in reader.controls] == [1.0, 1.0]


def test_overlays_show_the_lines_over_the_mesh(drawing):
    (picture,) = job_for(drawing).overlays(resolution=64)

    red = (picture[..., 0].astype(int) - picture[..., 1]) > 80
    assert picture.shape == (64, 64, 3)
    assert 20 < red.sum() < 400


def test_settings_are_kept_as_json_and_read_again(drawing):
    settings = SketchToMeshSettings("a red egg", views=(f"front={drawing}", f"left={drawing}"), sketch_weight=2.0)

    again = SketchToMeshSettings.from_json(json.loads(json.dumps(settings.to_json())))

    assert again == settings
    assert settings.resolve_sketches().outline_weight == SketchConfig().outline_weight.scaled(2.0)
    assert settings.resolve().surface.mesh_weight == 0
    json.dumps(settings.resolved_to_json())


def test_a_blocked_out_mesh_needs_no_drawing(tmp_path, reader):
    import trimesh

    trimesh.creation.box((1.0, 0.5, 1.0)).export(tmp_path / "box.obj")
    settings = SketchToMeshSettings("a red egg", views=(), mesh=str(tmp_path / "box.obj"), steps=2, texture_size=64)

    job = SketchToMesh(settings)
    list(job.steps())

    assert job.scores() == job.overlays() == []
    assert not reader.controls
    assert np.ptp(job.current_mesh().positions.numpy(), axis=0)[1] < 0.8
    with pytest.raises(BadInput, match="give 1 to 16 views"):
        SketchToMeshSettings("a red egg", views=())


def test_a_sketch_in_3d_is_bridged_from_the_first_step(tmp_path, reader):
    import trimesh

    trimesh.creation.box((1.0, 1.0, 1.0)).export(tmp_path / "box.obj")
    given = {"views": (), "mesh": str(tmp_path / "box.obj"), "steps": 2, "texture_size": 64}
    job = SketchToMesh(SketchToMeshSettings("a red egg", to_real=True, **given))

    steps = list(job.steps())

    assert [step.stage for step in steps] == ["bridge", "bridge"]
    source, target = reader.asked_prompts[-1][0], reader.asked_prompts[-1][-1]
    assert source.endswith(", a rough 3D sketch, simple shapes, untextured, oversaturated, blurry, noisy, bad geometry")
    assert target.endswith(", detailed, high resolution, high quality, sharp")
    assert (
        SketchToMeshSettings("a red egg", to_real=True, bridge_start=0.5, **given).resolve().distillation.bridge_start
        == 0.5
    )
    with pytest.raises(BadInput, match="no mesh is given; give --mesh too"):
        SketchToMeshSettings("a red egg", views=("front=a.png",), to_real=True)
    with pytest.raises(
        BadInput, match=r"method with to_real \(--to-real\) must be one of bridge, full-bridge; got 'csd'"
    ):
        SketchToMeshSettings("a red egg", to_real=True, method="csd", **given)


def test_a_mesh_is_held_to_by_its_strength():
    settings = SketchToMeshSettings("a mug", views=("front=a.png",), mesh="box.obj", strength=0.25)

    assert settings.resolve().surface.mesh_weight == 5  # a quarter of MESH_WEIGHT_UNIT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ()}, "give 1 to 16 views"),
        ({"views": "front=a.png"}, "views must be a list of texts"),
        ({"views": ("front=a.png", "front=b.png")}, "two drawings are given for front"),
        ({"views": ("frnt=a.png",)}, "names no file"),
        ({"views": ("front=a.png",), "strength": 0.5}, "no mesh is given; give --mesh too"),
        ({"views": ("front=a.png",), "lock": "mask.ply"}, "lock says which parts of a mesh stay, and no mesh is given"),
        ({"views": ("front=a.png",), "symmetry": "left"}, "symmetry must name axes to mirror across: x"),
        ({"views": ("front=a.png",), "mesh": "a.obj", "strength": 1.5}, "strength must be a number from 0 to 1"),
        ({"views": ("front=a.png",), "sketch_weight": -1.0}, "sketch weight must be a number from 0 to 100"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        SketchToMeshSettings("a mug", **changes)


def test_the_report_shows_each_drawing_with_its_score(tmp_path):
    run = RunFolder.create(tmp_path, task="sketch", title="a mug", settings={"prompt": "a mug"}, resolved={})
    try:
        Image.new("RGB", (8, 8), (200, 30, 40)).save(run.path / "sketch-1.png")
        caption = str(SketchScore("front,lines", 0.934, 0.9))
        (run.path / "sketches.json").write_text(json.dumps([{"picture": "sketch-1.png", "caption": caption}]))
        page = write_report(run, 1, 1, 1.0).read_text()
    finally:
        run.close()

    assert "The drawings over the mesh" in page
    assert page.count("<figcaption>front,lines: IoU 0.93, 90 % of the lines met</figcaption>") == 1
    assert "sketch-1</figcaption>" not in page


def ink_of(kind, corners):
    picture = Image.new("L", (INK_PIXELS, INK_PIXELS))
    getattr(ImageDraw.Draw(picture), kind)([share * INK_PIXELS for share in corners], fill=255)
    return np.asarray(picture) > 127


def held(view, corners=(0.3, 0.2, 0.7, 0.8), kind="ellipse", **options):
    """A sketch that is in memory alone."""
    return Sketch(view, SketchCamera.preset(view), ink=ink_of(kind, corners), **options)


def job_in_memory(*sketches, steps=4):
    settings = SketchToMeshSettings("a red egg", views=None, steps=steps, texture_size=64)
    config = settings.resolve()
    views = dataclasses.replace(config.views, views=2)
    surface = dataclasses.replace(config.surface, resolutions=((0.0, 16),))
    config = dataclasses.replace(config, views=views, surface=surface)
    return SketchToMesh(settings, config=config, sketch_config=SketchConfig(resolution=64), sketches=sketches)


def test_drawings_need_no_files():
    assert job_in_memory(held("front")).scores()[0].silhouette_iou > 0.9
    with pytest.raises(BadInput, match="there is no sketch"):
        job_in_memory()


def test_a_drawing_that_is_added_while_the_job_runs_bends_the_surface():
    narrow = held("left", (0.42, 0.2, 0.58, 0.8))
    job = job_in_memory(held("front"), steps=26)
    steps = job.steps()
    next(steps)

    assert job.steer(Steering(add_sketches=(narrow,))) == []
    before = job.scores()[1].silhouette_iou
    list(steps)

    front, left = job.scores()
    assert left.silhouette_iou > before + 0.15
    assert front.silhouette_iou > 0.85


def test_removed_and_weightless_drawings_ask_for_nothing():
    job = job_in_memory(held("front"), held("left"))
    (first,) = list(job.steps())[:1]

    job.steer(Steering(sketch_weights=(("front", 0.0),), remove_sketches=("left",)))

    assert "sketched outlines" in first.losses
    assert [(each.name, each.sketch.weight) for each in job.drawings] == [("front", 0.0)]
    again = job_in_memory(held("front"), held("left"))
    again.steer(Steering(sketch_weights=(("front", 0.0),), remove_sketches=("left",)))
    assert "sketched outlines" not in next(again.steps()).losses


def test_a_drawing_that_contradicts_those_before_is_told_by_pair():
    job = job_in_memory(held("front", (0.3, 0.2, 0.7, 0.8), "rectangle"))
    halves = ink_of("rectangle", (0.3, 0.2, 0.7, 0.3)) | ink_of("rectangle", (0.3, 0.7, 0.7, 0.8))

    (notice,) = job.steer(Steering(add_sketches=(Sketch("left", SketchCamera.preset("left"), ink=halves),)))

    assert notice.startswith("the sketches front and left contradict each other: 6")
    assert len(job.drawings) == 2  # both count by their weights


def test_a_steered_job_that_goes_on_has_the_drawings_that_it_had():
    def steered():
        job = job_in_memory(held("front"))
        steps = job.steps()
        next(steps)
        change = Steering(add_sketches=(held("left", (0.42, 0.2, 0.58, 0.8)),), sketch_weights=(("front", 0.5),))
        job.steer(change)
        next(steps)
        return job

    unbroken, stopped = steered(), steered()
    list(unbroken.steps())
    resumed = job_in_memory(held("front"))
    resumed.load_state(*stopped.state())
    list(resumed.steps())

    assert [(each.name, each.sketch.weight) for each in resumed.drawings] == [("front", 0.5), ("left", 1.0)]
    assert torch.equal(resumed.current_mesh().positions, unbroken.current_mesh().positions)
    # And back to a state from before the change.
    resumed.load_state(*job_in_memory(held("front")).state())
    assert [each.name for each in resumed.drawings] == ["front"]
