"""One system's numbers: its ranked answers and the gold in, a SystemResult with intervals out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from rpdr.evaluation.metrics import Ranked, micro_f1, outcomes, recall_outcomes, set_counts
from rpdr.evaluation.significance import PairedResult, Resampling, bootstrap_interval, bootstrap_statistic, paired_statistic
from rpdr.schema import ConceptId, Gold

METRICS = {
    "acc_at_1": "Acc@1",
    "acc_at_5": "Acc@5",
    "recall_at_10": "Recall@10",
    "micro_f1": "Micro F1",
}  # scores of a SystemResult, as people call them


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
    micro_f1: Score | None = None  # of all concepts that are named, where the gold of any mention has several together
    unseen_micro_f1: Score | None = None
    on_pool: bool = False  # measured on what the teacher labelled, not on the test mentions


def evaluate(
    name: str,
    ranked: Sequence[Ranked],
    golds: Sequence[Gold],
    unseen: np.ndarray,
    *,
    resampling: Resampling,
    price_usd: float | None = None,
    mentions_per_s: float | None = None,
    note: str = "",
    sets: Sequence[Collection[ConceptId]] | None = None,
) -> SystemResult:
    """Score one system.

    `ranked`: for each of n >= 1 mentions all its answers, best first, None = "none of these"; `unseen`: (n,) bool; `resampling`: of
    the n. `sets`: all concepts of each answer; without, the one ranked first. Raises ValueError if the three are not equally long.
    """
    if not len(ranked) == len(golds) == len(unseen):
        raise ValueError(f"{name}: {len(ranked)} rankings, {len(golds)} golds and {len(unseen)} unseen flags: not equally many")
    sets = firsts(ranked) if sets is None else sets
    several = names_several(golds)

    def scores(chosen: np.ndarray) -> tuple[Score | None, ...]:
        rows, drawn = np.flatnonzero(chosen).tolist(), resampling.of(chosen)
        answers, right = [ranked[n] for n in rows], [golds[n] for n in rows]
        accuracies = [score(outcomes(answers, right, k), drawn) for k in (1, 5)]
        known = score(recall_outcomes(answers, right, 10), resampling.of(np.array([n for n in rows if golds[n]], dtype=int)))
        f1 = _f1(set_counts([sets[n] for n in rows], right), drawn) if several and rows else None
        return *accuracies, known, f1

    acc_at_1, acc_at_5, recall_at_10, f1 = scores(np.ones(len(golds), dtype=bool))
    unseen_acc_at_1, unseen_acc_at_5, unseen_recall_at_10, unseen_f1 = scores(unseen)
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
        mentions=len(golds),
        unseen_mentions=int(unseen.sum()),
        micro_f1=f1,
        unseen_micro_f1=unseen_f1,
    )


def firsts(ranked: Sequence[Ranked]) -> list[list[ConceptId]]:
    """Of each ranking its first concept as a set of one, of "none of these" the empty set."""
    return [[i for i in answers[:1] if i is not None] for answers in ranked]


def names_several(golds: Sequence[Gold | None]) -> bool:
    """Whether the gold of any mention has several concepts together: micro F1 is measured then."""
    return any(len(alternative) > 1 for gold in golds for alternative in gold or [])


def compare_sets(
    a: Sequence[Collection[ConceptId]], b: Sequence[Collection[ConceptId]], golds: Sequence[Gold], resampling: Resampling
) -> PairedResult:
    """The difference in micro F1 of two systems' answers to the same n mentions; `a_only`: mentions whose answer of a is the nearer one."""
    of_a, of_b = set_counts(a, golds), set_counts(b, golds)
    nearer = np.array([micro_f1(one[None]) - micro_f1(other[None]) for one, other in zip(of_a, of_b, strict=True)])
    return PairedResult(*paired_statistic(micro_f1, of_a, of_b, resampling), int((nearer > 0).sum()), int((nearer < 0).sum()))


def score(values: np.ndarray, resampling: Resampling) -> Score | None:
    """The share of true ones in `values`, (n,) bool, with its bootstrap interval; None where there are none."""
    return Score(float(values.mean()), *bootstrap_interval(values, resampling)) if values.size else None


def _f1(counts: np.ndarray, resampling: Resampling) -> Score:
    return Score(micro_f1(counts), *bootstrap_statistic(micro_f1, counts, resampling))
