"""The loop over pictures, with a prior whose wishes are known and with one of random weights."""

import dataclasses

import pytest
import torch
from colour_prior import ColourPrior
from random_prior import RandomPrior

from backend.config import DistillationConfig, LinearRamp
from backend.distillation import Reference
from backend.errors import BadInput
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import PictureConfig, as_pixels

COLOURS = {"red": (0.9, 0.1, 0.2), "blue": (0.1, 0.3, 0.8)}
SDS = DistillationConfig(method="sds", guidance_scale=1.0, highest_noise=LinearRamp(0.98, 0.98))
CONFIG = PictureConfig(150, SDS, learning_rate=0.03, weight_decay=0.0, start_deviation=0.0)


def finished(optimisation):
    steps = list(optimisation.steps())
    return optimisation, steps


def everywhere(colours):
    return torch.tensor(colours)[:, None, None, :].expand(-1, 8, 8, -1)


def with_method(**changes):
    return dataclasses.replace(CONFIG, steps=6, distillation=dataclasses.replace(SDS, **changes))


def test_each_picture_of_a_batch_takes_the_colour_of_its_own_prompt():
    optimisation, steps = finished(PictureOptimisation(["red", "blue"], CONFIG, ColourPrior(COLOURS), seed=0))

    expected = everywhere([COLOURS["red"], COLOURS["blue"]])
    torch.testing.assert_close(optimisation.pictures(), expected, atol=0.03, rtol=0)
    assert [step.number for step in steps] == list(range(1, 151))
    assert steps[-1].gradient_norm < 0.3 * steps[0].gradient_norm


def test_guidance_goes_beyond_the_prompt_as_far_as_the_formula_says():
    """Guidance 2 from grey, the empty prompt's colour, is grey + 2 (red - grey), clamped when it is decoded."""
    config = dataclasses.replace(CONFIG, distillation=dataclasses.replace(SDS, guidance_scale=2.0))
    prior = ColourPrior({"red": (0.6, 0.4, 0.35)})

    optimisation, _ = finished(PictureOptimisation(["red"], config, prior, seed=0))

    torch.testing.assert_close(optimisation.pictures(), everywhere([(0.7, 0.3, 0.2)]), atol=0.03, rtol=0)


def test_the_first_step_is_the_learning_rate_whatever_the_batch():
    """By plain gradient descent, whose step would halve with two pictures if the gradient were averaged over them."""
    config = dataclasses.replace(CONFIG, optimiser="sgd", learning_rate=0.1, steps=1)
    alone = PictureOptimisation(["red"], config, ColourPrior(COLOURS), seed=0)
    pair = PictureOptimisation(["red", "red"], config, ColourPrior(COLOURS), seed=0)
    moved = []
    for optimisation in (alone, pair):
        gradients = []
        real = optimisation._distillation.gradient_of

        def spy(*arguments, real=real, gradients=gradients):
            gradients.append(real(*arguments))
            return gradients[-1]

        optimisation._distillation.gradient_of = spy
        list(optimisation.steps())
        moved.append((optimisation.variable.latents().detach(), gradients[0].gradient))

    for latents, gradient in moved:
        torch.testing.assert_close(latents, -0.1 * gradient)


def test_pixels_arrive_at_the_same_colour():
    optimisation, _ = finished(PictureOptimisation(["red"], as_pixels(CONFIG), ColourPrior(COLOURS), seed=0))

    pictures = optimisation.pictures()
    assert pictures.shape == (1, 32, 32, 3)
    torch.testing.assert_close(pictures.mean((0, 1, 2)), torch.tensor(COLOURS["red"]), atol=0.04, rtol=0)


def test_delta_denoising_changes_by_the_difference_of_the_prompts_and_keeps_all_else():
    """Under this prior both gradients pull alike but for their colours: x ends at reference + (blue - red)."""
    prior = ColourPrior({"red": (0.6, 0.3, 0.3), "blue": (0.4, 0.3, 0.5)})
    start = torch.full((1, 32, 32, 3), 0.45)
    start[:, 8:24, 8:24] = 0.55  # a pattern that no prompt speaks of
    before = prior.encode_images(start)
    config = PictureConfig(
        60,
        dataclasses.replace(SDS, method="dds", time_weighting="uniform"),
        optimiser="sgd",
        learning_rate=0.1,
        weight_decay=0.0,
    )

    optimisation = PictureOptimisation(["blue"], config, prior, 0, start, reference=Reference(before, "red"))
    list(optimisation.steps())

    difference = optimisation.variable.latents().detach() - before
    expected = torch.tensor([-0.2, 0.0, 0.2])[None, :, None, None].expand_as(difference)
    torch.testing.assert_close(difference, expected, atol=0.02, rtol=0)


