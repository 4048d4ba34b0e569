"""How sure a number is: boolean outcomes of mentions in, intervals and p-values out.

Mentions are resampled as if independent; where many come from one document, the true uncertainty is larger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class PairedResult:
    """Two systems on the same mentions. `difference` is accuracy of a minus that of b, in [-1, 1]."""

    difference: float
    low: float
    high: float
    p_value: float
    a_only: int  # mentions that only a has right
    b_only: int


def bootstrap_interval(outcomes: np.ndarray, samples: int, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `outcomes`, (n,) bool, over mentions (Efron & Tibshirani 1993, chapter 13).

    The number of right ones in a resample with replacement is Binomial(n, mean), so it is drawn as such: the same distribution, without
    n x samples indices. Like any percentile bootstrap it has no width where all outcomes are equal. Raises ValueError if there are none.
    """
    outcomes = _checked(outcomes)
    means = np.random.default_rng(seed).binomial(outcomes.size, outcomes.mean(), size=samples) / outcomes.size
    return _percentiles(means, level)


def paired_test(a: np.ndarray, b: np.ndarray, samples: int, seed: int, level: float = 0.95) -> PairedResult:
    """Compare two systems' outcomes on the same mentions, both (n,) bool.

    p-value: McNemar's test (McNemar 1947) in its exact form, two-sided binomial on the mentions where the two differ; 1 if none does.
    Interval: paired percentile bootstrap of the difference (Efron & Tibshirani 1993); a resample's counts of (only a, only b, alike) are
    multinomial, and are drawn as such. Raises ValueError if the two are empty or not equally long.
    """
    a, b = _checked(a), _checked(b)
    if a.shape != b.shape:
        raise ValueError(f"a has {a.size} mentions and b {b.size}: a paired test needs the same ones")
    a_only, b_only = int((a & ~b).sum()), int((b & ~a).sum())
    differ = a_only + b_only
    p_value = float(binomtest(a_only, differ, 0.5).pvalue) if differ else 1.0
    shares = [a_only / a.size, b_only / a.size, (a.size - differ) / a.size]
    counts = np.random.default_rng(seed).multinomial(a.size, shares, size=samples)
    low, high = _percentiles((counts[:, 0] - counts[:, 1]) / a.size, level)
    return PairedResult((a_only - b_only) / a.size, low, high, p_value, a_only, b_only)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float], rows: np.ndarray, samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of any statistic of `rows`, (n, …), n >= 1, over mentions; n numbers are drawn a sample."""
    rng = np.random.default_rng(seed)
    return _percentiles(np.array([statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(samples)]), level)


def _checked(outcomes: np.ndarray) -> np.ndarray:
    outcomes = np.asarray(outcomes, dtype=bool)
    if outcomes.ndim != 1 or not outcomes.size:
        raise ValueError(f"outcomes must be (n,) and not empty; this is {outcomes.shape}")
    return outcomes


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
