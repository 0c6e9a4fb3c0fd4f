"""Settings of tasks in 2D: what is refused, and what follows from task, method and prior."""

import json

import pytest

from backend.diffusion.prompts import AUTHORS_SOURCE_SUFFIX, AUTHORS_TARGET_SUFFIX_2D
from backend.errors import BadInput
from backend.picture_config import EditSettings, IllusionSettings, PaintSettings, SamplingConfig, TextToImageSettings

LARGE = "someone/model"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextToImageSettings("  "), "the prompt is empty"),
        (lambda: TextToImageSettings("a", count=0), "count must be from 1 to 64; got 0"),
        (lambda: TextToImageSettings("a", variable="mesh"), "variable must be one of latent, pixels; got 'mesh'"),
        (lambda: TextToImageSettings("a", method="dds"), "method must be one of ddim, sds,"),
        (lambda: TextToImageSettings("a", method="ddim", variable="pixels"), "ddim samples latents"),
        (lambda: EditSettings("a", picture="a.png", source_prompt=""), "the prompt is empty"),
        (lambda: EditSettings("a", picture="", source_prompt="b"), r"such as mug\.png; got ''"),
        (lambda: EditSettings("a", picture="a.png", source_prompt="b", method="sds"), "one of dds, bridge; got 'sds'"),
        (lambda: PaintSettings("a", picture="a.png", method="sds"), "one of bridge; got 'sds'"),
        (lambda: IllusionSettings("a"), 'rotate-180 shows 2 prompts, one for each view; got 1: "a"'),
        (
            lambda: IllusionSettings("a", more_prompts=list("bcde"), transform="overlay"),
            'overlay shows 2 to 4 prompts, one for each view; got 5: "a", "b", "c", "d", "e"',
        ),
        (lambda: IllusionSettings("a", more_prompts=["b", "c"], transform="flip"), "flip shows 2 prompts"),
        (lambda: IllusionSettings("a", more_prompts=["b"], transform="melt"), "transform must be one of rotate-180"),
        (lambda: IllusionSettings("a", more_prompts=[" "]), "the prompt is empty"),
        (lambda: IllusionSettings("a", more_prompts=["b"], method="ddim"), "method must be one of sds, nfsd"),
    ],
)
def test_bad_values_are_named_with_the_right_ones(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_settings_survive_json():
    settings = IllusionSettings("a", more_prompts=["b", "c"], transform="rotate-90", seed=3)

    assert IllusionSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.title == "a / b / c"
    assert json.loads(json.dumps(settings.resolved_to_json()))["variable"] == "pixels"


def test_a_large_model_gets_the_numbers_of_the_authors_script():
    config = TextToImageSettings("a dolphin", prior=LARGE).resolve()

    assert (config.steps, config.learning_rate, config.weight_decay, config.start_deviation) == (1000, 0.01, 0.01, 1.0)
    assert config.distillation.guidance_scale == config.distillation.bridge_scale == 40
    assert config.distillation.bridge_start == 0.5
    assert config.distillation.source_suffix == AUTHORS_SOURCE_SUFFIX
    assert config.distillation.target_suffix == AUTHORS_TARGET_SUFFIX_2D
    assert config.distillation.lowest_noise.at(0.5) == 0.02
    assert config.distillation.highest_noise.at(0.9) == 0.98


def test_what_is_chosen_wins_over_what_suits_the_method():
    assert TextToImageSettings("a", method="vsd").resolve().distillation.guidance_scale == 7.5
    assert TextToImageSettings("a", method="vsd", guidance_scale=3.0).resolve().distillation.guidance_scale == 3.0
    assert TextToImageSettings("a", steps=7).resolve().steps == 7
    assert TextToImageSettings("a", method="ddim").resolved_to_json() == {"steps": 50, "guidance_scale": 4.0}
    chosen = TextToImageSettings("a", method="ddim", steps=9, guidance_scale=0.0, prior=LARGE)
    assert chosen.resolve_sampling() == SamplingConfig(9, 0.0)


@pytest.mark.parametrize("prior", ["embedded", LARGE])
def test_a_painting_begins_with_stage_two_between_its_two_names(prior):
    config = PaintSettings("a house", picture="a.png", prior=prior).resolve()

    assert config.distillation.bridge_start == 0
    assert (config.distillation.source_suffix, config.distillation.target_suffix) == (", painting", "")
    rate = config.learning_rate * config.distillation.bridge_learning_rate_factor
    assert rate == pytest.approx(0.0099 if prior == "embedded" else 0.001)


def test_an_edit_is_delta_denoising_unless_the_bridge_is_asked_for():
    plain = EditSettings("a blue mug", picture="a.png", source_prompt="a red mug").resolve()
    bridge = EditSettings("a blue mug", picture="a.png", source_prompt="a red mug", method="bridge").resolve()

    assert (plain.distillation.method, plain.optimiser, plain.steps) == ("dds", "sgd", 200)
    assert plain.learning_rate == pytest.approx(0.0488, abs=1e-4)
    assert bridge.distillation.bridge_start == 0
    assert (bridge.optimiser, bridge.distillation.bridge_scale) == ("sgd", 4.0)
    assert bridge.distillation.source_suffix == "a red mug"
    assert bridge.distillation.target_suffix == "a blue mug"


def test_the_guidance_scale_of_an_edit_is_the_scale_of_its_bridge():
    settings = EditSettings("b", picture="a.png", source_prompt="a", method="bridge", prior=LARGE)

    assert settings.resolve().distillation.bridge_scale == 7.5
    chosen = EditSettings("b", picture="a.png", source_prompt="a", method="bridge", guidance_scale=2.0)
    assert chosen.resolve().distillation.bridge_scale == 2.0


@pytest.mark.parametrize(
    "settings", [TextToImageSettings("a", variable="pixels"), IllusionSettings("a", more_prompts=["b"])]
)
def test_pixels_have_their_own_rate(settings):
    config = settings.resolve()

    assert (config.variable, config.learning_rate, config.weight_decay) == ("pixels", 0.01, 0.0)
