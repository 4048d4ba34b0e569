"""How much of what a student learned is believed beside the retriever's similarity, by dev gold; told to the head, so that whoever loads it has it.

Stacked generalisation (Wolpert 1992, doi 10.1016/S0893-6080(05)80023-1). A student learns the weights of both from labels, some of them wrong,
that it meets several times: it comes to believe itself too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

ENOUGH = 100  # different dev mentions, for four numbers


@dataclass(frozen=True)
class Balance:
    """score = `similarity` times the cosine + `learned` times the head's reading; of "none of these", `none` times its score + `shift`."""

    similarity: float
    learned: float = 1.0
    none: float = 1.0
    shift: float = 0.0

    def scores(self, similarities: np.ndarray, learned: np.ndarray, none: np.ndarray) -> np.ndarray:
        """(n, k), (n, k), (n,) -> (n, k + 1); -inf where a similarity is."""
        return np.concatenate([self.similarity * similarities + self.learned * learned, self.none * none[:, None] + self.shift], axis=1)


def fit_balance(similarities: np.ndarray, learned: np.ndarray, none: np.ndarray, right: np.ndarray, start: float) -> Balance:
    """The likeliest balance, from that of a student whose cosines count `start` times.

    similarities, learned (n, k): -inf and 0 where a mention has fewer candidates; none (n,); right (n, k + 1) bool: the candidates of the gold, or
    "none". n: ENOUGH or more.
    """

    def balance(parameters: np.ndarray) -> Balance:
        scale, *others = map(float, parameters)
        return Balance(start * float(np.exp(scale)), *others)

    def loss(parameters: np.ndarray) -> float:
        logs = log_softmax(balance(parameters).scores(similarities, learned, none), axis=1)
        return float(-logsumexp(logs, axis=1, b=right).mean())

    bounds = [(-3.0, 3.0), (0.0, 3.0), (0.0, 3.0), (-50.0, 50.0)]
    return balance(minimize(loss, np.array([0.0, 1.0, 1.0, 0.0]), method="L-BFGS-B", bounds=bounds).x)
