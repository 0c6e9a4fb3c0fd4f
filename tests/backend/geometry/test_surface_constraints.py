"""Mirrors: of the surface, of its texture, and beside what is held."""

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_facts import is_closed

from backend.appearance.texture_field import TextureField, TextureFieldConfig
from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.held_region import HeldRegion
from backend.geometry.mesh_input import Placement
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import nearest_on_mesh
from backend.geometry.surface_constraints import MOST_ASYMMETRY, SurfaceConstraints, folded, mirrored_field

BOX = trimesh.creation.box((1.0, 0.8, 0.6)).subdivide().subdivide()
SHIFTED = BOX.copy().apply_translation((0.15, 0.0, 0.0))


def placed(mesh, locked=None):
    return PlacedMesh(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int64),
        Placement((0.0, 0.0, 0.0), 1.0),
        locked=locked,
    )


def learnt_at_random(constraints, seed=0, resolution=16):
    dmtet = DMTet(DMTetConfig(resolution=resolution), constraints)
    dmtet.initialise_from(placed(BOX).signed_distances(dmtet.grid))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in dmtet.parameters():
            parameter.copy_(0.08 * torch.randn(parameter.shape, generator=generator))
    return dmtet


def asymmetry(mesh, axis):
    """Farthest from its mirror image, in metres."""
    points = mesh.positions.detach().double().numpy()
    images = points * np.where(np.arange(3) == axis, -1, 1)
    return np.linalg.norm(nearest_on_mesh(points, mesh.faces.numpy(), images) - images, axis=1).max()


@pytest.mark.parametrize("axes", ["x", "z", "xy", "xyz"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_mirrored_surface_is_symmetric_to_the_last_bit_and_closed(axes, seed):
    constraints = SurfaceConstraints.of(axes, None)
    dmtet = learnt_at_random(constraints, seed)

    mesh = dmtet.extract_mesh()

    for axis in constraints.mirror_axes:
        assert asymmetry(mesh, axis) < 1e-9
    assert is_closed(mesh)
    assert asymmetry(learnt_at_random(None, seed).extract_mesh(), constraints.mirror_axes[0]) > 0.01


def test_both_sides_of_a_mirror_move_what_is_learnt():
    dmtet = learnt_at_random(SurfaceConstraints.of("x", None))
    mesh = dmtet.extract_mesh()

    mesh.positions[mesh.positions[:, 0] < -0.1].sum().backward()

    gradient = dmtet.sdf_levels[-1].grad
    middle = len(gradient) // 2
    assert gradient[:middle].abs().sum() > 0
    assert torch.allclose(gradient, gradient.flip(0))
    assert dmtet.deformation.grad.abs().sum() > 0


def test_an_initial_shape_is_mirrored_too():
    dmtet = DMTet(DMTetConfig(resolution=32), SurfaceConstraints.of("x", None))

    dmtet.initialise_from(placed(SHIFTED).signed_distances(dmtet.grid))

    assert asymmetry(dmtet.extract_mesh(), 0) < 1e-9
    assert torch.equal(dmtet.base_sdf, mirrored_field(dmtet.base_sdf, (0,)))


def test_what_is_held_wins_over_a_mirror():
    mesh = placed(SHIFTED, locked=np.asarray(SHIFTED.vertices)[:, 0] > 0.5)
    constraints = SurfaceConstraints.of("x", mesh)
    dmtet = DMTet(DMTetConfig(resolution=32), constraints)
    dmtet.initialise_from(mesh.signed_distances(dmtet.grid))
    surface = dmtet.extract_mesh().detach()
    locked = mesh.vertices[mesh.locked]
    found = nearest_on_mesh(surface.positions.double().numpy(), surface.faces.numpy(), locked)

    assert constraints.asymmetry_of(mesh) > MOST_ASYMMETRY
    assert np.linalg.norm(found - locked, axis=1).max() < 0.04  # the lattice bevels its edges
    assert asymmetry(surface, 0) > 0.1


def test_a_symmetric_mesh_is_mirrored_with_what_is_held():
    mesh = placed(BOX, locked=np.asarray(BOX.vertices)[:, 1] > 0.3)
    constraints = SurfaceConstraints.of("x", mesh)

    assert constraints.asymmetry_of(mesh) < 1e-9
    assert asymmetry(learnt_at_random(constraints, resolution=32).extract_mesh(), 0) < 1e-9


@pytest.mark.parametrize("side", [1, -1])
def test_what_is_locked_on_one_side_of_a_symmetric_mesh_stays_on_both(side):
    mesh = placed(BOX, locked=np.asarray(BOX.vertices)[:, 0] * side > 0.2)

    surface = learnt_at_random(SurfaceConstraints.of("x", mesh), resolution=32).extract_mesh().detach()

    both = mesh.vertices[np.abs(mesh.vertices[:, 0]) > 0.3]
    found = nearest_on_mesh(surface.positions.double().numpy(), surface.faces.numpy(), both)
    assert np.linalg.norm(found - both, axis=1).max() < 0.05  # less than a cell, which corners are cut by; it was 0.11
    assert asymmetry(surface, 0) < 1e-9


def test_a_mirrored_texture_is_the_same_on_both_sides():
    texture = TextureField(TextureFieldConfig(resolutions=(8, 16), mirror_axes=(0, 2), initial_noise=2.0))
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = points * torch.tensor([-1.0, 1.0, 1.0])

    albedo = texture(points).albedo

    assert torch.equal(texture(images).albedo, albedo)
    assert torch.equal(texture(points * torch.tensor([1.0, 1.0, -1.0])).albedo, albedo)
    assert not torch.allclose(texture(points * torch.tensor([1.0, -1.0, 1.0])).albedo, albedo, atol=0.05)
    assert albedo.std(dim=0).min() > 0.05


def test_folding_nothing_costs_nothing():
    points = torch.randn(5, 3)

    assert folded(points, ()) is points


@pytest.mark.parametrize("resolutions", [(8, 32), (128,)], ids=["dense", "hashed"])
def test_a_held_texture_stays_under_an_optimiser_and_the_rest_learns(resolutions):
    mesh = placed(BOX, locked=np.asarray(BOX.vertices)[:, 1] > 0.3)
    texture = TextureField(TextureFieldConfig(resolutions=resolutions, initial_noise=1.0))
    held_points = torch.from_numpy(mesh.vertices[mesh.locked]).float()
    free_points = torch.from_numpy(mesh.vertices[mesh.vertices[:, 1] < -0.2]).float()
    before = texture(held_points).albedo.detach(), texture(free_points).albedo.detach()
    optimiser = torch.optim.Adam(texture.parameters(), lr=0.1)

    def learn():
        for _ in range(3):
            optimiser.zero_grad()
            (texture(torch.cat([held_points, free_points])).albedo - 1).square().sum().backward()
            optimiser.step()

    texture.hold(HeldRegion.of(mesh))
    learn()
    after = texture(held_points).albedo.detach(), texture(free_points).albedo.detach()
    assert torch.equal(after[0], before[0])
    assert (after[1] - before[1]).abs().min() > 0.001

    texture.hold(None)
    learn()
    assert (texture(held_points).albedo - before[0]).abs().min() > 0.001
