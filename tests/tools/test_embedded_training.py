"""The computed encoder, the tokenizer, checkpoints, and the provenance of the shipped weights."""

import hashlib
import json

import pytest
import torch
from torch import nn

from backend.diffusion import EMBEDDED_FOLDER
from backend.diffusion.prompts import (
    AUTHORS_SOURCE_SUFFIX,
    BLOCKOUT_PHRASE,
    FLAW_SYNONYMS,
    fine_view_words,
    join_prompt,
)
from backend.evaluation.classifier import load_classifier
from tools.embedded_training.architecture import (
    LATENT_CHANNELS,
    caption_words,
    make_autoencoder,
    make_denoiser,
    make_text_encoder,
    make_tokenizer,
    teach_more_words,
)
from tools.embedded_training.autoencoder import compute_encoder, encode_pictures, train_decoder
from tools.embedded_training.denoiser import (
    BACKGROUND_WEIGHT,
    TextConditionedDenoiser,
    caption_weights,
    loss_weights,
    train_denoiser,
)
from tools.embedded_training.judge import keep_classifier, render_judge_pictures
from tools.embedded_training.patch_pca import blocks_to_channels, principal_components, write_components_into_encoder
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import StageSettings, train_stage
from tools.embedded_world.dataset import write_dataset


@pytest.fixture(scope="module")
def smooth_pictures():
    coarse = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(-1, 1)


@pytest.fixture(scope="module")
def autoencoder(smooth_pictures):
    made = make_autoencoder()
    write_components_into_encoder(made, smooth_pictures)
    return made


@torch.no_grad()
def encode(autoencoder, pictures):
    return autoencoder.encode(pictures).latent_dist.mean


def test_blocks_lie_side_by_side():
    maps = torch.arange(16.0).view(1, 1, 4, 4)

    assert blocks_to_channels(maps)[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_principal_components_find_the_direction_of_most_variance():
    maps = (
        torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1.0, 5.0, 0.1])[:, None, None]
    )

    directions, spreads, _ = principal_components(maps, 2)

    assert directions[0].abs().argmax() == 1
    assert spreads[0].item() == pytest.approx(5.0, rel=0.1)


def test_the_encoder_is_linear(autoencoder, smooth_pictures):
    first, second = smooth_pictures[:8], smooth_pictures[8:16]

    of_mean = encode(autoencoder, (first + second) / 2)
    mean_of = (encode(autoencoder, first) + encode(autoencoder, second)) / 2

    assert (of_mean - mean_of).norm() / mean_of.norm() < 0.01


def test_the_encoder_loses_little_of_smooth_pictures(autoencoder, smooth_pictures):
    """The best linear decoder, by least squares, gives nearly all of the variance back."""
    latents = encode(autoencoder, smooth_pictures).permute(0, 2, 3, 1).reshape(-1, LATENT_CHANNELS)
    patches = smooth_pictures.view(-1, 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 192)
    known = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)

    restored = known @ torch.linalg.lstsq(known, patches).solution

    assert (restored - patches).var() / patches.var() < 0.02


def test_every_word_of_the_captions_is_one_token():
    tokenizer = make_tokenizer(caption_words())
    said = join_prompt("a red mushroom", AUTHORS_SOURCE_SUFFIX, BLOCKOUT_PHRASE.replace("3D", ""), "overhead view")
    said += ", " + ", ".join(fine_view_words(azimuth, azimuth / 4) for azimuth in map(float, range(0, 360, 45)))
    said += ", " + ", ".join(synonym for pair in FLAW_SYNONYMS.values() for synonym in pair)

    tokens = tokenizer.tokenize(said)

    assert [token for token in tokens if not token.endswith("</w>")] == []
    longest = join_prompt("a red mushroom", AUTHORS_SOURCE_SUFFIX, fine_view_words(45.0, 20.0))
    assert len(tokenizer(longest).input_ids) <= 48


