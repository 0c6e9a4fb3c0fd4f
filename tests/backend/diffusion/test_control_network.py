"""ControlNets: the embedded prior's own reads drawings; others of the real architecture are loaded, or refused."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from backend.diffusion.control_network import Control, ControllablePrior, load_control_network
from backend.diffusion.diffusers_prior import DiffusersPrior, load_prior
from backend.errors import BadInput, MissingModel
from tools.embedded_training.architecture import make_scheduler, make_text_encoder, make_tokenizer
from tools.embedded_training.control import make_control_network
from tools.embedded_world.pictures import render_pictures

CPU = torch.device("cpu")
UNSEEN = (24, 40)  # instances that no training picture shows


@pytest.fixture(scope="module")
def prior():
    prior = load_prior("embedded", CPU)
    prior.use_control_network("embedded")
    return prior


@pytest.fixture(scope="module")
def drawn_pictures():
    return render_pictures(24, 5, 128, variants=UNSEEN, with_drawings=True)


def ink_of(pictures):
    return torch.from_numpy(pictures.drawings).float() / 255


def noisy_latents(prior, pictures, timestep):
    latents = prior.encode_images(torch.from_numpy(pictures.images).float() / 255)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.full((len(latents),), timestep)
    return prior.noise_levels.add_noise(latents, noise, timesteps), noise, timesteps


def test_a_drawing_tells_the_prior_where_things_are(prior, drawn_pictures):
    noisy, noise, timesteps = noisy_latents(prior, drawn_pictures, 900)
    embeddings = prior.embed_prompts(drawn_pictures.captions)
    drawings = Control(ink_of(drawn_pictures), (1.0,) * len(noisy))
    of_others = Control(ink_of(drawn_pictures).flip(0), (1.0,) * len(noisy))

    alone = (prior.predict_noise(noisy, timesteps, embeddings) - noise).square().mean()
    told = (prior.predict_controlled_noise(noisy, timesteps, embeddings, drawings) - noise).square().mean()
    misled = (prior.predict_controlled_noise(noisy, timesteps, embeddings, of_others) - noise).square().mean()

    assert told < 0.9 * alone
    assert misled > 1.1 * alone


def test_only_samples_with_a_strength_see_their_drawing(prior, drawn_pictures):
    noisy, _, timesteps = noisy_latents(prior, drawn_pictures, 800)
    noisy, timesteps = noisy[:3], timesteps[:3]
    embeddings = prior.embed_prompts(drawn_pictures.captions[:3])
    before = prior.evaluations

    alone = prior.predict_noise(noisy, timesteps, embeddings)
    control = Control(ink_of(drawn_pictures)[:3], (0.0, 1.0, 0.0))
    found = prior.predict_controlled_noise(noisy, timesteps, embeddings, control)

    torch.testing.assert_close(found[[0, 2]], alone[[0, 2]], rtol=1e-3, atol=1e-4)
    assert (found[1] - alone[1]).abs().max() > 0.05
    assert prior.evaluations == before + 6
    nobody = Control(ink_of(drawn_pictures)[:3], (0.0,) * 3)
    assert torch.equal(prior.predict_controlled_noise(noisy, timesteps, embeddings, nobody), alone)


def test_half_the_strength_adds_half(prior, drawn_pictures):
    noisy, _, timesteps = noisy_latents(prior, drawn_pictures, 800)
    noisy, timesteps = noisy[:1], timesteps[:1]
    embeddings, ink = prior.embed_prompts(["a red mug"]), ink_of(drawn_pictures)[:1]
    (network,) = prior._control_networks.values()

    whole = network.residuals(noisy, timesteps, embeddings, Control(ink, (1.0,)))
    half = network.residuals(noisy, timesteps, embeddings, Control(ink, (0.5,)))

    for one, other in zip([*whole[0], whole[1]], [*half[0], half[1]], strict=True):
        torch.testing.assert_close(other, one / 2)


def test_drawings_of_any_size_are_read_at_any_size_of_the_prior(prior, drawn_pictures):
    noisy, _, timesteps = noisy_latents(prior, drawn_pictures, 800)
    small = torch.nn.functional.avg_pool2d(noisy[:1], 2)
    fine = ink_of(drawn_pictures)[:1].repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)
    embeddings = prior.embed_prompts(["a red mug"])

    found = prior.predict_controlled_noise(small, timesteps[:1], embeddings, Control(fine, (1.0,)))

    assert found.shape == small.shape
    same = prior.predict_controlled_noise(small, timesteps[:1], embeddings, Control(ink_of(drawn_pictures)[:1], (1.0,)))
    torch.testing.assert_close(found, same)


def test_the_prior_is_one_that_can_be_controlled(prior):
    assert isinstance(prior, ControllablePrior)


def test_without_a_network_in_use_it_says_so():
    prior = load_prior("embedded", CPU)
    with pytest.raises(ValueError, match="no ControlNet is in use"):
        prior.predict_controlled_noise(
            torch.zeros(1, *prior.latent_shape), torch.tensor([5]), prior.embed_prompts([""]),
            Control(torch.zeros(1, 8, 8), (1.0,)),
        )  # fmt: skip


@pytest.mark.parametrize("strengths", [(1.0,), (1.0, 1.0, 1.0), (1.0, -0.1)])
def test_strengths_that_do_not_fit_are_refused(strengths):
    with pytest.raises(ValueError, match="2 drawings need as many strengths of at least 0"):
        Control(torch.zeros(2, 8, 8), strengths)


def test_a_control_is_repeated_for_each_prompt():
    control = Control(torch.arange(2.0)[:, None, None].expand(2, 4, 4), (1.0, 0.5)).repeated([False, True])

    assert control.strengths == (0.0, 0.0, 1.0, 0.5)
    assert control.ink[:, 0, 0].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_another_network_of_the_same_architecture_takes_its_place(prior, tmp_path):
    torch.manual_seed(0)
    make_control_network(prior.unet).save_pretrained(tmp_path)  # one that adds nothing yet
    other = load_prior("embedded", CPU)
    noisy = torch.randn(1, *prior.latent_shape)
    timesteps, embeddings = torch.tensor([700]), other.embed_prompts(["a red mug"])

    other.use_control_network(str(tmp_path))
    found = other.predict_controlled_noise(noisy, timesteps, embeddings, Control(torch.ones(1, 64, 64), (1.0,)))

    torch.testing.assert_close(found, other.predict_noise(noisy, timesteps, embeddings))


def test_a_network_for_another_model_is_refused(prior, tmp_path):
    ControlNetModel(
        in_channels=4, block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block=1, cross_attention_dim=32, attention_head_dim=2, norm_num_groups=8,
    ).save_pretrained(tmp_path)  # fmt: skip

    with pytest.raises(BadInput, match="was made for another model: its in_channels is 4, and that of this model 24"):
        load_control_network(str(tmp_path), prior.unet, CPU, torch.float32, 8)


@pytest.mark.parametrize("identifier", ["/nowhere/at/all", "nothing", "./net"])
def test_a_network_that_is_not_there_is_told(prior, identifier):
    with pytest.raises(MissingModel, match=r"no folder .* Give a folder with its config.json"):
        load_control_network(identifier, prior.unet, CPU, torch.float32, 8)


def test_pickled_weights_are_refused(prior, tmp_path):
    network = make_control_network(prior.unet)
    network.save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "diffusion_pytorch_model.bin")

    with pytest.raises(MissingModel, match="cannot be loaded"):
        load_control_network(str(tmp_path), prior.unet, CPU, torch.float32, 8)


def test_a_network_of_stable_diffusions_architecture_is_read_beside_such_a_pipeline(tmp_path):
    torch.manual_seed(0)
    widths = (32, 64, 64, 64)
    tokenizer = make_tokenizer(["a", "red", "mug"])
    down = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    pipeline = SimpleNamespace(
        unet=UNet2DConditionModel(
            sample_size=8, block_out_channels=widths, down_block_types=down, cross_attention_dim=160,
            attention_head_dim=4, norm_num_groups=8,
        ),
        vae=AutoencoderKL(block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4,
                          down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4),
        text_encoder=make_text_encoder(tokenizer), tokenizer=tokenizer, scheduler=make_scheduler(),
    )  # fmt: skip
    network = ControlNetModel.from_unet(pipeline.unet)
    with torch.no_grad():
        network.controlnet_mid_block.weight.normal_()  # one that has been trained adds something
    network.save_pretrained(tmp_path)
    prior = DiffusersPrior(pipeline, "random", CPU)
    prior.use_control_network(str(tmp_path))
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([300, 700])
    embeddings = prior.embed_prompts(["a red mug", "a mug"])
    ink = torch.rand(2, 96, 96)

    found = prior.predict_controlled_noise(noisy, timesteps, embeddings, Control(ink, (1.0, 0.0)))

    plain = prior.predict_noise(noisy, timesteps, embeddings)
    assert (found[0] - plain[0]).abs().max() > 0.01
    torch.testing.assert_close(found[1], plain[1], rtol=1e-3, atol=1e-4)
