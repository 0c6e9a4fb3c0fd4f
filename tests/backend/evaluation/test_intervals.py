"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluation.intervals import bootstrap_interval


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)

    low, high = bootstrap_interval(values)

    # 1.96 standard errors to each side; 5000 resamples know the ends to some percent.
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_of_a_hundred_samples_about_ninety_five_intervals_hold_the_true_mean():
    rng = np.random.default_rng(2)
    intervals = [bootstrap_interval(rng.normal(0.0, 1.0, 40), resamples=1000) for _ in range(100)]

    # 88 to 99: more than three standard deviations (2.2) of a binomial with p = 0.95, less what n = 40 costs.
    assert 88 <= sum(low <= 0 <= high for low, high in intervals) <= 99


def test_another_statistic_can_be_asked_for():
    values = np.concatenate([np.zeros(99), [1e6]])

    assert bootstrap_interval(values, np.median) == (0.0, 0.0)
    assert bootstrap_interval(values)[1] > 10_000


def test_the_same_values_and_seed_give_the_same_interval():
    values = np.random.default_rng(3).random(30)

    assert bootstrap_interval(values, seed=7) == bootstrap_interval(list(values), seed=7)
    assert bootstrap_interval(values, seed=7) != bootstrap_interval(values, seed=8)


def test_a_single_value_has_no_spread():
    assert bootstrap_interval([0.25]) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("values", "message"), [([], "at least one number"), ([1.0, float("nan")], "1 of the 2 values are not finite")]
)
def test_values_that_say_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values)


def test_a_confidence_in_percent_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        bootstrap_interval([1.0, 2.0], confidence=95.0)
