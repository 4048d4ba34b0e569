"""What counts as right: mentions' ranked answers and gold in, booleans and rates out.

Knows nothing about models or files. In a ranking, None is the answer "none of these"; in golds, `[]` is NIL.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from rpdr.schema import ConceptId, Gold, members

Ranked = Sequence[ConceptId | None]


def is_hit(ranked: Ranked, gold: Gold, k: int) -> bool:
    """Whether the right answer is among the first `k` (>= 1) of `ranked`, best first.

    The convention: a linker gives a mention one concept, so it is right if that concept is a member of any alternative of the gold
    (for [["C1", "C2"]], C1 is right and so is C2). For NIL gold (`[]`) the right answer is None, "none of these", wherever it stands
    in the order; None takes up a position like any concept. A linker that never says None is wrong on all NIL mentions.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not >= 1")
    top = ranked[:k]
    if not gold:
        return None in top
    return not members(gold).isdisjoint(top)


def outcomes(ranked: Sequence[Ranked], golds: Sequence[Gold], k: int) -> np.ndarray:
    """`is_hit` of each mention: (n,) bool. Raises ValueError if the two are not equally long."""
    return np.array([is_hit(r, g, k) for r, g in zip(ranked, golds, strict=True)], dtype=bool)


def recall_outcomes(ranked: Sequence[Ranked], golds: Sequence[Gold], k: int) -> np.ndarray:
    """Whether the first `k` concepts hold a right one, None left out of the order: (m,) bool over the m mentions whose gold is not NIL."""
    pairs = [([concept for concept in r if concept is not None], g) for r, g in zip(ranked, golds, strict=True) if g]
    return outcomes([r for r, _ in pairs], [g for _, g in pairs], k)


def nearest(answer: Collection[ConceptId], gold: Gold) -> set[ConceptId]:
    """The alternative of `gold` that shares the most with an answer's concepts, of equally near ones the smallest; empty for NIL gold."""
    return max((set(alternative) for alternative in gold), key=lambda a: (len(a & set(answer)), -len(a)), default=set())


def set_counts(answers: Sequence[Collection[ConceptId]], golds: Sequence[Gold]) -> np.ndarray:
    """Of each mention how many concepts are right, were answered, and are wanted by the nearest alternative: (n, 3) int."""
    rows = [(len(set(a) & near), len(set(a)), len(near)) for a, near in ((a, nearest(a, g)) for a, g in zip(answers, golds, strict=True))]
    return np.array(rows, dtype=int).reshape(-1, 3)


def micro_f1(counts: np.ndarray) -> float:
    """Over the concepts of all mentions, from `set_counts`: the harmonic mean of precision and recall; 1 where nothing is wanted or said."""
    right, said, wanted = counts.sum(axis=0).tolist()
    return 2 * right / (said + wanted) if said + wanted else 1.0
