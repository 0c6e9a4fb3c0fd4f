"""Light on surfaces, against values worked out by hand."""

import pytest
import torch

from backend.cameras import sample_orbit_cameras
from backend.render.shading import Lighting, sample_lighting, shade

UP = torch.tensor([0.0, 1.0, 0.0])


def pixel(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("direction", "expected"),
    # (ambient + (1 - ambient) cos)^(1/2.2) with ambient 0.2
    [
        ((0, 1, 0), 1.0),
        ((1, 0, 0), 0.2 ** (1 / 2.2)),
        ((0, -1, 0), 0.2 ** (1 / 2.2)),
        ((0.8, 0.6, 0), 0.68 ** (1 / 2.2)),
    ],
)
def test_lambert(direction, expected):
    lighting = Lighting(torch.tensor([direction], dtype=torch.float32), torch.tensor([0.2]))

    shaded = shade(pixel(1.0, 0.5, 0.0), UP.view(1, 1, 1, 3), lighting)

    torch.testing.assert_close(shaded.flatten(), expected * torch.tensor([1.0, 0.5, 0.0]))


def test_albedo_mode_is_the_colour_itself():
    lighting = Lighting(UP[None], torch.tensor([0.2]), "albedo")

    assert torch.equal(shade(pixel(0.3, 0.6, 0.9), UP.view(1, 1, 1, 3), lighting), pixel(0.3, 0.6, 0.9))


def test_a_smoother_surface_has_a_brighter_highlight_in_the_mirror_direction():
    lighting = Lighting(UP[None], torch.tensor([0.3]), specular=True)

    def brightness(roughness):
        return shade(
            pixel(0.3, 0.3, 0.3),
            UP.view(1, 1, 1, 3),
            lighting,
            view_directions=UP.view(1, 1, 1, 3),
            roughness=pixel(roughness),
            metallic=pixel(0.0),
        ).mean()

    assert brightness(0.2) > brightness(0.5) > brightness(0.9)


def test_a_highlight_needs_to_know_the_view():
    with pytest.raises(ValueError, match="specular light needs"):
        shade(pixel(1.0, 1.0, 1.0), UP.view(1, 1, 1, 3), Lighting(UP[None], torch.tensor([0.3]), specular=True))


def test_lights_stand_near_their_cameras():
    cameras = sample_orbit_cameras(200, torch.Generator().manual_seed(0))
    lighting = sample_lighting(cameras, torch.Generator().manual_seed(1))

    towards = torch.nn.functional.normalize(cameras.positions(), dim=1)
    assert (lighting.directions * towards).sum(1).mean() > 0.6
    torch.testing.assert_close(lighting.directions.norm(dim=1), torch.ones(200))
