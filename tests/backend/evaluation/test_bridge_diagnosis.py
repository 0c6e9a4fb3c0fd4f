"""The two diagnoses: known cases give known answers, and the figures show what was measured."""

import csv
import dataclasses
import io

import numpy as np
import pytest
import torch
from random_prior import RandomPrior

from backend.errors import BadInput
from backend.evaluation import diagnosis_figures
from backend.evaluation.bridge_diagnosis import (
    ADDED_NOISE,
    EMPTY_PROMPT,
    INVERSION,
    LEARNT,
    PLAIN_PROMPT,
    SHARED_NOISE,
    SOURCE_PROMPT,
    DiagnosisConfig,
    angle_degrees,
    norm_ratio,
    rms,
    single_step_error,
    source_mismatch,
)
from backend.evaluation.diagnosis_figures import diagnose, diagnosis_csv, figures_of
from backend.evaluation.table_plan import TableSettings

PROMPTS = ["a mug", "a cone", "a mug"]
CONFIG = DiagnosisConfig(
    ", blurry", ", sharp", shares=(0.2, 0.7), ode_steps=3, vsd_steps=2, converged_steps=4, converged_rank=2
)


def latents():
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def test_angles_norms_and_distances_of_known_gradients():
    one = torch.zeros(3, 1, 1, 2)
    other = torch.zeros(3, 1, 1, 2)
    one[:, 0, 0] = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    other[:, 0, 0] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])

    np.testing.assert_allclose(angle_degrees(one, other), [0, 90, 135], atol=1e-4)
    np.testing.assert_allclose(norm_ratio(one, other), [3, 3, 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(rms(one, other), [2**0.5, 5**0.5, 5**0.5], rtol=1e-6)  # (4 + 0) / 2, (9 + 1) / 2, ...


def test_one_step_from_shared_noise_is_the_whole_ode_of_one_step():
    found = single_step_error(latents(), PROMPTS, RandomPrior(), dataclasses.replace(CONFIG, ode_steps=1))

    assert found.timesteps == [200, 700]
    np.testing.assert_allclose(found.degrees[SHARED_NOISE], 0, atol=0.5)
    np.testing.assert_allclose(found.norm_ratio[SHARED_NOISE], 1, rtol=1e-2)
    assert found.degrees[INVERSION].min() > 1  # goes up by itself, so it never saw this noise


def test_with_more_steps_one_step_is_off():
    found = single_step_error(latents(), PROMPTS, RandomPrior(), dataclasses.replace(CONFIG, ode_steps=8))

    assert found.degrees[SHARED_NOISE].shape == (2, 3)
    assert found.degrees[SHARED_NOISE].mean() > 1


def test_equal_prompts_leave_the_source_prompt_where_the_prompt_is():
    found = source_mismatch(latents(), PROMPTS, RandomPrior(), dataclasses.replace(CONFIG, source_suffix=""))

    np.testing.assert_allclose(found.distance[SOURCE_PROMPT], found.distance[PLAIN_PROMPT])
    assert set(found.distance) == {ADDED_NOISE, LEARNT, SOURCE_PROMPT, PLAIN_PROMPT, EMPTY_PROMPT}
    assert found.distance[EMPTY_PROMPT].shape == (2, 3)


def test_a_model_that_learns_nothing_says_what_the_frozen_one_says_of_the_prompt():
    still = dataclasses.replace(CONFIG, vsd_learning_rate=0.0, converged_learning_rate=0.0)

    found = source_mismatch(latents(), PROMPTS, RandomPrior(), still)

    np.testing.assert_allclose(found.distance[PLAIN_PROMPT], 0, atol=1e-5)
    np.testing.assert_allclose(found.distance[LEARNT], 0, atol=1e-5)
    assert found.converged[0] == found.converged[2]


def test_a_model_that_learns_comes_nearer_to_the_noise_of_its_pictures():
    told = []
    learning = dataclasses.replace(CONFIG, converged_steps=60, converged_learning_rate=0.02)

    found = source_mismatch(latents(), PROMPTS, RandomPrior(), learning, lambda step, total: told.append((step, total)))

    assert found.converged[2] < found.converged[0]
    assert told[-1] == (62, 62)


def test_a_network_that_takes_no_adapters_is_refused():
    prior = RandomPrior()
    del prior.unet

    with pytest.raises(BadInput, match="takes adapters; random has none"):
        source_mismatch(latents(), PROMPTS, prior, CONFIG)


@pytest.fixture
def small(monkeypatch):
    def config(source, target, **given):
        return dataclasses.replace(CONFIG, source_suffix=source, target_suffix=target, vsd_steps=given["vsd_steps"])

    monkeypatch.setattr(diagnosis_figures, "DiagnosisConfig", config)
    return TableSettings(prompts=("a mug", "a cone"), seeds=1, steps=4)


def test_figures_and_numbers_tell_the_same(small, tmp_path):
    found = diagnose(small, tmp_path, RandomPrior())

    assert (found.pictures, found.sds_steps) == (2, 3)
    assert [figure.name for figure in figures_of(found)] == [
        "single-step-angle.svg", "single-step-norm.svg", "source-mismatch.svg",
    ]  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(diagnosis_csv(found))))
    assert len(lines) == 2 * (2 + 2 + 5)
    assert float(lines[0]["mean"]) == pytest.approx(found.error.degrees[SHARED_NOISE][0].mean())


def test_a_diagnosis_is_made_once(small, tmp_path):
    first = diagnose(small, tmp_path, RandomPrior())
    unasked = RandomPrior()

    again = diagnose(small, tmp_path, unasked)

    assert unasked.calls == []
    np.testing.assert_array_equal(again.mismatch.distance[LEARNT], first.mismatch.distance[LEARNT])
    assert again.mismatch.converged == first.mismatch.converged
