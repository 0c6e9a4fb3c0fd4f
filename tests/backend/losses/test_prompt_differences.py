"""NFSD, CSD, DDS, VSD and Perp-Neg against each other and against SDS and the bridge, term by term."""

import pytest
import torch
from predictions import BATCHES, random_latents, wide

from backend.losses.classifier_score import csd_gradient
from backend.losses.delta_denoising import dds_gradient
from backend.losses.noise_free import nfsd_gradient
from backend.losses.perpendicular_negatives import perp_neg_noise, perpendicular
from backend.losses.score_distillation import bridge_gradient, guided_noise, sds_gradient
from backend.losses.variational import vsd_gradient

pytestmark = pytest.mark.parametrize("batch", BATCHES)


def weights(batch):
    return torch.rand(batch, generator=torch.Generator().manual_seed(batch + 1))


def test_sds_minus_nfsd_at_low_noise_is_minus_the_noise(batch):
    unconditional, conditional, negative, noise = random_latents(batch, 4)
    weight, low = weights(batch), torch.full((batch,), 199)

    nfsd = nfsd_gradient(unconditional, conditional, negative, low, weight, 7.5)
    sds = sds_gradient(unconditional, conditional, noise, weight, 7.5)

    torch.testing.assert_close(sds - nfsd, -wide(weight) * noise, rtol=1e-4, atol=1e-5)


def test_nfsd_subtracts_the_bad_picture_only_at_high_noise_and_decides_for_each_sample(batch):
    unconditional, conditional, negative = random_latents(batch, 3)
    timesteps = torch.tensor([200, 199, 980])[torch.arange(batch) % 3]

    gradient = nfsd_gradient(unconditional, conditional, negative, timesteps, torch.ones(batch), 7.5)

    # Sorted by terms: s E(y) + (1 - s) E(0) - E(p_neg), the last one at t >= 200 only.
    is_high = wide((timesteps >= 200).float())
    expected = 7.5 * conditional - 6.5 * unconditional - is_high * negative
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_csd_with_equal_weights_is_the_bridge(batch):
    conditional, unconditional, negative = random_latents(batch, 3)
    weight = weights(batch)

    csd = csd_gradient(conditional, unconditional, negative, weight, 30.0, 30.0)

    # The unconditional prediction cancels out.
    torch.testing.assert_close(csd, bridge_gradient(conditional, negative, weight, 30.0), rtol=1e-4, atol=1e-4)


def test_csd_without_a_negative_is_sds_without_its_noise_term(batch):
    unconditional, conditional, negative, noise = random_latents(batch, 4)
    weight = weights(batch)

    csd = csd_gradient(conditional, unconditional, negative, weight, 40.0)
    sds = sds_gradient(unconditional, conditional, noise, weight, 40.0)

    torch.testing.assert_close(csd, sds - wide(weight) * (unconditional - noise), rtol=1e-4, atol=1e-4)


def test_csd_says_the_coefficients_of_the_authors_code(batch):
    conditional, unconditional, negative = random_latents(batch, 3)

    csd = csd_gradient(conditional, unconditional, negative, torch.ones(batch), 1.0, 0.5)

    # cond 1, uncond -0.5, null -0.5: the end of their refinement schedule.
    expected = 1.0 * conditional - 0.5 * negative - 0.5 * unconditional
    torch.testing.assert_close(csd, expected, rtol=1e-4, atol=1e-5)


def test_an_edit_to_what_is_there_already_is_no_edit(batch):
    unconditional, conditional = random_latents(batch, 2)

    gradient = dds_gradient(unconditional, conditional, unconditional, conditional, weights(batch), 7.5)

    assert gradient.abs().max() == 0


def test_delta_denoising_is_the_difference_of_two_sds_gradients_with_one_noise(batch):
    unconditional, conditional, reference_unconditional, reference_conditional, noise = random_latents(batch, 5)
    weight = weights(batch)

    delta = dds_gradient(unconditional, conditional, reference_unconditional, reference_conditional, weight, 7.5)

    edited = sds_gradient(unconditional, conditional, noise, weight, 7.5)
    reference = sds_gradient(reference_unconditional, reference_conditional, noise, weight, 7.5)
    torch.testing.assert_close(delta, edited - reference, rtol=1e-4, atol=1e-4)


def test_vsd_of_a_model_that_predicts_the_added_noise_is_sds(batch):
    unconditional, conditional, noise = random_latents(batch, 3)
    weight = weights(batch)

    vsd = vsd_gradient(unconditional, conditional, noise, weight, 7.5)

    torch.testing.assert_close(vsd, sds_gradient(unconditional, conditional, noise, weight, 7.5))


def test_vsd_whose_model_knows_the_target_has_arrived(batch):
    unconditional, conditional = random_latents(batch, 2)

    vsd = vsd_gradient(unconditional, conditional, conditional, weights(batch), 1.0)

    torch.testing.assert_close(vsd, torch.zeros_like(vsd), atol=1e-6, rtol=0)


def test_what_is_perpendicular_is_perpendicular_and_adds_up(batch):
    of, to = random_latents(batch, 2)

    rest = perpendicular(of, to)

    assert (rest * to).flatten(1).sum(1).abs().max() < 1e-3
    along = of - rest
    torch.testing.assert_close((along * to).flatten(1).sum(1), (of * to).flatten(1).sum(1), rtol=1e-3, atol=1e-3)
    assert torch.equal(perpendicular(of, torch.zeros_like(of)), of)


def test_perp_neg_without_weights_is_classifier_free_guidance(batch):
    unconditional, conditional, negative = random_latents(batch, 3)

    noise = perp_neg_noise(unconditional, conditional, negative[None], torch.zeros(1, batch), 7.5)

    torch.testing.assert_close(noise, guided_noise(unconditional, conditional, 7.5))


def test_perp_neg_takes_nothing_from_the_wanted_direction(batch):
    unconditional, conditional, first, second = random_latents(batch, 4)
    negatives = torch.stack([first, second])

    noise = perp_neg_noise(unconditional, conditional, negatives, torch.full((2, batch), -1.5), 7.5)

    wanted = conditional - unconditional
    got = (noise - unconditional) / 7.5
    torch.testing.assert_close(
        (got * wanted).flatten(1).sum(1), wanted.square().flatten(1).sum(1), rtol=1e-3, atol=1e-2
    )
    assert (got - wanted).flatten(1).norm(dim=1).min() > 1
