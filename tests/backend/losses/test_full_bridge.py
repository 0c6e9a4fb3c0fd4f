"""The dual bridge by its ODE, where the ODE has a solution on paper: pictures that are a Gaussian."""

from itertools import pairwise

import pytest
import torch
from predictions import BATCHES, random_latents, wide

from backend.losses.full_bridge import (
    bridge_by_inversion,
    bridge_by_shared_noise,
    ode_path,
    solve_ode,
)
from backend.losses.score_distillation import bridge_gradient
from backend.noise_levels import CLEAN, NoiseLevels


def stable_diffusion_levels():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = torch.cumprod(1 - betas, 0)
    return NoiseLevels(abar.sqrt(), (1 - abar).sqrt())


def flow_levels():
    sigmas = torch.arange(1, 1001, dtype=torch.float64) / 1001
    return NoiseLevels(1 - sigmas, sigmas)


LEVELS = pytest.mark.parametrize("levels", [stable_diffusion_levels(), flow_levels()], ids=["vp", "flow"])


class Gaussian:
    """The exact denoiser of pictures whose pixels are N(mean, spread^2)."""

    def __init__(self, levels, mean, spread):
        self.levels, self.mean, self.spread, self.calls = levels, mean, spread, 0

    def __call__(self, noisy, timesteps):
        self.calls += 1
        alpha, sigma = (wide(value) for value in self.levels.at(timesteps))
        return sigma * (noisy - alpha * self.mean) / (alpha**2 * self.spread**2 + sigma**2)

    def standing(self, latents, timesteps):
        """(x_t - alpha mean) / deviation: what the probability-flow ODE of a Gaussian keeps."""
        alpha, sigma = (wide(value) for value in self.levels.at(timesteps))
        return (latents - alpha * self.mean) / (alpha**2 * self.spread**2 + sigma**2).sqrt()


def at(batch, timestep):
    return torch.full((batch,), timestep)


@LEVELS
def test_a_path_goes_from_the_clean_picture_to_each_samples_timestep(levels):
    path = ode_path(torch.tensor([999, 20, 500]), 4)

    assert path[0].tolist() == [CLEAN] * 3
    assert path[-1].tolist() == [999, 20, 500]
    assert (path.diff(dim=0) > 0).all()
    alpha, sigma = levels.at(path[0])
    assert alpha.tolist() == [1, 1, 1]
    assert sigma.tolist() == [0, 0, 0]


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least one step, got 0"):
        ode_path(torch.tensor([10]), 0)


@LEVELS
@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_solver_is_of_first_order_in_both_directions(levels, direction):
    denoiser, latents = Gaussian(levels, 0.5, 0.7), random_latents(3, 1)[0].double()
    timesteps = torch.tensor([300, 600, 900])

    def error(steps):
        path = ode_path(timesteps, steps)
        path = path if direction == "up" else path.flip(0)
        arrived = solve_ode(latents, path, denoiser, levels)
        kept = denoiser.standing(latents, path[0])
        return (denoiser.standing(arrived, path[-1]) - kept).abs().max().item()

    # Of the probability-flow ODE's closed solution: `standing` does not change along it.
    errors = [error(steps) for steps in (20, 40, 80, 160)]
    ratios = [one / other for one, other in pairwise(errors)]
    assert errors[-1] < 0.1
    assert all(1.6 < ratio < 2.6 for ratio in ratios), errors


@LEVELS
@pytest.mark.parametrize("batch", BATCHES)
def test_one_step_of_the_full_bridge_is_the_two_prompt_gradient(levels, batch):
    noisy, target, source = random_latents(batch, 3).double()
    weight = torch.rand(batch, dtype=torch.float64)
    timesteps = torch.randint(0, 1000, (batch,), generator=torch.Generator().manual_seed(batch))

    full = bridge_by_shared_noise(noisy, timesteps, lambda *_: torch.cat([source, target]), levels, weight, 1)

    torch.testing.assert_close(full, bridge_gradient(target, source, weight))


@LEVELS
def test_under_equal_prompts_shared_noise_gives_nothing_and_inversion_only_its_error(levels):
    denoiser, latents = Gaussian(levels, 0.3, 0.8), random_latents(2, 1)[0].double()
    timesteps, weight = at(2, 700), torch.ones(2, dtype=torch.float64)

    shared = bridge_by_shared_noise(latents, timesteps, denoiser, levels, weight, 5)
    errors = [
        bridge_by_inversion(latents, timesteps, denoiser, denoiser, levels, weight, steps).norm().item()
        for steps in (10, 20, 40, 80)
    ]

    assert shared.abs().max() == 0
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


@LEVELS
def test_the_bridge_arrives_where_the_transport_between_two_gaussians_leads(levels):
    source, target = Gaussian(levels, -0.5, 0.6), Gaussian(levels, 0.8, 0.9)
    latents, timesteps = random_latents(4, 1)[0].double(), at(4, 900)
    alpha, sigma = levels.at(timesteps)
    weight = sigma / alpha  # so that the gradient is the displacement itself

    gradient = bridge_by_inversion(latents, timesteps, source, target, levels, weight, 400)

    # On paper: the ODE keeps the standing, under the source up to t and under the target from there down.
    noise = source.standing(latents, at(4, CLEAN)) * wide((alpha**2 * source.spread**2 + sigma**2).sqrt())
    noise = noise + wide(alpha) * source.mean
    expected = target.mean + target.spread * target.standing(noise, timesteps)
    torch.testing.assert_close(latents - gradient, expected, rtol=0.03, atol=0.03)


@LEVELS
def test_each_form_calls_the_denoiser_as_often_as_it_says(levels):
    denoiser, latents = Gaussian(levels, 0.0, 1.0), random_latents(1, 1)[0].double()

    bridge_by_shared_noise(latents, at(1, 500), denoiser, levels, torch.ones(1, dtype=torch.float64), 6)
    shared = denoiser.calls
    bridge_by_inversion(latents, at(1, 500), denoiser, denoiser, levels, torch.ones(1, dtype=torch.float64), 6)

    assert (shared, denoiser.calls - shared) == (6, 12)


def test_descending_leads_to_the_target():
    levels = stable_diffusion_levels()
    source, target = Gaussian(levels, -0.5, 0.6), Gaussian(levels, 0.8, 0.6)
    latents = -0.5 + 0.6 * random_latents(2, 1)[0].double()

    gradient = bridge_by_inversion(latents, at(2, 900), source, target, levels, torch.ones(2, dtype=torch.float64), 20)

    assert (latents - 0.5 * gradient - 0.8).norm() < (latents - 0.8).norm()
