"""Calibration error that chance alone makes, and precision against coverage, by hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from rpdr.evaluation import Resampling, calibration_report, precision_coverage, selected


def test_calibration_error_by_hand():
    confidences, correct = np.array([0.95, 0.85, 0.15, 1.0]), np.array([True, False, False, True])
    found = calibration_report(confidences, correct, list("abcd"), Resampling(200, 1))
    bins = found["bins"]
    # 0.9-1.0: |1 - 0.975| x 2; 0.8-0.9: |0 - 0.85|; 0.1-0.2: |0 - 0.15|; over 4
    assert found["ece"] == pytest.approx((2 * 0.025 + 0.85 + 0.15) / 4)
    assert [b["count"] for b in bins] == [0, 1, 0, 0, 0, 0, 0, 0, 1, 2]
    empty = dict.fromkeys(("confidence", "accuracy", "accuracy_low", "accuracy_high"))
    assert bins[0] == {"low": 0.0, "high": 0.1, "count": 0, **empty}
    assert (bins[9]["accuracy"], bins[9]["accuracy_low"], bins[9]["accuracy_high"]) == (1.0, 1.0, 1.0)
    assert bins[9]["confidence"] == pytest.approx(0.975)


@pytest.mark.parametrize("confidences", [[], [1.2], [float("nan")], [-0.1]])
def test_confidences_that_are_not_probabilities_are_refused(confidences: list[float]):
    with pytest.raises(ValueError, match="confidences"):
        calibration_report(np.array(confidences), np.ones(len(confidences), dtype=bool), ["a"] * len(confidences), Resampling(200, 1))


def test_a_perfect_confidence_is_within_what_chance_makes_and_a_boastful_one_is_not():
    rng = np.random.default_rng(0)
    confidences = rng.random(600)
    correct, texts = rng.random(600) < confidences, [str(n) for n in range(600)]
    honest = calibration_report(confidences, correct, texts, Resampling(300, 1))
    assert 0 < honest["ece_by_chance"] < honest["ece_by_chance_high"]
    assert honest["ece"] <= honest["ece_by_chance_high"]
    boastful = calibration_report(np.sqrt(confidences), correct, texts, Resampling(300, 1))
    assert boastful["ece"] > boastful["ece_by_chance_high"]


def test_what_chance_makes_shrinks_with_the_mentions():
    rng = np.random.default_rng(0)
    few, many = (
        calibration_report(rng.random(n), np.zeros(n, dtype=bool), [str(i) for i in range(n)], Resampling(200, 1))["ece_by_chance"]
        for n in (100, 10_000)
    )
    assert many == pytest.approx(few / 10, rel=0.25)


def test_a_text_that_repeats_is_right_or_wrong_as_one():
    # 90 of 100 mentions are one text: its confidence can only be met by chance
    confidences, correct = np.full(100, 0.5), np.ones(100, dtype=bool)
    repeated = calibration_report(confidences, correct, ["pain"] * 90 + [str(n) for n in range(10)], Resampling(200, 1))
    assert repeated["texts"] == 11
    assert repeated["ece_by_chance"] == pytest.approx(0.45, abs=0.02)
    assert repeated["ece"] == 0.5


def test_precision_of_the_surest_by_hand():
    confidences = np.linspace(0.99, 0.8, 20)
    correct = np.arange(20) < 15  # the five least sure are wrong
    curve = precision_coverage(confidences, correct, Resampling(200, 1))
    assert [round(point["coverage"] * 20) for point in curve] == list(range(10, 21))
    assert [point["precision"] for point in curve] == [*[1.0] * 6, *(15 / k for k in range(16, 21))]
    assert curve[-1]["confidence"] == pytest.approx(0.8)
    assert all(point["low"] <= point["precision"] <= point["high"] for point in curve)


def test_equal_confidences_are_one_point_and_a_long_curve_is_thinned():
    curve = precision_coverage(np.array([0.9] * 15 + [0.5] * 5), np.arange(20) < 15, Resampling(200, 1))
    assert [point["coverage"] for point in curve] == [0.75, 1.0]
    assert len(precision_coverage(np.linspace(0, 1, 5000), np.ones(5000, dtype=bool), Resampling(200, 1))) <= 100
    assert precision_coverage(np.array([0.5]), np.array([True]), Resampling(200, 1))[0]["coverage"] == 1.0


def test_what_is_answered_has_its_share_and_its_precision():
    found = selected(np.array([True, True, False, True]), np.array([True, False, False, True]), Resampling(200, 1))
    assert (found.mentions, found.answered, found.coverage.value) == (4, 3, 0.75)
    assert found.precision is not None
    assert found.precision.value == pytest.approx(2 / 3)
    assert selected(np.zeros(3, dtype=bool), np.ones(3, dtype=bool), Resampling(200, 1)).precision is None
