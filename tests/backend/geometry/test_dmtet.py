import math

import pytest
import torch
from surface_facts import euler_characteristic, is_closed, volume

from backend.errors import BadInput
from backend.geometry.components import face_components
from backend.geometry.dmtet import DMTet, DMTetConfig, add_new_groups
from backend.geometry.signed_distance import box, sphere

SMALL = DMTetConfig(resolution=16)


def learned(config=SMALL, seed=0):
    """A module whose parameters are not zero, with a surface that is not a sphere any more."""
    dmtet = DMTet(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for level in dmtet.sdf_levels:
            # Finer levels hold less, as they do in a job.
            level += 0.2 / len(level) * torch.randn(level.shape, generator=generator)
        if dmtet.deformation is not None:
            dmtet.deformation += torch.randn(dmtet.deformation.shape, generator=generator)
    return dmtet


def distance_between(first, second):
    """Root mean square of how far the vertices of the first are from the nearest of the second."""
    return torch.cdist(first.positions, second.positions).amin(dim=1).square().mean().sqrt()


def test_it_starts_as_a_ball_of_half_a_metre():
    mesh = DMTet(SMALL).extract_mesh()

    assert is_closed(mesh)
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.05)


def test_levels_run_from_five_vertices_a_side_to_the_lattice():
    assert [len(level) for level in DMTet(DMTetConfig(resolution=32)).sdf_levels] == [5, 9, 17, 33]


def test_the_signed_distance_is_the_sum_of_all_levels_and_the_initial_shape():
    dmtet = DMTet(SMALL)
    with torch.no_grad():
        dmtet.sdf_levels[0][0, 0, 0] = 1.0  # fades to zero over four fine cells
        dmtet.sdf_levels[1].fill_(2.0)
        dmtet.sdf_levels[2][0, 0, 1] = 4.0

    added = dmtet.signed_distances() - dmtet.base_sdf

    torch.testing.assert_close(added[0, 0, :6], torch.tensor([3.0, 6.75, 2.5, 2.25, 2.0, 2.0]))


def test_gradients_reach_every_parameter():
    dmtet = learned()

    dmtet.extract_mesh().positions.square().sum().backward()

    assert all(parameter.grad.abs().max() > 0 for parameter in dmtet.parameters())


def test_vertices_move_by_less_than_the_deformation_allows():
    dmtet = DMTet(SMALL)
    with torch.no_grad():
        dmtet.deformation.fill_(100.0)

    assert dmtet.offsets().max().item() == pytest.approx(dmtet.grid.cell_metres / 6)


@pytest.mark.parametrize("resolution", [8, 16])
def test_no_tetrahedron_turns_over_however_the_vertices_move(resolution):
    dmtet = DMTet(DMTetConfig(resolution=8))
    with torch.no_grad():  # all the way to the bound, in random directions
        dmtet.deformation.copy_(100 * torch.randn(3, 9, 9, 9, generator=torch.Generator().manual_seed(1)).sign())
    if resolution > 8:
        dmtet.grow(resolution)

    corners = (dmtet.grid.positions() + dmtet.offsets().movedim(0, -1)).view(-1, 3)[dmtet.grid.tetrahedra()]

    assert torch.linalg.det(corners[:, 1:] - corners[:, :1]).min() > 0


def test_without_deformation_there_is_no_parameter_for_it():
    dmtet = DMTet(DMTetConfig(resolution=8, deformation_cells=0.0))

    assert dmtet.offsets() is None
    assert [group["name"] for group in dmtet.parameter_groups(0.01)] == ["sdf_5", "sdf_9"]
    assert is_closed(dmtet.extract_mesh())


@pytest.mark.parametrize("resolution", [32, 64])
def test_growing_keeps_the_surface(resolution):
    dmtet = learned()
    before = dmtet.extract_mesh()
    cell = dmtet.grid.cell_metres

    dmtet.grow(resolution)
    after = dmtet.extract_mesh()

    assert dmtet.grid.resolution == resolution
    assert len(dmtet.base_sdf) == len(dmtet.sdf_levels[-1]) == resolution + 1
    assert volume(after) == pytest.approx(volume(before), rel=0.01)
    assert is_closed(after)
    # The old vertices lie on the new surface; its vertices are a fraction of the old cell apart.
    assert distance_between(before, after) < 0.5 * cell / (resolution / 16)


