"""Intervals that cover, and p-values known from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from rpdr.evaluation.significance import Resampling, bootstrap_interval, bootstrap_statistic, paired_statistic, paired_test


def test_interval_matches_the_normal_approximation_on_a_large_sample() -> None:
    low, high = bootstrap_interval(np.arange(10_000) < 7000, Resampling(20_000, 1))
    half = 1.96 * (0.7 * 0.3 / 10_000) ** 0.5
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=5e-4)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5).random((400, 200)) < 0.7
    intervals = [bootstrap_interval(row, Resampling(500, n)) for n, row in enumerate(draws)]
    assert 0.91 <= np.mean([low <= 0.7 <= high for low, high in intervals]) <= 0.98


def test_drawing_binomial_counts_equals_resampling_mentions() -> None:
    outcomes = np.arange(80) < 50
    picks = np.random.default_rng(0).integers(0, 80, (20_000, 80))
    expected = np.quantile(outcomes[picks].mean(axis=1), [0.025, 0.975])
    assert bootstrap_interval(outcomes, Resampling(20_000, 3)) == pytest.approx(tuple(expected), abs=0.0126)  # one mention


def test_same_seed_same_interval_and_nothing_is_refused() -> None:
    outcomes = np.array([True, False, True])
    assert bootstrap_interval(outcomes, Resampling(200, 7)) == bootstrap_interval(outcomes, Resampling(200, 7))
    assert bootstrap_interval(np.ones(5, dtype=bool), Resampling(200, 7)) == (1.0, 1.0)
    with pytest.raises(ValueError, match="not empty"):
        bootstrap_interval(np.array([], dtype=bool), Resampling(200, 7))


def test_mcnemar_exact_value() -> None:
    # 9 against 1: two-sided binomial p = 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024
    a = np.array([True] * 9 + [False] + [True] * 10)
    b = np.array([False] * 9 + [True] + [True] * 10)
    result = paired_test(a, b, Resampling(2000, 1))
    assert (result.a_only, result.b_only) == (9, 1)
    assert result.p_value == pytest.approx(22 / 1024)
    assert result.difference == pytest.approx(0.4)
    assert 0 < result.low < 0.4 < result.high < 0.8
    mirrored = paired_test(b, a, Resampling(2000, 1))
    assert mirrored.difference == -result.difference
    assert mirrored.p_value == result.p_value


def test_systems_that_never_differ_are_not_told_apart() -> None:
    same = np.array([True, False, True])
    result = paired_test(same, same, Resampling(200, 1))
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_paired_test_wants_the_same_mentions() -> None:
    with pytest.raises(ValueError, match="same ones"):
        paired_test(np.ones(3, dtype=bool), np.ones(2, dtype=bool), Resampling(200, 1))


def test_interval_of_a_statistic_is_that_of_the_mean_where_it_is_the_mean() -> None:
    outcomes = np.arange(400) < 280
    counts = np.stack([outcomes, np.ones(400)], axis=1).astype(int)
    found = bootstrap_statistic(lambda rows: float(np.divide(*rows.sum(axis=0))), counts, Resampling(4000, 1))
    assert found == bootstrap_interval(outcomes, Resampling(4000, 1))


def test_mentions_of_one_document_are_drawn_together() -> None:
    # 40 documents of 10 mentions that are right or wrong together: as sure as 40 mentions, not as 400
    whole = np.random.default_rng(0).random(40) < 0.7
    outcomes, documents = np.repeat(whole, 10), [f"d{n}" for n in np.repeat(np.arange(40), 10)]
    by_document = Resampling.by_document(documents, 2000, 1)
    assert bootstrap_interval(outcomes, by_document) == pytest.approx(bootstrap_interval(whole, Resampling(2000, 1)))
    low, high = bootstrap_interval(outcomes, Resampling(2000, 1))
    together = bootstrap_interval(outcomes, by_document)
    assert together[1] - together[0] > 2 * (high - low)
    part = np.arange(400) < 100
    assert bootstrap_interval(outcomes[part], by_document.of(part)) == pytest.approx(bootstrap_interval(whole[:10], Resampling(2000, 1)))


def test_interval_of_unlike_documents_is_that_of_drawing_them_one_by_one() -> None:
    rng = np.random.default_rng(4)
    documents = np.sort(rng.integers(0, 30, 300))
    outcomes = rng.random(300) < rng.random(30)[documents]
    of = [outcomes[documents == d] for d in np.unique(documents)]
    picked = [np.concatenate([of[n] for n in rng.integers(0, len(of), len(of))]).mean() for _ in range(5000)]
    found = bootstrap_interval(outcomes, Resampling(5000, 1, documents))
    assert found == pytest.approx(tuple(np.quantile(picked, [0.025, 0.975])), abs=0.01)


def test_mentions_without_a_document_are_each_drawn_alone() -> None:
    a, b = np.random.default_rng(1).random((2, 60)) < 0.6
    assert paired_test(a, b, Resampling.by_document([None] * 60, 500, 3)) == paired_test(a, b, Resampling(500, 3))
    mixed = Resampling.by_document(["d", None, "d", None], 500, 3).documents
    assert mixed is not None
    assert (mixed[0] == mixed[2], len(set(mixed.tolist()))) == (True, 3)


def test_randomisation_by_document_by_hand() -> None:
    # differences of the documents: +3, +1, -1; all 8 signs: |sum| >= 3 for ±(3,1,1), ±(3,1,-1), ±(3,-1,1): 6 of 8
    a = np.array([1, 1, 1, 1, 0], dtype=bool)
    result = paired_test(a, ~a, Resampling(200, 1, np.array([0, 0, 0, 1, 2])))
    assert result.p_value == pytest.approx(6 / 8)
    assert (result.a_only, result.b_only) == (4, 1)
    # within a document, what one system wins and the other wins is no difference
    assert paired_test(a, ~a, Resampling(200, 1, np.array([0, 0, 0, 1, 1]))).p_value == pytest.approx(1.0)


def test_randomisation_by_document_is_right_as_often_as_it_says() -> None:
    # no true difference, but each document prefers one system as a whole: a test of mentions finds "differences" everywhere
    rng = np.random.default_rng(2)
    documents = np.repeat(np.arange(20), 10)
    by_mention, by_document = [], []
    for _ in range(300):
        a = np.repeat(rng.random(20) < 0.5, 10)
        by_mention.append(paired_test(a, ~a, Resampling(100, 1)).p_value < 0.05)
        by_document.append(paired_test(a, ~a, Resampling(100, 1, documents)).p_value < 0.05)
    assert np.mean(by_mention) > 0.3
    assert np.mean(by_document) <= 0.08


def test_documents_of_other_mentions_are_refused() -> None:
    with pytest.raises(ValueError, match="documents of 2"):
        bootstrap_interval(np.ones(3, dtype=bool), Resampling(200, 1, np.array([0, 1])))


def test_a_statistic_is_shuffled_as_exactly_as_an_accuracy() -> None:
    """Where the statistic is the mean of booleans, the approximate test is the exact one, but for its draws."""
    draw = np.random.default_rng(4)
    a, b = draw.random(400) < 0.72, draw.random(400) < 0.66
    documents = Resampling(2000, 0, draw.integers(0, 60, 400))
    exact = paired_test(a, b, documents)

    def mean(counts: np.ndarray) -> float:
        right, n = counts.sum(axis=0).tolist()
        return right / n

    counts = [np.stack([outcomes, np.ones(400)], axis=1).astype(int) for outcomes in (a, b)]
    difference, low, high, p_value = paired_statistic(mean, *counts, documents)
    assert difference == pytest.approx(exact.difference)
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert p_value == pytest.approx(exact.p_value, abs=0.02)
    assert paired_statistic(mean, counts[0], counts[0], documents)[3] == 1.0