def test_delta_denoising_towards_the_same_prompt_moves_nothing():
    prior = ColourPrior(COLOURS)
    start = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(3))
    reference = Reference(prior.encode_images(start), "red")
    config = dataclasses.replace(with_method(method="dds"), optimiser="sgd")

    optimisation, steps = finished(PictureOptimisation(["red"], config, prior, 0, start, reference=reference))

    assert torch.equal(optimisation.variable.latents().detach(), prior.encode_images(start))
    assert [step.gradient_norm for step in steps] == [0.0] * 6


def test_stage_two_has_the_factor_on_its_rate():
    """SGD with the gradient made constant: the way of a step is the rate."""
    config = dataclasses.replace(
        with_method(method="bridge", bridge_start=0.5, bridge_learning_rate_factor=0.25),
        optimiser="sgd",
        learning_rate=0.08,
    )
    optimisation = PictureOptimisation(["red"], config, ColourPrior(COLOURS), seed=0)
    real = optimisation._distillation.gradient_of
    optimisation._distillation.gradient_of = lambda latents, *rest: dataclasses.replace(
        real(latents, *rest), gradient=torch.ones_like(latents)
    )
    ways, last = [], optimisation.variable.latents().detach().clone()
    stages = []
    for step in optimisation.steps():
        now = optimisation.variable.latents().detach().clone()
        ways.append((last - now).mean().item())
        stages.append(step.stage)
        last = now

    assert ways == pytest.approx([0.08] * 3 + [0.02] * 3, abs=1e-6)
    assert stages == ["SDS"] * 3 + ["bridge"] * 3


@pytest.mark.parametrize(
    ("method", "variable"),
    [
        ("sds", "latent"),
        ("bridge", "pixels"),
        ("csd", "latent"),
        ("full-bridge", "latent"),
        ("vsd-full-bridge", "latent"),
    ],
)
def test_a_resumed_run_is_an_unbroken_one_bit_for_bit(method, variable):
    config = with_method(method=method, bridge_start=0.5, bridge_steps=2, guidance_scale=5.0)
    config = as_pixels(config) if variable == "pixels" else config
    unbroken = PictureOptimisation(["a mug", "a cone"], config, RandomPrior(), seed=4)
    steps = unbroken.steps()
    for _ in range(2):
        next(steps)
    tensors, metadata = unbroken.state()
    list(steps)

    resumed = PictureOptimisation(["a mug", "a cone"], config, RandomPrior(), seed=99)
    resumed.load_state(tensors, metadata)
    rest = list(resumed.steps())

    assert [step.number for step in rest] == [3, 4, 5, 6]
    for ours, theirs in zip(resumed.variable.tensors, unbroken.variable.tensors, strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_of_another_size_is_refused():
    tensors, metadata = PictureOptimisation(["a"], CONFIG, RandomPrior(), seed=0).state()

    with pytest.raises(ValueError, match=r"saved for shape \(1, 4, 8, 8\), but this job has \(2, 4, 8, 8\)"):
        PictureOptimisation(["a", "b"], CONFIG, RandomPrior(), seed=0).load_state(tensors, metadata)


def test_a_gradient_without_numbers_leaves_the_step_out():
    optimisation = PictureOptimisation(["red"], CONFIG, ColourPrior(COLOURS), seed=0)
    real = optimisation._distillation.gradient_of
    optimisation._distillation.gradient_of = lambda latents, *rest: dataclasses.replace(
        real(latents, *rest), gradient=torch.full_like(latents, torch.finfo(torch.float32).max)
    )

    step = next(optimisation.steps())

    assert "step was left out" in step.notices[0]
    assert torch.equal(optimisation.variable.latents().detach(), torch.zeros(1, 3, 8, 8))


def test_no_prompts_and_views_of_latents_are_refused():
    with pytest.raises(BadInput, match="no prompt"):
        PictureOptimisation([], CONFIG, ColourPrior(), seed=0)
    with pytest.raises(ValueError, match="must be pixels"):
        PictureOptimisation(["a"], CONFIG, ColourPrior(), seed=0, show=lambda pictures: pictures)
