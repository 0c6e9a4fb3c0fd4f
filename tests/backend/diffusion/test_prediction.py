"""Conversions between what networks predict, on latents and noise that are known."""

import pytest
import torch

from backend.diffusion.prediction import add_noise, clean_of, noise_of


@pytest.fixture(params=[1, 3, 64])
def known(request):
    generator = torch.Generator().manual_seed(request.param)
    clean, noise = torch.randn(2, request.param, 4, 8, 8, generator=generator)
    alphas_cumprod = 0.01 + 0.98 * torch.rand(request.param, generator=generator)
    return clean, noise, alphas_cumprod, add_noise(clean, noise, alphas_cumprod)


def test_noise_of_an_exact_velocity_is_the_noise(known):
    clean, noise, alphas_cumprod, noisy = known
    alpha, sigma = alphas_cumprod.sqrt()[:, None, None, None], (1 - alphas_cumprod).sqrt()[:, None, None, None]

    found = noise_of(alpha * noise - sigma * clean, noisy, alphas_cumprod, "v_prediction")

    torch.testing.assert_close(found, noise, rtol=1e-4, atol=1e-5)


def test_noise_of_an_exact_sample_is_the_noise(known):
    clean, noise, alphas_cumprod, noisy = known

    torch.testing.assert_close(noise_of(clean, noisy, alphas_cumprod, "sample"), noise, rtol=1e-3, atol=1e-3)


def test_noise_of_noise_is_itself(known):
    _, noise, alphas_cumprod, noisy = known

    assert noise_of(noise, noisy, alphas_cumprod, "epsilon") is noise


def test_clean_latents_come_back_from_the_noise(known):
    clean, noise, alphas_cumprod, noisy = known

    torch.testing.assert_close(clean_of(noise, noisy, alphas_cumprod), clean, rtol=1e-3, atol=1e-3)


def test_two_prompts_differ_by_alpha_in_velocity():
    # eps = alpha v + sigma x_t, so at the same x_t: e_tgt - e_src = alpha (v_tgt - v_src).
    first, second, noisy = torch.randn(3, 2, 4, 8, 8)
    alphas_cumprod = torch.tensor([0.25, 0.64])

    difference = noise_of(first, noisy, alphas_cumprod, "v_prediction") - noise_of(
        second, noisy, alphas_cumprod, "v_prediction"
    )

    alpha = torch.tensor([0.5, 0.8])[:, None, None, None]
    torch.testing.assert_close(difference, alpha * (first - second), rtol=1e-4, atol=1e-5)


def test_unknown_kinds_are_refused():
    zeros = torch.zeros(1, 4, 8, 8)
    with pytest.raises((ValueError, TypeError)):
        noise_of(zeros, zeros, torch.tensor([0.5]), "score")
