"""From scores to probabilities: one temperature and one shift of "none of these", fitted on held-out gold; and when to answer NIL.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599); the shift is its vector form with one free class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from rpdr.files import write_json


@dataclass(frozen=True)
class Calibration:
    """probability = softmax((score + none_shift for "none") / temperature). `fitted_on` says which mentions, and how many.

    "None of these" is often the retriever's miss rather than NIL, a concept that the knowledge base lacks: NIL is answered only where
    "none" has a probability above `nil_above`.
    """

    temperature: float = 1.0
    none_shift: float = 0.0
    nil_above: float = 0.5
    fitted_on: str = "nothing"

    def probabilities(self, scores: np.ndarray, allow_nil: bool = True) -> np.ndarray:
        """scores (n, k + 1) -> probabilities (n, k + 1), rows sum to 1; with `allow_nil` false, "none" has probability 0."""
        return softmax(self._shifted(scores, allow_nil), axis=1)

    def _shifted(self, scores: np.ndarray, allow_nil: bool) -> np.ndarray:
        shifted = scores.astype(np.float64)
        shifted[:, -1] = shifted[:, -1] + self.none_shift if allow_nil else -np.inf
        return shifted / self.temperature

    def save(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))


def fit_calibration(
    scores: np.ndarray, choices: np.ndarray, fitted_on: str, allow_nil: bool = True, nil: np.ndarray | None = None
) -> Calibration:
    """The likeliest temperature and shift for scores (n, k + 1) and right answers `choices` (n,) in 0..k, k meaning "none".

    `nil` (n,) bool: the gold is NIL; where any is, `nil_above` is set so that the most mentions are answered rightly.
    Fewer than 20 mentions are too few to fit on: the identity is returned.
    """
    if not allow_nil:
        scores, choices = scores[choices < scores.shape[1] - 1], choices[choices < scores.shape[1] - 1]
    if len(choices) < 20:
        return Calibration()

    def loss(parameters: np.ndarray) -> float:
        candidate = Calibration(float(np.exp(parameters[0])), float(parameters[1]) if allow_nil else 0.0)
        logs = log_softmax(candidate._shifted(scores, allow_nil), axis=1)
        return float(-logs[np.arange(len(choices)), choices].mean() + 1e-3 * parameters[1] ** 2)

    best = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    fitted = Calibration(float(np.exp(best[0])), float(best[1]) if allow_nil else 0.0, fitted_on=fitted_on)
    if not allow_nil or nil is None or not nil.any():
        return fitted
    none = fitted.probabilities(scores)[:, -1]
    right = np.argmax(scores[:, :-1], axis=1) == choices
    return replace(fitted, nil_above=float(np.clip(-nil_threshold(-none, right, nil), 0.0, 1.0)))


def nil_threshold(certainty: np.ndarray, right: np.ndarray, nil: np.ndarray) -> float:
    """The certainty below which NIL is the better answer, by held-out mentions; the middle one of equally good ones.

    All (n,): how sure a system is that it has found something, whether its first candidate is right, whether the gold is NIL.
    -inf: never; inf: always.
    """
    order = np.argsort(certainty, kind="stable")
    steps = np.concatenate([[-np.inf], certainty[order], [np.inf]])
    # value[i]: how many are right if the i least certain are answered NIL
    value = np.concatenate([[0], np.cumsum(nil[order])]) + right.sum() - np.concatenate([[0], np.cumsum(right[order])])
    value = np.where(steps[:-1] < steps[1:], value, -1)  # equal certainties cannot be told apart
    best = np.flatnonzero(value == value.max())
    at = best[len(best) // 2]
    return float((steps[at] + steps[at + 1]) / 2)
