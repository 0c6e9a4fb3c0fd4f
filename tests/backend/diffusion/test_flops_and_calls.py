"""What a step asks of the networks, counted: products and convolutions, calls, and the precision on either side.

The networks have Stable Diffusion 2.1-base's architecture at a small width and random weights in bfloat16.
"""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backend.config import LinearRamp
from backend.evaluation.run_cost import counted_calls
from backend.optimise import MeshOptimisation
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import TextToImageSettings
from backend.render.rasteriser import choose_rasteriser
from benchmarks import gpu
from benchmarks.gpu_networks import TINY, bumpy_ball, make_prior

CPU = torch.device("cpu")
VIEWS = 3
SIZE = dataclasses.replace(TINY, views=VIEWS)
PROMPT = "a red mushroom"


@pytest.fixture(scope="module")
def prior():
    return make_prior(SIZE, CPU)


def mesh_loop(prior, **distillation):
    config = gpu.config_of(SIZE)
    config = dataclasses.replace(config, distillation=dataclasses.replace(config.distillation, **distillation))
    return MeshOptimisation(PROMPT, config, prior, choose_rasteriser(CPU, "portable"), bumpy_ball, seed=0)


def flops_of(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def say_all_prompts(prior, steps):
    """So that the text encoder has nothing left to do in the step that is counted."""
    encoded = []
    hook = prior._text_encoder.register_forward_pre_hook(lambda *_: encoded.append(None))
    try:
        while True:
            before = len(encoded)
            for _ in range(4):
                next(steps)
            if len(encoded) == before:
                return
    finally:
        hook.remove()


def unet_alone(prior, samples):
    noisy = torch.randn(samples, *prior.latent_shape)
    embeddings = prior.embed_prompts([PROMPT] * samples)
    return flops_of(lambda: prior.predict_noise(noisy, torch.full((samples,), 500), embeddings))


def encoder_alone(prior, there_and_back):
    pictures = torch.rand(VIEWS, SIZE.pixels, SIZE.pixels, 3, requires_grad=there_and_back)

    def encode():
        latents = prior.encode_images(pictures)
        if there_and_back:
            latents.sum().backward()

    return flops_of(encode)


@pytest.mark.parametrize("bridge_start", [0.0, 1.0], ids=["bridge", "SDS"])
def test_a_step_in_3d_computes_the_unet_on_both_prompts_and_the_encoder_there_and_back(prior, bridge_start):
    steps = mesh_loop(prior, bridge_start=bridge_start).steps()
    say_all_prompts(prior, steps)

    counted = flops_of(lambda: next(steps))

    parts = unet_alone(prior, 2 * VIEWS) + encoder_alone(prior, there_and_back=True)
    assert counted == pytest.approx(parts, rel=0.03)


def test_the_way_back_through_the_encoder_costs_what_the_way_there_does(prior):
    # Gradients of the frozen weights would make it twice as much. Attention alone costs more on its way back.
    assert encoder_alone(prior, there_and_back=True) == pytest.approx(2 * encoder_alone(prior, False), rel=0.1)


@pytest.mark.parametrize("variable", ["latent", "pixels"])
def test_a_step_in_2d_computes_the_unet_on_both_prompts_and_encodes_pixels_alone(prior, variable):
    settings = TextToImageSettings(PROMPT, prior="other", method="bridge", bridge_start=0.0, variable=variable)
    steps = PictureOptimisation([PROMPT] * VIEWS, settings.resolve(), prior, seed=0).steps()
    next(steps)

    counted = flops_of(lambda: next(steps))

    parts = unet_alone(prior, 2 * VIEWS)
    if variable == "pixels":
        parts += encoder_alone(prior, there_and_back=True)
    assert counted == pytest.approx(parts, rel=0.03)


@pytest.mark.parametrize("bridge_start", [0.0, 1.0], ids=["bridge", "SDS"])
def test_a_step_calls_the_unet_once_and_decodes_nothing(prior, bridge_start):
    steps = mesh_loop(prior, bridge_start=bridge_start).steps()
    decoded = []
    hook = prior._vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(None))

    with counted_calls(prior) as calls:
        next(steps)
    hook.remove()

    assert calls.batches == [2 * VIEWS]
    assert calls.in_training == 0
    assert decoded == []


def test_the_networks_are_in_bfloat16_and_all_around_them_in_float32(prior):
    pictures = torch.rand(VIEWS, SIZE.pixels, SIZE.pixels, 3, requires_grad=True)

    latents = prior.encode_images(pictures)
    latents.sum().backward()
    embeddings = prior.embed_prompts([PROMPT] * VIEWS)
    noise = prior.predict_noise(latents.detach(), torch.full((VIEWS,), 500), embeddings)

    assert {p.dtype for n in (prior.unet, prior._vae, prior._text_encoder) for p in n.parameters()} == {torch.bfloat16}
    outside = (latents, pictures.grad, embeddings, noise, prior.noise_levels.alphas, prior.decode_latents(latents))
    assert {tensor.dtype for tensor in outside} == {torch.float32}


def test_what_a_step_in_3d_learns_is_in_float32(prior):
    loop = mesh_loop(prior)
    loop.config = dataclasses.replace(
        loop.config, surface=dataclasses.replace(loop.config.surface, learning_rate=LinearRamp(0.01, 0.01))
    )
    seen = []
    hook = prior.unet.register_forward_pre_hook(
        lambda module, inputs, keywords: seen.append((inputs[0].dtype, keywords["encoder_hidden_states"].dtype)),
        with_kwargs=True,
    )
    next(loop.steps())
    hook.remove()

    assert seen == [(torch.bfloat16, torch.bfloat16)]
    learnt = [*loop.dmtet.parameters(), *loop.texture.parameters()]
    assert {parameter.dtype for parameter in learnt} == {torch.float32}
    assert {parameter.grad.dtype for parameter in learnt if parameter.grad is not None} == {torch.float32}
    assert loop.current_mesh().positions.dtype == torch.float32
