"""Distances between sets of features: closed forms, laws, and a naive loop as the reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from backend.evaluation.distances import (
    Resampling,
    distance_interval,
    frechet_distance,
    frechet_distance_of_normals,
    kernel_distance,
    resampled_frechet_distances,
    resampled_kernel_distances,
)


def normal_samples(count: int, seed: int, shift: float = 0.0, scale: float = 1.0, features: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, features)) * scale + shift


def random_covariance(seed: int, features: int = 5) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((features, features))
    return root @ root.T


# --- Fréchet ---------------------------------------------------------------------------------------------------------


def test_frechet_distance_of_normals_with_diagonal_covariances_is_the_sum_over_the_axes():
    # In one dimension: (m1 - m2)^2 + (s1 - s2)^2; independent axes add up. By hand: 9 + 1 + 0 + 4.
    distance = frechet_distance_of_normals(
        np.array([3.0, 0.0]), np.diag([4.0, 1.0]), np.array([0.0, 0.0]), np.diag([1.0, 9.0])
    )

    assert distance == pytest.approx(9 + (2 - 1) ** 2 + (1 - 3) ** 2)


def test_frechet_distance_of_normals_that_do_not_commute_is_the_formula_with_a_matrix_square_root():
    a, b = random_covariance(1), random_covariance(2)
    mean = np.arange(5.0)
    expected = mean @ mean + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))  # scipy's general matrix square root

    assert frechet_distance_of_normals(mean, a, np.zeros(5), b) == pytest.approx(expected)


def test_frechet_distance_takes_singular_covariances():
    flat = np.diag([1.0, 0.0, 0.0])

    assert frechet_distance_of_normals(np.zeros(3), flat, np.zeros(3), flat) == pytest.approx(0, abs=1e-12)
    assert frechet_distance_of_normals(np.zeros(3), flat, np.zeros(3), np.diag([0.0, 4.0, 0.0])) == pytest.approx(5)


def test_frechet_distance_of_samples_comes_near_that_of_their_distributions():
    a, b = normal_samples(20000, 1), normal_samples(20000, 2, shift=0.5, scale=2)

    # Four axes, each (0.5)^2 + (2 - 1)^2.
    assert frechet_distance(a, b) == pytest.approx(4 * (0.25 + 1), rel=0.03)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    a = normal_samples(50, 1)

    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_within_one_distribution_falls_with_the_number_of_samples():
    few, many = (frechet_distance(normal_samples(n, 1), normal_samples(n, 2)) for n in (40, 4000))

    assert 0 < many < few / 10


# --- Kernel ----------------------------------------------------------------------------------------------------------


def naive_kernel_distance(
    a: np.ndarray, b: np.ndarray, groups_a: list[int], groups_b: list[int], is_paired: bool = False
) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((sum(i * j for i, j in zip(x, y, strict=True)) / len(x) + 1) ** 3)

    def mean_within(features: np.ndarray, groups: list[int]) -> float:
        pairs = range(len(features))
        values = [kernel(features[i], features[j]) for i in pairs for j in pairs if groups[i] != groups[j]]
        return sum(values) / len(values)

    between = [
        kernel(x, y)
        for x, one in zip(a, groups_a, strict=True)
        for y, other in zip(b, groups_b, strict=True)
        if not (is_paired and one == other)
    ]
    return mean_within(a, groups_a) + mean_within(b, groups_b) - 2 * sum(between) / len(between)


def test_kernel_distance_is_that_of_a_naive_loop():
    a, b = normal_samples(7, 1), normal_samples(5, 2, shift=1.0)

    assert kernel_distance(a, b) == pytest.approx(naive_kernel_distance(a, b, list(range(7)), list(range(5))))


def test_kernel_distance_leaves_out_pairs_within_a_group_as_a_naive_loop_does():
    a, b = normal_samples(7, 1), normal_samples(6, 2, shift=1.0)
    groups_a, groups_b = [4, 4, 4, 9, 9, 1, 1], [0, 0, 1, 1, 2, 2]

    distance = kernel_distance(a, b, groups_a=np.array(groups_a), groups_b=np.array(groups_b))

    assert distance == pytest.approx(naive_kernel_distance(a, b, groups_a, groups_b))


def test_kernel_distance_of_paired_sets_leaves_out_the_pairs_of_counterparts_as_a_naive_loop_does():
    a, b = normal_samples(6, 1), normal_samples(6, 2, shift=1.0)
    groups = [0, 0, 1, 1, 2, 2]

    distance = kernel_distance(a, b, groups_a=np.array(groups), groups_b=np.array(groups), is_paired=True)

    assert distance == pytest.approx(naive_kernel_distance(a, b, groups, groups, is_paired=True))


def test_kernel_distance_of_paired_sets_of_the_same_few_prompts_is_zero_on_average():
    # Four "prompts" far apart, once in each set: the same distribution, though every set holds each exactly once.
    prompts = normal_samples(4, 99, scale=3.0)
    pairs = [(prompts + normal_samples(4, 2 * i), prompts + normal_samples(4, 2 * i + 1)) for i in range(300)]

    paired = [kernel_distance(a, b, is_paired=True) for a, b in pairs]
    unpaired = [kernel_distance(a, b) for a, b in pairs]

    assert abs(np.mean(paired)) < 4 * np.std(paired) / np.sqrt(300)
    assert np.mean(unpaired) < -8 * np.std(unpaired) / np.sqrt(300)  # what pairing is for


def test_kernel_distance_within_one_distribution_is_zero_on_average():
    distances = [kernel_distance(normal_samples(20, 2 * i), normal_samples(20, 2 * i + 1)) for i in range(400)]

    # Four standard errors. Pairs of a sample with itself, left in, would raise the mean by about 0.6.
    assert abs(np.mean(distances)) < 4 * np.std(distances) / np.sqrt(400)
    assert min(distances) < 0


def test_kernel_distance_of_alike_views_within_groups_is_zero_on_average():
    def grouped(seed: int) -> np.ndarray:
        return np.repeat(normal_samples(12, seed), 4, axis=0)

    groups = np.repeat(np.arange(12), 4)
    distances = [
        kernel_distance(grouped(2 * i), grouped(2 * i + 1), groups_a=groups, groups_b=groups) for i in range(300)
    ]

    assert abs(np.mean(distances)) < 4 * np.std(distances) / np.sqrt(300)


def test_kernel_distance_sees_a_shift():
    assert kernel_distance(normal_samples(200, 1), normal_samples(200, 2, shift=1.0)) > 1


# --- Laws of both ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_are_symmetric(distance):
    a, b = normal_samples(30, 1), normal_samples(30, 2, shift=0.3, scale=1.5)

    assert distance(a, b) == pytest.approx(distance(b, a))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_do_not_depend_on_the_order_of_the_samples(distance):
    a, b = normal_samples(30, 1), normal_samples(30, 2, shift=0.3)

    assert distance(a[::-1], np.roll(b, 7, axis=0)) == pytest.approx(distance(a, b))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_single_precision_is_raised_to_double_first(distance):
    a, b = normal_samples(30, 1).astype(np.float32), normal_samples(30, 2).astype(np.float32)

    assert distance(a, b) == distance(a.astype(np.float64), b.astype(np.float64))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_refuse_what_has_no_distance(distance):
    good = normal_samples(5, 1)
    broken = good.copy()
    broken[2, 1] = np.nan

    with pytest.raises(ValueError, match="at least two samples"):
        distance(good[:1], good[:1])
    with pytest.raises(ValueError, match="1 of 5 samples"):
        distance(good, broken)


def test_frechet_distance_refuses_sets_of_different_sizes():
    with pytest.raises(ValueError, match="got 6 and 5"):
        frechet_distance(normal_samples(6, 1), normal_samples(5, 2))


# --- Intervals -------------------------------------------------------------------------------------------------------


def test_a_group_is_drawn_as_often_as_its_weight_says():
    a, b = normal_samples(6, 1), normal_samples(6, 2, shift=0.5)
    groups = np.repeat(np.arange(3), 2)
    draws = next(iter(Resampling(3, seed=5)))
    chosen = [i for i in range(6) for _ in range(int(draws[groups[i]]))]  # written out instead of weighted

    distances = resampled_frechet_distances(
        a, b, Resampling(3, 1, seed=5), groups_a=groups, groups_b=groups, is_paired=True
    )

    assert distances == pytest.approx([frechet_distance(a[chosen], b[chosen])])


def test_a_group_drawn_twice_makes_no_pair_with_itself():
    a, b = normal_samples(8, 1), normal_samples(8, 2, shift=0.5)
    resampling = Resampling(8, 1, seed=3)
    draws = next(iter(resampling))
    chosen = [i for i in range(8) for _ in range(int(draws[i]))]
    expected = naive_kernel_distance(a[chosen], b[chosen], chosen, chosen, is_paired=True)

    assert resampled_kernel_distances(a, b, resampling, is_paired=True) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("distance", "resampled_distances"),
    [(frechet_distance, resampled_frechet_distances), (kernel_distance, resampled_kernel_distances)],
)
def test_intervals_cover_the_truth_about_as_often_as_they_say(distance, resampled_distances):
    # The truth is the mean of the estimates over many repeats: for the Fréchet distance, at this number of samples.
    samples, repeats = 60, 40
    sets = [(normal_samples(samples, 2 * i), normal_samples(samples, 2 * i + 1, shift=0.7)) for i in range(repeats)]
    estimates = [distance(a, b) for a, b in sets]
    truth = np.mean(estimates)

    covered = 0
    for estimate, (a, b) in zip(estimates, sets, strict=True):
        low, high = distance_interval(estimate, resampled_distances(a, b, Resampling(samples, 100)))
        covered += low <= truth <= high

    # 95 % asked for; 40 repeats: binomial(40, 0.95) is below 33 once in 1000.
    assert covered >= 33


def test_the_interval_lies_around_the_estimate_though_drawing_again_raises_it():
    a, b = normal_samples(40, 1), normal_samples(40, 2)
    estimate = frechet_distance(a, b)
    resampled = resampled_frechet_distances(a, b, Resampling(40, 200))

    low, high = distance_interval(estimate, resampled)

    assert resampled.mean() > 1.3 * estimate
    assert low < estimate < high


def test_equal_seeds_give_equal_resamplings_and_pairing_matters():
    a = normal_samples(30, 1)
    moved = a + 0.1
    paired, again, apart = (
        resampled_frechet_distances(a, moved, Resampling(30, 50, seed=4), is_paired=is_paired)
        for is_paired in (True, True, False)
    )

    np.testing.assert_array_equal(paired, again)
    # Drawn together both covariances stay equal, and only the shift remains: four axes of 0.1^2.
    np.testing.assert_allclose(paired, 0.04, atol=1e-9)
    assert apart.min() > 0.04


def test_a_resampling_over_other_groups_is_refused():
    a = normal_samples(6, 1)

    with pytest.raises(ValueError, match="over 5 groups, the samples have 6"):
        resampled_frechet_distances(a, a, Resampling(5, 2))


def test_paired_sets_must_have_equally_many_groups():
    with pytest.raises(ValueError, match="got 6 and 5"):
        kernel_distance(normal_samples(6, 1), normal_samples(5, 2), is_paired=True)