def test_a_text_encoder_learns_more_words_and_reads_the_known_ones_as_before():
    known, wanted = make_tokenizer(["red", "mug"]), make_tokenizer(["a", "red", "mug", "view"])
    encoder = make_text_encoder(known).eval()

    taught = teach_more_words(encoder, known, wanted).eval()

    def read(network, tokenizer, sentence):
        ids = tokenizer(sentence, padding="max_length", return_tensors="pt").input_ids
        return network(ids).last_hidden_state

    torch.testing.assert_close(read(taught, wanted, "red mug"), read(encoder, known, "red mug"))
    assert len(wanted.tokenize("view")) == 1
    assert read(taught, wanted, "view").isfinite().all()


def test_a_classifier_that_is_kept_is_measured_and_not_changed(tmp_path):
    render_judge_pictures(tmp_path, 60, seed=5)
    classifier = load_classifier()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    record = keep_classifier(classifier, PictureShards(tmp_path), torch.device("cpu"))

    assert record["step"] == 0
    assert record["kept"]["shape"] > 0.7  # 0.94 on 600 pictures with every flaw
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_the_larger_networks_fit_each_other_and_the_package():
    autoencoder, denoiser = make_autoencoder(128), make_denoiser(128)

    with torch.no_grad():
        latents = autoencoder.encode(torch.zeros(1, 3, 128, 128)).latent_dist.mean
        predicted = denoiser(latents, torch.tensor([500]), torch.zeros(1, 48, 160)).sample
        pictures = autoencoder.decode(predicted).sample

    assert latents.shape == predicted.shape == (1, LATENT_CHANNELS, 16, 16)
    assert pictures.shape == (1, 3, 128, 128)
    in_half_precision = 2 * sum(p.numel() for p in (*autoencoder.parameters(), *denoiser.parameters()))
    rest = sum(
        path.stat().st_size for part in ("text_encoder", "classifier") for path in (EMBEDDED_FOLDER / part).iterdir()
    )
    assert in_half_precision + rest < 32e6


def test_pictures_come_up_by_what_their_captions_say():
    weights = caption_weights(
        [
            "a red mug, front right view, eye level",
            "a red mug",
            "a red mug, back view, eye level, grainy",
            "a red mug, foggy",
            "a red mug, painting",
            "a red mug, overhead view, detailed, sharp",
            "a red cone, front view, eye level",
        ]
    )

    assert weights.tolist() == [8, 4, 4, 2, 2, 4, 4]


def test_the_loss_looks_at_the_object_and_around_it():
    coverage = torch.zeros(1, 8, 8, dtype=torch.uint8)
    coverage[0, 4, 4] = 10

    weights, of_smaller = loss_weights(coverage, 8)[0, 0], loss_weights(coverage, 4)[0, 0]

    near = weights[3:6, 3:6]
    assert near.min() == near.max()
    assert (near[0, 0] / weights[0, 0]).item() == pytest.approx(1 / BACKGROUND_WEIGHT)
    assert weights.mean().item() == pytest.approx(1)
    assert of_smaller[1:4, 1:4].min() == of_smaller.max() > of_smaller[0, 0]
    assert of_smaller.mean().item() == pytest.approx(1)


@pytest.fixture
def shards(tmp_path):
    write_dataset(tmp_path / "pictures" / "world.npz", 48, seed=4, size=128, shard_size=24)
    return PictureShards(tmp_path / "pictures")


def test_pictures_are_handed_out_at_smaller_sizes(shards):
    indices = torch.tensor([3, 40])

    smaller = shards.batch(indices, "cpu", 64)

    assert smaller.shape == (2, 3, 64, 64)
    whole = shards.batch(indices, "cpu")
    torch.testing.assert_close(smaller[:, :, 5, 7], whole[:, :, 10:12, 14:16].mean(dim=(2, 3)))


def test_the_code_for_pictures_is_computed_once(shards, tmp_path):
    first, again = make_autoencoder(128), make_autoencoder(128)
    cpu = torch.device("cpu")

    compute_encoder(first, shards, tmp_path / "training", cpu, (128, 64))
    shards.images = shards.images.flip(0)  # which would give another code
    compute_encoder(again, shards, tmp_path / "training", cpu, (128, 64))

    assert again.config.scaling_factor == first.config.scaling_factor
    assert not any(parameter.requires_grad for parameter in again.encoder.parameters())
    for name, value in first.encoder.state_dict().items():
        assert torch.equal(value, again.encoder.state_dict()[name]), name


