"""Setting a job up: devices, initial meshes, prompts that are too long, and what is left when there is no surface."""

import pytest
import torch
import trimesh

from backend.config import TextToMeshSettings
from backend.errors import BadInput, MissingModel, SketchbridgeError, UnreadableMesh
from backend.tasks.setting_up import choose_device
from backend.tasks.text_to_mesh import TextToMesh


def settings(prompt="a red mushroom", **changes):
    return TextToMeshSettings(prompt, **{"quality": "draft", "steps": 2, "texture_size": 128, **changes})


def test_an_initial_mesh_is_where_the_surface_starts(tmp_path):
    trimesh.creation.box((2.0, 0.5, 0.5)).export(tmp_path / "bar.stl")

    job = TextToMesh(settings(init_mesh=str(tmp_path / "bar.stl")))
    positions = job._optimisation.current_mesh().positions

    # A bar four times as long as wide, centred, its corners on the ball of radius 0.9.
    extent = positions.amax(0) - positions.amin(0)
    assert extent[0] / extent[1] == pytest.approx(4.0, rel=0.1)
    assert positions.norm(dim=1).max().item() == pytest.approx(0.9, abs=0.05)


def test_a_surface_grows_again_from_its_initial_mesh_at_the_finer_lattice(tmp_path):
    trimesh.creation.torus(0.6, 0.2).export(tmp_path / "torus.ply")
    job = TextToMesh(settings(init_mesh=str(tmp_path / "torus.ply"), quality="normal", steps=3))

    faces = [step.face_count for step in job.steps()]

    assert faces[2] > 2.5 * faces[0]


def test_an_unreadable_initial_mesh_is_told_before_the_prior_is_loaded(tmp_path):
    (tmp_path / "broken.obj").write_text("this is no mesh")

    with pytest.raises(UnreadableMesh, match=r"broken\.obj"):
        TextToMesh(settings(init_mesh=str(tmp_path / "broken.obj"), prior="not/there/either"))


def test_a_missing_prior_is_told():
    with pytest.raises(MissingModel, match="no folder"):
        TextToMesh(settings(prior="not/there/either"))


def test_the_end_of_a_long_prompt_is_told():
    notices = []

    TextToMesh(settings("a red mushroom " * 30), notices.append)

    assert any("ignores the end" in notice for notice in notices)


def test_cuda_where_there_is_none_is_told():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BadInput, match="torch sees no NVIDIA GPU"):
        choose_device("cuda")


def test_previews_are_pictures():
    previews = TextToMesh(settings()).preview(view_count=2, resolution=64)

    assert previews.shape == (2, 64, 64, 3)
    assert previews.dtype == torch.uint8
    assert previews.float().std() > 10


def test_the_finished_mesh_is_closed_after_merging_and_keeps_its_budget():
    finished = TextToMesh(settings(faces=2000)).finish()

    merged = trimesh.Trimesh(finished.mesh.positions.numpy(), finished.mesh.faces.numpy(), process=False)
    merged.merge_vertices()
    assert merged.is_watertight
    assert len(finished.mesh.faces) <= 2000


def test_an_empty_surface_cannot_be_finished():
    job = TextToMesh(settings())
    with torch.no_grad():
        job._optimisation.dmtet.sdf_levels[0].fill_(5.0)

    with pytest.raises(SketchbridgeError, match="the surface is empty"):
        job.finish()
