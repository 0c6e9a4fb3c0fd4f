"""Loading pipelines and what they predict: random weights of the real architectures, no network."""

import json

import pytest
import torch

from backend.diffusion.diffusers_prior import REMOVED_FROM_THE_HUB, load_prior, skip_idle_residual_blocks
from backend.errors import BadInput, MissingModel
from tools.embedded_training.architecture import (
    LATENT_CHANNELS,
    make_autoencoder,
    make_denoiser,
    make_text_encoder,
    make_tokenizer,
    save_pipeline,
)
from tools.embedded_training.patch_pca import write_components_into_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipeline")
    tokenizer = make_tokenizer(["a", "red", "mushroom", ",", "front", "view"])
    save_pipeline(folder, make_autoencoder(), make_denoiser(), make_text_encoder(tokenizer), tokenizer)
    return folder


@pytest.fixture(scope="module")
def prior(pipeline_folder):
    return load_prior(str(pipeline_folder), CPU)


def with_prediction_type(folder, target, kind):
    import shutil

    shutil.copytree(folder, target)
    config = target / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": kind}))
    return str(target)


def test_pictures_become_latents_with_a_gradient(prior):
    pictures = torch.rand(2, 64, 64, 3, requires_grad=True)

    latents = prior.encode_images(pictures)
    latents.square().sum().backward()

    assert latents.shape == (2, LATENT_CHANNELS, 8, 8)
    assert pictures.grad.abs().max() > 0


def test_skipping_residual_blocks_that_add_nothing_changes_nothing():
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    autoencoder = make_autoencoder().eval()
    write_components_into_encoder(autoencoder, pictures)
    whole = autoencoder.encode(pictures).latent_dist.mean
    operations = sum(1 for _ in autoencoder.encoder.modules())

    skip_idle_residual_blocks(autoencoder)

    assert torch.equal(autoencoder.encode(pictures).latent_dist.mean, whole)
    assert sum(1 for _ in autoencoder.encoder.modules()) < 0.6 * operations


def test_trained_residual_blocks_are_not_skipped():
    autoencoder = make_autoencoder()
    modules = [type(module) for module in autoencoder.modules()]

    skip_idle_residual_blocks(autoencoder)

    assert [type(module) for module in autoencoder.modules()] == modules


def test_pictures_of_another_size_are_resized(prior):
    assert prior.encode_images(torch.rand(1, 96, 96, 3)).shape == (1, LATENT_CHANNELS, 8, 8)


def test_decoded_pictures_are_in_range(prior):
    pictures = prior.decode_latents(torch.randn(2, LATENT_CHANNELS, 8, 8))

    assert pictures.shape == (2, 64, 64, 3)
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_a_velocity_model_and_an_epsilon_model_differ_by_the_conversion(pipeline_folder, prior, tmp_path):
    epsilon = load_prior(with_prediction_type(pipeline_folder, tmp_path / "epsilon", "epsilon"), CPU)
    noisy, timesteps = torch.randn(3, LATENT_CHANNELS, 8, 8), torch.tensor([20, 500, 980])
    embeddings = prior.embed_prompts(["a red mushroom", "", "mushroom"])

    velocity_noise = prior.predict_noise(noisy, timesteps, embeddings)
    raw = epsilon.predict_noise(noisy, timesteps, embeddings)

    # eps = alpha v + sigma x_t (Salimans and Ho 2022, appendix D).
    abar = prior.noise_levels.alphas[timesteps].square()[:, None, None, None]
    torch.testing.assert_close(velocity_noise, abar.sqrt() * raw + (1 - abar).sqrt() * noisy, rtol=1e-4, atol=1e-5)


def test_the_schedule_is_stable_diffusions(prior):
    # Linear in the square root of beta from 0.00085 to 0.012, 1000 steps.
    assert prior.noise_levels.alphas[500].item() ** 2 == pytest.approx(0.276333, abs=1e-5)
    assert prior.noise_levels.alphas[980].item() ** 2 == pytest.approx(0.005844, abs=1e-5)


def test_each_sample_is_predicted_on_its_own(prior):
    noisy, timesteps = torch.randn(3, LATENT_CHANNELS, 8, 8), torch.tensor([50, 500, 900])
    embeddings = prior.embed_prompts(["a red mushroom", "", "a"])

    together = prior.predict_noise(noisy, timesteps, embeddings)
    alone = torch.cat(
        [prior.predict_noise(noisy[i : i + 1], timesteps[i : i + 1], embeddings[i : i + 1]) for i in range(3)]
    )

    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_evaluations_are_counted(prior):
    before = prior.evaluations
    prior.predict_noise(
        torch.randn(5, LATENT_CHANNELS, 8, 8), torch.zeros(5, dtype=torch.long), prior.embed_prompts([""] * 5)
    )

    assert prior.evaluations - before == 5


def test_a_prompt_is_encoded_once(prior, monkeypatch):
    first = prior.embed_prompts(["a red mushroom, front view"])
    monkeypatch.setattr(prior, "_text_encoder", None)  # would fail if it were asked again

    assert torch.equal(prior.embed_prompts(["a red mushroom, front view"]), first)


def test_the_end_of_a_long_prompt_is_told(prior):
    # 48 tokens less begin and end leave room for 46 words.
    assert prior.cut_from_prompt("red " * 46) == ""
    assert prior.cut_from_prompt("red " * 46 + "mushroom") == "mushroom"


def test_a_missing_folder_is_told():
    with pytest.raises(MissingModel, match="no folder nowhere"):
        load_prior("nowhere", CPU)


def test_a_folder_without_a_pipeline_is_told_what_was_looked_for(tmp_path):
    with pytest.raises(MissingModel, match=r"no model_index\.json in it"):
        load_prior(str(tmp_path), CPU)


def test_a_removed_hub_id_is_told_with_its_mirror():
    for removed, mirror in REMOVED_FROM_THE_HUB.items():
        with pytest.raises(MissingModel, match=mirror):
            load_prior(removed, CPU)


def test_damaged_weights_are_told(pipeline_folder, tmp_path):
    folder = tmp_path / "damaged"
    with_prediction_type(pipeline_folder, folder, "epsilon")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(MissingModel, match="cannot be loaded"):
        load_prior(str(folder), CPU)


def test_pickled_weights_are_not_read(pipeline_folder, tmp_path):
    folder = tmp_path / "pickled"
    with_prediction_type(pipeline_folder, folder, "epsilon")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")

    with pytest.raises(MissingModel, match="safetensors"):
        load_prior(str(folder), CPU)


def test_an_unknown_prediction_kind_is_refused(pipeline_folder, tmp_path):
    with pytest.raises((BadInput, MissingModel), match="flow_of_time"):
        load_prior(with_prediction_type(pipeline_folder, tmp_path / "flow", "flow_of_time"), CPU)
