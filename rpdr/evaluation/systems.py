"""One system's numbers: its ranked answers and the gold in, a SystemResult with intervals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rpdr.errors import DataError
from rpdr.evaluation.metrics import Ranked, outcomes, recall_outcomes
from rpdr.evaluation.significance import bootstrap_interval
from rpdr.schema import Gold


@dataclass(frozen=True)
class Score:
    """A rate in [0, 1] and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SystemResult:
    """What one system scored. A score is None where there is nothing to measure it on."""

    name: str
    note: str
    acc_at_1: Score
    acc_at_5: Score
    recall_at_10: Score | None  # over mentions whose gold is not NIL
    unseen_acc_at_1: Score | None  # unseen: mentions whose text is not among the labelled ones
    unseen_acc_at_5: Score | None
    unseen_recall_at_10: Score | None
    price_usd: float | None
    mentions_per_s: float | None
    mentions: int
    unseen_mentions: int


def evaluate(
    name: str,
    ranked: Sequence[Ranked],
    golds: Sequence[Gold | None],
    unseen: np.ndarray,
    *,
    samples: int,
    seed: int,
    price_usd: float | None = None,
    mentions_per_s: float | None = None,
    note: str = "",
) -> SystemResult:
    """Score one system on the mentions that are annotated (gold is not None).

    `ranked`: for each of n mentions all its answers, best first, None = "none of these"; `unseen`: (n,) bool. `samples` bootstrap samples
    a score. Raises ValueError if the three are not equally long, DataError if no mention is annotated.
    """
    if not len(ranked) == len(golds) == len(unseen):
        raise ValueError(f"{name}: {len(ranked)} rankings, {len(golds)} golds and {len(unseen)} unseen flags: not equally many")
    annotated = [(r, g, bool(u)) for r, g, u in zip(ranked, golds, unseen, strict=True) if g is not None]
    if not annotated:
        raise DataError(f"{name}: none of {len(golds)} mentions is annotated; evaluation needs a test split with gold")

    def scores(chosen: Sequence[tuple[Ranked, Gold, bool]]) -> tuple[Score | None, Score | None, Score | None]:
        answers, right = [r for r, _, _ in chosen], [g for _, g, _ in chosen]
        found = (outcomes(answers, right, 1), outcomes(answers, right, 5), recall_outcomes(answers, right, 10))
        return score(found[0], samples, seed), score(found[1], samples, seed), score(found[2], samples, seed)

    fresh = [row for row in annotated if row[2]]
    acc_at_1, acc_at_5, recall_at_10 = scores(annotated)
    unseen_acc_at_1, unseen_acc_at_5, unseen_recall_at_10 = scores(fresh)
    assert acc_at_1 is not None  # there are mentions
    assert acc_at_5 is not None
    return SystemResult(
        name=name,
        note=note,
        acc_at_1=acc_at_1,
        acc_at_5=acc_at_5,
        recall_at_10=recall_at_10,
        unseen_acc_at_1=unseen_acc_at_1,
        unseen_acc_at_5=unseen_acc_at_5,
        unseen_recall_at_10=unseen_recall_at_10,
        price_usd=price_usd,
        mentions_per_s=mentions_per_s,
        mentions=len(annotated),
        unseen_mentions=len(fresh),
    )


def score(values: np.ndarray, samples: int, seed: int) -> Score | None:
    """The share of true ones in `values`, (n,) bool, with its bootstrap interval; None where there are none."""
    return Score(float(values.mean()), *bootstrap_interval(values, samples, seed)) if values.size else None


def from_json(system: dict[str, Any]) -> SystemResult:
    """The SystemResult that stands in metrics.json as a plain dict."""
    fields: dict[str, Any] = {name: Score(**value) if isinstance(value, dict) else value for name, value in system.items()}
    return SystemResult(**fields)
