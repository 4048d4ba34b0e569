"""From scores to probabilities that hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from rpdr.reranker import Calibration, fit_calibration, nil_threshold


def drawn(n: int, temperature: float, none_shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and answers drawn from the probabilities that they have at this temperature and shift."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=4, size=(n, 6)).astype(np.float32)
    shifted = scores.copy()
    shifted[:, -1] += none_shift
    return scores, np.array([rng.choice(6, p=row) for row in softmax(shifted.astype(float) / temperature, axis=1)])


@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float):
    fitted = fit_calibration(*drawn(2000, temperature), "drawn")
    assert fitted.temperature == pytest.approx(temperature, rel=0.15)
    assert fitted.none_shift == pytest.approx(0, abs=0.5)
    assert fitted.fitted_on == "drawn"


def test_a_known_shift_of_none_is_found():
    fitted = fit_calibration(*drawn(3000, 2.0, none_shift=3.0), "drawn")
    assert fitted.temperature == pytest.approx(2, rel=0.15)
    assert fitted.none_shift == pytest.approx(3, abs=0.6)


def test_calibration_makes_right_answers_likelier():
    scores, choices = drawn(500, 4.0, none_shift=2.0)

    def log_likelihood(calibration: Calibration) -> float:
        return float(np.log(calibration.probabilities(scores)[np.arange(500), choices]).mean())

    assert log_likelihood(fit_calibration(scores, choices, "drawn")) > log_likelihood(Calibration()) + 0.1


@pytest.mark.parametrize("allow_nil", [True, False])
def test_fewer_than_20_mentions_are_too_few(allow_nil: bool):
    scores, choices = drawn(19, 3.0)
    assert fit_calibration(scores, choices, "drawn", allow_nil) == Calibration()


def test_mentions_of_none_do_not_count_where_none_is_no_answer():
    scores, choices = drawn(200, 3.0)
    choices[19:] = 5
    choices[:19] = 0
    assert fit_calibration(scores, choices, "drawn", allow_nil=False) == Calibration()


def test_without_none_the_temperature_is_found_all_the_same():
    scores, choices = drawn(2000, 3.0)
    fitted = fit_calibration(scores, choices, "drawn", allow_nil=False)
    assert fitted.temperature == pytest.approx(3.0, rel=0.15)
    assert fitted.none_shift == 0


def test_where_none_is_no_answer_its_probability_is_0_and_the_rest_sum_to_1():
    scores, _ = drawn(50, 1.0)
    probabilities = Calibration(2.0, 5.0).probabilities(scores, allow_nil=False)
    assert (probabilities[:, -1] == 0).all()
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_absent_candidates_have_probability_0_and_change_no_fit():
    scores, choices = drawn(500, 2.0)
    padded = np.insert(scores, 5, -np.inf, axis=1)
    moved = np.where(choices == 5, 6, choices)
    fitted, wide = fit_calibration(scores, choices, "x"), fit_calibration(padded, moved, "x")
    assert wide.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    assert (wide.probabilities(padded)[:, 5] == 0).all()
    assert np.allclose(wide.probabilities(padded).sum(axis=1), 1)


def test_temperature_changes_no_ranking_of_candidates():
    scores, _ = drawn(50, 1.0)
    plain, warm = Calibration().probabilities(scores), Calibration(7.0, 2.0).probabilities(scores)
    assert (np.argsort(plain[:, :-1]) == np.argsort(warm[:, :-1])).all()


def test_the_scores_given_are_left_as_they_were():
    scores, _ = drawn(5, 1.0)
    before = scores.copy()
    Calibration(2.0, 1.0).probabilities(scores, allow_nil=False)
    assert (scores == before).all()


def test_a_saved_calibration_is_json_that_makes_the_same(tmp_path: Path):
    Calibration(1.5, -0.25, "dev, 40 mentions").save(tmp_path / "c.json")
    assert Calibration(**json.loads((tmp_path / "c.json").read_text())) == Calibration(1.5, -0.25, "dev, 40 mentions")


def test_nil_is_answered_only_where_it_is_right_more_often_than_the_first_candidate():
    certainty = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    nil = np.array([True, True, False, True, False])
    right = np.array([False, False, True, False, True])
    assert 0.2 < nil_threshold(certainty, right, nil) < 0.3 or 0.4 < nil_threshold(certainty, right, nil) < 0.9


def test_nil_is_never_or_always_the_answer_where_that_is_best():
    certainty = np.array([0.1, 0.2])
    assert nil_threshold(certainty, np.array([True, True]), np.array([False, False])) == -np.inf
    assert nil_threshold(certainty, np.array([False, False]), np.array([True, True])) == np.inf


def test_equal_certainties_are_answered_alike():
    threshold = nil_threshold(np.array([0.5, 0.5, 0.5]), np.array([False, True, True]), np.array([True, False, False]))
    assert threshold == -np.inf


def test_a_miss_of_the_retriever_is_not_taken_for_nil():
    # "none" is likely for all of 40 mentions, but NIL only where it is nearly certain
    scores = np.zeros((40, 3), dtype=np.float32)
    scores[:, 0] = 1.0
    scores[:20, 2], scores[20:, 2] = 8.0, 2.0
    nil = np.arange(40) < 20
    choices = np.where(nil | (np.arange(40) % 4 != 0), 2, 0)  # of the rest, a quarter is found
    fitted = fit_calibration(scores, choices, "made up", nil=nil)
    none = fitted.probabilities(scores)[:, -1]
    assert (none[20:] > 0.5).all()
    assert ((none > fitted.nil_above) == nil).all()
    assert fit_calibration(scores, choices, "made up").nil_above == 0.5
