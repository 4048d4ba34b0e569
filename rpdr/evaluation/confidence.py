"""Whether a confidence can be worked with: confidences and outcomes of the same mentions in, calibration error by chance and curves out.

In all of it `confidences` are (n,) float in [0, 1], of the answers given, and `correct` (n,) bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rpdr.evaluation.metrics import reliability
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
    """`metrics.reliability` as {bins, ece}, each bin with the bootstrap interval of its accuracy (`accuracy_low`, `accuracy_high`), how many
    distinct `texts` the mentions have, and what the ECE of a perfect confidence would be: `ece_by_chance`, the mean, and
    `ece_by_chance_high`, which 5 % pass.

    In a finite sample a perfect confidence has an ECE over 0: outcomes are drawn at the confidences themselves, as in the consistency bars
    of Bröcker & Smith 2007, those of one text alike: it is answered once, and repeats of it are right or wrong together. Raises ValueError
    as `reliability` does.
    """
    rows, ece = reliability(confidences, correct, bins)
    index = np.minimum((np.asarray(confidences, dtype=float) * bins).astype(int), bins - 1)
    for number, row in enumerate(rows):
        inside = index == number
        found = score(np.asarray(correct, dtype=bool)[inside], resampling.of(inside))
        row["accuracy_low"], row["accuracy_high"] = (found.low, found.high) if found else (None, None)
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
