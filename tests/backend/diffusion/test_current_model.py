"""The second model of VSD: off it is not there, on it learns, and it goes on from its state."""

import pytest
import torch
from random_prior import KINDS, RandomPrior

from backend.diffusion.current_model import CurrentModel
from backend.diffusion.diffusers_prior import load_prior

CAMERAS = torch.eye(4).flatten()[None].repeat(2, 1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def picture():
    return torch.randn(1, 4, 8, 8, generator=seeded(3)).repeat(2, 1, 1, 1)


def probe(model, prior, cameras=None):
    noisy = torch.randn(2, 4, 8, 8, generator=seeded(5))
    return model.predict_noise(noisy, torch.tensor([100, 800]), prior.embed_prompts(["a mug", "a cup"]), cameras)


@pytest.mark.parametrize("kind", KINDS)
def test_the_frozen_prior_is_untouched_to_the_bit(kind):
    prior = RandomPrior(kind)
    noisy, timesteps = torch.randn(2, 4, 8, 8, generator=seeded()), torch.tensor([100, 800])
    embeddings = prior.embed_prompts(["a mug", "a cup"])
    before = prior.predict_noise(noisy, timesteps, embeddings)

    model = CurrentModel(prior, seeded(), learning_rate=0.01)
    for _ in range(3):
        model.learn(picture(), embeddings, CAMERAS)

    assert torch.equal(prior.predict_noise(noisy, timesteps, embeddings), before)
    assert not torch.equal(model.predict_noise(noisy, timesteps, embeddings), before)
    model.remove()
    assert torch.equal(prior.predict_noise(noisy, timesteps, embeddings), before)


def test_it_starts_as_the_prior():
    prior = RandomPrior()
    model = CurrentModel(prior, seeded())
    noisy, timesteps = torch.randn(2, 4, 8, 8, generator=seeded()), torch.tensor([100, 800])
    embeddings = prior.embed_prompts(["a mug", "a cup"])

    found = model.predict_noise(noisy, timesteps, embeddings)

    torch.testing.assert_close(found, prior.predict_noise(noisy, timesteps, embeddings))


@pytest.mark.parametrize("kind", KINDS)
def test_its_loss_falls_on_a_fixed_picture(kind):
    prior = RandomPrior(kind)
    model = CurrentModel(prior, seeded(), learning_rate=0.01)
    embeddings = prior.embed_prompts(["a mug", "a mug"])

    losses = [model.learn(picture(), embeddings) for _ in range(120)]

    assert sum(losses[-30:]) < 0.8 * sum(losses[:30])  # 0.67 to 0.75 when this was written


def test_on_the_embedded_prior_it_comes_to_know_the_picture():
    prior = load_prior("embedded", torch.device("cpu"))
    model = CurrentModel(prior, seeded(), learning_rate=0.01)
    latents = 0.5 * torch.randn(1, 24, 8, 8, generator=seeded(3)).repeat(4, 1, 1, 1)  # of 64 pixels, which is faster
    embeddings = prior.embed_prompts(["a red mug"] * 4)
    noise, timesteps = torch.randn(latents.shape, generator=seeded(5)), torch.tensor([200, 400, 600, 800])
    noisy = prior.noise_levels.add_noise(latents, noise, timesteps)

    def error():
        return (model.predict_noise(noisy, timesteps, embeddings) - noise).square().mean()

    before = error()
    for _ in range(40):
        model.learn(latents, embeddings)

    assert error() < 0.9 * before  # 0.85 when this was written; noise for a picture is hard to know


def test_cameras_make_a_difference_once_learnt():
    prior = RandomPrior()
    model = CurrentModel(prior, seeded(), learning_rate=0.01)
    for _ in range(5):
        model.learn(picture(), prior.embed_prompts(["a mug", "a mug"]), CAMERAS)

    assert not torch.equal(probe(model, prior, CAMERAS), probe(model, prior, -CAMERAS))


def test_it_goes_on_from_its_state_as_if_unbroken():
    def trained(steps, state=None, random=None):
        prior = RandomPrior()
        generator = seeded()
        model = CurrentModel(prior, generator, learning_rate=0.01)
        if state is not None:
            model.load_state(state)
            generator.set_state(random)
        for _ in range(steps):
            model.learn(picture(), prior.embed_prompts(["a mug", "a mug"]), CAMERAS)
        return model, prior, generator

    unbroken, prior, _ = trained(6)
    half, _, generator = trained(3)
    resumed, other_prior, _ = trained(3, half.state(), generator.get_state())

    assert torch.equal(probe(resumed, other_prior, CAMERAS), probe(unbroken, prior, CAMERAS))
