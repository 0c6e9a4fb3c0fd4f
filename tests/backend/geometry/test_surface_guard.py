import pytest
import torch

from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.surface_guard import SurfaceGuard, gradients_are_finite

NAN = float("nan")


@pytest.fixture
def dmtet():
    return DMTet(DMTetConfig(resolution=8))


def spoil(dmtet, value, level=0):
    with torch.no_grad():
        dmtet.sdf_levels[level].fill_(value)


def test_a_good_surface_is_no_trouble(dmtet):
    guard = SurfaceGuard(dmtet)

    assert guard.inspect(1, dmtet.extract_mesh()) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (9.0, "The surface vanished at step 25: went back to the surface of step 20."),
        (NAN, "The surface held numbers that are not finite at step 25: went back to the surface of step 20."),
        (float("inf"), "The surface held numbers that are not finite at step 25: went back to the surface of step 20."),
    ],
)
def test_trouble_brings_the_last_good_copy_back_and_says_so(dmtet, value, sentence):
    guard = SurfaceGuard(dmtet, steps_between_copies=10)
    for step in range(1, 25):
        spoil(dmtet, 0.001 * step)
        assert guard.inspect(step, dmtet.extract_mesh()) is None
    parameters = list(dmtet.parameters())
    spoil(dmtet, value)

    trouble = guard.inspect(25, dmtet.extract_mesh())

    assert trouble.sentence == sentence
    assert (trouble.step, trouble.restored_step) == (25, 20)
    torch.testing.assert_close(dmtet.sdf_levels[0], torch.full((5, 5, 5), 0.02))
    assert not dmtet.extract_mesh().is_empty
    assert all(now is before for now, before in zip(dmtet.parameters(), parameters, strict=True))


def test_a_nan_that_no_face_shows_is_found_too(dmtet):
    guard = SurfaceGuard(dmtet)
    with torch.no_grad():
        dmtet.sdf_levels[-1][0, 0, 0] = NAN  # in a corner of the lattice
    mesh = dmtet.extract_mesh()
    assert mesh.positions.isfinite().all()

    assert "not finite" in guard.inspect(1, mesh).sentence
    assert dmtet.signed_distances().isfinite().all()


def test_trouble_twice_in_a_row_goes_back_to_the_start(dmtet):
    guard = SurfaceGuard(dmtet, steps_between_copies=5)
    spoil(dmtet, 0.2)
    guard.inspect(5, dmtet.extract_mesh())
    restored = []
    for step in (7, 9):
        spoil(dmtet, 9.0)
        restored.append(guard.inspect(step, dmtet.extract_mesh()).restored_step)

    assert restored == [5, 0]
    assert dmtet.sdf_levels[0].abs().max() == 0


def test_after_a_new_good_copy_trouble_goes_back_to_that(dmtet):
    guard = SurfaceGuard(dmtet, steps_between_copies=5)
    spoil(dmtet, 9.0)
    assert guard.inspect(3, dmtet.extract_mesh()).restored_step == 0
    spoil(dmtet, 0.1)
    guard.inspect(8, dmtet.extract_mesh())
    spoil(dmtet, NAN)

    assert guard.inspect(10, dmtet.extract_mesh()).restored_step == 8


def test_after_growing_the_remembered_surface_is_the_grown_one(dmtet):
    guard = SurfaceGuard(dmtet)
    dmtet.grow(16)
    guard.remember(step=40)
    spoil(dmtet, NAN, level=-1)

    assert guard.inspect(41, dmtet.extract_mesh()).restored_step == 40
    assert dmtet.grid.resolution == 16


def test_gradients_that_are_not_finite_are_seen_before_the_step(dmtet):
    assert gradients_are_finite(dmtet)  # none yet

    dmtet.extract_mesh().positions.sum().backward()
    assert gradients_are_finite(dmtet)
    dmtet.sdf_levels[1].grad[3, 3, 3] = NAN

    assert not gradients_are_finite(dmtet)
