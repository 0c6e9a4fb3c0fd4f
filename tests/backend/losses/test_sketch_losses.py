"""What drawings ask for, by the real rasteriser: gradients against finite differences, and where they point."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from backend.geometry.triangle_mesh import TriangleMesh
from backend.losses.sketch import colour_loss, contour_strength, line_loss, outside_loss, silhouette_loss
from backend.render.contours import render_contours, render_masks
from backend.render.portable_rasteriser import PortableRasteriser
from backend.sketches.camera import SketchCamera, posed

SIZE = 64
CAMERAS = posed([SketchCamera.preset("front")])
STEP = 0.02  # half a pixel: 2.3 m over 64 pixels
RASTERISER = PortableRasteriser()


def ball(radius=0.4, rows=24):
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, 2 * rows), indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], axis=-1)
    number = np.arange(rows * 2 * rows).reshape(rows, 2 * rows)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return torch.from_numpy(radius * points.reshape(-1, 3)).float(), torch.from_numpy(faces).int()


POSITIONS, FACES = ball()


def moved(parameters):
    """The ball moved to the right and upwards, and scaled."""
    right, up, scale = parameters
    return TriangleMesh(POSITIONS * scale + torch.stack([right, up, torch.zeros_like(up)]), FACES)


def disc(radius, right=0.0, up=0.0):
    """Coverage [1, size, size, 1] and signed distances of a drawn disc, in shares of the picture."""
    metres = (np.arange(8 * SIZE) + 0.5) / (8 * SIZE) * 2.3 - 1.15
    signed = (np.hypot(metres[None, :] - right, -metres[:, None] - up) - radius) / 2.3

    def shrunk(values):
        return torch.from_numpy(values.reshape(SIZE, 8, SIZE, 8).mean(axis=(1, 3)))[None, ..., None].float()

    return shrunk((signed < 0).astype(float)), shrunk(signed)


def gradient_and_differences(loss, at):
    """Both [3]; the differences are central."""
    parameters = torch.tensor(at, requires_grad=True)
    loss(parameters).backward()
    differences = []
    for index in range(3):
        step = STEP * torch.eye(3)[index]
        with torch.no_grad():
            differences.append((loss(parameters + step) - loss(parameters - step)) / (2 * STEP))
    return parameters.grad, torch.stack(differences)


def outline_loss(target, tolerance=0.0):
    def loss(parameters):
        masks = render_masks(RASTERISER, moved(parameters), CAMERAS, SIZE)
        return silhouette_loss(masks, *target, tolerance).sum()

    return loss


@pytest.mark.parametrize("at", [(0.0, 0.0, 1.0), (0.2, -0.1, 0.8), (0.1, 0.3, 1.3)])
def test_the_gradient_of_the_silhouette_is_that_of_finite_differences(at):
    gradient, differences = gradient_and_differences(outline_loss(disc(0.5, 0.1, 0.05)), at)

    torch.testing.assert_close(gradient, differences, atol=0.06 * differences.abs().max().item(), rtol=0.15)


def beyond(target, tolerance=0.0):
    def loss(parameters):
        return outside_loss(CAMERAS.project(moved(parameters).positions), target[1], tolerance).sum()

    return loss


@pytest.mark.parametrize("at", [(0.2, -0.1, 0.8), (0.1, 0.3, 1.3)])
def test_the_gradient_of_what_lies_outside_is_that_of_finite_differences(at):
    gradient, differences = gradient_and_differences(beyond(disc(0.3, 0.1, 0.05)), at)

    torch.testing.assert_close(gradient, differences, atol=0.02 * differences.abs().max().item(), rtol=0.05)


def test_what_lies_outside_counts_by_its_distance_and_what_is_inside_not_at_all():
    inside, right_of_it = torch.tensor([[0.0, 0.0, 0.7]]), torch.tensor([[0.9, 0.0, -0.3]])
    _, distances = disc(0.5)

    (none,) = outside_loss(CAMERAS.project(inside), distances)
    (some,) = outside_loss(CAMERAS.project(torch.cat([inside, right_of_it])), distances)
    (less,) = outside_loss(CAMERAS.project(torch.cat([inside, right_of_it])), distances, tolerance=0.1)

    assert none == 0
    assert some.item() == pytest.approx((0.9 - 0.5) / 2.3 / 2, rel=0.02)
    assert less.item() == pytest.approx(some.item() - 0.1 / 2, rel=0.02)


def test_a_sheet_that_no_pixel_shows_is_drawn_in():
    # Between two rows of pixels, a tenth of one thick; it stands out of the drawn disc to the right.
    sheet = torch.tensor([[0.4, 0.0016, 0.0], [0.8, 0.0, 0.3], [0.4, -0.0016, 0.0], [0.8, 0.0, -0.3]])
    faces = torch.tensor([[0, 1, 3], [2, 3, 1], [0, 2, 1], [0, 3, 2]], dtype=torch.int32)
    _, distances = disc(0.5)
    positions = sheet.clone().requires_grad_()

    masks = render_masks(RASTERISER, TriangleMesh(positions, faces), CAMERAS, SIZE)
    outside_loss(CAMERAS.project(positions), distances).sum().backward()

    assert masks.max() < 0.5
    assert (positions.grad[[1, 3], 0] > 0).all()  # descent moves them to the left
    assert (positions.grad[[0, 2]] == 0).all()


def test_a_shape_that_does_not_overlap_the_drawing_is_pulled_towards_it():
    gradient, _ = gradient_and_differences(outline_loss(disc(0.2, right=0.8, up=0.6)), (-0.5, -0.4, 0.5))

    assert gradient[0] < 0  # descent moves it to the right
    assert gradient[1] < 0  # and upwards


def test_the_loss_is_smallest_where_the_shape_is_the_drawn_one():
    loss = outline_loss(disc(0.4))
    fits = loss(torch.tensor([0.0, 0.0, 1.0]))

    assert fits < 2e-3
    for off in ([0.1, 0.0, 1.0], [0.0, -0.1, 1.0], [0.0, 0.0, 1.2], [0.0, 0.0, 0.8]):
        assert loss(torch.tensor(off)) > 10 * fits


def test_what_is_within_the_tolerance_costs_nothing():
    # The border is 0.02 m off, 0.9 % of the picture.
    at = torch.tensor([0.0, 0.0, 1.05])

    strict, free = (outline_loss(disc(0.4), tolerance)(at) for tolerance in (0.0, 0.03))

    assert free < 0.05 * strict


def test_an_empty_mesh_costs_as_much_as_is_drawn():
    target = disc(0.5)
    nothing = TriangleMesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))

    loss = silhouette_loss(render_masks(RASTERISER, nothing, CAMERAS, SIZE), *target)

    assert loss.item() > 0.8


def contours_of(mesh):
    views = render_contours(RASTERISER, mesh, CAMERAS, SIZE)
    return contour_strength(views.masks, views.depths, views.normals)


def ring(radius, right=0.0):
    """Ink and distances of a drawn circle."""
    _, signed = disc(radius, right)
    lines = (signed.abs() < 0.6 / SIZE).float()
    distances = ndimage.distance_transform_edt(lines[0, ..., 0].numpy() < 0.5) / SIZE
    return lines, torch.from_numpy(distances)[None, ..., None].float()


def outer_contours_of(mesh):
    """Silhouettes alone: a surface that is flat towards the camera has no other lines."""
    masks = render_masks(RASTERISER, mesh, CAMERAS, SIZE)
    return contour_strength(masks, torch.ones_like(masks), torch.zeros_like(masks).expand(-1, -1, -1, 3))


@pytest.mark.parametrize("at", [(0.05, 0.0, 0.9), (0.0, 0.0, 1.7)])
def test_the_gradient_of_the_lines_is_that_of_finite_differences(at):
    target = ring(0.55)

    def loss(parameters):
        return line_loss(outer_contours_of(moved(parameters)), *target).sum()

    gradient, differences = gradient_and_differences(loss, at)

    assert torch.nn.functional.cosine_similarity(gradient, differences, dim=0) > 0.9
    assert gradient[2].item() == pytest.approx(differences[2].item(), rel=0.35)
    assert (gradient[2] < 0) == (at[2] * 0.4 < 0.55)  # descent brings the radius to that of the ring


def test_a_contour_beside_its_line_is_drawn_to_it():
    target = ring(0.4, right=0.15)

    def loss(parameters):
        return line_loss(outer_contours_of(moved(parameters)), *target).sum()

    gradient, differences = gradient_and_differences(loss, (0.0, 0.0, 1.0))

    assert differences[0] < 0
    assert gradient[0].item() == pytest.approx(differences[0].item(), rel=0.35)


def test_lines_that_nobody_drew_cost_less_than_drawn_lines_that_are_missing():
    rendered = contours_of(moved(torch.tensor([0.0, 0.0, 1.0])))
    lines, distances = ring(0.4)
    both, more_distances = torch.maximum(lines, ring(0.8)[0]), torch.minimum(distances, ring(0.8)[1])
    more_rendered = torch.maximum(rendered, contours_of(moved(torch.tensor([0.0, 0.0, 2.0]))))

    fits = line_loss(rendered, lines, distances)
    undrawn = line_loss(more_rendered, lines, distances)
    missing = line_loss(rendered, both, more_distances)

    assert fits < missing
    assert fits < undrawn


def test_a_ball_before_another_has_a_contour_that_can_be_moved():
    def loss(parameters):
        front = POSITIONS * 0.5 + torch.stack([parameters[0], parameters[1], 1.1 + 0 * parameters[0]])
        both = TriangleMesh(torch.cat([POSITIONS * 2, front]), torch.cat([FACES, FACES + len(POSITIONS)]))
        return line_loss(contours_of(both), *target, tolerance=0.0).sum()

    lines, _ = ring(0.8)
    inner, _ = ring(0.2, right=0.1)
    lines = torch.maximum(lines, inner)
    distances = torch.from_numpy(ndimage.distance_transform_edt(lines[0, ..., 0].numpy() < 0.5) / SIZE)
    target = lines, distances[None, ..., None].float()

    gradient, differences = gradient_and_differences(loss, (-0.05, 0.0, 1.0))

    assert differences[0] < 0  # the drawn ring lies to the right
    assert gradient[0] < 0  # its size is rough: which pixels count as inner ones carries no gradient


def test_a_crease_is_a_line_and_a_smooth_surface_is_none():
    normals = torch.zeros(1, 8, 8, 3)
    normals[:, :, :4, 0], normals[:, :, 4:, 2] = 1.0, 1.0  # two walls at a right angle
    masks, depths = torch.ones(1, 8, 8, 1), torch.ones(1, 8, 8, 1)

    strength = contour_strength(masks, depths, normals)[0, ..., 0]

    assert (strength[:, 3] == 1).all()
    assert strength[:, [0, 1, 2, 4, 5, 6]].max() < 1e-4


def test_colours_count_only_where_something_was_drawn():
    albedo, hints = torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 3)
    weights = torch.zeros(1, 4, 4, 1)
    weights[0, 0, 0] = 1.0
    hints[0, 0, 0] = torch.tensor([0.3, 0.0, 0.0])

    torch.testing.assert_close(colour_loss(albedo, hints, weights), torch.tensor([0.1]))
