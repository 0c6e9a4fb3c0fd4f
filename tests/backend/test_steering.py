"""Changes to a job between two steps, with a prior whose wishes are known, on tiny pictures."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from colour_prior import ColourPrior
from scipy.spatial import cKDTree

from backend.cameras import turntable_cameras
from backend.config import DistillationConfig, LinearRamp, OptimisationConfig, SurfaceConfig, ViewConfig
from backend.errors import BadInput
from backend.geometry.mesh_input import Placement
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.shape_difference import BAND_METRES, shape_difference
from backend.geometry.signed_distance import nearest_on_mesh, sphere
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.optimise import MeshOptimisation
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import PictureConfig
from backend.render.rasteriser import choose_rasteriser
from backend.steering import Steered, Steering

CONFIG = OptimisationConfig(
    steps=10,
    distillation=DistillationConfig(guidance_scale=5.0, bridge_start=1.0),
    surface=SurfaceConfig(resolutions=((0.0, 16),), normal_consistency_weight=0.1),
    views=ViewConfig(views=2, resolutions=((0.0, 32),), background="white", albedo_share=1.0, textureless_share=0.0),
    texture_learning_rate=LinearRamp(0.1, 0.1),
)
GROWING = dataclasses.replace(CONFIG, surface=dataclasses.replace(CONFIG.surface, resolutions=((0.0, 16), (0.7, 32))))
CELL_METRES = 2 / 16


def ball_shape(grid):
    return sphere(grid.positions().view(-1, 3), 0.6).view(grid.side, grid.side, grid.side)


def make(config=CONFIG, shape=ball_shape, prior=None):
    prior = prior or ColourPrior({"red": (0.9, 0.1, 0.1), "blue": (0.1, 0.1, 0.9)})
    return MeshOptimisation("a red ball", config, prior, choose_rasteriser(torch.device("cpu")), shape, seed=0)


def placed(mesh, colours=None):
    return PlacedMesh(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int64),
        Placement((0.0, 0.0, 0.0), 1.0),
        colours,
    )


def coloured_by_height(mesh):
    """Blue below, yellow above, in between along the way."""
    share = np.clip(np.asarray(mesh.vertices)[:, 1:2] + 0.5, 0, 1)
    return placed(mesh, share * [0.9, 0.8, 0.1] + (1 - share) * [0.1, 0.2, 0.9])


EGG = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
EGG.apply_scale([1.0, 1.5, 0.8])
EGG.apply_translation([0.1, 0.0, 0.0])


def distances_to_egg(positions):
    """Of each point to the surface, in metres."""
    points = positions.double().numpy()
    return np.linalg.norm(nearest_on_mesh(EGG.vertices, EGG.faces, points) - points, axis=1)


def make_steps(optimisation, count):
    steps = optimisation.steps()
    made = [next(steps) for _ in range(count)]
    steps.close()
    return made


def distance_between(first, second):
    """The farthest that a vertex of either mesh is from those of the other, in metres."""
    a, b = np.asarray(first), np.asarray(second)
    return max(cKDTree(a).query(b)[0].max(), cKDTree(b).query(a)[0].max())


def colour_at(optimisation, positions):
    with torch.no_grad():
        return optimisation.texture(torch.as_tensor(positions).float()).albedo


def mean_colour(optimisation):
    views = optimisation.render(turntable_cameras(4), 32, background=torch.zeros(3))
    return views.images[views.masks[..., 0] > 0.99].mean(0)


def test_a_steered_prompt_pulls_the_colours_its_own_way():
    optimisation = make(dataclasses.replace(CONFIG, steps=30))
    make_steps(optimisation, 10)
    before = mean_colour(optimisation)

    optimisation.steer(Steering(prompt="a blue ball"))
    make_steps(optimisation, 20)

    after = mean_colour(optimisation)
    assert before[0] > before[2]
    assert after[2] > after[0]


def test_steered_words_and_scales_reach_the_distillation():
    optimisation = make()
    change = Steering(source_suffix=", dull", target_suffix=", bright", guidance_scale=30.0)

    optimisation.steer(change)

    config = optimisation.config.distillation
    assert (config.source_suffix, config.target_suffix, config.guidance_scale) == (", dull", ", bright", 30.0)
    assert optimisation.config.distillation.bridge_start == 1.0  # the others stay


def test_factors_are_on_what_the_job_began_with_and_not_on_each_other():
    optimisation = make()
    optimisation.steer(Steering(learning_rate_factor=4.0, smoothness_factor=3.0))

    optimisation.steer(Steering(learning_rate_factor=0.5))

    config = optimisation.config
    assert config.texture_learning_rate == LinearRamp(0.05, 0.05)
    assert config.surface.learning_rate == LinearRamp(0.01, 0.004)  # SurfaceConfig begins with 0.02 to 0.008
    assert config.surface.normal_consistency_weight == pytest.approx(0.3)


def test_a_learning_rate_of_nearly_nothing_stops_the_surface():
    optimisation = make()
    make_steps(optimisation, 2)
    before = optimisation.current_mesh().positions
    optimisation.steer(Steering(learning_rate_factor=0.001))
    make_steps(optimisation, 2)

    assert distance_between(before, optimisation.current_mesh().positions) < 1e-3


def test_more_steps_are_made_where_the_schedule_was():
    config = dataclasses.replace(
        CONFIG, distillation=dataclasses.replace(CONFIG.distillation, bridge_start=0.8, target_suffix=", sharp")
    )
    optimisation = make(config)
    make_steps(optimisation, 9)  # the ninth is of the bridge

    optimisation.steer(Steering(more_steps=6))
    steps = list(optimisation.steps())

    assert [step.number for step in steps] == list(range(10, 17))
    assert {step.stage for step in steps} == {"bridge"}
    assert {step.total for step in steps} == {16}


def test_the_schedule_never_goes_back_and_ends_at_its_end():
    steered, shares = Steered(), []
    for step in range(40):
        if step in (4, 9, 25):
            steered = steered.after(Steering(more_steps=10), step, 10)
        shares.append(steered.progress(step, 10))

    assert shares[:5] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert shares == sorted(shares)
    assert steered.progress(40, 10) == pytest.approx(1.0)


def test_steps_added_after_the_last_one_are_made_too():
    optimisation = make()
    list(optimisation.steps())

    optimisation.steer(Steering(more_steps=2))

    assert [step.number for step in optimisation.steps()] == [11, 12]


def test_an_edited_mesh_is_there_at_once_within_half_a_cell():
    optimisation = make()
    make_steps(optimisation, 3)

    optimisation.steer(Steering(mesh=placed(EGG)))

    positions = optimisation.current_mesh().positions
    assert distances_to_egg(positions).max() < CELL_METRES / 2
    back = cKDTree(positions.numpy()).query(np.asarray(EGG.vertices))[0]
    assert back.max() < CELL_METRES  # vertices of a lattice of 16 cells lie up to a cell apart


def test_an_edited_mesh_brings_its_colours():
    edited = coloured_by_height(EGG)
    optimisation = make()
    make_steps(optimisation, 3)

    optimisation.steer(Steering(mesh=edited))

    error = (colour_at(optimisation, edited.vertices) - torch.from_numpy(edited.colours).float()).abs()
    assert error.mean() < 0.01
    assert error.max() < 0.08


def test_an_edited_mesh_without_colours_takes_along_those_that_were_nearest():
    optimisation = make()
    optimisation.steer(Steering(mesh=coloured_by_height(EGG)))
    moved = EGG.copy()
    moved.apply_translation([-0.4, 0.0, 0.0])

    optimisation.steer(Steering(mesh=placed(moved)))

    top, bottom = moved.vertices[moved.vertices[:, 1].argmax()], moved.vertices[moved.vertices[:, 1].argmin()]
    top_colour, bottom_colour = colour_at(optimisation, np.stack([top, bottom]))
    assert top_colour[0] > 0.7 > 0.3 > top_colour[2]
    assert bottom_colour[2] > 0.7 > 0.3 > bottom_colour[0]


def test_a_grown_lattice_sees_more_of_the_edited_mesh():
    optimisation = make(GROWING)
    make_steps(optimisation, 2)
    optimisation.steer(Steering(mesh=placed(EGG), learning_rate_factor=0.001))

    make_steps(optimisation, 6)  # the lattice grows after 7 of 10

    assert optimisation.dmtet.grid.resolution == 32
    assert distances_to_egg(optimisation.current_mesh().positions).max() < CELL_METRES / 4  # half a cell of 32


def test_an_edited_mesh_without_an_inside_is_refused_and_changes_nothing():
    optimisation = make()
    outside = EGG.copy()
    outside.apply_translation([30.0, 0.0, 0.0])
    before = optimisation.current_mesh().positions

    with pytest.raises(BadInput, match="no inside"):
        optimisation.steer(Steering(mesh=placed(outside), prompt="a blue ball"))

    assert torch.equal(optimisation.current_mesh().positions, before)
    assert optimisation.prompt == "a red ball"


@pytest.mark.parametrize("stop_at", [4, 9])  # before the edited mesh, and after everything
def test_a_steered_job_that_is_resumed_ends_with_the_mesh_of_an_unbroken_one(stop_at):
    changes = {
        3: Steering(prompt="a blue ball", guidance_scale=8.0, mesh_weight=1.0),
        5: Steering(mesh=coloured_by_height(EGG), learning_rate_factor=2.0),
        8: Steering(more_steps=3, smoothness_factor=0.5),
    }

    def go_on(optimisation):
        for step in optimisation.steps():
            if step.number in changes:
                optimisation.steer(changes[step.number])
            if step.number == stop_at and optimisation is broken_off:
                return
        assert optimisation.step == 13

    unbroken, broken_off, resumed = make(GROWING), make(GROWING), make(GROWING)
    go_on(unbroken)
    go_on(broken_off)

    resumed.load_state(*broken_off.state())
    go_on(resumed)

    assert torch.equal(resumed.current_mesh().positions, unbroken.current_mesh().positions)
    assert all(torch.equal(a, b) for a, b in zip(resumed.texture.grids, unbroken.texture.grids, strict=True))


def test_a_mesh_that_stays_as_it_is_can_be_replaced_and_resumed():
    first = placed(trimesh.creation.box((0.8, 0.8, 0.8)))
    optimisation, resumed = make(shape=first.triangle_mesh()), make(shape=first.triangle_mesh())
    make_steps(optimisation, 2)

    optimisation.steer(Steering(mesh=placed(EGG)))
    make_steps(optimisation, 2)
    resumed.load_state(*optimisation.state())

    assert torch.equal(optimisation.current_mesh().positions, torch.from_numpy(EGG.vertices).float())
    assert torch.equal(resumed.current_mesh().positions, optimisation.current_mesh().positions)


def test_the_mesh_weight_holds_the_surface_to_its_mesh():
    def distance_moved(weight):
        optimisation = make(shape=placed(EGG).signed_distances)
        before = optimisation.current_mesh().positions
        optimisation.steer(Steering(mesh_weight=weight))
        list(optimisation.steps())
        return distance_between(before, optimisation.current_mesh().positions)

    assert distance_moved(100.0) < 0.5 * distance_moved(0.0)


def test_the_shape_difference_is_that_of_shifted_distances_in_its_own_unit():
    grid = TetrahedralGrid(16)
    shape = ball_shape(grid)

    # A ball that is 0.03 m larger: 0.03 less at every point, a fifth of the band.
    torch.testing.assert_close(shape_difference(shape - 0.03, shape), torch.tensor((0.03 / BAND_METRES) ** 2))


def test_the_shape_difference_draws_the_surface_back():
    shape = ball_shape(TetrahedralGrid(16))
    grown = (shape - 0.03).requires_grad_()

    shape_difference(grown, shape).backward()

    near = shape.abs() < BAND_METRES
    assert (grown.grad[near] < 0).all()  # descending makes the distances larger again
    assert grown.grad[shape.abs() > BAND_METRES + 0.03].abs().max() == 0


def test_a_picture_follows_a_steered_prompt_and_resumes():
    config = PictureConfig(12, CONFIG.distillation, variable="pixels", learning_rate=0.02, weight_decay=0.0)
    prior = ColourPrior({"red": (0.9, 0.1, 0.1), "blue": (0.1, 0.1, 0.9)})
    picture, resumed = (PictureOptimisation(["a red ball"], config, prior, seed=0) for _ in range(2))
    make_steps(picture, 4)

    picture.steer(Steering(prompt="a blue ball", more_steps=16))
    make_steps(picture, 3)
    resumed.load_state(*picture.state())
    list(picture.steps()), list(resumed.steps())

    red, _, blue = picture.pictures()[0].mean((0, 1))
    assert picture.step == 28
    assert blue > red
    assert torch.equal(picture.pictures(), resumed.pictures())
