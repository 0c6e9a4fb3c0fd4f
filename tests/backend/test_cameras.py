"""Where cameras stand and what their matrices do, against positions worked out by hand."""

import pytest
import torch

from backend.cameras import OrbitRange, sample_orbit_cameras, turntable_cameras
from backend.errors import BadInput


def project(cameras, point):
    clip = cameras.clip_matrices() @ torch.tensor([*point, 1.0])
    return clip[:, :3] / clip[:, 3:]


def test_azimuth_starts_at_the_front_and_turns_towards_positive_x():
    positions = turntable_cameras(4, elevation_degrees=0.0).positions()

    distance = positions.norm(dim=1)[0]
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]]) * distance
    torch.testing.assert_close(positions, expected, atol=1e-5, rtol=0)


def test_the_origin_is_in_the_middle_of_every_picture():
    cameras = sample_orbit_cameras(16, torch.Generator().manual_seed(0))

    torch.testing.assert_close(project(cameras, (0, 0, 0))[:, :2], torch.zeros(16, 2), atol=1e-5, rtol=0)


def test_row_zero_is_the_top():
    # y = -1 is row 0; a point above the object must land at negative y.
    assert project(turntable_cameras(1, 0.0), (0.0, 0.5, 0.0))[0, 1] < 0


def test_the_front_camera_sees_positive_x_on_the_right():
    assert project(turntable_cameras(1, 0.0), (0.5, 0.0, 0.0))[0, 0] > 0


def test_framing_is_half_the_visible_height_at_the_object():
    cameras = turntable_cameras(1, elevation_degrees=0.0, framing=1.15, fov_degrees=40.0)

    assert project(cameras, (0.0, 1.15, 0.0))[0, 1].item() == pytest.approx(-1.0, abs=1e-5)


def test_nearer_points_have_smaller_depth():
    camera = turntable_cameras(1, elevation_degrees=0.0)

    assert project(camera, (0.0, 0.0, 0.5))[0, 2] < project(camera, (0.0, 0.0, -0.5))[0, 2]


def test_straight_from_above_is_no_special_case():
    matrix = turntable_cameras(1, elevation_degrees=90.0).view_matrices()[0, :3, :3]

    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-5, rtol=0)


def test_view_matrices_keep_handedness():
    rotations = sample_orbit_cameras(8, torch.Generator().manual_seed(1)).view_matrices()[:, :3, :3]

    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(8), atol=1e-5, rtol=0)


def test_azimuths_are_stratified():
    azimuth = sample_orbit_cameras(8, torch.Generator().manual_seed(2)).azimuth_degrees.sort().values

    gaps = torch.diff(torch.cat([azimuth, azimuth[:1] + 360]))
    assert gaps.max() < 90.0  # two neighbouring slices of 45 degrees


def test_cameras_stay_within_their_range():
    orbit = OrbitRange(elevation_degrees=(5.0, 20.0), fov_degrees=(30.0, 31.0), framing=(1.0, 1.1))
    cameras = sample_orbit_cameras(200, torch.Generator().manual_seed(3), orbit)

    assert cameras.elevation_degrees.min() >= 5 - 1e-3
    assert cameras.elevation_degrees.max() <= 20 + 1e-3
    visible = cameras.distance_metres * torch.tan(torch.deg2rad(cameras.fov_degrees) / 2)
    assert visible.min() >= 1.0 - 1e-4
    assert visible.max() <= 1.1 + 1e-4


def test_a_seed_gives_the_same_cameras():
    first, second = (sample_orbit_cameras(4, torch.Generator().manual_seed(7)) for _ in range(2))

    assert torch.equal(first.azimuth_degrees, second.azimuth_degrees)


def test_a_range_that_is_upside_down_is_refused():
    with pytest.raises(BadInput, match="elevation_degrees must be an ascending pair"):
        OrbitRange(elevation_degrees=(40.0, 10.0))
