"""How far each label may be trusted, and how accurate the teacher is, without knowing a single answer of its pool.

The one-coin model of Dawid & Skene 1979 (doi 10.2307/2346806), with the retriever's calibrated probabilities in the place of equal
prior ones: a teacher names the right option with an unknown accuracy, and errs evenly among the others. Where it contradicts a
retriever that was sure, it is less to be believed than where it confirms one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

FEW = 50  # labels: what fewer answers than that have in common cannot have an accuracy of its own
ROUNDS = 100
SURE = 0.95  # an endpoint's own probability


def kind(agreed: int, asked: int, confidence: float | None) -> Hashable:
    """What makes labels alike: the vote, and whether the endpoint was sure. Each kind has an accuracy of its own."""
    return agreed, asked, None if confidence is None else confidence >= SURE


def believe(chosen: np.ndarray, options: np.ndarray, kinds: Sequence[Hashable]) -> tuple[np.ndarray, dict[Hashable, float]]:
    """(trust (n,), accuracy of the teacher by kind), by expectation-maximisation; all in (0, 1).

    `chosen` (n,): the prior probability of the option that was chosen; `options` (n,): how many there were, "none of these" among them.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(kinds))}
    group = np.array([names[name] for name in kinds], dtype=int)
    counts = np.bincount(group, minlength=len(names))
    rare = len(names)  # all kinds with few labels are one
    group = np.where(counts[group] < FEW, rare, group)
    counts = np.bincount(group, minlength=rare + 1)
    accuracy = np.full(rare + 1, 0.8)
    prior = np.clip(chosen, 1e-6, 1 - 1e-6)
    error = 1.0 / np.maximum(options - 1, 1)
    trust = prior
    for _ in range(ROUNDS):
        a = accuracy[group]
        right, wrong = prior * a, (1 - prior) * (1 - a) * error
        trust = right / (right + wrong)
        # one right and one wrong answer beforehand (Laplace): no accuracy is 0 or 1
        accuracy = (np.bincount(group, weights=trust, minlength=rare + 1) + 1) / (counts + 2)
    return trust, {name: float(accuracy[number if counts[number] >= FEW else rare]) for name, number in names.items()}
