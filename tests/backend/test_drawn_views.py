"""Cameras of drawings among the random cameras of a step."""

import pytest
import torch

from backend.cameras import sample_orbit_cameras
from backend.drawn_views import DrawnView, LoopViews
from backend.posed_cameras import PosedCameras
from backend.sketches.camera import SketchCamera, posed


def drawn(view="left", strength=0.5):
    camera = SketchCamera.preset(view)
    azimuth, elevation = camera.angles_degrees
    return DrawnView(posed([camera]), azimuth, elevation, torch.ones(16, 16), strength)


def random_cameras(count=4):
    return sample_orbit_cameras(count, torch.Generator().manual_seed(3))


def test_orbit_cameras_stay_what_they_are_as_posed_ones():
    cameras = random_cameras()

    posed_cameras = PosedCameras.of_orbit(cameras)

    torch.testing.assert_close(posed_cameras.clip_matrices(), cameras.clip_matrices())
    torch.testing.assert_close(posed_cameras.positions(), cameras.positions())


def test_without_drawings_nothing_changes():
    cameras = random_cameras()

    views = LoopViews.of(cameras, [])

    assert views.cameras is cameras
    assert views.control is None
    torch.testing.assert_close(views.camera_to_world(), cameras.camera_to_world())


def test_drawn_views_take_the_last_places():
    cameras = random_cameras()

    views = LoopViews.of(cameras, [drawn("left"), drawn("top", 1.0)])

    assert len(views.cameras) == 4
    torch.testing.assert_close(views.cameras.clip_matrices()[:2], cameras.clip_matrices()[:2])
    torch.testing.assert_close(views.cameras.clip_matrices()[2:3], drawn("left").camera.clip_matrices())
    assert views.azimuth_degrees[2] == pytest.approx(270.0)
    assert views.elevation_degrees[3] == pytest.approx(90.0)
    assert views.azimuth_degrees[:2] == cameras.azimuth_degrees[:2].tolist()
    assert views.control.strengths == (0.0, 0.0, 0.5, 1.0)
    assert views.control.ink.mean(dim=(1, 2)).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_more_drawings_than_views_do_not_fit():
    with pytest.raises(ValueError, match="3 drawn views do not fit among 2 views"):
        LoopViews.of(random_cameras(2), [drawn()] * 3)
