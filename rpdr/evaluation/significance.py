"""How sure a number is: boolean outcomes of mentions in, intervals and p-values out.

Mentions of one document are right and wrong together more often than others, so that documents are what is drawn; where it is not known
which document a mention comes from, mentions are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom

SHUFFLES = 10_000  # of an approximate test


@dataclass(frozen=True)
class Resampling:
    """How often n mentions are drawn anew, and what of them comes together. Raises ValueError where a method gets not as many outcomes as
    there are `documents`."""

    samples: int
    seed: int
    documents: np.ndarray | None = None  # (n,) int, which document each mention comes from; without, each is one of its own

    @classmethod
    def by_document(cls, doc_ids: Sequence[Hashable | None], samples: int, seed: int) -> Resampling:
        """Of mentions with these ids of documents; one without is a document of its own."""
        numbers: dict[Hashable, int] = {}
        known = [-1 if doc_id is None else numbers.setdefault(doc_id, len(numbers)) for doc_id in doc_ids]
        alone = iter(range(len(numbers), len(numbers) + len(known)))
        return cls(samples, seed, np.array([next(alone) if number < 0 else number for number in known], dtype=int))

    def of(self, rows: np.ndarray) -> Resampling:
        """The same for a part of the mentions, (n,) bool or indices."""
        return self if self.documents is None else replace(self, documents=self.documents[rows])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of `values`, (n, k) int of the mentions, their sums by document: (documents, k), in no order that means anything."""
        if self.documents is None:
            return values
        if len(self.documents) != len(values):
            raise ValueError(f"{len(values)} mentions, but documents of {len(self.documents)}")
        _, place = np.unique(self.documents, return_inverse=True)
        return np.stack([np.bincount(place, column).astype(int) for column in values.T], axis=1)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """The sums of `values`, (n, k) int, over each resample of the documents with replacement: (samples, k).

        Documents with equal sums cannot be told apart: how many of them are drawn is multinomial, and is drawn as such, which is the same
        distribution without samples x documents indices.
        """
        alike, counts = np.unique(self.sums(values), axis=0, return_counts=True)
        drawn = np.random.default_rng(self.seed).multinomial(counts.sum(), counts / counts.sum(), size=self.samples)
        return drawn @ alike


@dataclass(frozen=True)
class PairedResult:
    """Two systems on the same mentions. `difference` is accuracy of a minus that of b, in [-1, 1]."""

    difference: float
    low: float
    high: float
    p_value: float
    a_only: int  # mentions that only a has right
    b_only: int


def bootstrap_interval(outcomes: np.ndarray, resampling: Resampling, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `outcomes`, (n,) bool, over documents (Efron & Tibshirani 1993, chapter 13; by cluster:
    Davison & Hinkley 1997, section 3.8).

    Like any percentile bootstrap it has no width where all outcomes are equal. Raises ValueError if there are none.
    """
    outcomes = _checked(outcomes)
    right, drawn = resampling.totals(np.stack([outcomes, np.ones_like(outcomes)], axis=1).astype(int)).T
    return _percentiles(right / drawn, level)


def paired_test(a: np.ndarray, b: np.ndarray, resampling: Resampling, level: float = 0.95) -> PairedResult:
    """Compare two systems' outcomes on the same mentions, both (n,) bool.

    p-value: the exact randomisation test (Noreen 1989; for such data Yeh 2000), two-sided: how often the two would differ as much if in each
    document a coin said which system is which. Where every document is one mention that is McNemar's test (1947) in its exact form.
    Interval: paired percentile bootstrap of the difference. Raises ValueError if the two are empty or not equally long.
    """
    a, b = _checked(a), _checked(b)
    if a.shape != b.shape:
        raise ValueError(f"a has {a.size} mentions and b {b.size}: a paired test needs the same ones")
    better = np.stack([a.astype(int) - b, np.ones_like(a, dtype=int)], axis=1)
    difference, drawn = resampling.totals(better).T
    p_value = _either_sign(resampling.sums(better)[:, 0])
    a_only, b_only = int((a & ~b).sum()), int((b & ~a).sum())
    return PairedResult((a_only - b_only) / a.size, *_percentiles(difference / drawn, level), p_value, a_only, b_only)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float], counts: np.ndarray, resampling: Resampling, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval, over documents, of a statistic of `counts`, (n, k) int, n >= 1, that depends on their sums alone: it is
    asked about one row of sums a sample."""
    return _percentiles(np.array([statistic(totals[None]) for totals in resampling.totals(counts)]), level)


def paired_statistic(
    statistic: Callable[[np.ndarray], float], a: np.ndarray, b: np.ndarray, resampling: Resampling, level: float = 0.95
) -> tuple[float, float, float, float]:
    """(difference of a statistic of two systems' counts, both (n, k) int of the same mentions, its interval's low and high end, its p-value). The
    statistic depends on sums alone, as in `bootstrap_statistic`.

    Interval: paired percentile bootstrap. p-value: approximate randomisation (Noreen 1989, Yeh 2000), two-sided: of SHUFFLES times that a coin said in
    each document which system is which, and the counts as they are, the share that differ at least as much.
    """
    k = a.shape[1]

    def difference(totals: np.ndarray) -> np.ndarray:
        return np.array([statistic(row[None, :k]) - statistic(row[None, k:]) for row in totals])

    both = np.concatenate([a, b], axis=1)
    found = float(difference(both.sum(axis=0)[None])[0])
    alike, counts = np.unique(resampling.sums(both), axis=0, return_counts=True)  # of equal documents it counts how many are swapped
    change = np.random.default_rng(resampling.seed).binomial(counts, 0.5, (SHUFFLES, len(counts))) @ (alike[:, k:] - alike[:, :k])
    shuffled = both.sum(axis=0) + np.concatenate([change, -change], axis=1)
    as_far = int((np.abs(difference(shuffled)) >= abs(found) - 1e-12).sum())
    return found, *_percentiles(difference(resampling.totals(both)), level), (as_far + 1) / (SHUFFLES + 1)


def _either_sign(differences: np.ndarray) -> float:
    """How probable it is that the sum of `differences`, int, is at least as far from 0 as it is, if each had either sign.

    The sum of those with a positive sign is that of independent binomials, one for each size; its distribution is their convolution.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        one = np.zeros(size * count + 1)
        one[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, one)
    whole = len(chances) - 1
    as_far = np.abs(2 * np.arange(whole + 1) - whole) >= abs(differences.sum())
    return min(1.0, float(chances[as_far].sum()))


def _checked(outcomes: np.ndarray) -> np.ndarray:
    outcomes = np.asarray(outcomes, dtype=bool)
    if outcomes.ndim != 1 or not outcomes.size:
        raise ValueError(f"outcomes must be (n,) and not empty; this is {outcomes.shape}")
    return outcomes


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
