"""DDIM samples, of a prior whose mind is known and of one with random weights."""

import torch
from random_prior import RandomPrior

from backend.diffusion.sampling import ddim_sample


class Decided(RandomPrior):
    """Whatever the noise, the picture is one number, which the prompt names."""

    def embed_prompts(self, prompts):
        return torch.tensor([float(prompt or 0) for prompt in prompts])[:, None, None]

    def predict_noise(self, noisy, timesteps, embeddings):
        alpha, sigma = (value[:, None, None, None] for value in self.noise_levels.at(timesteps))
        return (noisy - alpha * embeddings[..., None]) / sigma


def test_sampling_arrives_at_the_picture_that_the_prompt_means():
    latents = ddim_sample(Decided(), ["1", "-2"], torch.Generator().manual_seed(0), guidance_scale=1.0, steps=10)

    torch.testing.assert_close(latents[0], torch.ones(4, 8, 8), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents[1], -2 * torch.ones(4, 8, 8), rtol=1e-3, atol=1e-3)


def test_guidance_goes_beyond_the_prompt():
    latents = ddim_sample(Decided(), ["1"], torch.Generator().manual_seed(0), guidance_scale=3.0, steps=10)

    torch.testing.assert_close(latents, 3 * torch.ones(1, 4, 8, 8), rtol=1e-3, atol=1e-3)


def test_a_seed_means_one_picture_and_each_step_one_call():
    prior = RandomPrior()

    first, again, other = (
        ddim_sample(prior, ["a mug"], torch.Generator().manual_seed(seed), guidance_scale=4.0, steps=5)
        for seed in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert prior.calls == [2] * 15
