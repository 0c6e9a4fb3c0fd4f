"""Setting a texture job up and finishing it, with a prior that knows colours alone."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from colour_prior import ColourPrior
from trimesh.visual import TextureVisuals

from backend.appearance.mesh_files import read_mesh_file, write_mesh
from backend.config import LinearRamp, TextureMeshSettings
from backend.errors import BadInput, UnreadableMesh
from backend.geometry.placed_mesh import PlacedMesh
from backend.steering import Steering
from backend.tasks import setting_up
from backend.tasks.texture_mesh import TextureMesh


@pytest.fixture(autouse=True)
def _a_prior_of_colours(monkeypatch):
    monkeypatch.setattr(setting_up, "load_prior", lambda *_: ColourPrior({"red": (0.9, 0.1, 0.1)}))


def job_for(path, notice=lambda sentence: None, steps=2, **changes):
    settings = TextureMeshSettings("a red mug", mesh=str(path), steps=steps, texture_size=64, **changes)
    config = settings.resolve()
    views = dataclasses.replace(config.views, views=2, albedo_share=1.0)
    config = dataclasses.replace(config, views=views, texture_learning_rate=LinearRamp(0.2, 0.2))
    return TextureMesh(settings, notice, config)


def textured(job, path):
    """The file after all steps."""
    for _ in job.steps():
        pass
    write_mesh(path, job.finish())
    return read_mesh_file(path)


def ball_with_uv(centre=(30.0, -200.0, 7.0), radius=12.0):
    """A ball far from the origin with a map of longitude and latitude, its seam doubled."""
    longitude, latitude = np.meshgrid(np.linspace(0, 2 * np.pi, 13), np.linspace(-1.4, 1.4, 9))
    positions = np.stack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], axis=-1
    )
    number = np.arange(13 * 9).reshape(9, 13)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    uv = np.stack([0.05 + 0.9 * longitude / (2 * np.pi), 0.5 + latitude / 3], axis=-1).reshape(-1, 2)
    vertices = radius * positions.reshape(-1, 3) + np.array(centre)
    return trimesh.Trimesh(vertices, faces, process=False, visual=TextureVisuals(uv=uv.astype(np.float32)))


def triangles_of(mesh):
    return mesh.positions[mesh.faces.long()]


def test_a_mesh_with_good_uvs_comes_back_as_it_was_with_another_texture(tmp_path):
    ball_with_uv().export(tmp_path / "ball.glb")
    given, notices = read_mesh_file(tmp_path / "ball.glb"), []

    result = textured(job_for(tmp_path / "ball.glb", notices.append, steps=15), tmp_path / "out.glb")

    assert torch.equal(result.mesh.positions, given.mesh.positions)
    assert torch.equal(result.mesh.faces, given.mesh.faces)
    torch.testing.assert_close(result.uv, given.uv, atol=1e-6, rtol=0)
    red, green, _ = result.base_colour.float().mean(dim=(0, 1))
    assert red > green + 50
    assert notices == []


def test_an_unfinished_texture_goes_on_as_if_never_stopped(tmp_path):
    ball_with_uv().export(tmp_path / "ball.glb")
    unbroken = textured(job_for(tmp_path / "ball.glb", steps=6), tmp_path / "unbroken.glb")
    stopped = job_for(tmp_path / "ball.glb", steps=6)
    steps = stopped.steps()
    next(steps), next(steps)
    stopped.finish()  # the mesh so far, which changes nothing
    resumed = job_for(tmp_path / "ball.glb", steps=6, seed=9)
    resumed.load_state(*stopped.state())

    assert torch.equal(textured(resumed, tmp_path / "resumed.glb").base_colour, unbroken.base_colour)


def test_overlapping_uvs_are_told_and_replaced(tmp_path):
    first, second = ball_with_uv((0, 0, 0), 1.0), ball_with_uv((3, 0, 0), 1.0)  # both fill the texture
    trimesh.Scene([first, second]).export(tmp_path / "two.glb")
    notices = []

    job = job_for(tmp_path / "two.glb", notices.append)

    assert len(notices) == 1
    assert "two.glb cannot be used (they overlap in 100%" in notices[0]
    assert job.finish().report.overlap == 0


@pytest.mark.parametrize("suffix", ["stl", "obj", "off", "ply"])
def test_an_open_mesh_without_uvs_keeps_its_triangles(tmp_path, suffix):
    bowl = trimesh.creation.icosphere(2, radius=40.0)
    bowl.update_faces(bowl.triangles_center[:, 1] < 10)
    bowl.apply_translation((100, 50, 0))
    bowl.export(tmp_path / f"bowl.{suffix}")
    given = trimesh.load(tmp_path / f"bowl.{suffix}", process=False)

    result = textured(job_for(tmp_path / f"bowl.{suffix}"), tmp_path / "out.glb")

    assert triangles_of(result.mesh).numpy() == pytest.approx(np.asarray(given.triangles), abs=1e-4)
    assert result.base_colour.shape == (64, 64, 3)


def test_a_mesh_that_stands_along_z_is_turned_for_the_views_alone(tmp_path):
    # A flag: a pole along z with a cloth at its upper end that reaches towards +x.
    pole = trimesh.creation.box((0.1, 0.1, 2.0))
    cloth = trimesh.creation.box((0.8, 0.05, 0.5)).apply_translation((0.4, 0, 0.75))
    flag = trimesh.util.concatenate([pole, cloth])
    flag.export(tmp_path / "flag.stl")
    job = job_for(tmp_path / "flag.stl", up="z")

    seen = job._optimisation.current_mesh().positions
    finished = job.finish()

    assert (seen.amax(0) - seen.amin(0)).argmax() == 1  # it stands in front of the cameras
    assert seen[seen[:, 0] > 0.2, 1].min() > 0  # the cloth is on top and to the right
    torch.testing.assert_close(
        finished.file_positions[finished.mesh.faces.long()], torch.tensor(np.array(flag.triangles)).float()
    )
    expected = torch.tensor(np.repeat(flag.face_normals, 3, axis=0)).float()
    torch.testing.assert_close(finished.file_normals[finished.mesh.faces.long()].view(-1, 3), expected)
    textured(job, tmp_path / "out.ply")
    written = trimesh.load(tmp_path / "out.ply", process=False)
    assert written.bounds == pytest.approx(flag.bounds)


def test_faces_without_area_and_edges_of_three_faces_are_no_trouble(tmp_path):
    (tmp_path / "odd.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nv 0 -1 0\nf 1 2 3\nf 1 2 4\nf 1 2 5\nf 1 1 2\nf 3 3 3\n"
    )

    result = textured(job_for(tmp_path / "odd.obj"), tmp_path / "out.glb")

    assert len(result.mesh.faces) == 5
    assert result.mesh.positions.isfinite().all()


def test_what_no_camera_sees_has_the_colour_of_what_is_near(tmp_path):
    inside = trimesh.creation.box((0.2, 0.2, 0.2))
    trimesh.util.concatenate([trimesh.creation.box((2.0, 2.0, 2.0)), inside]).export(tmp_path / "nested.stl")
    job = job_for(tmp_path / "nested.stl", steps=15)
    for _ in job.steps():
        pass

    finished = job.finish()

    hidden = finished.vertex_colours[finished.mesh.positions.norm(dim=1) < 0.2].float()
    assert len(hidden) >= 8
    assert (hidden[:, 0] > hidden[:, 1] + 30).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.glb", None, "there is no file"),
        ("notes.txt", b"a mug", r"cannot read '\.txt' files as a mesh"),
        ("empty.stl", b"", "is empty"),
        ("points.obj", b"v 0 0 0\nv 1 0 0\n", "holds no faces"),
    ],
)
def test_a_file_that_is_no_mesh_is_told(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UnreadableMesh, match=message):
        job_for(tmp_path / name)


def test_mesh_and_prompt_in_the_wrong_order_are_told(tmp_path):
    ball_with_uv().export(tmp_path / "ball.glb")

    with pytest.raises(BadInput, match=r'the mesh comes first.*texture .*ball\.glb "a red mug"'):
        TextureMesh(TextureMeshSettings(str(tmp_path / "ball.glb"), mesh=str(tmp_path / "a red mug")))


def test_previews_are_pictures_of_the_mesh(tmp_path):
    ball_with_uv().export(tmp_path / "ball.glb")

    previews = job_for(tmp_path / "ball.glb").preview(view_count=2, resolution=64)

    assert previews.shape == (2, 64, 64, 3)
    assert previews.float().std() > 10


def test_an_edited_mesh_takes_the_place_of_the_file_and_stays_after_resuming(tmp_path):
    ball_with_uv().export(tmp_path / "ball.glb")
    job, resumed = job_for(tmp_path / "ball.glb"), job_for(tmp_path / "ball.glb")
    box = trimesh.creation.box((10.0, 6.0, 4.0)).apply_translation([30.0, -200.0, 7.0])
    placement = job.mesh.placement
    edited = PlacedMesh(placement.place(np.asarray(box.vertices)), np.asarray(box.faces), placement)

    job.steer(Steering(mesh=edited))
    resumed.load_state(*job.state())

    for each in (job, resumed):
        finished = each.finish()
        corners = {tuple(position) for position in finished.written_positions.tolist()}
        assert corners == {tuple(position) for position in torch.from_numpy(box.vertices).float().tolist()}
