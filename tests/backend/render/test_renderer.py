"""Renders of shapes whose pictures can be worked out by hand."""

import pytest
import torch
import trimesh
from golden_files import assert_like_golden_picture

from backend.appearance.material import Material
from backend.cameras import turntable_cameras
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import choose_rasteriser
from backend.render.renderer import FieldAppearance, TextureImages, VertexColours, render_views
from backend.render.shading import Lighting, headlight

RED = torch.tensor([1.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def rasteriser():
    return choose_rasteriser(torch.device("cpu"))


def ball(radius=0.5):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh(
        torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces.copy(), dtype=torch.int32)
    )


def all_red(mesh):
    return VertexColours(RED.expand(len(mesh.positions), 3).contiguous())


def test_a_ball_covers_the_disc_that_geometry_says(rasteriser):
    mesh, cameras = ball(0.5), turntable_cameras(2, elevation_degrees=10.0, framing=1.0, fov_degrees=40.0)

    masks = render_views(rasteriser, mesh, all_red(mesh), cameras, 64).masks

    # The visible disc has the radius r / sqrt(d^2 - r^2) in units of the image plane at distance 1.
    distance = cameras.distance_metres[0].item()
    radius = (
        0.5 / (distance**2 - 0.25) ** 0.5 / torch.tan(torch.deg2rad(torch.tensor(20.0))).item()
    )  # of half the height
    assert masks.mean().item() == pytest.approx(torch.pi * radius**2 / 4, rel=0.01)


def test_depth_and_normal_in_the_middle_of_a_ball(rasteriser):
    mesh, cameras = ball(0.5), turntable_cameras(1, elevation_degrees=0.0)

    views = render_views(rasteriser, mesh, all_red(mesh), cameras, 65)

    assert views.depths[0, 32, 32, 0].item() == pytest.approx(cameras.distance_metres[0].item() - 0.5, abs=1e-3)
    torch.testing.assert_close(views.normals[0, 32, 32], torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)


def test_row_zero_shows_the_top(rasteriser):
    mesh = ball(0.3)
    mesh = TriangleMesh(mesh.positions + torch.tensor([0.0, 0.6, 0.0]), mesh.faces)

    masks = render_views(rasteriser, mesh, all_red(mesh), turntable_cameras(1, elevation_degrees=0.0), 32).masks[
        0, ..., 0
    ]

    assert masks[:16].sum() > 0
    assert masks[16:].sum() == 0


def test_the_background_shows_where_nothing_is(rasteriser):
    mesh = ball(0.3)
    background = torch.rand(1, 32, 32, 3)

    images = render_views(rasteriser, mesh, all_red(mesh), turntable_cameras(1), 32, background=background).images

    torch.testing.assert_close(images[0, :4], background[0, :4])
    torch.testing.assert_close(images[0, 16, 16], RED)


def test_an_empty_mesh_shows_the_background(rasteriser):
    mesh = TriangleMesh(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3, dtype=torch.int32))
    views = render_views(rasteriser, mesh, VertexColours(torch.zeros(0, 3)), turntable_cameras(2), 16, background=RED)

    views.images.sum().backward()

    torch.testing.assert_close(views.images, RED.expand(2, 16, 16, 3))
    assert views.masks.sum() == 0


def test_light_from_the_camera_is_brightest_in_the_middle(rasteriser):
    mesh, cameras = ball(0.5), turntable_cameras(1, elevation_degrees=0.0)
    towards_camera = Lighting(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.2]))

    images = render_views(rasteriser, mesh, all_red(mesh), cameras, 65, lighting=towards_camera).images[0, ..., 0]

    assert images[32, 32].item() == pytest.approx(1.0, abs=0.01)
    assert images[32, 32] > images[32, 40] > images[32, 44]


def test_textureless_light_hides_the_colour(rasteriser):
    mesh, cameras = ball(0.5), turntable_cameras(1)
    light = headlight(cameras)
    textureless = Lighting(light.directions, light.ambient, "textureless")

    middle = render_views(rasteriser, mesh, all_red(mesh), cameras, 33, lighting=textureless).images[0, 16, 16]

    torch.testing.assert_close(middle, middle[0].expand(3))


def test_a_field_is_asked_only_where_the_surface_is(rasteriser):
    mesh, asked = ball(0.4), []

    def field(positions):
        asked.append(positions)
        return Material((positions + 1) / 2, torch.full_like(positions[:, :1], 0.5), torch.zeros_like(positions[:, :1]))

    views = render_views(rasteriser, mesh, FieldAppearance(field), turntable_cameras(1, elevation_degrees=0.0), 33)

    radii = asked[0].norm(dim=1)
    assert radii.min() > 0.39  # chords of the faceted ball
    assert radii.max() < 0.401
    torch.testing.assert_close(views.images[0, 16, 16], torch.tensor([0.5, 0.5, 0.7]), atol=0.01, rtol=0)


def test_a_texture_is_looked_up_with_row_zero_at_v_zero(rasteriser):
    quad = TriangleMesh(
        torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0.0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32),
    )
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1.0]])
    texture = torch.zeros(8, 8, 3)
    texture[:4] = RED  # rows near V = 0: the bottom of the quad

    image = render_views(
        rasteriser, quad, TextureImages(uv, texture), turntable_cameras(1, elevation_degrees=0.0), 64
    ).images[0]

    torch.testing.assert_close(image[40, 32], RED, atol=0.02, rtol=0)  # below the middle
    torch.testing.assert_close(image[24, 32], torch.zeros(3), atol=0.02, rtol=0)


def test_supersampling_keeps_the_picture(rasteriser):
    mesh, cameras = ball(0.5), turntable_cameras(2)
    background = torch.rand(2, 32, 32, 3)

    once, thrice = (
        render_views(rasteriser, mesh, all_red(mesh), cameras, 32, background=background, supersample=factor)
        for factor in (1, 3)
    )

    assert (once.images - thrice.images).abs().mean() < 0.01
    torch.testing.assert_close(once.images[:, :4], thrice.images[:, :4], atol=1e-5, rtol=0)
    assert (once.masks - thrice.masks).abs().max() < 0.15


def test_a_larger_ball_gives_a_larger_mask_and_the_gradient_says_so(rasteriser):
    radius = torch.tensor(0.5, requires_grad=True)
    unit, cameras = ball(1.0), turntable_cameras(4)

    def coverage(value):
        mesh = TriangleMesh(unit.positions * value, unit.faces)
        return render_views(rasteriser, mesh, all_red(mesh), cameras, 64).masks.mean()

    coverage(radius).backward()
    measured = (coverage(torch.tensor(0.53)) - coverage(torch.tensor(0.47))) / 0.06

    assert radius.grad.item() == pytest.approx(measured.item(), rel=0.1)


def test_a_torus_looks_as_it_was_once_found_right(rasteriser):
    made = trimesh.creation.torus(0.55, 0.22)
    mesh = TriangleMesh(
        torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces.copy(), dtype=torch.int32)
    )
    cameras = turntable_cameras(2, elevation_degrees=35.0, first_azimuth_degrees=30.0)

    views = render_views(
        rasteriser, mesh, VertexColours(mesh.positions * 0.7 + 0.5), cameras, 96, lighting=headlight(cameras)
    )

    pictures = torch.cat([views.images, views.normals * 0.5 + 0.5, views.masks.expand(-1, -1, -1, 3)], dim=2)
    assert_like_golden_picture("torus", torch.cat(list(pictures)).numpy())
