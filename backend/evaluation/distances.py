"""How far apart two sets of pictures are, as distances between their features. Knows arrays only, in float64.

The Fréchet distance depends on the number of samples (fewer look further apart), so it takes equally many of both; the
kernel distance does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Features = Float[np.ndarray, "samples features"]
FeaturesA = Float[np.ndarray, "samples_a features"]
FeaturesB = Float[np.ndarray, "samples_b features"]
Groups = Int[np.ndarray, "samples"]
GroupsA = Int[np.ndarray, "samples_a"]
GroupsB = Int[np.ndarray, "samples_b"]
"""Samples with the same number belong together, as the views of one mesh do: they are drawn again together."""


def frechet_distance(features_a: FeaturesA, features_b: FeaturesB) -> float:
    """Fréchet distance of the two normal distributions that have the means and covariances of the samples.

    The value falls with the number of samples: compare only values of equally many.

    Source: Heusel et al. 2017 (FID), equation 6, on other features.

    Raises:
        ValueError: Not equally many samples, fewer than two, or numbers that are not finite.
    """
    a, b = _checked(features_a, features_b)
    if len(a) != len(b):
        raise ValueError(f"the Fréchet distance needs equally many samples, got {len(a)} and {len(b)}")
    return _frechet_of_weighted(a, b, np.ones(len(a)), np.ones(len(b)))


def frechet_distance_of_normals(
    mean_a: Float[np.ndarray, "features"],
    covariance_a: Float[np.ndarray, "features features"],
    mean_b: Float[np.ndarray, "features"],
    covariance_b: Float[np.ndarray, "features features"],
) -> float:
    """Squared Wasserstein-2 distance of two normal distributions (Dowson and Landau 1982); covariances may be singular.

    |m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))
    """
    # A B is not symmetric, but has the eigenvalues of A^(1/2) B A^(1/2), which is: no complex root, no unstable sqrtm.
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = root @ covariance_b @ root
    trace_of_root = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    difference = mean_a - mean_b
    distance = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace_of_root
    return max(0.0, float(distance))


def kernel_distance(
    features_a: FeaturesA,
    features_b: FeaturesB,
    *,
    groups_a: GroupsA | None = None,
    groups_b: GroupsB | None = None,
    is_paired: bool = False,
) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / features + 1)^3, unbiased: it can be below 0.

    Args:
        groups_a: Pairs within a group are left out, as the pair of a sample with itself always is: views of one mesh
            are alike whatever the distributions. None: every sample is a group of its own.
        is_paired: The groups of both sets belong together one by one, such as by prompt and seed. The pairs between
            two such groups are left out too (Gretton et al. 2012, equation 4): else two sets of the same few prompts
            would look nearer to each other than each to itself.

    Source: Binkowski et al. 2018 (KID), equation 4 and section 4, on other features and over all samples at once.

    Raises:
        ValueError: Fewer than two samples or groups, or numbers that are not finite.
    """
    a, b = _checked(features_a, features_b)
    members_a, members_b = _groups_or_singles(groups_a, len(a)), _groups_or_singles(groups_b, len(b))
    kernels = _KernelSums.of(a, b, members_a, members_b, is_paired)
    return kernels.distance(np.ones(len(kernels.sizes_a)), np.ones(len(kernels.sizes_b)))


@dataclass(frozen=True)
class Resampling:
    """How often each group is drawn, over and over: the one randomness that several distances can share.

    Two methods against the same references under the same resampling give paired values, whose difference has an
    interval of its own.
    """

    groups: int
    resamples: int = 500
    seed: int = 0

    def __iter__(self) -> Iterator[Float[np.ndarray, "groups"]]:
        rng = np.random.default_rng(self.seed)
        for _ in range(self.resamples):
            yield rng.multinomial(self.groups, np.full(self.groups, 1 / self.groups)).astype(np.float64)


def resampled_frechet_distances(
    features_a: FeaturesA,
    features_b: FeaturesB,
    resampling: Resampling,
    *,
    groups_a: GroupsA | None = None,
    groups_b: GroupsB | None = None,
    is_paired: bool = False,
) -> Float[np.ndarray, "resamples"]:
    """The Fréchet distance of sets that are drawn again by group; see `distance_interval` for what to make of them.

    Args:
        is_paired: The groups of both sets belong together one by one (the same prompt, the same seed) and are drawn
            together; else each set is drawn on its own.
    """
    a, b = _checked(features_a, features_b)
    members_a, members_b = _groups_or_singles(groups_a, len(a)), _groups_or_singles(groups_b, len(b))
    draws = _paired_draws(resampling, members_a, members_b, is_paired)
    return np.array([_frechet_of_weighted(a, b, one[members_a], other[members_b]) for one, other in draws])


def resampled_kernel_distances(
    features_a: FeaturesA,
    features_b: FeaturesB,
    resampling: Resampling,
    *,
    groups_a: GroupsA | None = None,
    groups_b: GroupsB | None = None,
    is_paired: bool = False,
) -> Float[np.ndarray, "resamples"]:
    """The kernel distance of sets that are drawn again by group; a group drawn twice makes no pair with itself."""
    a, b = _checked(features_a, features_b)
    members_a, members_b = _groups_or_singles(groups_a, len(a)), _groups_or_singles(groups_b, len(b))
    kernels = _KernelSums.of(a, b, members_a, members_b, is_paired)
    draws = _paired_draws(resampling, members_a, members_b, is_paired)
    # One draw in thousands takes the same group every time where there are few, and then has no pairs.
    return np.array([kernels.distance(one, other) for one, other in draws if _has_pairs(one) and _has_pairs(other)])


