"""What no camera saw takes the colour of what one did."""

import torch
import trimesh

from backend.appearance.material import Material
from backend.appearance.seen_surface import NearestSeen, seen_points
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.portable_rasteriser import PortableRasteriser


def height_as_red(positions):
    return Material(positions[:, 1:2].expand(-1, 3), positions[:, :1], positions[:, :1])


def mesh_of(solid):
    return TriangleMesh(torch.as_tensor(solid.vertices).float(), torch.as_tensor(solid.faces).int())


def test_cameras_see_the_outside_of_what_stands_before_them_and_nothing_below():
    outside, inside = trimesh.creation.box((1.0, 1.0, 1.0)), trimesh.creation.box((0.5, 0.5, 0.5))
    mesh = mesh_of(trimesh.util.concatenate([outside, inside]))

    points = seen_points(mesh, PortableRasteriser(), (0.0, 60.0))

    assert (points.abs().amax(dim=1) > 0.49).all()  # all of them on the outer box
    for axis, side in ((0, 1), (0, -1), (1, 1), (2, 1), (2, -1)):
        assert (side * points[:, axis] > 0.499).sum() > 1000
    is_below = (points[:, 1] < -0.49) & (points[:, 0].abs() < 0.4) & (points[:, 2].abs() < 0.4)
    assert not is_below.any()


def test_only_what_lies_away_from_every_seen_point_is_asked_for_elsewhere():
    field = NearestSeen(height_as_red, torch.tensor([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]))

    asked = torch.tensor([[0.0, 0.51, 0.0], [0.0, 0.2, 0.0], [0.3, -0.1, 0.0]])

    torch.testing.assert_close(field(asked).albedo[:, 0], torch.tensor([0.51, 0.5, -0.5]))
