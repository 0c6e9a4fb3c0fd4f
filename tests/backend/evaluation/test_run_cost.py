"""Counting calls and memory: what is counted is what was asked for."""

import numpy as np
import torch
from random_prior import RandomPrior

from backend.evaluation.run_cost import CostMeter, counted_calls


def ask(prior, count):
    noisy = torch.zeros(count, *prior.latent_shape)
    return prior.predict_noise(noisy, torch.full((count,), 5), prior.embed_prompts(["a mug"] * count))


def test_every_call_of_the_network_is_counted_with_its_samples():
    prior = RandomPrior()

    with counted_calls(prior) as calls:
        ask(prior, 2)
        ask(prior, 3)
    ask(prior, 4)  # afterwards nobody counts

    assert (calls.calls, calls.evaluations, calls.batches, calls.in_training) == (2, 5, [2, 3], 0)


def test_calls_whose_gradient_is_wanted_are_told_apart():
    prior = RandomPrior()

    with counted_calls(prior) as calls:
        ask(prior, 2)
        prior.run_unet(torch.zeros(3, *prior.latent_shape), torch.zeros(3, dtype=torch.long), torch.zeros(3, 5, 16))

    assert (calls.evaluations, calls.in_training) == (5, 3)


def test_a_prior_without_a_network_is_taken_at_its_word():
    prior = RandomPrior()
    prior.unet = None
    prior.evaluations = 7

    with counted_calls(prior) as calls:
        prior.evaluations += 2

    assert calls.evaluations == 2


def test_a_run_that_needs_memory_shows_it_and_one_after_it_does_not():
    meter, after = CostMeter(RandomPrior()), CostMeter(RandomPrior())

    with meter.running():
        held = np.ones(200_000_000, dtype=np.uint8)
        del held
    with after.running():
        pass

    cost = meter.cost_of(2)
    assert cost.pictures == 2
    assert cost.seconds > 0
    if cost.peak_bytes is not None:  # Linux tells it
        assert cost.peak_bytes - after.cost_of(1).peak_bytes > 150_000_000
