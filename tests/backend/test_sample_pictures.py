"""Sampling step by step is sampling in one go."""

import pytest
import torch
from random_prior import RandomPrior

from backend.diffusion.sampling import ddim_sample
from backend.picture_config import SamplingConfig
from backend.sample_pictures import PictureSampling

PROMPTS = ["a mug", "a cone"]
CONFIG = SamplingConfig(steps=5, guidance_scale=3.0)


def test_the_steps_end_where_the_sampler_does():
    sampling = PictureSampling(PROMPTS, CONFIG, RandomPrior(), seed=2)
    steps = list(sampling.steps())
    whole = ddim_sample(RandomPrior(), PROMPTS, torch.Generator().manual_seed(2), guidance_scale=3.0, steps=5)

    assert torch.equal(sampling.state()[0]["latents"], whole)
    assert steps[0].timestep_range == (799, 1000)
    assert steps[-1].timestep_range[0] == 0
    assert {step.gradient_norm for step in steps} == {None}


def test_a_resumed_sampling_is_an_unbroken_one():
    unbroken = PictureSampling(PROMPTS, CONFIG, RandomPrior(), seed=2)
    steps = unbroken.steps()
    next(steps)
    state = unbroken.state()
    list(steps)
    resumed = PictureSampling(PROMPTS, CONFIG, RandomPrior(), seed=7)
    resumed.load_state(*state)

    assert [step.number for step in resumed.steps()] == [2, 3, 4, 5]
    assert torch.equal(resumed.pictures(), unbroken.pictures())
    with pytest.raises(ValueError, match=r"saved for shape \(2, 4, 8, 8\)"):
        PictureSampling(["a"], CONFIG, RandomPrior(), seed=0).load_state(*state)
