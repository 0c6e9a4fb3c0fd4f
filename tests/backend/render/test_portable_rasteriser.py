"""Rasterising and interpolating on the CPU: hand cases, laws, and the plain-torch twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rasteriser_scenes import blob, clip_positions, four_cameras
from torch import Tensor
from torch_reference_rasteriser import TorchReferenceRasteriser

from backend.errors import BadInput
from backend.render import portable_rasteriser
from backend.render.portable_rasteriser import (
    PortableRasteriser,
    render_threads,
    set_render_threads,
    warm_up,
)
from backend.render.rasteriser import choose_rasteriser

RASTERISER = PortableRasteriser()


@pytest.fixture(autouse=True)
def _default_threads():
    yield
    set_render_threads(None)


def on_screen(points: list[list[float]]) -> Tensor:
    """Clip positions [1, vertices, 4] of points (x, y) or (x, y, z) in [-1, 1] with w = 1."""
    positions = torch.zeros(1, len(points), 4)
    positions[..., 3] = 1.0
    for index, point in enumerate(points):
        positions[0, index, : len(point)] = torch.tensor(point)
    return positions


def triangles(*corners: tuple[int, int, int]) -> Tensor:
    return torch.tensor(corners, dtype=torch.int32).reshape(-1, 3)


def seen_faces(positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> Tensor:
    """Face numbers of the first view, -1 where nothing is."""
    raster, _ = RASTERISER.rasterize(positions, faces, resolution)
    return raster[0, ..., 3].long() - 1


def random_triangles(count: int, views: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unconnected triangles of all sizes at different depths and with different w, some of them partly out of view."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(views, count, 1, 3, generator=generator) * 2.2 - 1.1
    sizes = 0.5 * torch.rand(views, count, 1, 1, generator=generator) ** 2
    points = centres + sizes * torch.randn(views, count, 3, 3, generator=generator)
    w = 0.5 + 2 * torch.rand(views, count, 3, 1, generator=generator)
    positions = torch.cat([points * w, w], dim=-1).reshape(views, 3 * count, 4)
    return positions, torch.arange(3 * count, dtype=torch.int32).reshape(count, 3)


# What covers which pixel


def test_a_triangle_covers_the_pixels_whose_centres_it_holds():
    # The lower left half of the image: its slanted edge passes between the centres.
    positions = on_screen([[-1, -1], [1, -1], [-1, 1]])
    positions[0, 1:, :2] += torch.tensor([[0.1, 0.0], [0.0, 0.1]])

    seen = seen_faces(positions, triangles((0, 1, 2)), (4, 4))

    assert seen.tolist() == [[0, 0, 0, 0], [0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1]]


def test_row_0_is_at_the_lowest_y_and_column_0_at_the_lowest_x():
    # Centres of a 4 x 8 image: y = (2 row + 1) / 4 - 1, x = (2 column + 1) / 8 - 1.
    x, y = (2 * 5 + 1) / 8 - 1, (2 * 1 + 1) / 4 - 1
    positions = on_screen([[x - 0.02, y - 0.02], [x + 0.02, y - 0.02], [x, y + 0.02]])

    seen = seen_faces(positions, triangles((0, 1, 2)), (4, 8))

    assert (seen >= 0).nonzero().tolist() == [[1, 5]]


@pytest.mark.parametrize("diagonal", [((0, 1, 2), (0, 2, 3)), ((0, 1, 3), (1, 2, 3))])
def test_two_triangles_at_an_edge_leave_no_hole_and_share_no_pixel(diagonal):
    # The diagonal passes exactly through the centres of pixels.
    positions = on_screen([[-1, -1], [1, -1], [1, 1], [-1, 1]])

    seen = seen_faces(positions, triangles(*diagonal), (8, 8))
    seen_in_other_order = seen_faces(positions, triangles(*diagonal[::-1]), (8, 8))

    assert (seen >= 0).all()
    assert torch.equal(seen, 1 - seen_in_other_order)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_fine_flat_mesh_has_no_holes_and_no_pixel_depends_on_the_order_of_faces(bits):
    generator = torch.Generator().manual_seed(1)
    side = 40
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1.1, 1.1, side)] * 2, indexing="xy"), dim=-1)
    grid = grid + 0.004 * torch.randn(side, side, 2, generator=generator)
    grid[10:20] = torch.round(grid[10:20] * 32 - 0.5) / 32 + 1 / 64  # some vertices exactly on centres of pixels
    positions = on_screen(grid.reshape(-1, 2).tolist())
    first = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).reshape(-1)
    lower = torch.stack([first, first + 1, first + side], dim=-1)
    upper = torch.stack([first + 1, first + side + 1, first + side], dim=-1)
    faces = torch.cat([lower, upper]).int()
    rasteriser = PortableRasteriser(subpixel_bits=bits)

    forwards, _ = rasteriser.rasterize(positions, faces, (64, 64))
    backwards, _ = rasteriser.rasterize(positions, faces.flip(0), (64, 64))

    assert (forwards[..., 3] > 0).all()
    assert torch.equal(forwards[..., 3], len(faces) + 1 - backwards[..., 3])


def test_winding_does_not_matter():
    positions, faces = random_triangles(50)

    raster, _ = RASTERISER.rasterize(positions, faces, (32, 32))
    turned, _ = RASTERISER.rasterize(positions, faces[:, [1, 0, 2]].contiguous(), (32, 32))

    assert torch.equal(raster[..., 3], turned[..., 3])
    torch.testing.assert_close(raster[..., [1, 0]], turned[..., :2], atol=1e-5, rtol=1e-4)


def test_the_nearer_triangle_is_seen_whatever_the_order():
    near, far = [[-1, -1, -0.5], [3, -1, -0.5], [-1, 3, -0.5]], [[-1, -1, 0.5], [3, -1, 0.5], [-1, 3, 0.5]]

    assert (seen_faces(on_screen(near + far), triangles((0, 1, 2), (3, 4, 5)), (8, 8)) == 0).all()
    assert (seen_faces(on_screen(far + near), triangles((0, 1, 2), (3, 4, 5)), (8, 8)) == 1).all()


def test_at_equal_depth_the_later_triangle_is_seen():
    positions = on_screen([[-1, -1], [3, -1], [-1, 3]])

    assert (seen_faces(positions, triangles((0, 1, 2), (0, 1, 2)), (8, 8)) == 1).all()


def test_what_lies_before_the_near_or_behind_the_far_plane_is_cut_off():
    # z goes from -3 at the left edge of the image to 3 at the right: visible within the middle third.
    positions = on_screen([[-1, -1, -3], [1, -1, 3], [1, 1, 3], [-1, 1, -3]])

    seen = seen_faces(positions, triangles((0, 1, 2), (0, 2, 3)), (6, 6))

    assert (seen[:, 2:4] >= 0).all()
    assert (seen[:, :2] < 0).all()
    assert (seen[:, 4:] < 0).all()


@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_a_triangle_in_the_near_or_far_plane_itself_is_visible(z):
    positions = on_screen([[-1, -1, z], [3, -1, z], [-1, 3, z]])

    assert (seen_faces(positions, triangles((0, 1, 2)), (7, 7)) == 0).all()


def test_a_floor_that_reaches_behind_the_eye_is_seen_up_to_the_horizon():
    # An eye at height 1 looks along -z over a floor of two triangles, whose near corners are behind it. x_clip = x,
    # y_clip = y - 1 (no turning over), w = -z.
    corners = torch.tensor([[-50.0, 0.0, 5.0], [50.0, 0.0, 5.0], [50.0, 0.0, -100.0], [-50.0, 0.0, -100.0]])
    x, y, z = corners.unbind(-1)
    near, far = 0.1, 200.0
    depth = (-(far + near) * z - 2 * far * near) / (far - near)
    positions = torch.stack([x, y - 1, depth, -z], dim=-1)[None]

    raster, _ = RASTERISER.rasterize(positions, triangles((0, 1, 2), (0, 2, 3)), (64, 64))
    seen_points, _ = RASTERISER.interpolate(corners[None], raster, triangles((0, 1, 2), (0, 2, 3)))

    rows = (2 * torch.arange(64) + 1) / 64 - 1
    # The ray through a row y < 0 meets the floor at z = 1 / y, which is within -100 < z for y < -0.01.
    assert torch.equal(raster[0, :, 32, 3] > 0, rows < -0.01)
    below = rows < -0.01
    torch.testing.assert_close(seen_points[0, below, 32, 2], 1 / rows[below], rtol=1e-3, atol=1e-3)


def test_triangles_with_corners_far_out_of_the_image_are_drawn_right():
    # Coordinates that would overflow fixed point.
    positions = on_screen([[-1e9, -1e9], [3e9, -1e9], [-1e9, 3e9]])

    assert (seen_faces(positions, triangles((0, 1, 2)), (8, 8)) == 0).all()


def test_triangles_wholly_behind_the_eye_are_not_seen():
    positions = -on_screen([[-1, -1], [3, -1], [-1, 3]])

    assert (seen_faces(positions, triangles((0, 1, 2)), (8, 8)) < 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("coordinate", range(4))
def test_triangles_with_a_corner_that_is_not_finite_are_left_out(bad, coordinate):
    positions = on_screen([[-1, -1], [3, -1], [-1, 3], [0, 0]])
    positions[0, 3, coordinate] = bad
    positions.requires_grad_()
    faces = triangles((0, 1, 2), (0, 1, 3))

    raster, _ = RASTERISER.rasterize(positions, faces, (8, 8))
    image = RASTERISER.antialias(raster[..., :2].contiguous(), raster, positions, faces)
    image.sum().backward()

    assert (raster[..., 3] == 1).all()
    assert torch.isfinite(positions.grad).all()


def test_triangles_without_area_are_not_seen_and_give_no_gradient():
    positions = on_screen([[-1, -1], [1, 1], [0, 0], [0.5, 0.5]]).requires_grad_()
    faces = triangles((0, 1, 2), (3, 3, 3), (0, 0, 1))

    raster, derivatives = RASTERISER.rasterize(positions, faces, (8, 8))
    (raster.sum() + derivatives.sum()).backward()

    assert (raster == 0).all()
    assert (positions.grad == 0).all()


# What a pixel holds


def test_weights_and_depth_are_perspective_correct():
    positions, faces = random_triangles(30, views=1)

    raster, _ = RASTERISER.rasterize(positions, faces, (48, 32))
    at_pixels, _ = RASTERISER.interpolate(positions, raster, faces)

    covered = raster[..., 3] > 0
    assert 200 < covered.sum() < 48 * 32
    row, column = covered[0].nonzero(as_tuple=True)
    centres = torch.stack([(2 * column + 1) / 32 - 1, (2 * row + 1) / 48 - 1], dim=-1)
    seen = at_pixels[covered]
    # Pixels that a triangle holds only after snapping (1/256 pixel) are moved to its rim.
    torch.testing.assert_close(seen[:, :2] / seen[:, 3:], centres, atol=2 / 32 / 256, rtol=0)
    torch.testing.assert_close(seen[:, 2] / seen[:, 3], raster[covered][:, 2], atol=2e-2, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_faces_are_seen_as_in_the_torch_reference(seed):
    positions, faces = random_triangles(200, seed=seed)

    raster, derivatives = RASTERISER.rasterize(positions, faces, (40, 56))
    expected, expected_derivatives = TorchReferenceRasteriser().rasterize(positions.double(), faces, (40, 56))

    assert torch.equal(raster[..., 3], expected[..., 3].float())
    torch.testing.assert_close(raster[..., :3], expected[..., :3].float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(derivatives, expected_derivatives.float(), atol=1e-4, rtol=1e-3)


def test_the_same_faces_of_a_mesh_are_seen_as_in_the_torch_reference():
    scene = blob(2000)
    positions = clip_positions(scene.positions, four_cameras())

    raster, _ = RASTERISER.rasterize(positions, scene.faces, (64, 64))
    expected, _ = TorchReferenceRasteriser().rasterize(positions.double(), scene.faces, (64, 64))

    assert torch.equal(raster[..., 3], expected[..., 3].float())


def test_derivatives_are_the_differences_between_neighbouring_pixels():
    # Without perspective u and v are linear over the image.
    positions = on_screen([[-1.0, -1.2], [3.0, -0.8], [-0.7, 3.0]])

    raster, derivatives = RASTERISER.rasterize(positions, triangles((0, 1, 2)), (9, 11))

    inner = raster[0, :6, :6]
    to_right, up = inner[0, 1] - inner[0, 0], inner[1, 0] - inner[0, 0]
    expected = torch.stack([to_right[0], up[0], to_right[1], up[1]])
    torch.testing.assert_close(derivatives[0, 0, 0], expected, atol=1e-6, rtol=1e-5)


def test_interpolation_is_zero_where_nothing_is():
    positions = on_screen([[-1, -1], [0, -1], [-1, 0]])
    faces = triangles((0, 1, 2))
    raster, derivatives = RASTERISER.rasterize(positions, faces, (8, 8))

    values, by_pixel = RASTERISER.interpolate(torch.ones(1, 3, 5), raster, faces, derivatives, "all")

    covered = raster[..., 3] > 0
    torch.testing.assert_close(values[covered], torch.ones(int(covered.sum()), 5))
    assert (values[~covered] == 0).all()
    assert by_pixel.shape == (1, 8, 8, 10)
    assert (by_pixel[~covered] == 0).all()


def test_chosen_channels_are_differentiated_in_the_order_given():
    positions, faces = random_triangles(20)
    raster, derivatives = RASTERISER.rasterize(positions, faces, (16, 16))
    attributes = torch.randn(2, positions.shape[1], 4, generator=torch.Generator().manual_seed(3))

    _, every = RASTERISER.interpolate(attributes, raster, faces, derivatives, "all")
    _, chosen = RASTERISER.interpolate(attributes, raster, faces, derivatives, [-1, 1])
    _, none = RASTERISER.interpolate(attributes, raster, faces, derivatives)

    assert torch.equal(chosen, every[..., [6, 7, 2, 3]])
    assert none.shape == (2, 16, 16, 0)


# Gradients


@pytest.mark.parametrize("is_shared", [False, True])
def test_gradients_agree_with_autograd_in_double_precision(is_shared):
    positions, faces = random_triangles(25, seed=5)
    generator = torch.Generator().manual_seed(6)
    attributes = torch.randn(1 if is_shared else 2, positions.shape[1], 3, generator=generator)
    value_weights = torch.randn(2, 32, 24, 3, generator=generator)
    by_pixel_weights = torch.randn(2, 32, 24, 6, generator=generator)

    def gradients(rasteriser, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        points = positions.to(dtype, copy=True).requires_grad_()
        values = attributes.to(dtype, copy=True).requires_grad_()
        raster, derivatives = rasteriser.rasterize(points, faces, (32, 24))
        extra = ("all",) if rasteriser is RASTERISER else ()
        image, by_pixel = rasteriser.interpolate(values, raster, faces, derivatives, *extra)
        ((image * value_weights).sum() + (by_pixel * by_pixel_weights).sum()).backward()
        return points.grad.double(), values.grad.double()

    point_gradient, value_gradient = gradients(RASTERISER, torch.float32)
    expected_points, expected_values = gradients(TorchReferenceRasteriser(regularises_area=True), torch.float64)

    assert (point_gradient[..., 2] == 0).all()
    assert relative_error(value_gradient, expected_values) < 1e-3
    # Per triangle, because the gradient of a sliver would drown all others. A few pixels on the rim are clamped.
    errors = [
        relative_error(point_gradient[view, corners], expected_points[view, corners])
        for view in range(2)
        for corners in faces.long()
        if expected_points[view, corners].norm() > 1e-3
    ]
    assert len(errors) > 20
    assert np.quantile(errors, 0.9) < 1e-3


def test_rasterising_alone_gives_gradient_through_its_derivatives_too():
    positions, faces = random_triangles(3, views=1, seed=8)
    weights = torch.randn(1, 16, 16, 4, generator=torch.Generator().manual_seed(9))

    def gradient(rasteriser, dtype: torch.dtype) -> Tensor:
        points = positions.to(dtype, copy=True).requires_grad_()
        (rasteriser.rasterize(points, faces, (16, 16))[1] * weights).sum().backward()
        return points.grad.double()

    ours = gradient(RASTERISER, torch.float32)
    expected = gradient(TorchReferenceRasteriser(regularises_area=True), torch.float64)

    assert relative_error(ours, expected) < 1e-3


def relative_error(values: Tensor, expected: Tensor) -> float:
    return float((values - expected).norm() / expected.norm())


def test_depth_and_face_numbers_give_no_gradient():
    positions, faces = random_triangles(10)
    positions.requires_grad_()

    raster, _ = RASTERISER.rasterize(positions, faces, (16, 16))
    raster[..., 2:].sum().backward()

    assert (positions.grad == 0).all()


def test_an_empty_mesh_shows_nothing_and_has_zero_gradients():
    positions = torch.zeros(2, 0, 4, requires_grad=True)
    attributes = torch.zeros(1, 0, 3, requires_grad=True)
    background = torch.rand(2, 8, 8, 3, requires_grad=True)
    faces = triangles()

    raster, derivatives = RASTERISER.rasterize(positions, faces, (8, 8))
    values, _ = RASTERISER.interpolate(attributes, raster, faces, derivatives, "all")
    image = RASTERISER.antialias(background + values, raster, positions, faces)
    image.sum().backward()

    assert (raster == 0).all()
    assert torch.equal(image, background)
    assert positions.grad.shape == (2, 0, 4)
    assert attributes.grad.shape == (1, 0, 3)
    assert (background.grad == 1).all()


def test_vertices_without_faces_have_zero_gradients():
    positions = on_screen([[0, 0], [1, 0], [0, 1]]).requires_grad_()

    raster, _ = RASTERISER.rasterize(positions, triangles(), (8, 8))
    RASTERISER.antialias(raster, raster, positions, triangles()).sum().backward()

    assert (positions.grad == 0).all()


# The same bits, whatever the threads


def test_results_are_the_same_to_the_bit_for_any_number_of_threads():
    scene = blob(2000)
    cameras = four_cameras()
    colours = scene.colours[None].contiguous()
    weights = torch.randn(4, 48, 48, 3, generator=torch.Generator().manual_seed(2))
    texture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(3))

    def everything() -> list[Tensor]:
        positions = clip_positions(scene.positions, cameras).requires_grad_()
        values, texels = colours.clone().requires_grad_(), texture.clone().requires_grad_()
        raster, derivatives = RASTERISER.rasterize(positions, scene.faces, (48, 48))
        interpolated, by_pixel = RASTERISER.interpolate(values, raster, scene.faces, derivatives, "all")
        uv, footprints = interpolated[..., :2].contiguous(), by_pixel[..., :4].contiguous()
        shaded = interpolated * RASTERISER.texture(texels, uv, footprints)
        image = RASTERISER.antialias(shaded, raster, positions, scene.faces)
        (image * weights).sum().backward()
        return [raster.detach(), image.detach(), positions.grad, values.grad, texels.grad]

    set_render_threads(1)
    alone = everything()
    for threads in (2, 3, 8):
        set_render_threads(threads)
        for ours, theirs in zip(alone, everything(), strict=True):
            assert torch.equal(ours, theirs)


def test_the_number_of_threads_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SKETCHBRIDGE_RENDER_THREADS", "3")
    assert render_threads() == 3
    set_render_threads(2)
    assert render_threads() == 2


@pytest.mark.parametrize("setting", ["0", "-1", "many", "1.5"])
def test_a_bad_number_of_threads_is_refused(monkeypatch, setting):
    monkeypatch.setenv("SKETCHBRIDGE_RENDER_THREADS", setting)
    with pytest.raises(BadInput, match=f"SKETCHBRIDGE_RENDER_THREADS must be .* got '{setting}'"):
        render_threads()
    with pytest.raises(ValueError, match="at least one thread"):
        set_render_threads(0)


# Input


def test_a_face_that_points_beyond_the_vertices_is_named():
    positions = on_screen([[0, 0], [1, 0], [0, 1]])
    with pytest.raises(ValueError, match="faces point at vertex 7, but there are only 3"):
        RASTERISER.rasterize(positions, triangles((0, 1, 7)), (8, 8))
    with pytest.raises(ValueError, match="faces point at vertex -1"):
        RASTERISER.rasterize(positions, triangles((0, 1, -1)), (8, 8))


def test_a_raster_of_another_mesh_is_refused():
    positions, faces = random_triangles(10)
    raster, _ = RASTERISER.rasterize(positions, faces, (16, 16))
    with pytest.raises(ValueError, match="made from another mesh"):
        RASTERISER.interpolate(positions, raster, faces[:1].contiguous())
    with pytest.raises(ValueError, match="made from another mesh"):
        RASTERISER.antialias(raster, raster, positions, faces[:1].contiguous())
    raster[0, 0, 0, 3] = float("nan")
    with pytest.raises(ValueError, match="the raster sees faces that are not finite"):
        RASTERISER.interpolate(positions, raster, faces)


@pytest.mark.parametrize("resolution", [(0, 8), (8, -1), (8, 100_000)])
def test_an_absurd_resolution_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution must be"):
        RASTERISER.rasterize(on_screen([[0, 0], [1, 0], [0, 1]]), triangles((0, 1, 2)), resolution)


def test_wrong_types_and_counts_are_refused():
    positions, faces = random_triangles(3)
    raster, derivatives = RASTERISER.rasterize(positions, faces, (8, 8))
    with pytest.raises(ValueError, match=r"clip_positions must be float32, got torch\.float64"):
        RASTERISER.rasterize(positions.double(), faces, (8, 8))
    with pytest.raises(ValueError, match=r"faces must be int32, got torch\.int64"):
        RASTERISER.rasterize(positions, faces.long(), (8, 8))
    with pytest.raises(ValueError, match="attributes must come once, or once for each of 2 views; got 3"):
        RASTERISER.interpolate(torch.zeros(3, 9, 1), raster, faces)
    with pytest.raises(ValueError, match="names channel 4, but there are only 4"):
        RASTERISER.interpolate(positions, raster, faces, derivatives, [4])
    with pytest.raises(ValueError, match="needs raster_derivatives"):
        RASTERISER.interpolate(positions, raster, faces, None, "all")
    # The annotations catch what follows first, where they are checked.
    with pytest.raises((ValueError, TypeError), match="views"):
        RASTERISER.antialias(raster[:1], raster, positions, faces)
    with pytest.raises((ValueError, TypeError), match="antialias_rule"):
        PortableRasteriser(antialias_rule="box")
    with pytest.raises((ValueError, TypeError), match="subpixel_bits"):
        PortableRasteriser(subpixel_bits=6)


def test_tensors_that_are_not_contiguous_give_the_same():
    positions, faces = random_triangles(10)
    scattered = positions.transpose(1, 2).contiguous().transpose(1, 2)
    assert not scattered.is_contiguous()

    expected, _ = RASTERISER.rasterize(positions, faces, (16, 16))
    raster, _ = RASTERISER.rasterize(scattered, faces.T.contiguous().T, (16, 16))

    assert torch.equal(raster, expected)


@pytest.mark.parametrize("rule", ["walk", "parity"])
def test_garbage_makes_no_garbage(rule):
    # Positions with everything that floating point has, in meshes whose triangles share corners at random.
    generator = np.random.default_rng(0)
    oddities = np.array([0, 1, -1, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, 3e8, -0.0, 1e-7], np.float32)
    rasteriser = PortableRasteriser(rule)
    for trial in range(60):
        values = generator.normal(size=(1, 12, 4)).astype(np.float32)
        values[..., 3] = np.abs(values[..., 3]) + 0.1
        is_odd = generator.random(values.shape) < (0.02, 0.2)[trial % 2]
        values[is_odd] = generator.choice(oddities, is_odd.sum())
        faces = torch.tensor(generator.integers(0, 12, (30, 3)), dtype=torch.int32)
        positions = torch.tensor(values, requires_grad=True)

        raster, derivatives = rasteriser.rasterize(positions, faces, (9, 13))
        image, by_pixel = rasteriser.interpolate(torch.rand(1, 12, 2), raster, faces, derivatives, "all")
        image = image + rasteriser.texture(torch.rand(1, 4, 8, 2), image, by_pixel)
        image = rasteriser.antialias(image, raster, positions, faces)
        image.sum().backward()

        assert torch.isfinite(raster).all()
        assert torch.isfinite(image).all()
        assert torch.isfinite(positions.grad).all()


# What is kept between calls


def test_faces_changed_in_place_are_seen():
    positions = on_screen([[-1, -1], [3, -1], [-1, 3], [-1, -1], [-0.9, -1], [-1, -0.9]])
    faces = triangles((0, 1, 2))
    assert (seen_faces(positions, faces, (8, 8)) == 0).all()

    faces.add_(3)

    assert (seen_faces(positions, faces, (8, 8)) < 0).all()


def test_topologies_do_not_keep_faces_alive_or_confuse_them():
    positions = on_screen([[-1, -1], [3, -1], [-1, 3], [-1, -1], [-0.9, -1], [-1, -0.9]])
    for _ in range(20):
        assert (seen_faces(positions, triangles((0, 1, 2)), (8, 8)) == 0).all()
        assert (seen_faces(positions, triangles((3, 4, 5)), (8, 8)) < 0).all()
    assert len(portable_rasteriser._recent_topologies) <= 4


def test_faces_made_in_inference_mode_are_taken():
    with torch.inference_mode():
        positions, faces = random_triangles(5)
        raster, _ = RASTERISER.rasterize(positions, faces, (8, 8))
    assert (raster[..., 3] > 0).any()


def test_warming_up_compiles_every_kernel():
    warm_up()
    assert all(kernel.signatures for kernel in portable_rasteriser._KERNELS)


def test_the_cpu_gets_the_portable_rasteriser():
    rasteriser = choose_rasteriser(torch.device("cpu"))

    assert isinstance(rasteriser, PortableRasteriser)
    assert (rasteriser.antialias_rule, rasteriser.subpixel_bits) == ("walk", 8)
