"""The target precision is reached where it is said to be, and where it cannot be, that is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rpdr.reranker.abstention import ALIKE, CERTAINTY, fewest, lower_bound, once, operating_point


def honest(n: int, seed: int, certainty: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, the more `certainty` the nearer 1, and outcomes drawn at them."""
    rng = np.random.default_rng(seed)
    confidences = rng.beta(certainty, 0.5, n)
    return confidences, rng.random(n) < confidences


def test_the_true_precision_is_below_the_target_no_more_often_than_said():
    confidences, right = honest(200_000, seed=0)
    missed = answered = 0
    for seed in range(200):
        point = operating_point(*honest(300, seed + 1), target=0.9)
        given = confidences > point.above
        missed += bool(given.any()) and right[given].mean() < 0.9
        answered += point.reachable
    assert answered > 150  # it is not by abstaining from all
    assert missed / 200 <= 1 - CERTAINTY + 0.03  # three standard errors of 200 draws


def test_more_held_out_mentions_let_more_be_answered():
    few, many = (operating_point(*honest(n, seed=3), target=0.9) for n in (300, 5000))
    assert many.above < few.above


def test_a_higher_target_answers_less():
    points = [operating_point(*honest(2000, seed=5), target=target) for target in (0.7, 0.8, 0.9, 0.95)]
    assert all(point.reachable for point in points)
    assert sorted(points, key=lambda point: point.above) == points
    assert points[0].answered > points[-1].answered
    assert all(point.shown is not None and point.shown >= point.target for point in points)


def test_all_is_answered_where_all_is_sure_enough():
    point = operating_point(np.linspace(0.2, 0.9, 500), np.arange(500) % 50 > 0, target=0.9)
    assert (point.reachable, point.above, point.answered, point.right) == (True, 0.0, 500, 490)
    assert point.gives(0.01)
    assert point.warning() is None


def test_errors_among_the_surest_are_not_hidden_by_the_rest():
    # the surest fifth is never right; the rest always: no threshold is both loose enough and precise
    confidences = np.linspace(1, 0.5, 500)
    assert not operating_point(confidences, np.arange(500) >= 100, target=0.9).reachable


def test_what_passes_again_behind_a_failure_is_not_taken():
    # at all five hundred the test would pass once more, but what lies between is not shown
    right = (np.arange(500) < 100) | (np.arange(500) >= 150)
    point = operating_point(np.linspace(1, 0.5, 500), right, target=0.85)
    assert (point.reachable, point.answered, point.right) == (True, 108, 100)


def test_each_of_the_starts_has_its_share_of_the_doubt():
    # one of 140 wrong: 95 % would be shown by a test that had all of 1 - CERTAINTY for itself
    assert not operating_point(np.linspace(1, 0.5, 140), np.arange(140) > 0, target=0.95).reachable


def test_equal_confidences_are_answered_alike():
    # 0.9 would be reached by a part of those at 0.7, not by all of them
    confidences = np.array([0.8] * 100 + [0.7] * 400)
    right = np.array([True] * 100 + [True, False] * 200)
    point = operating_point(confidences, right, target=0.9)
    assert point.answered == 100
    assert point.above == pytest.approx(0.75)
    assert not point.gives(0.7)


@pytest.mark.parametrize("seed", range(5))
def test_what_dev_has_answered_is_answered_so_where_it_is_rounded_otherwise(seed: int):
    confidences, right = honest(2000, seed)
    point = operating_point(confidences, right, target=0.9)
    assert point.reachable
    given = confidences > point.above
    assert (point.answered, point.right) == (given.sum(), right[given].sum())
    stored = confidences.astype(np.float32).astype(float)
    for other in (stored, confidences - ALIKE / 3, confidences + ALIKE / 3):
        assert np.array_equal(other > point.above, given)


def test_confidences_that_differ_by_rounding_are_answered_alike():
    # as in test_equal_confidences_…, but that those at 0.7 were computed in several batches
    confidences = np.array([0.8] * 100 + [0.7] * 400) + np.arange(500) % 5 * ALIKE / 4
    right = np.array([True] * 100 + [True, False] * 200)
    point = operating_point(confidences, right, target=0.9)
    assert point.answered == 100
    assert point.above == pytest.approx(0.75, abs=1e-5)


def test_a_target_that_dev_cannot_show_is_told_and_nothing_but_exact_names_is_given():
    point = operating_point(np.linspace(0.5, 1, 60), np.ones(60, dtype=bool), target=0.95)
    assert not point.reachable
    assert point.most == 0.93  # 60 flawless answers show so much: 0.05 / 3 = 0.93 ^ 57
    assert not point.gives(1.0)
    assert point.gives(1.0, exact=True)
    assert not replace(point, exact=0.9).gives(1.0, exact=True)  # such names have been wrong on dev
    warning = point.warning()
    assert warning is not None
    assert "link.target_precision 0.95" in warning
    assert "its 60 different mentions show 93% at most (95% needs at least 80 answers without an error)" in warning


@pytest.mark.parametrize("n", [0, 200])
def test_without_dev_mentions_or_with_bad_ones_no_precision_is_promised(n: int):
    point = operating_point(np.linspace(0, 1, n), np.zeros(n, dtype=bool), target=0.8)
    assert (point.reachable, point.most, point.answered) == (False, None, 0)
    assert ("there are none" if n == 0 else "no precision from 50% up") in (point.warning() or "")


def test_the_fewest_flawless_answers_are_enough_and_one_less_is_not():
    n = fewest(0.95)
    assert n == 80
    assert operating_point(np.linspace(0.5, 1, n), np.ones(n, dtype=bool), target=0.95).reachable
    assert not operating_point(np.linspace(0.5, 1, n - 1), np.ones(n - 1, dtype=bool), target=0.95).reachable


def test_the_lower_bound_of_clopper_and_pearson():
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))
    assert lower_bound(0, 10) == 0
    assert lower_bound(45, 50) == pytest.approx(0.8008, abs=5e-4)


def test_of_a_text_the_first_mention_counts_and_where_texts_are_not_known_each():
    assert once((3, 1, 3, 1, 0), 5).tolist() == [0, 1, 4]
    assert once((), 3).tolist() == [0, 1, 2]
