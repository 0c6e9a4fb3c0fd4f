"""The loop on surfaces that stay as they are, as a whole or in part; free ones are in test_optimise."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from colour_prior import ColourPrior

from backend.cameras import turntable_cameras
from backend.config import DistillationConfig, LinearRamp, OptimisationConfig, SurfaceConfig, ViewConfig
from backend.geometry.mesh_input import Placement
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import nearest_on_mesh
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.triangle_mesh import TriangleMesh
from backend.optimise import MeshOptimisation
from backend.render.portable_rasteriser import PortableRasteriser
from backend.steering import Steering
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


LEARNING = dataclasses.replace(
    CONFIG,
    steps=16,
    surface=SurfaceConfig(resolutions=((0.0, 16), (0.5, 32)), normal_consistency_weight=0.1),
)
SOLID = trimesh.creation.box((1.0, 0.8, 0.6)).subdivide().subdivide()
IS_TOP = np.asarray(SOLID.vertices)[:, 1] > 0.3


def half_locked(colours=True):
    """A box of which the upper part is locked, blue above and yellow below."""
    return PlacedMesh(
        np.asarray(SOLID.vertices, np.float64),
        np.asarray(SOLID.faces, np.int64),
        Placement((0.0, 0.0, 0.0), 1.0),
        colours=np.where(IS_TOP[:, None], [0.1, 0.2, 0.9], [0.9, 0.8, 0.1]) if colours else None,
        locked=IS_TOP,
    )


def make_learning(mesh, symmetry=None, seed=0):
    prior = ColourPrior({"red": (0.9, 0.1, 0.1)})
    constraints = SurfaceConstraints.of(symmetry, mesh)
    shape = mesh.signed_distances
    optimisation = MeshOptimisation(
        "a red box", LEARNING, prior, PortableRasteriser(), shape, seed, constraints=constraints
    )
    if mesh.colours is not None:
        optimisation.paint(mesh)
    return optimisation


def seen_from_above(optimisation):
    """The middle of the top face of the box and colours there."""
    at = torch.tensor([[x, 0.4, z] for x in (-0.3, 0.0, 0.3) for z in (-0.15, 0.15)])
    return optimisation.texture(at).albedo.detach()


def test_locked_vertices_keep_place_and_colour_while_the_rest_learns():
    optimisation = make_learning(half_locked())
    first = seen_from_above(optimisation)

    list(optimisation.steps())

    surface = optimisation.current_mesh()
    positions, faces = surface.positions.double().numpy(), surface.faces.numpy()
    held = surface_distances(positions, faces, [[0.0, 0.4, 0.0], [0.3, 0.4, 0.1], [0.5, 0.35, 0.0]])
    assert held.max() < 0.003
    assert torch.equal(seen_from_above(optimisation), first)
    beside = optimisation.texture(torch.tensor([[0.5, -0.3, 0.0], [0.0, -0.3, 0.3]])).albedo
    assert (beside[:, 1] < 0.6).all()  # no longer the yellow that it was
    assert surface_distances(positions, faces, [[0.0, -0.4, 0.0]]).max() > 0.005


def test_a_locked_mesh_without_colours_keeps_its_shape_alone():
    optimisation = make_learning(half_locked(colours=False))

    list(optimisation.steps())

    assert seen_from_above(optimisation)[:, 0].min() > 0.6  # red by now
    surface = optimisation.current_mesh()
    place = surface_distances(surface.positions.double().numpy(), surface.faces.numpy(), [[0.0, 0.4, 0.0]])
    assert place.max() < 0.003


def test_a_locked_and_symmetric_job_goes_on_from_its_state_as_if_unbroken():
    unbroken = make_learning(half_locked(), "x")
    list(unbroken.steps())
    broken_off = make_learning(half_locked(), "x")
    steps = broken_off.steps()
    for _ in range(10):  # past the growth of the lattice
        next(steps)
    resumed = make_learning(half_locked(), "x", seed=9)
    resumed.load_state(*broken_off.state())
    list(resumed.steps())

    assert torch.equal(resumed.current_mesh().positions, unbroken.current_mesh().positions)
    assert torch.equal(seen_from_above(resumed), seen_from_above(unbroken))
    images = unbroken.current_mesh().positions.double().numpy() * [-1, 1, 1]
    positions, faces = unbroken.current_mesh().positions.double().numpy(), unbroken.current_mesh().faces.numpy()
    assert surface_distances(positions, faces, images).max() < 1e-9


def test_an_edited_mesh_brings_its_own_locks():
    optimisation = make_learning(dataclasses.replace(half_locked(), locked=None))
    steps = optimisation.steps()
    next(steps)

    optimisation.steer(Steering(mesh=half_locked()))
    resumed = make_learning(dataclasses.replace(half_locked(), locked=None))
    resumed.load_state(*optimisation.state())
    for each in (optimisation, resumed):
        first = seen_from_above(each)
        list(each.steps())
        assert torch.equal(seen_from_above(each), first)
        mesh = each.current_mesh()
        place = surface_distances(mesh.positions.double().numpy(), mesh.faces.numpy(), [[0.0, 0.4, 0.0]])
        assert place.max() < 0.003

    optimisation = make_learning(half_locked())
    optimisation.steer(Steering(mesh=dataclasses.replace(half_locked(), locked=None)))
    first = seen_from_above(optimisation)
    list(optimisation.steps())
    assert not torch.allclose(seen_from_above(optimisation), first, atol=0.05)


def surface_distances(positions, faces, points):
    points = np.asarray(points, np.float64)
    return np.linalg.norm(nearest_on_mesh(positions, faces, points) - points, axis=1)
