"""Antialiasing on the CPU: hand cases, supersampled pictures, and the gradient of coverage."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rasteriser_scenes import (
    Scene,
    agreement,
    blob,
    clip_positions,
    cube,
    four_cameras,
    gradient_by_backward,
    image_changes,
    render,
    render_supersampled,
    smooth_weights,
    sphere_before_sphere,
    torus,
)
from torch import Tensor
from torch_reference_rasteriser import blend_crossings

from backend.render import portable_antialias_kernels as kernels
from backend.render.portable_rasteriser import PortableRasteriser

WALK = PortableRasteriser()
PARITY = PortableRasteriser("parity")
BOTH = pytest.mark.parametrize("rasteriser", [WALK, PARITY], ids=["walk", "parity"])


def rectangle(left: float, right: float, bottom: float, top: float, depth: float = 0.0) -> Tensor:
    """Clip positions [1, 4, 4] of a rectangle given in pixels of an 8 x 8 image, from its lower left corner on."""
    corners = torch.tensor([[left, bottom], [right, bottom], [right, top], [left, top]]) / 4 - 1
    return torch.cat([corners, torch.full((4, 1), depth), torch.ones(4, 1)], dim=-1)[None]


TWO_TRIANGLES = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def antialiased_mask(rasteriser: PortableRasteriser, positions: Tensor, faces: Tensor, size: int = 8) -> Tensor:
    raster, _ = rasteriser.rasterize(positions, faces, (size, size))
    return rasteriser.antialias((raster[..., 3:] > 0).float(), raster, positions, faces)


# Hand cases


@BOTH
@pytest.mark.parametrize("edge", [2.6, 3.0, 3.4])
def test_an_upright_edge_gives_each_pixel_its_covered_share(rasteriser, edge):
    # The rectangle reaches beyond the image but for its right edge, between columns 2 and 3 (centres 2.5 and 3.5).
    mask = antialiased_mask(rasteriser, rectangle(-5, edge, -5, 13), TWO_TRIANGLES)

    expected = torch.tensor([min(max(edge - column, 0.0), 1.0) for column in range(8)])
    torch.testing.assert_close(mask[0, :, :, 0], expected.expand(8, 8), atol=1e-5, rtol=0)


@BOTH
def test_a_level_edge_gives_each_pixel_its_covered_share(rasteriser):
    mask = antialiased_mask(rasteriser, rectangle(-5, 13, 4.8, 13), TWO_TRIANGLES)

    expected = torch.tensor([0.0, 0, 0, 0, 0.2, 1, 1, 1])
    torch.testing.assert_close(mask[0, :, :, 0], expected[:, None].expand(8, 8), atol=1e-5, rtol=0)


@BOTH
def test_the_inner_edge_of_two_triangles_is_no_silhouette(rasteriser):
    positions = rectangle(-5, 13, -5, 13)
    raster, _ = rasteriser.rasterize(positions, TWO_TRIANGLES, (8, 8))
    colours = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))

    assert raster[..., 3].unique().tolist() == [1, 2]
    assert torch.equal(rasteriser.antialias(colours, raster, positions, TWO_TRIANGLES), colours)


@BOTH
def test_an_edge_between_triangles_that_share_no_vertices_is_a_silhouette(rasteriser):
    positions = rectangle(-5, 13, -5, 13)
    faces = torch.tensor([[0, 1, 2], [3, 5, 4]], dtype=torch.int32)
    positions = torch.cat([positions[:, [0, 1, 2]], positions[:, [0, 3, 2]]], dim=1)
    raster, _ = rasteriser.rasterize(positions, faces, (8, 8))
    colours = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))

    assert not torch.equal(rasteriser.antialias(colours, raster, positions, faces), colours)


@BOTH
def test_the_nearer_of_two_surfaces_owns_the_silhouette(rasteriser):
    # A near rectangle with its edge at 3.3 before one that fills the image.
    positions = torch.cat([rectangle(-5, 3.3, -5, 13, -0.5), rectangle(-5, 13, -5, 13, 0.5)], dim=1)
    faces = torch.cat([TWO_TRIANGLES, TWO_TRIANGLES + 4])
    raster, _ = rasteriser.rasterize(positions, faces, (8, 8))
    is_near = ((raster[..., 3:] > 0) & (raster[..., 3:] <= 2)).float()

    image = rasteriser.antialias(is_near, raster, positions, faces)

    expected = torch.tensor([1, 1, 1, 0.3, 0, 0, 0, 0])
    torch.testing.assert_close(image[0, :, :, 0], expected.expand(8, 8), atol=1e-5, rtol=0)


def test_the_walk_finds_the_silhouette_of_an_object_that_is_farther_than_the_pixel_beside_it():
    # A steep floor comes from behind the far wall at the left to before the near wall at the right. The near wall ends
    # at 3.3; where it ends, the floor is behind it, though at the next pixel's centre it has come before it.
    floor = rectangle(-5, 13, -5, 13)
    floor[0, :, 2] = -0.5 * (floor[0, :, 0] - (3.4 / 4 - 1))  # depth 0 at 3.4 pixels: nearer to the right
    positions = torch.cat([rectangle(-5, 3.3, -5, 13, 0.0), floor], dim=1)
    faces = torch.cat([TWO_TRIANGLES, TWO_TRIANGLES + 4])
    raster, _ = WALK.rasterize(positions, faces, (8, 8))
    is_wall = ((raster[..., 3:] > 0) & (raster[..., 3:] <= 2)).float()
    assert raster[0, 4, 3, 2] < raster[0, 4, 2, 2]

    image = WALK.antialias(is_wall, raster, positions, faces)

    expected = torch.tensor([1, 1, 1, 0.3, 0, 0, 0, 0])
    torch.testing.assert_close(image[0, :, :, 0], expected.expand(8, 8), atol=1e-5, rtol=0)


@BOTH
def test_the_fold_of_a_closed_surface_is_a_silhouette(rasteriser):
    # Two rectangles, one behind the other, joined along their edges at 3.3: a folded sheet, open elsewhere.
    front, back = rectangle(-5, 3.3, -5, 13, -0.5), rectangle(-5, 3.3, -5, 13, 0.5)
    positions = torch.cat([front, back[:, [0, 3]]], dim=1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 2, 1], [4, 5, 2]], dtype=torch.int32)

    mask = antialiased_mask(rasteriser, positions, faces)

    expected = torch.tensor([1, 1, 1, 0.3, 0, 0, 0, 0])
    torch.testing.assert_close(mask[0, :, :, 0], expected.expand(8, 8), atol=1e-5, rtol=0)


def test_the_walk_finds_the_silhouette_across_many_faces_and_the_parity_rule_does_not():
    # A sheet of strips a tenth of a pixel wide, whose right edge lies at 3.4.
    strips = torch.arange(-5.0, 3.45, 0.1)
    points = torch.stack([strips.repeat(2), torch.tensor([-5.0, 13.0]).repeat_interleave(len(strips))], dim=-1) / 4 - 1
    positions = torch.cat([points, torch.zeros(len(points), 1), torch.ones(len(points), 1)], dim=-1)[None]
    first = torch.arange(len(strips) - 1)
    lower = torch.stack([first, first + 1, first + len(strips)], dim=-1)
    upper = torch.stack([first + 1, first + 1 + len(strips), first + len(strips)], dim=-1)
    faces = torch.cat([lower, upper]).int()

    walked = antialiased_mask(WALK, positions, faces)
    by_parity = antialiased_mask(PARITY, positions, faces)

    expected = torch.tensor([1, 1, 1, 0.4, 0, 0, 0, 0])
    torch.testing.assert_close(walked[0, :, :, 0], expected.expand(8, 8), atol=1e-4, rtol=0)
    assert set(by_parity.unique().tolist()) == {0.0, 1.0}


def test_a_slanted_edge_keeps_its_area():
    # A half plane with a slope of 1 / 3, far from its corners.
    positions = rectangle(-40, 50, -60, 0)
    positions[0, 2:, 1] += torch.tensor([50.0 / 3, -40.0 / 3]) / 4 + 3.0 / 4

    mask = antialiased_mask(WALK, positions, TWO_TRIANGLES)

    # Under y = 3 + x / 3 in an image of 8 x 8. Pairs across the border of the image are missing.
    assert float(mask.sum()) == pytest.approx(8 * 3 + 8 * 8 / 6, abs=0.3)


@BOTH
def test_silhouettes_at_the_rim_of_the_image_are_left_alone(rasteriser):
    mask = antialiased_mask(rasteriser, rectangle(-5, 7.9, -5, 13), TWO_TRIANGLES)

    assert (mask == 1).all()


def test_surfaces_that_reach_behind_the_eye_do_no_harm():
    # The floor of the rasteriser's test: its corners behind the eye have no place in the image.
    positions = torch.tensor([[[-50.0, -1, -5, -5], [50, -1, -5, -5], [50, -1, 99, 100], [-50, -1, 99, 100]]])
    positions.requires_grad_()

    mask = antialiased_mask(WALK, positions, TWO_TRIANGLES, size=16)
    mask.sum().backward()

    assert torch.isfinite(mask).all()
    assert torch.isfinite(positions.grad).all()


# Adjacency


def test_faces_are_neighbours_when_they_share_an_edge():
    # A tetrahedron: edge i of a face lies opposite its corner i.
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)

    adjacent = kernels.find_adjacent_faces(faces, 4)

    assert adjacent.tolist() == [[3, 2, 1], [3, 0, 2], [3, 1, 0], [2, 0, 1]]


def test_open_edges_have_no_neighbour_and_crowded_ones_pair_up():
    # Four faces around the edge (0, 1), which comes first in each: its number is 2.
    faces = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4], [1, 0, 5], [0, 1, 6]], np.int32)

    adjacent = kernels.find_adjacent_faces(faces, 7)

    assert adjacent[:, 2].tolist() == [1, 0, 3, 2, -1]
    assert (adjacent[:, :2] == -1).all()


def test_adjacency_goes_both_ways_on_a_closed_mesh():
    faces = blob(2000).faces.numpy()

    adjacent = kernels.find_adjacent_faces(faces, int(faces.max()) + 1)

    assert (adjacent >= 0).all()
    for edge in range(3):
        assert (adjacent[adjacent[:, edge]] == np.arange(len(faces))[:, None]).any(axis=1).all()


def test_collapsed_faces_have_neighbours_at_real_edges_only():
    faces = np.array([[0, 0, 1], [2, 2, 2], [0, 1, 3]], np.int32)

    adjacent = kernels.find_adjacent_faces(faces, 4)

    assert (adjacent[1] == -1).all()
    assert adjacent[0, 2] == -1  # its edge from 0 to 0


# The picture


@pytest.mark.parametrize(("scene", "bar"), [(cube(), 0.2), (blob(2000), 0.1), (torus(64, 32), 0.2)])
def test_the_picture_is_nearer_to_a_supersampled_one_than_by_parity(scene, bar):
    none = torch.zeros(7)
    expected = render_supersampled(WALK, scene, none, four_cameras(), 64, None)

    def error(rasteriser: PortableRasteriser) -> float:
        return float((render(rasteriser, scene, none, four_cameras(), 64, None) - expected).square().mean())

    assert error(WALK) < bar * error(PARITY)
    assert error(WALK) < 3e-4


# Gradients


def crossings_of(scene: Scene, walks: bool, size: int = 32) -> tuple[Tensor, np.ndarray, np.ndarray]:
    positions = clip_positions(scene.positions, four_cameras())[:1].contiguous()
    raster, _ = WALK.rasterize(positions, scene.faces, (size, size))
    faces = scene.faces.numpy()
    adjacent = kernels.find_adjacent_faces(faces, positions.shape[1])
    return positions, *kernels.find_crossings(positions[0].numpy(), faces, adjacent, raster[0].numpy(), walks)


@pytest.mark.parametrize("walks", [True, False])
def test_gradients_agree_with_autograd_in_double_precision(walks):
    scene = blob(300)
    positions, indices, numbers = crossings_of(scene, walks)
    generator = torch.Generator().manual_seed(0)
    colours, weights = torch.randn(2, 1, 32, 32, 3, generator=generator)
    rasteriser = WALK if walks else PARITY
    assert len(indices) > 20

    ours = [positions.clone().requires_grad_(), colours.clone().requires_grad_()]
    raster, _ = rasteriser.rasterize(ours[0].detach(), scene.faces, (32, 32))
    image = rasteriser.antialias(ours[1], raster, ours[0], scene.faces)
    (image * weights).sum().backward()
    theirs = [positions[0].double().requires_grad_(), colours[0].double().requires_grad_()]
    expected = blend_crossings(theirs[1], theirs[0], torch.tensor(indices), torch.tensor(numbers))
    (expected * weights[0]).sum().backward()

    torch.testing.assert_close(image[0].double(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours[1].grad[0].double(), theirs[1].grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours[0].grad[0].double(), theirs[0].grad, atol=2e-4, rtol=1e-3)
    assert (ours[0].grad[..., 2] == 0).all()


def test_moving_a_turned_square_changes_the_covered_area_as_it_should():
    # A weight that grows to the right: d(sum weight * coverage) / dx = area * slope, for any angle.
    size, slope = 64, 0.01
    half = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    weight = slope * torch.arange(float(size))[None, None, :, None]
    expected = 32**2 * slope * 32  # the square is 32 pixels wide, and a shift by 1 moves it by 32 pixels

    gradients = []
    for turn in np.linspace(0.0, np.pi / 2, 20):
        rotation = torch.tensor([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], dtype=torch.float32)
        shift = torch.zeros(2, requires_grad=True)
        positions = torch.cat([half @ rotation.T + 0.013 + shift, torch.zeros(4, 1), torch.ones(4, 1)], dim=-1)[None]
        (antialiased_mask(WALK, positions, TWO_TRIANGLES, size) * weight).sum().backward()
        gradients.append(shift.grad / expected)

    # An edge of 32 pixels crosses a pair more or less, hence the width of the single bar.
    by_x, by_y = torch.stack(gradients).unbind(-1)
    assert float(by_x.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((by_x - 1.0).abs().max()) < 0.1
    assert float(by_y.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(by_y.abs().max()) < 0.1


GRADIENT_SCENES: dict[str, tuple[Callable[[], Scene], bool]] = {
    # name: (scene, whether in colour)
    "cube": (lambda: cube(3), False),
    "small": (lambda: blob(300), False),
    "fine": (lambda: blob(10000), False),
    "covers itself": (lambda: torus(96, 48), True),
    "before another": (lambda: sphere_before_sphere(4000), True),
}


@functools.cache
def gradient_scene(name: str) -> tuple[Scene, Tensor | None, Tensor, Tensor]:
    """Scene, colours, weights, and the true gradient of the pose at 64 pixels."""
    make_scene, in_colour = GRADIENT_SCENES[name]
    scene, weights = make_scene(), smooth_weights(64, 3 if in_colour else 1)
    colours = scene.colours if in_colour else None
    return scene, colours, weights, (image_changes(WALK, scene, 64, colours) * weights).sum(dim=(1, 2, 3, 4))


@pytest.mark.parametrize("name", GRADIENT_SCENES)
def test_the_gradient_of_the_pose_is_that_of_a_supersampled_picture(name):
    scene, colours, weights, true_gradient = gradient_scene(name)

    cosine, magnitude = agreement(gradient_by_backward(WALK, scene, 64, colours, weights), true_gradient)

    assert cosine >= 0.98
    assert 0.85 <= magnitude <= 1.2


def test_nvdiffrasts_rule_misses_the_silhouette_of_a_fine_mesh():
    scene, colours, weights, true_gradient = gradient_scene("fine")

    _, magnitude = agreement(gradient_by_backward(PARITY, scene, 64, colours, weights), true_gradient)

    assert abs(magnitude) < 0.2
