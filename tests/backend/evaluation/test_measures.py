"""Numbers with their intervals: what their texts say, and when a difference decides."""

import numpy as np
import pytest

from backend.evaluation.distances import Resampling
from backend.evaluation.measures import Measure, resampled_mean, verdict


def test_the_interval_of_a_mean_holds_the_middle_of_its_resampled_values():
    measure = resampled_mean(np.array([0.0, 1.0, 2.0, 3.0]), Resampling(4, 2000))

    low, high = measure.interval
    assert measure.estimate == 1.5
    # The mean of four draws from four values has the deviation sqrt(1.25 / 4) = 0.56, so 95 % are about 1.1 either way.
    assert low == pytest.approx(0.4, abs=0.15)
    assert high == pytest.approx(2.6, abs=0.15)


def test_the_interval_of_a_distance_has_the_rise_of_resampling_taken_off():
    risen = 10.0 + np.linspace(1.0, 3.0, 201)  # on average 2 above the estimate

    low, high = Measure(10.0, risen, is_distance=True).interval

    assert (low, high) == (pytest.approx(9.05, abs=0.01), pytest.approx(10.95, abs=0.01))


@pytest.mark.parametrize(
    ("values", "less_is_better", "expected"),
    [
        ([-3.0, -2.0, -1.0], True, "yes"),
        ([-3.0, -2.0, -1.0], False, "**no**"),
        ([1.0, 2.0, 3.0], True, "**no**"),
        ([-1.0, 0.0, 1.0], True, "not decided at this n"),
        ([], True, "not decided at this n"),
    ],
)
def test_a_difference_decides_where_its_interval_lies_on_one_side_of_zero(values, less_is_better, expected):
    assert verdict(Measure(float(np.mean(values or [0])), np.array(values)), less_is_better) == expected


def test_what_was_not_resampled_is_told_without_brackets():
    assert Measure(1.25, np.array([])).text() == "1.250"
    assert Measure(1.25, np.array([1.0, 1.5])).text().startswith("1.250 [1.0")
