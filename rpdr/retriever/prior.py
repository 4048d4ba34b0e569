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
        return np.concatenate([self.scale * similarities, np.full((len(similarities), 1), self.none)], axis=1)


def fit_prior(scores: Sequence[Sequence[float]], choices: Sequence[int]) -> Prior:
    """The likeliest prior for n >= 1 mentions: the `scores` of their candidates, of which NIL or the one at `choices` is right."""
    similarities = similarity_matrix(scores)
    rows = np.arange(len(choices))
    places = np.array([similarities.shape[1] if choice == NIL else choice for choice in choices])

    def prior(parameters: np.ndarray) -> Prior:
        return Prior(float(np.exp(parameters[0])), NONE_UNIT * float(parameters[1]))

    def loss(parameters: np.ndarray) -> float:
        logs = log_softmax(prior(parameters).scores(similarities), axis=1)
        return -float(logs[rows, places].mean())

    # bounds: where no choice is "none", or all are right, the likeliest would be infinite
    return prior(minimize(loss, np.array([3.0, 0.5]), method="L-BFGS-B", bounds=[(0.0, 5.0), (-5.0, 10.0)]).x)


def similarity_matrix(scores: Sequence[Sequence[float]]) -> np.ndarray:
    """The `scores` of rows of schema.CANDIDATES as (n, k) float64, for the k of the longest; -inf where a row has fewer."""
    out = np.full((len(scores), max(map(len, scores), default=0)), -np.inf)
    for row, some in enumerate(scores):
        out[row, : len(some)] = some
    return out
