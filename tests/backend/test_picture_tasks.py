"""The four tasks in 2D, with a prior that knows colours alone."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from colour_prior import ColourPrior
from PIL import Image

from backend.errors import BadInput
from backend.picture_config import EditSettings, IllusionSettings, PaintSettings, TextToImageSettings
from backend.tasks import setting_up
from backend.tasks.edit_picture import EditPicture
from backend.tasks.illusion import Illusion
from backend.tasks.painting_to_real import PaintingToReal
from backend.tasks.text_to_image import TextToImage

COLOURS = {"painting": (0.5, 0.5, 0.5), "red": (0.8, 0.2, 0.2), "blue": (0.2, 0.3, 0.7)}


class WholePictures(ColourPrior):
    """Decodes to the size of its pictures, as real models do."""

    def decode_latents(self, latents):
        return super().decode_latents(torch.nn.functional.interpolate(latents, scale_factor=4))


class TopHalf(WholePictures):
    """Wants the prompt's colour in the upper half, and grey below."""

    def predict_noise(self, noisy, timesteps, embeddings):
        alpha, sigma = (value[:, None, None, None] for value in self.noise_levels.at(timesteps))
        clean = embeddings[:, 0, :, None, None].expand_as(noisy).clone()
        clean[:, :, 4:] = 0.5
        return (noisy - alpha * clean) / sigma


@pytest.fixture(autouse=True)
def prior(monkeypatch):
    made = WholePictures(COLOURS)
    monkeypatch.setattr(setting_up, "load_prior", lambda *_: made)
    return made


@pytest.fixture
def picture(tmp_path):
    """Dark on the left, light on the right, both grey."""
    values = np.full((32, 32, 3), 100, dtype=np.uint8)
    values[:, 16:] = 150
    Image.fromarray(values).save(tmp_path / "before.png")
    return str(tmp_path / "before.png")


def finished(job):
    list(job.steps())
    return job.finish()


def colour(values):
    return values.reshape(-1, 3).mean(0) / 255


def test_sds_ends_at_the_colour_of_the_prompt():
    settings = TextToImageSettings("a red ball", method="sds", guidance_scale=1.0, steps=150)

    result = finished(TextToImage(settings))

    assert colour(result.pictures[""]) == pytest.approx(COLOURS["red"], abs=0.03)
    assert result.sheet is None


def test_sampling_ends_there_too_and_several_get_a_sheet():
    settings = TextToImageSettings("a blue ball", method="ddim", guidance_scale=1.0, steps=8, count=3)
    job = TextToImage(settings)

    result = finished(job)

    assert list(result.pictures) == ["0", "1", "2"]
    assert all(colour(each) == pytest.approx(COLOURS["blue"], abs=0.01) for each in result.pictures.values())
    assert result.sheet.shape == (64, 64, 3)
    assert job.preview().shape == (3, 32, 32, 3)


def test_pictures_of_one_batch_begin_differently_on_a_large_model():
    job = TextToImage(TextToImageSettings("red", prior="some/model", count=2, method="sds", steps=1))

    first, second = job.state()[0]["variable.0"]

    assert not torch.allclose(first, second)


def test_an_edit_by_delta_denoising_adds_the_difference_of_the_prompts(picture):
    settings = EditSettings(
        "a blue wall", picture=picture, source_prompt="a red wall", guidance_scale=0.5, steps=120, method="dds"
    )

    result = finished(EditPicture(settings))

    difference = (result.pictures[""].astype(float) - result.sheet[:, :32].astype(float)) / 255
    # Half the guidance scale, half of blue - red, everywhere: the step between dark and light stays.
    assert difference[:, :8].mean((0, 1)) == pytest.approx([-0.3, 0.05, 0.25], abs=0.05)
    assert difference[:, 24:].mean((0, 1)) == pytest.approx(difference[:, :8].mean((0, 1)), abs=0.02)
    assert (result.sheet[:, 32:] == result.pictures[""]).all()


