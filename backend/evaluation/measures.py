"""A number with the same number of resampled data, so that two methods can be subtracted in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from backend.evaluation.distances import (
    Resampling,
    distance_interval,
    frechet_distance,
    kernel_distance,
    resampled_frechet_distances,
    resampled_kernel_distances,
)

FRECHET, KERNEL = "Fréchet distance", "kernel distance"


@dataclass(frozen=True)
class Measure:
    """A number per method with the resampled numbers from which intervals follow; paired between methods."""

    estimate: float
    resampled: Float[np.ndarray, "resamples"]
    is_distance: bool = False
    """Distances rise when samples are drawn twice, which their interval takes off."""

    def __sub__(self, other: Measure) -> Measure:
        return Measure(self.estimate - other.estimate, self.resampled - other.resampled, self.is_distance)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, as (low, high); None where nothing was resampled."""
        if len(self.resampled) == 0:
            return None
        if self.is_distance:
            return distance_interval(self.estimate, self.resampled)
        low, high = np.quantile(self.resampled, (0.025, 0.975))
        return float(low), float(high)

    def text(self, sign: str = "") -> str:
        """`0.123 [0.100, 0.150]`; `sign` is that of a format, such as `+`."""
        said = f"{self.estimate:{sign}.3f}"
        interval = self.interval
        return said if interval is None else f"{said} [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def resampled_mean(values: Float[np.ndarray, "groups"], resampling: Resampling) -> Measure:
    """The mean of one value per group."""
    return Measure(float(values.mean()), np.array([draws @ values / draws.sum() for draws in resampling]))


def verdict(difference: Measure, less_is_better: bool) -> str:
    """`yes` or `no` where the interval lies on one side of 0."""
    interval = difference.interval
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "not decided at this n"
    return "yes" if (interval[1] < 0) == less_is_better else "**no**"


def distances_between(
    ours: Float[np.ndarray, "samples features"],
    theirs: Float[np.ndarray, "samples features"],
    resampling: Resampling,
    groups: Int[np.ndarray, "samples"],
) -> dict[str, Measure]:
    """The Fréchet and the kernel distance of two sets of features, drawn again together.

    Args:
        groups: Of both: what is drawn again as a whole.
    """
    both = {"groups_a": groups, "groups_b": groups}
    return {
        FRECHET: Measure(
            frechet_distance(ours, theirs),
            resampled_frechet_distances(ours, theirs, resampling, **both, is_paired=True),
            is_distance=True,
        ),
        KERNEL: Measure(
            kernel_distance(ours, theirs, **both, is_paired=True),
            resampled_kernel_distances(ours, theirs, resampling, **both, is_paired=True),
            is_distance=True,
        ),
    }
