"""From scores to probabilities: one temperature and one shift of "none of these", fitted on held-out gold.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599); the shift is its vector form with one free class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from rpdr.files import write_json


@dataclass(frozen=True)
class Calibration:
    """probability = softmax((score + none_shift for "none") / temperature). `fitted_on` says which mentions, and how many."""

    temperature: float = 1.0
    none_shift: float = 0.0
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


def fit_calibration(scores: np.ndarray, choices: np.ndarray, fitted_on: str, allow_nil: bool = True) -> Calibration:
    """The likeliest temperature and shift for scores (n, k + 1) and right answers `choices` (n,) in 0..k, k meaning "none".

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
    return Calibration(float(np.exp(best[0])), float(best[1]) if allow_nil else 0.0, fitted_on)
