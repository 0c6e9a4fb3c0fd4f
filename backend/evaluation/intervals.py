"""How sure a number is that was measured on a sample. Seeded, so that the same values give the same interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_NUMBERS_AT_ONCE = 4_000_000


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic (Efron and Tibshirani 1993, section 13.3), as (low, high).

    The values must be independent of each other: of eight views of one mesh, give their mean as one value.

    Args:
        values: One number per independent thing that was measured. One value alone gives (value, value): its spread
            is not known.
        statistic: Reduces an array along an axis, such as `np.mean` or `np.median`: called as `statistic(a, axis=1)`.
        confidence: Between 0 and 1.
        resamples: Times that the sample is drawn again, with replacement.

    Raises:
        ValueError: No values, values that are not finite, or a confidence outside (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0:
        raise ValueError(f"values must be a list of at least one number, got an array of shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"{int((~np.isfinite(sample)).sum())} of the {len(sample)} values are not finite numbers")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    rng = np.random.default_rng(seed)
    at_once = max(1, _MOST_NUMBERS_AT_ONCE // len(sample))
    statistics = [
        statistic(sample[rng.integers(len(sample), size=(min(at_once, resamples - first), len(sample)))], axis=1)
        for first in range(0, resamples, at_once)
    ]
    low, high = np.quantile(np.concatenate(statistics), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
