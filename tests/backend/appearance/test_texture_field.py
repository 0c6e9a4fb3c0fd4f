from __future__ import annotations

import dataclasses

import pytest
import torch

from backend.appearance import texture_field
from backend.appearance.material import Material
from backend.appearance.texture_field import TextureField, TextureFieldConfig

SMALL = TextureFieldConfig(resolutions=(2, 5), initial_noise=0.5)
HASHED = TextureFieldConfig(resolutions=(3, 9), log2_table_rows=7, initial_noise=0.5)


def random_field(config: TextureFieldConfig, dtype: torch.dtype = torch.float32) -> TextureField:
    field = TextureField(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for grid in field.grids:
            grid.copy_(torch.randn(grid.shape, generator=generator))
    return field.to(dtype)


def random_positions(count: int, reach: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return reach * (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(2), dtype=dtype) - 1)


def stacked(material: Material) -> torch.Tensor:
    return torch.cat([material.albedo, material.roughness, material.metallic], dim=-1)


def test_it_starts_as_slightly_uneven_mid_grey_that_is_no_metal():
    with torch.no_grad():
        material = TextureField()(random_positions(2000))

    assert material.albedo.mean() == pytest.approx(0.5, abs=0.002)
    assert 0.001 < material.albedo.std() < 0.02
    assert (255 * material.roughness).round().unique().tolist() == [round(255 * 0.7)]
    assert (255 * material.metallic).round().unique().tolist() == [0]


def test_the_grids_add_up():
    field = random_field(SMALL, torch.float64)
    # A node of the grid with 2 cells, which is not one of the grid with 5: there it lies amid 8 nodes.
    position = torch.zeros(1, 3, dtype=torch.float64)
    node = (1 * 3 + 1) * 3 + 1
    around = [(z * 6 + y) * 6 + x for z in (2, 3) for y in (2, 3) for x in (2, 3)]
    logits = field.grids[0][node] + field.grids[1][around].mean(0) + field.initial_logits

    torch.testing.assert_close(stacked(field(position))[0], torch.sigmoid(logits))


@pytest.mark.parametrize("config", [SMALL, HASHED])
def test_the_compiled_loops_agree_with_plain_torch(config):
    field = random_field(config, torch.float64)
    positions = random_positions(500, reach=1.2, dtype=torch.float64).requires_grad_()
    weights = torch.randn(500, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    grids = list(field.grids)
    assert (field.hash_masks[1] > 0) == (config is HASHED)

    compiled = texture_field._SumOfGrids.apply(positions, config.resolutions, field.hash_masks, *grids)
    plain = texture_field._sum_of_grids_in_torch(positions, config.resolutions, field.hash_masks, grids)

    torch.testing.assert_close(compiled, plain)
    for by_compiled, by_plain in zip(
        torch.autograd.grad((compiled * weights).sum(), [positions, *grids]),
        torch.autograd.grad((plain * weights).sum(), [positions, *grids]),
        strict=True,
    ):
        torch.testing.assert_close(by_compiled, by_plain)


def test_gradients_are_those_of_finite_differences():
    field = random_field(TextureFieldConfig(resolutions=(2, 3)), torch.float64)
    positions = random_positions(6, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda positions, *grids: texture_field._SumOfGrids.apply(positions, (2, 3), (0, 0), *grids),
        (positions, *field.grids),
    )


def test_beyond_the_cube_it_goes_on_as_at_its_face():
    field = random_field(SMALL)

    outside = field(torch.tensor([[3.0, 0.2, -0.4], [0.1, -1.5, 7.0]]))
    at_face = field(torch.tensor([[1.0, 0.2, -0.4], [0.1, -1.0, 1.0]]))

    torch.testing.assert_close(stacked(outside), stacked(at_face))


def test_positions_that_are_no_numbers_do_no_harm():
    field = random_field(HASHED)

    material = field(torch.tensor([[torch.nan, torch.inf, -torch.inf]], requires_grad=True))
    stacked(material).sum().backward()

    assert stacked(material).isfinite().all()
    assert all(grid.grad.isfinite().all() for grid in field.grids)


def test_the_same_points_give_the_same_bits():
    def gradients() -> list[torch.Tensor]:
        field = random_field(TextureFieldConfig())
        stacked(field(random_positions(5000))).square().sum().backward()
        return [grid.grad for grid in field.grids]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_no_points_give_no_materials():
    assert stacked(TextureField(SMALL)(torch.zeros(0, 3))).shape == (0, 5)


def test_its_state_makes_the_same_field():
    field = random_field(SMALL)
    restored = TextureField(SMALL)

    restored.load_state_dict(field.state_dict())

    positions = random_positions(50)
    assert torch.equal(stacked(field(positions)), stacked(restored(positions)))


def test_the_noise_comes_from_the_generator():
    first, second, other = (
        TextureField(SMALL, torch.Generator().manual_seed(seed)).grids[0].detach() for seed in (5, 5, 6)
    )

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_finer_grids_learn_more_slowly():
    groups = TextureField(TextureFieldConfig((4, 8, 16), rate_decay=0.5)).parameter_groups(0.1)

    assert [group["lr"] for group in groups] == [0.1, 0.05, 0.025]


def test_it_learns_a_sharp_border_under_noise():
    # Red above, white below, under gradients with three times as much noise as signal.
    generator = torch.Generator().manual_seed(0)
    field = TextureField(TextureFieldConfig((8, 16, 32)))
    optimiser = torch.optim.Adam(field.parameter_groups(0.05), betas=(0.9, 0.99))
    red, white = torch.tensor([0.85, 0.1, 0.1]), torch.tensor([0.9, 0.9, 0.9])

    def points_and_colours(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        points = 0.8 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
        return points, torch.where(points[:, 1:2] > 0.1, red, white)

    for _ in range(150):
        points, colours = points_and_colours(4000)
        albedo = field(points).albedo
        noise = torch.randn(albedo.shape, generator=generator)
        optimiser.zero_grad()
        albedo.backward((albedo.detach() - colours + noise) / len(points))
        optimiser.step()

    points, colours = points_and_colours(4000)
    errors = (field(points).albedo - colours).abs().mean(dim=-1)
    is_near_border = (points[:, 1] - 0.1).abs() < 0.06  # one cell of the finest grid
    assert errors[~is_near_border].mean() < 0.06
    assert errors[is_near_border].mean() < 0.2


@pytest.mark.parametrize(
    "wrong", [{"resolutions": ()}, {"resolutions": (0,)}, {"initial_albedo": 1.5}, {"log2_table_rows": 0}]
)
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(TextureFieldConfig(), **wrong)


def test_a_material_has_one_row_per_point():
    with pytest.raises((ValueError, TypeError)):
        Material(torch.zeros(3, 3), torch.zeros(2, 1), torch.zeros(3, 1))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_it_is_the_same_field():
    field = random_field(HASHED)
    positions = random_positions(1000)
    on_cpu = stacked(field(positions))

    on_gpu = stacked(field.cuda()(positions.cuda()))

    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-5, rtol=1e-5)
