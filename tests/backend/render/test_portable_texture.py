"""Looking textures up on the CPU: against torch's grid_sample, hand cases, and differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.render import portable_rasteriser
from backend.render.portable_rasteriser import PortableRasteriser, mipmap_level_count

RASTERISER = PortableRasteriser()


def random_lookup(low: float = -0.4, high: float = 1.4, views: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    texture = torch.randn(views, 6, 10, 3, generator=generator)
    uv = low + (high - low) * torch.rand(views, 12, 9, 2, generator=generator)
    return texture, uv


def grid_sample(texture: Tensor, uv: Tensor, mode: str, padding: str) -> Tensor:
    images = texture.expand(len(uv), -1, -1, -1).permute(0, 3, 1, 2)
    sampled = torch.nn.functional.grid_sample(images, 2 * uv - 1, mode=mode, padding_mode=padding, align_corners=False)
    return sampled.permute(0, 2, 3, 1)


BOUNDARIES = [("zero", "zeros"), ("clamp", "border")]


@pytest.mark.parametrize(("boundary", "padding"), BOUNDARIES)
@pytest.mark.parametrize(("filter_mode", "mode"), [("linear", "bilinear"), ("nearest", "nearest")])
@pytest.mark.parametrize("textures", [1, 2])
def test_it_looks_up_what_grid_sample_does(boundary, padding, filter_mode, mode, textures):
    texture, uv = random_lookup()
    texture = texture[:textures]

    sampled = RASTERISER.texture(texture, uv, None, filter_mode, boundary)

    torch.testing.assert_close(sampled, grid_sample(texture, uv, mode, padding), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("boundary", "padding"), BOUNDARIES)
@pytest.mark.parametrize("textures", [1, 2])
def test_its_gradients_are_those_of_grid_sample(boundary, padding, textures):
    texture, uv = random_lookup()
    weights = torch.randn(2, 12, 9, 3, generator=torch.Generator().manual_seed(4))

    def gradients(sample) -> tuple[Tensor, Tensor]:
        texels, places = texture[:textures].clone().requires_grad_(), uv.clone().requires_grad_()
        (sample(texels, places) * weights).sum().backward()
        return texels.grad, places.grad

    ours = gradients(lambda texels, places: RASTERISER.texture(texels, places, None, "linear", boundary))
    theirs = gradients(lambda texels, places: grid_sample(texels, places, "bilinear", padding))

    for gradient, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("filter_mode", ["nearest", "linear"])
def test_wrapping_repeats_the_texture(filter_mode):
    texture, uv = random_lookup(0.0, 1.0)
    tiled = texture.repeat(1, 3, 3, 1)

    sampled = RASTERISER.texture(texture, uv + torch.tensor([-2.0, 3.0]), None, filter_mode, "wrap")
    in_the_middle = RASTERISER.texture(tiled, (uv + 1) / 3, None, filter_mode, "clamp")

    torch.testing.assert_close(sampled, in_the_middle, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_a_wrapped_texture_agrees_with_its_tiles():
    texture, uv = random_lookup(0.0, 1.0)
    weights = torch.randn(2, 12, 9, 3, generator=torch.Generator().manual_seed(4))

    wrapped, places = texture.clone().requires_grad_(), uv.clone().requires_grad_()
    (RASTERISER.texture(wrapped, places, None, "linear", "wrap") * weights).sum().backward()
    tiled, places_in_tiles = texture.clone().requires_grad_(), uv.clone().requires_grad_()
    sampled = grid_sample(tiled.repeat(1, 3, 3, 1), (places_in_tiles + 1) / 3, "bilinear", "zeros")
    (sampled * weights).sum().backward()

    torch.testing.assert_close(wrapped.grad, tiled.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(places.grad, places_in_tiles.grad, atol=1e-3, rtol=1e-3)


def test_the_first_texel_lies_at_the_origin():
    texture = torch.arange(6.0).reshape(1, 2, 3, 1)  # row 0: 0 1 2; row 1: 3 4 5
    uv = torch.tensor([[0.5 / 3, 0.5 / 2], [2.5 / 3, 0.5 / 2], [0.5 / 3, 1.5 / 2]]).reshape(1, 1, 3, 2)

    for filter_mode in ("nearest", "linear"):
        sampled = RASTERISER.texture(texture, uv, None, filter_mode, "clamp")
        torch.testing.assert_close(sampled.flatten(), torch.tensor([0.0, 2.0, 3.0]))


# Mipmaps


def footprint(texels_across: float, size: int, uv: Tensor) -> Tensor:
    """Derivatives of a square pixel that covers so many texels of a square texture in each direction."""
    per_pixel = texels_across / size
    return torch.tensor([per_pixel, 0.0, 0.0, per_pixel]).expand(*uv.shape[:3], 4).contiguous()


def test_a_footprint_of_two_texels_looks_at_the_first_mipmap():
    texture = torch.rand(1, 16, 16, 2, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(1, 8, 8, 2, generator=torch.Generator().manual_seed(1))
    halved = texture.reshape(1, 8, 2, 8, 2, 2).mean(dim=(2, 4))

    for filter_mode in ("linear-mipmap-nearest", "linear-mipmap-linear", "auto"):
        sampled = RASTERISER.texture(texture, uv, footprint(2.0, 16, uv), filter_mode, "wrap")
        torch.testing.assert_close(sampled, RASTERISER.texture(halved, uv, None, "linear", "wrap"))


def test_trilinear_filtering_blends_two_mipmaps_by_the_logarithm_of_the_footprint():
    texture = torch.rand(1, 16, 16, 1, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(1, 8, 8, 2, generator=torch.Generator().manual_seed(1))
    lower = RASTERISER.texture(texture, uv, footprint(2.0, 16, uv), "linear-mipmap-linear")
    upper = RASTERISER.texture(texture, uv, footprint(4.0, 16, uv), "linear-mipmap-linear")

    between = RASTERISER.texture(texture, uv, footprint(2.0**1.25, 16, uv), "linear-mipmap-linear")

    torch.testing.assert_close(between, 0.75 * lower + 0.25 * upper, atol=1e-5, rtol=1e-4)


def test_the_longer_axis_of_the_footprint_decides():
    texture = torch.rand(1, 16, 32, 1, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(1, 8, 8, 2, generator=torch.Generator().manual_seed(1))
    # A pixel that is 4 texels long at a slant (3-4-5), and thin across: u over 32 texels, v over 16.
    angle = torch.tensor([2.4 / 32, 0.0, 3.2 / 16, 0.0]).expand(1, 8, 8, 4).contiguous()
    turned = torch.tensor([0.0, 2.4 / 32, 0.0, 3.2 / 16]).expand(1, 8, 8, 4).contiguous()
    straight = torch.tensor([4.0 / 32, 0.0, 0.0, 0.5 / 16]).expand(1, 8, 8, 4).contiguous()

    sampled = [RASTERISER.texture(texture, uv, each, "linear-mipmap-linear") for each in (angle, turned, straight)]

    torch.testing.assert_close(sampled[0], sampled[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sampled[1], sampled[2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("texels_across", [0.0, 0.3, 1.0])
def test_a_footprint_within_one_texel_looks_at_the_texture_itself(texels_across):
    texture = torch.rand(1, 16, 16, 1, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(1, 8, 8, 2, generator=torch.Generator().manual_seed(1))

    sampled = RASTERISER.texture(texture, uv, footprint(texels_across, 16, uv), "linear-mipmap-linear")

    torch.testing.assert_close(sampled, RASTERISER.texture(texture, uv, None, "linear"))


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), 1), ((16, 16), 5), ((16, 1), 5), ((12, 8), 3), ((5, 8), 1), ((2048, 1024), 12)]
)
def test_a_texture_is_halved_as_long_as_its_sides_are_even(size, expected):
    assert mipmap_level_count(*size) == expected


@pytest.mark.parametrize("size", [(16, 16), (12, 8), (16, 1), (7, 7)])
def test_an_enormous_footprint_sees_the_mean_of_the_smallest_mipmap(size):
    texture = torch.rand(1, *size, 2, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(1, 4, 4, 2, generator=torch.Generator().manual_seed(1))
    levels = mipmap_level_count(*size) - 1
    rows, columns = max(size[0] >> levels, 1), max(size[1] >> levels, 1)
    smallest = texture.reshape(1, rows, size[0] // rows, columns, size[1] // columns, 2).mean(dim=(2, 4))

    sampled = RASTERISER.texture(texture, uv, footprint(1e6, 16, uv), "linear-mipmap-linear", "clamp")

    torch.testing.assert_close(sampled, RASTERISER.texture(smallest, uv, None, "linear", "clamp"))


def test_gradients_through_mipmaps_agree_with_differences():
    generator = torch.Generator().manual_seed(7)
    texture = torch.rand(1, 8, 16, 2, generator=generator)
    uv = torch.rand(2, 3, 3, 2, generator=generator)
    # Footprints of 1.3 to 6 texels.
    footprints = (0.08 + 0.3 * torch.rand(2, 3, 3, 4, generator=generator)) * 0.8
    weights = torch.randn(2, 3, 3, 2, generator=generator)

    def total(texels: Tensor, places: Tensor, areas: Tensor) -> Tensor:
        return (RASTERISER.texture(texels, places, areas, "linear-mipmap-linear", "wrap") * weights).sum()

    inputs = [tensor.clone().requires_grad_() for tensor in (texture, uv, footprints)]
    total(*inputs).backward()

    for index, step in ((0, 1e-2), (1, 2e-4), (2, 2e-3)):
        differences = torch.zeros_like(inputs[index])
        for place in range(differences.numel()):
            moved = [[tensor.detach().clone() for tensor in inputs] for _ in range(2)]
            moved[0][index].view(-1)[place] += step
            moved[1][index].view(-1)[place] -= step
            differences.view(-1)[place] = (total(*moved[0]) - total(*moved[1])) / (2 * step)
        gradient = inputs[index].grad
        # A few differences straddle a kink between texels or levels.
        errors = (gradient - differences).abs() / differences.abs().mean()
        assert errors.median() < 1e-2
        assert (errors < 0.05).float().mean() > 0.9


def test_summing_in_few_buffers_gives_the_same_gradient(monkeypatch):
    texture, uv = random_lookup(views=5)
    gradients = []
    for count in (100, 2, 1):
        monkeypatch.setattr(portable_rasteriser, "_shared_gradient_count", lambda pixels, texels, count=count: count)
        texels = texture[:1].clone().requires_grad_()
        RASTERISER.texture(texels, uv).square().sum().backward()
        gradients.append(texels.grad)

    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2])


# Input


def test_places_that_are_not_finite_give_zero_and_no_gradient():
    texture = torch.ones(1, 4, 4, 1, requires_grad=True)
    uv = torch.tensor([[float("nan"), 0.5], [0.5, float("inf")], [0.5, 0.5], [1e30, -1e30]]).reshape(1, 1, 4, 2)
    uv.requires_grad_()

    for filter_mode in ("nearest", "linear"):
        for boundary_mode in ("wrap", "clamp", "zero"):
            sampled = RASTERISER.texture(texture, uv, None, filter_mode, boundary_mode)
            sampled.sum().backward()
            assert sampled[0, 0, :3, 0].tolist() == [0.0, 0.0, 1.0]
            assert sampled[0, 0, 3, 0] == (0.0 if boundary_mode == "zero" else 1.0)
    assert torch.isfinite(uv.grad).all()
    assert torch.isfinite(texture.grad).all()


def test_what_cannot_be_looked_up_is_refused():
    texture, uv = random_lookup()
    with pytest.raises(ValueError, match="'linear-mipmap-linear' needs uv_derivatives"):
        RASTERISER.texture(texture, uv, None, "linear-mipmap-linear")
    with pytest.raises(ValueError, match="needs at least one texel"):
        RASTERISER.texture(texture[:, :0].contiguous(), uv)
    with pytest.raises(ValueError, match="texture must come once, or once for each of 2 views; got 3"):
        RASTERISER.texture(torch.zeros(3, 2, 2, 1), uv)
    # The annotations catch what follows first, where they are checked.
    with pytest.raises((ValueError, TypeError), match="filter_mode"):
        RASTERISER.texture(texture, uv, None, "cubic")
    with pytest.raises((ValueError, TypeError), match="boundary_mode"):
        RASTERISER.texture(texture, uv, None, "linear", "mirror")
