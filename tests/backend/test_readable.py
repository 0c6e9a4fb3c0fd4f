"""Numbers as people read them."""

import pytest

from backend.readable import readable_bytes, readable_pace, readable_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (30_200_000, "30.2 MB"),
        (143e9, "143 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes(count, text):
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (48.0, "0:48"), (725.0, "12:05"), (11220.0, "3:07:00"), (float("inf"), "?"), (-3.0, "0:00")],
)
def test_seconds(seconds, text):
    assert readable_seconds(seconds) == text


@pytest.mark.parametrize(
    ("steps_per_second", "text"), [(9.54, "9.5 steps/s"), (0.25, "4.0 s/step"), (0.0, "? steps/s")]
)
def test_paces(steps_per_second, text):
    assert readable_pace(steps_per_second) == text