def test_all_sizes_are_learnt_in_one_step(shards, tmp_path):
    cpu, sizes = torch.device("cpu"), (128, 64)
    autoencoder = make_autoencoder(128)
    compute_encoder(autoencoder, shards, tmp_path, cpu, sizes)
    codes = [encode_pictures(autoencoder, shards, torch.arange(48), cpu, size) for size in sizes]
    settings = StageSettings(3, 8, 1e-3, warm_up_steps=1)

    record = train_decoder(autoencoder, shards, codes, settings, tmp_path, cpu)

    assert [code.shape[1:] for code in codes] == [(24, 16, 16), (24, 8, 8)]
    assert record["step"] == 3
    assert set(record["psnr"]) == {"128 pixels", "64 pixels"}

    tokenizer = make_tokenizer(caption_words())
    networks = TextConditionedDenoiser(make_denoiser(128), make_text_encoder(tokenizer))
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    drawn = []
    scaled = [code * autoencoder.config.scaling_factor for code in codes]
    record = train_denoiser(
        networks, tokenizer, scaled, shards.coverage, shards.captions, settings, tmp_path, cpu,
        lambda average, step: drawn.append(step),
    )  # fmt: skip

    assert record["step"] == 3
    assert drawn == [3]
    moved = [name for name, value in networks.state_dict().items() if not torch.equal(value, before[name])]
    assert any(name.startswith("denoiser.conv_in") for name in moved)
    assert any(name.endswith("token_embedding.weight") for name in moved)


def test_unknown_words_fall_apart_instead_of_failing():
    tokenizer = make_tokenizer(["red"])

    assert len(tokenizer.tokenize("xylophone")) > 1


def test_a_stage_goes_on_from_its_checkpoint_as_if_unbroken(tmp_path):
    inputs, wanted = torch.randn(32, 4), torch.randn(32, 2)

    def train(steps, checkpoint):
        torch.manual_seed(0)
        module = nn.Linear(4, 2)
        average, record = train_stage(
            "line", module, lambda i: (module(inputs[i]) - wanted[i]).square().mean(), torch.ones(32),
            StageSettings(steps, 8, 0.05, warm_up_steps=1), checkpoint,
        )  # fmt: skip
        return module, average, record

    # The same schedule of rates in both, so the first half is told that it has all 20 steps and broken off by force.
    unbroken, unbroken_average, _ = train(20, tmp_path / "unbroken.safetensors")
    calls = []

    def stop_after_ten(indices):
        calls.append(indices)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return (module(inputs[indices]) - wanted[indices]).square().mean()

    torch.manual_seed(0)
    module = nn.Linear(4, 2)
    settings = StageSettings(20, 8, 0.05, warm_up_steps=1, seconds_between_checkpoints=-1.0)
    with pytest.raises(KeyboardInterrupt):
        train_stage("line", module, stop_after_ten, torch.ones(32), settings, tmp_path / "broken.safetensors")
    resumed, resumed_average, record = train(20, tmp_path / "broken.safetensors")

    assert record["step"] == 20
    assert torch.equal(resumed.weight, unbroken.weight)
    assert torch.equal(resumed_average.parameters[0], unbroken_average.parameters[0])


def test_the_shipped_weights_are_those_of_the_manifest():
    manifest = json.loads((EMBEDDED_FOLDER / "manifest.json").read_text())

    assert {"model_index.json", "unet/diffusion_pytorch_model.safetensors"} <= manifest["files"].keys()
    for name, expected in manifest["files"].items():
        assert hashlib.sha256((EMBEDDED_FOLDER / name).read_bytes()).hexdigest() == expected, name


def test_the_shipped_weights_are_small_safetensors():
    files = [path for path in EMBEDDED_FOLDER.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= 32 * 2**20
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_diffusers_own_pipeline_draws_with_the_embedded_prior():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED_FOLDER, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)

    picture = pipeline("a red mushroom", num_inference_steps=10, guidance_scale=4.0, generator=generator).images[0]

    assert picture.size == (128, 128)
    red, green, blue = (band.resize((1, 1), box=(48, 32, 80, 64)).getpixel((0, 0)) for band in picture.split())
    assert red > max(green, blue)  # the middle of the picture is red