def test_growing_a_flat_wall_does_not_move_it_at_all():
    dmtet = DMTet(SMALL)
    dmtet.initialise_from(lambda points: box(points, (0.53, 0.53, 0.53)))
    dmtet.grow(32)

    assert dmtet.extract_mesh().positions.abs().max().item() == pytest.approx(0.53, abs=1e-6)


def test_growing_keeps_the_old_parameters_and_starts_new_ones_at_zero():
    dmtet = learned()
    old = list(dmtet.parameters())

    dmtet.grow(64)

    parameters = list(dmtet.parameters())
    assert all(any(parameter is before for parameter in parameters) for before in old)
    assert [level.abs().max().item() for level in dmtet.sdf_levels[3:]] == [0.0, 0.0]


def test_adam_goes_on_after_growing_with_its_moments():
    dmtet = learned()
    optimiser = torch.optim.Adam(dmtet.parameter_groups(learning_rate=0.01, finer_rate=0.5))
    dmtet.extract_mesh().positions.square().sum().backward()
    optimiser.step()
    moment = optimiser.state[dmtet.sdf_levels[0]]["exp_avg"].clone()

    dmtet.grow(32)
    add_new_groups(optimiser, dmtet.parameter_groups(learning_rate=0.008, finer_rate=0.5))
    optimiser.zero_grad()
    dmtet.extract_mesh().positions.square().sum().backward()

    names = ["deformation", "sdf_5", "sdf_9", "sdf_17", "sdf_33"]
    assert [group["name"] for group in optimiser.param_groups] == names
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.001])
    assert torch.equal(optimiser.state[dmtet.sdf_levels[0]]["exp_avg"], moment)
    optimiser.step()
    assert dmtet.sdf_levels[-1].abs().max() > 0


def test_growing_can_look_at_the_initial_shape_again():
    dmtet = DMTet(DMTetConfig(resolution=8))
    with torch.no_grad():
        dmtet.sdf_levels[0].fill_(0.1)

    dmtet.grow(32, shape=sphere)

    torch.testing.assert_close(dmtet.signed_distances(), dmtet.grid.positions().norm(dim=-1) - 0.4)


@pytest.mark.parametrize("resolution", [8, 16, 48, 33])
def test_growing_to_what_is_no_doubling_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution must"):
        DMTet(SMALL).grow(resolution)


def test_starting_over_forgets_all_that_was_learned():
    dmtet = learned()

    dmtet.initialise_from(lambda points: sphere(points, 0.7))

    torch.testing.assert_close(dmtet.signed_distances(), dmtet.grid.positions().norm(dim=-1) - 0.7)
    assert dmtet.offsets().abs().max() == 0


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (torch.ones(17, 17, 17), "no inside on a lattice of 16 cells"),
        (torch.full((17, 17, 17), float("nan")), "4913 signed distances that are not finite"),
        (torch.ones(5, 5, 5), "expected 17 signed distances a side"),
    ],
)
def test_a_shape_without_a_surface_is_refused_and_changes_nothing(distances, message):
    dmtet = DMTet(SMALL)

    with pytest.raises((BadInput, ValueError), match=message):
        dmtet.initialise_from(distances)

    assert not dmtet.extract_mesh().is_empty


# Floaters


def with_parts_and_cavity():
    """A large ball with a cavity, a small ball beside it and a middle-sized one."""
    dmtet = DMTet(DMTetConfig(resolution=32))

    def shape(points):
        ball = sphere(points, 0.5, centre=(-0.3, 0.0, 0.0))
        cavity = sphere(points, 0.2, centre=(-0.3, 0.0, 0.0))
        small = sphere(points, 0.1, centre=(0.7, 0.7, 0.0))
        middle = sphere(points, 0.3, centre=(0.6, 0.0, 0.0))
        return torch.minimum(torch.maximum(ball, -cavity), torch.minimum(small, middle))

    dmtet.initialise_from(shape)
    return dmtet


def test_dropping_floaters_takes_small_parts_and_cavities_away():
    dmtet = with_parts_and_cavity()
    assert face_components(dmtet.extract_mesh()).max() == 3

    gone = dmtet.drop_floaters(smallest_share=0.1)

    mesh = dmtet.extract_mesh()
    assert gone == 2
    assert face_components(mesh).max() == 1
    # A ball and the middle-sized one; a thirty-second of a metre is a large step for a ball of 0.3.
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * (0.5**3 + 0.3**3), rel=0.03)


def test_dropping_all_but_the_largest_leaves_one_sphere():
    dmtet = with_parts_and_cavity()

    assert dmtet.drop_floaters(smallest_share=1.0) == 3
    assert euler_characteristic(dmtet.extract_mesh()) == 2


