"""Identities of the score-distillation gradients, on random predictions, with a weight per sample."""

import pytest
import torch
from predictions import random_latents

from backend.losses.score_distillation import (
    bridge_gradient,
    guided_noise,
    loss_with_gradient,
    sds_gradient,
    time_weight,
)


def test_each_view_has_its_own_weight():
    target, source = random_latents(3, 2)
    weight = torch.tensor([0.0, 0.5, 1.0])

    gradient = bridge_gradient(target, source, weight, scale=40.0)

    assert gradient[0].abs().max() == 0
    torch.testing.assert_close(gradient[1], 20 * (target - source)[1])
    torch.testing.assert_close(gradient[2], 40 * (target - source)[2])


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_equal_prompts_give_no_bridge_gradient(batch):
    (prediction,) = random_latents(batch, 1)

    assert bridge_gradient(prediction, prediction.clone(), torch.rand(batch), 100.0).abs().max() == 0


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_sds_is_the_guided_prediction_minus_the_noise(batch):
    unconditional, conditional, noise = random_latents(batch, 3)
    weight = torch.rand(batch)

    gradient = sds_gradient(unconditional, conditional, noise, weight, 7.5)

    # The equation, sorted by its terms: coefficients s, 1 - s and -1.
    expected = 7.5 * conditional + (1 - 7.5) * unconditional - noise
    torch.testing.assert_close(gradient, weight[:, None, None, None] * expected)


def test_a_bridge_from_the_empty_prompt_is_sds_without_its_noise_term():
    unconditional, conditional, noise = random_latents(3, 3)
    weight = torch.tensor([0.1, 0.6, 0.9])

    sds = sds_gradient(unconditional, conditional, noise, weight, 40.0)
    bridge = bridge_gradient(conditional, unconditional, weight, 40.0)

    # s (Ey - E0) = [E0 + s (Ey - E0) - eps] - (E0 - eps), worked out by hand.
    torch.testing.assert_close(bridge, sds - weight[:, None, None, None] * (unconditional - noise))


def test_guidance_of_one_is_the_conditional_prediction():
    unconditional, conditional = random_latents(2, 2)

    torch.testing.assert_close(guided_noise(unconditional, conditional, 1.0), conditional)


def test_guidance_is_threestudios_scale_plus_one():
    unconditional, conditional = random_latents(2, 2)

    theirs = conditional + 100.0 * (conditional - unconditional)

    torch.testing.assert_close(guided_noise(unconditional, conditional, 101.0), theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    # Stable Diffusion's schedule at t = 500: abar = .276333, 1 - abar = .723667, sqrt(abar) (1 - abar) = .38041.
    [("variance", 0.723667), ("uniform", 1.0), ("fantasia3d", 0.38041)],
)
def test_time_weights_of_stable_diffusion(weighting, expected):
    abar = torch.tensor([0.276333])
    assert time_weight(abar.sqrt(), (1 - abar).sqrt(), weighting).item() == pytest.approx(expected, abs=1e-5)


def test_both_upstream_conventions_of_stage_two_can_be_had():
    target, source = random_latents(1, 2)
    alpha, sigma = torch.tensor([0.276333]).sqrt(), torch.tensor([0.723667]).sqrt()

    two_dimensional = bridge_gradient(target, source, time_weight(alpha, sigma, "variance"), scale=40.0)
    three_dimensional = bridge_gradient(target, source, time_weight(alpha, sigma, "uniform"), scale=1.0)

    # Read off the authors' two codes: they differ by the factor w(t) * s.
    torch.testing.assert_close(two_dimensional, 0.723667 * 40.0 * three_dimensional)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_loss_hands_over_exactly_the_gradient_divided_by_the_views(batch):
    latents, gradient = random_latents(batch, 2)
    latents.requires_grad_()

    loss_with_gradient(latents, gradient).backward()

    torch.testing.assert_close(latents.grad, gradient / batch, rtol=1e-4, atol=1e-6)


def test_descending_the_bridge_moves_latents_towards_the_target():
    """With denoisers whose clean pictures are known, a step leads to the target's and away from the source's."""
    clean_target, clean_source, latents, noise = random_latents(2, 4)
    alpha, sigma = 0.6, 0.8
    noisy = alpha * latents + sigma * noise
    target_noise = (noisy - alpha * clean_target) / sigma
    source_noise = (noisy - alpha * clean_source) / sigma

    moved = latents - 0.1 * bridge_gradient(target_noise, source_noise, torch.ones(2))

    assert (moved - clean_target).norm() < (latents - clean_target).norm()
    assert (moved - clean_source).norm() > (latents - clean_source).norm()


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises((ValueError, TypeError)):  # TypeError where annotations are checked, as in this test run
        bridge_gradient(torch.zeros(3, 4, 8, 8), torch.zeros(3, 4, 8, 1), torch.ones(3))