def distance_interval(
    estimate: float, resampled: Float[np.ndarray, "resamples"], confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval around an estimate, as (low, high).

    A set that is drawn again holds some samples twice and others not, which raises the Fréchet distance as a smaller
    set would. The interval is the percentile interval with that mean rise taken off.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    rise = resampled.mean() - estimate
    low, high = np.quantile(resampled - rise, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class _KernelSums:
    """Sums of the kernel over pairs of groups, from which any resampling follows without the kernel."""

    within_a: Float[np.ndarray, "groups_a groups_a"]
    within_b: Float[np.ndarray, "groups_b groups_b"]
    between: Float[np.ndarray, "groups_a groups_b"]
    sizes_a: Float[np.ndarray, "groups_a"]
    sizes_b: Float[np.ndarray, "groups_b"]
    is_paired: bool

    @classmethod
    def of(cls, a: FeaturesA, b: FeaturesB, groups_a: GroupsA, groups_b: GroupsB, is_paired: bool) -> _KernelSums:
        sizes_a, sizes_b = (np.bincount(groups).astype(np.float64) for groups in (groups_a, groups_b))
        if min(len(sizes_a), len(sizes_b)) < 2:
            raise ValueError(f"the kernel distance needs two groups of each, got {len(sizes_a)} and {len(sizes_b)}")
        if is_paired and len(sizes_a) != len(sizes_b):
            raise ValueError(f"paired sets need equally many groups, got {len(sizes_a)} and {len(sizes_b)}")
        return cls(
            _summed_kernel(a, a, groups_a, groups_a),
            _summed_kernel(b, b, groups_b, groups_b),
            _summed_kernel(a, b, groups_a, groups_b),
            sizes_a,
            sizes_b,
            is_paired,
        )

    def distance(self, draws_a: Float[np.ndarray, "groups_a"], draws_b: Float[np.ndarray, "groups_b"]) -> float:
        """The distance where each group is there as often as the draws say."""
        return (
            _weighted_mean(self.within_a, np.outer(self.sizes_a, self.sizes_a), np.outer(draws_a, draws_a), True)
            + _weighted_mean(self.within_b, np.outer(self.sizes_b, self.sizes_b), np.outer(draws_b, draws_b), True)
            - 2
            * _weighted_mean(
                self.between, np.outer(self.sizes_a, self.sizes_b), np.outer(draws_a, draws_b), self.is_paired
            )
        )


def _weighted_mean(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray, leaves_out_diagonal: bool) -> float:
    """Mean of the kernel over the pairs of samples of two groups, in all or of two groups of different number."""
    if leaves_out_diagonal:
        np.fill_diagonal(weights, 0)
    return float((weights * sums).sum() / (weights * counts).sum())


def _summed_kernel(a: FeaturesA, b: FeaturesB, groups_a: GroupsA, groups_b: GroupsB) -> np.ndarray:
    kernel = (a @ b.T / a.shape[1] + 1) ** 3
    sums = np.zeros((groups_a.max() + 1, groups_b.max() + 1))
    np.add.at(sums, (groups_a[:, None], groups_b[None, :]), kernel)
    return sums


def _frechet_of_weighted(a: FeaturesA, b: FeaturesB, weights_a: np.ndarray, weights_b: np.ndarray) -> float:
    return frechet_distance_of_normals(*_weighted_moments(a, weights_a), *_weighted_moments(b, weights_b))


def _weighted_moments(features: Features, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance where each sample is there `weight` times."""
    mean = weights @ features / weights.sum()
    centred = features - mean
    return mean, (centred * weights[:, None]).T @ centred / (weights.sum() - 1)


def _paired_draws(
    resampling: Resampling, members_a: GroupsA, members_b: GroupsB, is_paired: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for members in (members_a, members_b):
        if members.max() + 1 != resampling.groups:
            raise ValueError(f"the resampling is over {resampling.groups} groups, the samples have {members.max() + 1}")
    other = resampling if is_paired else Resampling(resampling.groups, resampling.resamples, resampling.seed + 1)
    return zip(resampling, other, strict=True)


def _has_pairs(draws: np.ndarray) -> bool:
    return bool((draws > 0).sum() > 1)


def _groups_or_singles(groups: Groups | None, count: int) -> Groups:
    """Groups numbered from 0 on in the order of their numbers."""
    if groups is None:
        return np.arange(count)
    if groups.shape != (count,):
        raise ValueError(f"groups must be one number for each of the {count} samples, got shape {groups.shape}")
    return np.unique(groups, return_inverse=True)[1]


def _checked(features_a: FeaturesA, features_b: FeaturesB) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(features_a, dtype=np.float64), np.asarray(features_b, dtype=np.float64)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a distance needs at least two samples of each, got {len(a)} and {len(b)}")
    for features in (a, b):
        if not np.isfinite(features).all():
            broken = int((~np.isfinite(features)).any(axis=1).sum())
            raise ValueError(f"{broken} of {len(features)} samples have features that are not finite")
    return a, b
