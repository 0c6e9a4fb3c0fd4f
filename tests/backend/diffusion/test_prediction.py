"""Conversions between what networks predict, on latents and noise that are known."""

from typing import NamedTuple

import pytest
import torch

from backend.diffusion.prediction import clean_of, noise_of, target_of
from backend.noise_levels import CLEAN, NoiseLevels

ABAR = torch.linspace(0.99, 0.01, 100)
VARIANCE_PRESERVING = NoiseLevels.variance_preserving(ABAR)
FLOW = NoiseLevels.flow(torch.linspace(0.01, 0.99, 100))
KINDS = [
    ("epsilon", VARIANCE_PRESERVING),
    ("v_prediction", VARIANCE_PRESERVING),
    ("sample", VARIANCE_PRESERVING),
    ("epsilon", FLOW),
    ("sample", FLOW),
    ("flow", FLOW),
]


class Known(NamedTuple):
    clean: torch.Tensor
    noise: torch.Tensor
    noisy: torch.Tensor
    alpha: torch.Tensor
    sigma: torch.Tensor


def known(levels, batch):
    generator = torch.Generator().manual_seed(batch)
    clean, noise = torch.randn(2, batch, 4, 8, 8, generator=generator)
    timesteps = torch.randint(100, (batch,), generator=generator)
    return Known(clean, noise, levels.add_noise(clean, noise, timesteps), *levels.at(timesteps))


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize(("kind", "levels"), KINDS)
def test_an_exact_output_of_every_kind_stands_for_the_noise(kind, levels, batch):
    each = known(levels, batch)

    output = target_of(each.clean, each.noise, each.alpha, each.sigma, kind)

    found = noise_of(output, each.noisy, each.alpha, each.sigma, kind)
    torch.testing.assert_close(found, each.noise, rtol=1e-3, atol=1e-3)


def test_velocity_and_flow_are_what_the_papers_say():
    each = known(VARIANCE_PRESERVING, 3)
    alpha, sigma = each.alpha[:, None, None, None], each.sigma[:, None, None, None]

    velocity = target_of(each.clean, each.noise, each.alpha, each.sigma, "v_prediction")
    flow = target_of(each.clean, each.noise, each.alpha, each.sigma, "flow")

    # Derivatives of x_t: velocity by the angle with (alpha, sigma) = (cos, sin), flow by sigma on a straight path.
    torch.testing.assert_close(velocity, alpha * each.noise - sigma * each.clean)
    torch.testing.assert_close(flow, each.noise - each.clean)


@pytest.mark.parametrize("levels", [VARIANCE_PRESERVING, FLOW], ids=["vp", "flow"])
def test_clean_latents_come_back_from_the_noise(levels):
    each = known(levels, 64)

    found = clean_of(each.noise, each.noisy, each.alpha, each.sigma)
    torch.testing.assert_close(found, each.clean, rtol=1e-3, atol=1e-2)


def test_two_prompts_differ_by_alpha_in_velocity_and_in_flow():
    # eps = alpha v + sigma x_t and eps = x_t + alpha v: at the same x_t, e_tgt - e_src = alpha (v_tgt - v_src).
    first, second, noisy = torch.randn(3, 2, 4, 8, 8)
    alpha, sigma = torch.tensor([0.6, 0.8]), torch.tensor([0.8, 0.6])

    for kind in ("v_prediction", "flow"):
        difference = noise_of(first, noisy, alpha, sigma, kind) - noise_of(second, noisy, alpha, sigma, kind)
        torch.testing.assert_close(difference, alpha[:, None, None, None] * (first - second), rtol=1e-4, atol=1e-5)


def test_the_levels_of_stable_diffusion():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    levels = NoiseLevels.variance_preserving(torch.cumprod(1 - betas, 0))

    alpha, sigma = levels.at(torch.tensor([CLEAN, 20, 500, 980]))

    # Measured on the published schedule.
    assert alpha.tolist() == pytest.approx([1, 0.99061, 0.52567, 0.07644], abs=1e-5)
    assert sigma.tolist() == pytest.approx([0, 0.13670, 0.85069, 0.99707], abs=1e-5)
    assert len(levels) == 1000


def test_straight_paths_mix_in_equal_shares():
    alpha, sigma = FLOW.at(torch.arange(100))

    torch.testing.assert_close(alpha + sigma, torch.ones(100))


def test_unknown_kinds_are_refused():
    zeros, one = torch.zeros(1, 4, 8, 8), torch.ones(1)
    with pytest.raises((ValueError, TypeError)):  # TypeError where annotations are checked, as in this test run
        noise_of(zeros, zeros, one, one, "score")