def test_an_edit_by_the_bridge_goes_from_the_one_prompt_to_the_other(picture, prior):
    settings = EditSettings("a blue wall", picture=picture, source_prompt="a red wall", method="bridge", steps=3)
    job = EditPicture(settings)
    stages = [step.stage for step in job.steps()]

    assert stages == ["bridge"] * 3
    assert prior.asked_prompts[0] == ["a red wall", "a blue wall"]
    before, after = (colour(half) for half in np.split(job.finish().sheet, 2, axis=1))
    assert after[2] > before[2]
    assert after[0] < before[0]


def test_a_painting_goes_from_its_name_with_painting_to_its_name(picture, prior):
    job = PaintingToReal(PaintSettings("red", picture=picture, steps=4))
    result = finished(job)

    assert prior.asked_prompts[0] == ["red, painting", "red"]
    before, after = (colour(half) for half in np.split(result.sheet, 2, axis=1))
    assert after[0] > before[0]
    assert (result.pictures[""] == result.sheet[:, 32:]).all()


def test_a_picture_shows_one_prompt_each_way_up(monkeypatch):
    """Half a turn brings the lower half up: it takes the second colour, against the first view's wish for grey."""
    monkeypatch.setattr(setting_up, "load_prior", lambda *_: TopHalf(COLOURS))
    settings = IllusionSettings("red", more_prompts=["blue"], method="sds", guidance_scale=1.0, steps=300)

    result = finished(Illusion(settings))

    between = {name: (np.array(COLOURS[name]) + 0.5) / 2 for name in ("red", "blue")}
    assert colour(result.pictures["picture"][:14]) == pytest.approx(between["red"], abs=0.05)
    assert colour(result.pictures["picture"][18:]) == pytest.approx(between["blue"], abs=0.05)
    assert (result.sheet[:, 32:] == result.pictures["picture"][::-1, ::-1]).all()
    assert result.sheet_name == "views"
    assert len(result.frames) > 20


def test_an_overlay_of_two_pictures_shows_both_prompts():
    """All four views of one colour: tanh(3 a b) is that colour."""
    settings = IllusionSettings(
        "red", more_prompts=["red", "red", "red"], transform="overlay", method="sds", guidance_scale=1.0, steps=150
    )

    result = finished(Illusion(settings))

    assert list(result.pictures) == ["base", "rotator"]
    assert result.sheet.shape == (32, 128, 3)
    assert colour(result.sheet) == pytest.approx(COLOURS["red"], abs=0.05)
    product = (result.pictures["base"][16, 16, 0] / 255) * (result.pictures["rotator"][16, 16, 0] / 255)
    assert math.tanh(3 * product) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda file, tell: EditPicture(EditSettings("red", picture=file, source_prompt="red"), tell),
            "'red', so nothing is edited",
        ),
        (
            lambda file, tell: EditPicture(
                EditSettings("red", picture=file, source_prompt="red", method="bridge"), tell
            ),
            "the same, 'red', so the gradient of the bridge is zero",
        ),
        (
            lambda file, tell: PaintingToReal(PaintSettings("red", picture=file, source_suffix=""), tell),
            "gradient of the bridge is zero",
        ),
        (
            lambda file, tell: TextToImage(TextToImageSettings("red", source_suffix=", x", target_suffix="x"), tell),
            "the same, 'red, x'",
        ),
    ],
)
def test_equal_prompts_are_told(picture, make, words):
    told = []
    make(picture, told.append)

    assert any(words in sentence for sentence in told)


def test_a_model_distilled_from_guidance_is_refused(prior):
    prior.unet = SimpleNamespace(config=SimpleNamespace(time_cond_proj_dim=256))

    with pytest.raises(BadInput, match="embedded is distilled from guidance"):
        TextToImage(TextToImageSettings("red"))


def test_delta_denoising_and_resuming_go_together(picture):
    settings = EditSettings("a blue wall", picture=picture, source_prompt="a red wall", steps=4)
    unbroken = EditPicture(settings)
    steps = unbroken.steps()
    next(steps)
    state = unbroken.state()
    list(steps)
    resumed = EditPicture(settings)
    resumed.load_state(*state)

    assert (finished(resumed).pictures[""] == unbroken.finish().pictures[""]).all()