def test_dropping_floaters_leaves_parameters_and_the_rest_of_the_surface_alone():
    dmtet = learned()
    before, state = dmtet.extract_mesh(), dmtet.state()
    assert face_components(before).max() == 0

    assert dmtet.drop_floaters() == 0
    assert torch.equal(dmtet.extract_mesh().positions, before.positions)
    assert all(torch.equal(tensor, state[name]) for name, tensor in dmtet.state().items())


def test_dropping_floaters_of_an_empty_surface_does_nothing():
    dmtet = DMTet(DMTetConfig(resolution=8))
    with torch.no_grad():
        dmtet.sdf_levels[0].fill_(9.0)

    assert dmtet.drop_floaters() == 0


# States


@pytest.mark.parametrize("grown", [False, True])
def test_a_state_survives_a_file_and_gives_the_same_bits(tmp_path, grown):
    from safetensors.torch import load_file, save_file

    dmtet = learned()
    if grown:
        dmtet.grow(32)
    save_file(dmtet.state(), tmp_path / "surface.safetensors")

    restored = DMTet.from_state(load_file(tmp_path / "surface.safetensors"))

    assert restored.grid == dmtet.grid
    assert torch.equal(restored.extract_mesh().positions, dmtet.extract_mesh().positions)
    names = [group["name"] for group in dmtet.parameter_groups(1.0)]
    assert [group["name"] for group in restored.parameter_groups(1.0)] == names


def test_a_state_is_a_copy():
    dmtet = learned()
    state = dmtet.state()
    with torch.no_grad():
        dmtet.sdf_levels[0].add_(1.0)

    assert not torch.equal(state["sdf_5"], dmtet.sdf_levels[0])


def test_loading_a_state_keeps_the_parameters_that_an_optimiser_holds():
    dmtet = learned()
    parameters, state = list(dmtet.parameters()), dmtet.state()
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1.0)

    dmtet.load_state(state)

    assert all(now is before for now, before in zip(dmtet.parameters(), parameters, strict=True))
    assert torch.equal(dmtet.sdf_levels[0], state["sdf_5"])


def test_loading_a_state_from_before_growing_takes_the_finer_level_away():
    dmtet = learned()
    state = dmtet.state()
    dmtet.grow(32)

    dmtet.load_state(state)

    assert dmtet.grid.resolution == 16
    assert [len(level) for level in dmtet.sdf_levels] == [5, 9, 17]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_sdf": None}, "lacks base_sdf"),
        ({"half_extent_metres": None, "deformation_metres": None}, "lacks deformation_metres, half_extent_metres"),
        ({"sdf_9": None}, r"levels of \[5, 17\] vertices"),
        ({"sdf_17": None}, r"17 vertices a side cannot have levels of \[5, 9\]"),
        ({"sdf_9": torch.zeros(9, 9, 8)}, r"sdf_9 must have 9 vertices a side, got \(9, 9, 8\)"),
        ({"base_sdf": torch.zeros(17, 17)}, r"base_sdf must be a cube"),
        ({"deformation": torch.zeros(3, 7, 7, 7)}, r"deformation of shape \(3, 7, 7, 7\)"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(change, message):
    dmtet = learned()
    damaged = {name: tensor for name, tensor in (dmtet.state() | change).items() if tensor is not None}
    before = dmtet.extract_mesh().positions

    with pytest.raises(ValueError, match=message):
        dmtet.load_state(damaged)

    assert torch.equal(dmtet.extract_mesh().positions, before)


@pytest.mark.parametrize(
    "settings", [{"resolution": 48}, {"resolution": 2}, {"deformation_cells": 0.7}, {"coarsest_cells": 1}]
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        DMTetConfig(**settings)


def test_a_sphere_can_be_optimised_into_a_box():
    dmtet = DMTet(SMALL)
    optimiser = torch.optim.Adam(dmtet.parameter_groups(learning_rate=0.01, finer_rate=0.5))
    for _ in range(60):
        positions = dmtet.extract_mesh().positions
        optimiser.zero_grad()
        box(positions, (0.6, 0.4, 0.3)).square().mean().backward()
        optimiser.step()

    mesh = dmtet.extract_mesh()
    assert box(mesh.positions, (0.6, 0.4, 0.3)).abs().mean() < 0.05 * dmtet.grid.cell_metres * 4
    assert volume(mesh) == pytest.approx(1.2 * 0.8 * 0.6, rel=0.05)
    assert is_closed(mesh)
