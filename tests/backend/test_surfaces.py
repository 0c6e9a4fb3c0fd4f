"""The loop on a surface that stays as it is; the one that is learnt is in test_optimise."""

import dataclasses

import pytest
import torch
import trimesh
from colour_prior import ColourPrior

from backend.cameras import turntable_cameras
from backend.config import DistillationConfig, LinearRamp, OptimisationConfig, ViewConfig
from backend.geometry.triangle_mesh import TriangleMesh
from backend.optimise import MeshOptimisation
from backend.render.portable_rasteriser import PortableRasteriser
from backend.surfaces import FixedSurface

CONFIG = OptimisationConfig(
    steps=12,
    distillation=DistillationConfig(guidance_scale=5.0, bridge_start=1.0),
    views=ViewConfig(views=2, resolutions=((0.0, 32),), background="white", albedo_share=1.0, textureless_share=0.0),
    texture_learning_rate=LinearRamp(0.1, 0.1),
)


def mesh_of(solid):
    return TriangleMesh(torch.as_tensor(solid.vertices).float(), torch.as_tensor(solid.faces).int())


BOX = mesh_of(trimesh.creation.box((1.0, 0.8, 0.6)))
CLEFT = mesh_of(trimesh.creation.box((1e-6, 0.8, 0.6)))  # seen from the front it falls between the pixels


def make(mesh=BOX, config=CONFIG, seed=0):
    prior = ColourPrior({"red": (0.9, 0.1, 0.1)})
    return MeshOptimisation("a red box", config, prior, PortableRasteriser(), mesh, seed)


def test_the_texture_takes_the_colour_and_the_mesh_stays():
    optimisation = make()

    steps = list(optimisation.steps())

    seen = optimisation.render(turntable_cameras(4), 32)
    colour = seen.images[seen.masks[..., 0] > 0.99].mean(0)
    assert colour[0] - colour[1] > 0.2
    assert torch.equal(optimisation.current_mesh().positions, BOX.positions)
    assert torch.equal(optimisation.current_mesh().faces, BOX.faces)
    assert all(step.losses == {} and step.notices == () and step.face_count == 12 for step in steps)


def test_going_on_from_a_saved_state_gives_the_texture_of_an_unbroken_run():
    unbroken = make()
    list(unbroken.steps())
    broken_off = make()
    steps = broken_off.steps()
    for _ in range(5):
        next(steps)
    resumed = make(seed=99)
    resumed.load_state(*broken_off.state())
    list(resumed.steps())

    assert all(torch.equal(a, b) for a, b in zip(resumed.texture.grids, unbroken.texture.grids, strict=True))


def test_a_state_of_another_mesh_is_refused():
    with pytest.raises(ValueError, match="the mesh is not the one"):
        make(CLEFT).load_state(*make().state())


def test_views_that_see_nothing_teach_nothing():
    far = TriangleMesh(BOX.positions + 50, BOX.faces)
    optimisation = make(far)
    before = [grid.clone() for grid in optimisation.texture.grids]

    assert len(list(optimisation.steps())) == 12
    assert all(torch.equal(a, b) for a, b in zip(optimisation.texture.grids, before, strict=True))


def test_gradients_that_are_not_finite_leave_the_texture_alone(monkeypatch):
    optimisation = make(config=dataclasses.replace(CONFIG, steps=2))
    texture = optimisation.texture
    bad = {"bad": texture.grids[0].sum() * float("nan")}
    monkeypatch.setattr(FixedSurface, "regularise", lambda *_: bad)
    before = texture.grids[0].clone()

    step = next(optimisation.steps())

    assert step.notices == (
        "The gradient held numbers that are not finite at step 1. The texture stays as it was before.",
    )
    assert torch.equal(texture.grids[0], before)


def test_a_fixed_surface_has_no_lattice():
    with pytest.raises(AttributeError, match="no lattice"):
        _ = make().dmtet
