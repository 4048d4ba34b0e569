"""Whether a confidence can be worked with: confidences and outcomes of the same mentions in, calibration error by chance and curves out.

In all of it `confidences` are (n,) float in [0, 1], of the answers given, and `correct` (n,) bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rpdr.evaluation.significance import Resampling, bootstrap_interval
from rpdr.evaluation.systems import Score, score

FEWEST = 10  # mentions that a point of a curve stands on


@dataclass(frozen=True)
class Selected:
    """What a part of the mentions, the answered ones, is worth. `precision` is None where none is answered."""

    mentions: int
    answered: int
    coverage: Score
    precision: Score | None


def calibration_report(
    confidences: np.ndarray, correct: np.ndarray, texts: Sequence[str], resampling: Resampling, bins: int = 10
) -> dict[str, Any]:
    """The reliability diagram and the expected calibration error (ECE) of Guo et al., "On Calibration of Modern Neural Networks", 2017.

    `bins` are equally wide, [low, high), the last one closed: each {low, high, count, confidence, accuracy, accuracy_low, accuracy_high}, means in the
    bin and the bootstrap interval of the accuracy; None where it is empty. `ece`: the mean over mentions of |accuracy - confidence| of their bin, in
    [0, 1]. `texts`: how many distinct ones the mentions have. What the ECE of a perfect confidence would be: `ece_by_chance`, the mean, and
    `ece_by_chance_high`, which 5 % pass.

    In a finite sample a perfect confidence has an ECE over 0: outcomes are drawn at the confidences themselves, as in the consistency bars
    of Bröcker & Smith 2007, those of one text alike: it is answered once, and repeats of it are right or wrong together. Raises ValueError
    for no mentions, or confidences outside [0, 1].
    """
    confidences, correct = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=bool)
    if confidences.shape != correct.shape or confidences.ndim != 1 or not confidences.size:
        raise ValueError(f"confidences {confidences.shape} and correct {correct.shape} must be (n,) and not empty")
    if not np.all((confidences >= 0) & (confidences <= 1)):  # also false for NaN
        raise ValueError("confidences must be in [0, 1]")
    index = np.minimum((confidences * bins).astype(int), bins - 1)
    rows: list[dict[str, Any]] = []
    ece = 0.0
    for number in range(bins):
        inside = index == number
        row: dict[str, Any] = {"low": number / bins, "high": (number + 1) / bins, "count": int(inside.sum())}
        found = score(correct[inside], resampling.of(inside))
        if found:
            confidence = float(confidences[inside].mean())
            ece += row["count"] * abs(found.value - confidence) / confidences.size
            row |= {"confidence": confidence, "accuracy": found.value, "accuracy_low": found.low, "accuracy_high": found.high}
        else:
            row |= dict.fromkeys(("confidence", "accuracy", "accuracy_low", "accuracy_high"))
        rows.append(row)
    rng = np.random.default_rng(resampling.seed)
    sums = np.bincount(index, confidences, bins)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    of_text = np.array([numbers[text] for text in texts])
    draws = (np.bincount(index, rng.random(len(numbers))[of_text] < confidences, bins) for _ in range(resampling.samples))
    by_chance = np.array([np.abs(drawn - sums).sum() / len(confidences) for drawn in draws])
    return {
        "bins": rows,
        "ece": ece,
        "texts": len(numbers),
        "ece_by_chance": float(by_chance.mean()),
        "ece_by_chance_high": float(np.quantile(by_chance, 0.95)),
    }


def precision_coverage(confidences: np.ndarray, correct: np.ndarray, resampling: Resampling, points: int = 100) -> list[dict[str, float]]:
    """The share that is right of the surest ones, from the FEWEST surest to all: at most about `points` of {coverage, confidence, precision,
    low, high}, by rising coverage; `confidence` is that of the last one answered. Equal confidences are answered together.

    [low, high] is the interval at that threshold, not of the curve as a whole.
    """
    order = np.argsort(-confidences, kind="stable")
    falling, right = confidences[order], np.asarray(correct, dtype=bool)[order]
    n = len(right)
    ends = np.flatnonzero(np.append(falling[1:] < falling[:-1], True)) + 1  # how many have been answered after each group of equals
    ends = ends[ends >= min(FEWEST, n)]
    wanted = np.unique(np.searchsorted(ends, np.linspace(ends[0], n, points)))
    return [
        {
            "coverage": float(k / n),
            "confidence": float(falling[k - 1]),
            "precision": float(right[:k].mean()),
            **dict(zip(("low", "high"), bootstrap_interval(right[:k], resampling.of(order[:k])), strict=True)),
        }
        for k in ends[wanted]
    ]


def selected(answered: np.ndarray, correct: np.ndarray, resampling: Resampling) -> Selected:
    """Coverage and precision where the mentions `answered`, (n,) bool, n >= 1, are answered and no others."""
    coverage = score(answered, resampling)
    assert coverage is not None
    return Selected(len(answered), int(answered.sum()), coverage, score(correct[answered], resampling.of(answered)))
