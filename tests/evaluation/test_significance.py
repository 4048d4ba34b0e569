"""Intervals that cover, and p-values known from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from rpdr.evaluation import bootstrap_interval, paired_test
from rpdr.evaluation.significance import bootstrap_statistic


def test_interval_matches_the_normal_approximation_on_a_large_sample() -> None:
    low, high = bootstrap_interval(np.arange(10_000) < 7000, samples=20_000, seed=1)
    half = 1.96 * (0.7 * 0.3 / 10_000) ** 0.5
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=5e-4)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5).random((400, 200)) < 0.7
    intervals = [bootstrap_interval(row, samples=500, seed=n) for n, row in enumerate(draws)]
    assert 0.91 <= np.mean([low <= 0.7 <= high for low, high in intervals]) <= 0.98


def test_drawing_binomial_counts_equals_resampling_mentions() -> None:
    outcomes = np.arange(80) < 50
    picks = np.random.default_rng(0).integers(0, 80, (20_000, 80))
    expected = np.quantile(outcomes[picks].mean(axis=1), [0.025, 0.975])
    assert bootstrap_interval(outcomes, 20_000, seed=3) == pytest.approx(tuple(expected), abs=0.0126)  # one mention


def test_same_seed_same_interval_and_nothing_is_refused() -> None:
    outcomes = np.array([True, False, True])
    assert bootstrap_interval(outcomes, 200, 7) == bootstrap_interval(outcomes, 200, 7)
    assert bootstrap_interval(np.ones(5, dtype=bool), 200, 7) == (1.0, 1.0)
    with pytest.raises(ValueError, match="not empty"):
        bootstrap_interval(np.array([], dtype=bool), 200, 7)


def test_mcnemar_exact_value() -> None:
    # 9 against 1: two-sided binomial p = 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024
    a = np.array([True] * 9 + [False] + [True] * 10)
    b = np.array([False] * 9 + [True] + [True] * 10)
    result = paired_test(a, b, samples=2000, seed=1)
    assert (result.a_only, result.b_only) == (9, 1)
    assert result.p_value == pytest.approx(22 / 1024)
    assert result.difference == pytest.approx(0.4)
    assert 0 < result.low < 0.4 < result.high < 0.8
    mirrored = paired_test(b, a, samples=2000, seed=1)
    assert mirrored.difference == -result.difference
    assert mirrored.p_value == result.p_value


def test_systems_that_never_differ_are_not_told_apart() -> None:
    same = np.array([True, False, True])
    result = paired_test(same, same, samples=200, seed=1)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_paired_test_wants_the_same_mentions() -> None:
    with pytest.raises(ValueError, match="same ones"):
        paired_test(np.ones(3, dtype=bool), np.ones(2, dtype=bool), 200, 1)


def test_interval_of_a_statistic_is_that_of_the_mean_where_it_is_the_mean() -> None:
    outcomes = np.arange(400) < 280
    found = bootstrap_statistic(lambda rows: float(rows.mean()), outcomes, samples=4000, seed=1)
    assert found == pytest.approx(bootstrap_interval(outcomes, samples=4000, seed=2), abs=0.01)
