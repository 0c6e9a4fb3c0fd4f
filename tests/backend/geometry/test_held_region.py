"""Held regions: what stays, how freedom fades in beyond, and sharp edges that a lattice would bevel."""

import numpy as np
import pytest
import torch
import trimesh

from backend.errors import BadInput
from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.held_region import HELD_CELLS, SEAM_METRES, HeldRegion
from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.mesh_input import Placement, locked_like
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import nearest_on_mesh
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.tetrahedral_grid import TetrahedralGrid

CYLINDER = trimesh.creation.cylinder(radius=0.5, height=1.2, sections=48).subdivide().subdivide()
CELL_METRES = 2 / 32


def placed(mesh, locked):
    return PlacedMesh(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int64),
        Placement((0.0, 0.0, 0.0), 1.0),
        locked=locked,
    )


@pytest.fixture(scope="module")
def upper_half():
    return placed(CYLINDER, CYLINDER.vertices[:, 2] > 0.05)


def distances_from(mesh, points):
    return np.linalg.norm(nearest_on_mesh(mesh.positions.double().numpy(), mesh.faces.numpy(), points) - points, axis=1)


def learnt_at_random(constraints, given, resolution=32):
    """A surface that has learnt noise everywhere, up to a tenth of a metre."""
    dmtet = DMTet(DMTetConfig(resolution=resolution), constraints)
    dmtet.initialise_from(given.signed_distances(dmtet.grid))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in dmtet.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return dmtet


def test_no_mask_and_an_empty_one_hold_nothing():
    assert HeldRegion.of(None) is None
    assert HeldRegion.of(placed(CYLINDER, None)) is None
    assert HeldRegion.of(placed(CYLINDER, np.zeros(len(CYLINDER.vertices), bool))) is None


def test_freedom_is_nothing_near_the_held_faces_and_all_of_it_beyond_the_seam(upper_half):
    region, grid = HeldRegion.of(upper_half), TetrahedralGrid(32)
    points = grid.positions().view(-1, 3).double().numpy()
    distances = np.linalg.norm(nearest_on_mesh(upper_half.vertices, region.faces, points) - points, axis=1)

    freedom = region.freedom(grid).view(-1).numpy()

    assert (freedom[distances < HELD_CELLS * grid.cell_metres - 1e-6] == 0).all()
    assert (freedom[distances > HELD_CELLS * grid.cell_metres + SEAM_METRES + 1e-6] == 1).all()
    between = (distances > HELD_CELLS * grid.cell_metres) & (freedom < 1)
    order = np.argsort(distances[between])
    assert np.diff(freedom[between][order]).min() > -1e-3  # further away is never less free


def test_what_is_learnt_moves_the_rest_and_not_the_held_half(upper_half):
    free = learnt_at_random(None, upper_half).extract_mesh()
    held = learnt_at_random(SurfaceConstraints.of(None, upper_half), upper_half).extract_mesh()
    as_given = DMTet(DMTetConfig(resolution=32))
    as_given.initialise_from(upper_half.signed_distances(as_given.grid))
    of_lattice = as_given.extract_mesh()
    locked = upper_half.vertices[upper_half.locked]
    points = of_lattice.positions.detach().double().numpy()
    kept = points[
        np.linalg.norm(nearest_on_mesh(locked, _corners_as_faces(len(locked)), points) - points, axis=1) < 0.05
    ]

    assert distances_from(held.detach(), kept).max() < 1e-6
    assert distances_from(free.detach(), kept).max() > 0.02
    assert distances_from(held.detach(), upper_half.vertices[upper_half.vertices[:, 2] < -0.4]).max() > 0.02


def _corners_as_faces(count):
    """Faces that are points."""
    return np.repeat(np.arange(count)[:, None], 3, axis=1)


@pytest.mark.parametrize("cells", [32, 64])
@pytest.mark.parametrize(
    ("solid", "bar"),
    [
        (CYLINDER, 0.008),
        (trimesh.creation.box((1.0, 0.9, 0.8)), 0.014),  # 32 cells miss a corner by a fifth of a cell
        (trimesh.creation.icosphere(subdivisions=4, radius=0.8), 0.004),
    ],
    ids=["cylinder", "box", "ball"],
)
def test_a_snapped_mesh_has_the_given_surface_with_its_sharp_edges(solid, bar, cells):
    turned = solid.copy()
    turned.apply_transform(trimesh.transformations.euler_matrix(0.3, 0.5, 0.2))
    given = placed(turned, np.ones(len(turned.vertices), bool))
    grid = TetrahedralGrid(cells)
    marched = marching_tetrahedra(given.signed_distances(grid), grid)
    size = np.ptp(given.vertices, axis=0).max()
    points = np.concatenate([given.vertices, trimesh.sample.sample_surface(turned, 5000, seed=0)[0]])

    snapped = HeldRegion.of(given).snapped(marched, grid.cell_metres)

    assert distances_from(snapped, points).max() < bar * size
    at = snapped.positions.double().numpy()
    assert np.linalg.norm(nearest_on_mesh(given.vertices, given.faces, at) - at, axis=1).max() < 1e-6
    assert torch.equal(snapped.faces, marched.faces)
    if solid is CYLINDER:  # what was bevelled
        assert distances_from(marched, points).max() > 1.5 * distances_from(snapped, points).max()


def test_snapping_leaves_what_is_far_from_the_held_faces_where_it_is(upper_half):
    dmtet = learnt_at_random(SurfaceConstraints.of(None, upper_half), upper_half)
    mesh = dmtet.extract_mesh().detach()
    snapped = HeldRegion.of(upper_half).snapped(mesh, CELL_METRES)
    moved = (snapped.positions - mesh.positions).norm(dim=1)

    assert (moved[mesh.positions[:, 2] < -0.15] == 0).all()
    assert moved.max() > 0.01
    assert moved.max() < 1.5 * CELL_METRES


def test_a_mask_is_found_by_places_in_any_order():
    vertices = np.asarray(CYLINDER.vertices)
    order = np.random.default_rng(0).permutation(len(vertices))
    white = (vertices[:, 2] > 0)[:, None] * np.ones(3)

    locked = locked_like(vertices, vertices[order], white[order], "mask.ply")

    assert (locked == (vertices[:, 2] > 0)).all()


@pytest.mark.parametrize(
    ("mask", "colours", "message"),
    [
        (CYLINDER.vertices, None, r"mask.ply has no colours at its vertices; paint white what is to stay"),
        (CYLINDER.vertices * 1.1, np.ones((len(CYLINDER.vertices), 3)), r"mask.ply is of another mesh: [\d,]+ of the"),
        (CYLINDER.vertices, np.zeros((len(CYLINDER.vertices), 3)), r"nothing in mask.ply is white"),
    ],
    ids=["no colours", "another mesh", "all black"],
)
def test_a_mask_that_cannot_be_used_says_why(mask, colours, message):
    with pytest.raises(BadInput, match=message):
        locked_like(np.asarray(CYLINDER.vertices), np.asarray(mask), colours, "mask.ply")
