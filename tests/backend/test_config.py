"""Settings: what is refused, what survives JSON, and what follows from quality and prior."""

import dataclasses
import json

import pytest

from backend.config import LinearRamp, TextToMeshSettings, TextureMeshSettings, check_whole_number
from backend.diffusion.prompts import AUTHORS_SOURCE_SUFFIX
from backend.errors import BadInput


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", "  ", "the prompt is empty"),
        ("prompt", "x" * 2001, "2001 characters; at most 2000"),
        ("steps", -5, "steps must be from 1 to 1000000; got -5"),
        ("steps", 0, "steps must be from 1"),
        ("seed", -1, "seed must be from 0"),
        ("faces", 10, "faces must be from 100"),
        ("texture_size", 9000, "texture size must be from 64 to 8192; got 9000"),
        ("quality", "ultra", "quality must be one of draft, normal, high; got 'ultra'"),
        ("device", "tpu", "device must be one of auto, cpu, cuda"),
        ("rasteriser", "opengl", "rasteriser must be one of auto, portable, nvdiffrast, cuda"),
        ("bridge_start", 1.5, "bridge start must be a number from 0 to 1; got 1.5"),
        ("guidance_scale", float("nan"), "guidance scale must be a number"),
    ],
)
def test_bad_values_are_named_with_the_right_ones(field, value, message):
    with pytest.raises(BadInput, match=message):
        TextToMeshSettings(**{"prompt": "a red mushroom", field: value})


def test_a_texture_needs_a_mesh_and_an_axis_that_there_is():
    with pytest.raises(BadInput, match="the setting 'mesh' is missing"):
        TextureMeshSettings.from_json({"prompt": "a mug"})
    with pytest.raises(BadInput, match=r"such as mug\.glb; got ''"):
        TextureMeshSettings("a mug", mesh="")
    with pytest.raises(BadInput, match="up must be one of y, z; got 'x'"):
        TextureMeshSettings("a mug", mesh="mug.glb", up="x")
    with pytest.raises(BadInput, match="seed must be from 0"):
        TextureMeshSettings("a mug", mesh="mug.glb", seed=-1)


@pytest.mark.parametrize("prior", ["embedded", "someone/model"])
def test_a_texture_takes_fewer_steps_than_a_mesh_and_never_looks_at_the_shape_alone(prior):
    texture = TextureMeshSettings("a mug", mesh="mug.glb", prior=prior).resolve()
    whole = TextToMeshSettings("a mug", prior=prior).resolve()

    assert texture.steps < whole.steps / 2
    assert texture.views.textureless_share == 0
    assert 0 < texture.views.albedo_share < 0.5
    assert texture.distillation == whole.distillation


def test_numbers_that_are_not_whole_are_refused():
    with pytest.raises(BadInput, match="steps must be a whole number"):
        check_whole_number("steps", 2.5, 1, 10)


def test_settings_survive_json():
    for settings in (
        TextToMeshSettings("a red mushroom", seed=7, quality="draft", guidance_scale=12.5),
        TextureMeshSettings("a red mug", mesh="mug.glb", up="z"),
    ):
        assert type(settings).from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(BadInput, match="unknown setting 'stepz'"):
        TextToMeshSettings.from_json({"prompt": "a mug", "stepz": 5})


def test_a_missing_prompt_is_named():
    with pytest.raises(BadInput, match="'prompt' is missing"):
        TextToMeshSettings.from_json({"seed": 1})


def test_what_the_user_chose_wins_over_the_defaults():
    settings = TextToMeshSettings(
        "a mug", steps=17, guidance_scale=3.0, bridge_start=0.25, source_suffix="", target_suffix="x"
    )

    config = settings.resolve()

    assert config.steps == 17
    assert config.distillation.guidance_scale == 3.0
    assert config.distillation.bridge_start == 0.25
    assert config.distillation.source_suffix == ""
    assert config.distillation.target_suffix == "x"


def test_large_models_get_the_authors_defaults():
    # SDS-Bridge, sds-bridge.yaml: guidance 100, stage two from 20,000 of 25,000, t below .5 from 5,000 of 25,000.
    distillation = TextToMeshSettings("a mug", prior="someone/model").resolve().distillation

    assert distillation.guidance_scale == 100
    assert distillation.bridge_start == 20_000 / 25_000
    assert distillation.source_suffix == AUTHORS_SOURCE_SUFFIX
    assert distillation.highest_noise.at(0.19) == 0.98
    assert distillation.highest_noise.at(0.21) == 0.5


@pytest.mark.parametrize(("quality", "finest"), [("draft", 32), ("normal", 64), ("high", 128)])
def test_quality_sets_the_finest_lattice(quality, finest):
    assert TextToMeshSettings("a mug", quality=quality).resolve().surface.resolutions[-1][1] == finest


def test_a_ramp_is_straight_between_its_ends_and_flat_outside():
    ramp = LinearRamp(1.0, 3.0, begin=0.2, until=0.6)

    assert [ramp.at(progress) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([1, 1, 2, 3, 3])


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TextToMeshSettings("a mug").seed = 5
