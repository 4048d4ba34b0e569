"""The retriever's similarities as probabilities, "none of these" among them: what is believed of a mention before anyone is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from rpdr.schema import NIL

NONE_UNIT = 10.0  # "none" is as large as scale times a similarity: both parameters are fitted in steps of about one


@dataclass(frozen=True)
class Prior:
    """probability = softmax over `scale` times each similarity, and `none` for "none of these"."""

    scale: float
    none: float

    def probabilities(self, similarities: np.ndarray) -> np.ndarray:
        """Cosines (n, k), -inf where a mention has fewer candidates -> (n, k + 1), "none" last; rows sum to 1."""
        return softmax(self.scores(similarities), axis=1)

    def scores(self, similarities: np.ndarray) -> np.ndarray:
        """The same before the softmax: what a student that has learned nothing says."""
        return _logits(similarities, self.scale, self.none)


def fit_prior(scores: Sequence[Sequence[float]], choices: Sequence[int]) -> Prior:
    """The likeliest prior for n >= 1 mentions: the `scores` of their candidates, of which NIL or the one at `choices` is right."""
    similarities = similarity_matrix(scores)
    rows = np.arange(len(choices))
    places = np.array([similarities.shape[1] if choice == NIL else choice for choice in choices])

    def loss(parameters: np.ndarray) -> float:
        logs = log_softmax(_logits(similarities, float(np.exp(parameters[0])), NONE_UNIT * float(parameters[1])), axis=1)
        return -float(logs[rows, places].mean())

    # bounds: where no choice is "none", or all are right, the likeliest would be infinite
    best = minimize(loss, np.array([3.0, 0.5]), method="L-BFGS-B", bounds=[(0.0, 5.0), (-5.0, 10.0)]).x
    return Prior(float(np.exp(best[0])), NONE_UNIT * float(best[1]))


def similarity_matrix(scores: Sequence[Sequence[float]], k: int = 0) -> np.ndarray:
    """The `scores` of rows of schema.CANDIDATES as (n, k) float64, -inf where a row has fewer than k; 0: the longest row's."""
    out = np.full((len(scores), k or max(map(len, scores), default=0)), -np.inf)
    for row, some in enumerate(scores):
        out[row, : len(some)] = some
    return out


def _logits(similarities: np.ndarray, scale: float, none: float) -> np.ndarray:
    return np.concatenate([scale * similarities, np.full((len(similarities), 1), none)], axis=1)
