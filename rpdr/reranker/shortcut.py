"""Which of the retriever's answers are taken without asking the student: those of a confidence at which dev shows that it would say the same.

A cascade (Viola & Jones 2001; for language models, Chen et al. 2023, arXiv 2305.05176), whose first, cheap stage is held to the second's answers
rather than to gold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rpdr.files import write_json
from rpdr.reranker.abstention import OperatingPoint, operating_point
from rpdr.reranker.calibration import Calibration, fit_calibration

SHORTCUT_FILE = "shortcut.json"


@dataclass(frozen=True)
class Shortcut:
    """`calibration` makes probabilities of the retriever's scores; where its answer is of a higher confidence than `point` says, it is taken.

    Of `point`, "right" is what the student says too: `target` the wanted share of such answers, `shown` the least that dev shows.
    """

    calibration: Calibration
    point: OperatingPoint

    @classmethod
    def load(cls, folder: Path) -> Shortcut | None:
        """What `save` wrote into the student's folder; None where it wrote nothing."""
        path = folder / SHORTCUT_FILE
        if not path.exists():
            return None
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(Calibration(**told["calibration"]), OperatingPoint(**told["point"]))

    def save(self, folder: Path) -> None:
        """As JSON."""
        write_json(folder / SHORTCUT_FILE, asdict(self))

    def probabilities(self, similarities: np.ndarray, allow_nil: bool) -> tuple[np.ndarray, np.ndarray]:
        """similarities (n, k), -inf where there is no candidate -> (probabilities (n, k + 1), "none of these" last; (n,) bool: is taken)."""
        probabilities = self.calibration.probabilities(_with_none(similarities))
        _, nil, confidence = self.calibration.decide(probabilities, allow_nil)
        return probabilities, ~nil & (confidence > self.point.above)

    def seen_by(self, calibration: Calibration, similarities: np.ndarray, right: np.ndarray, allow_nil: bool) -> Calibration:
        """The student's `calibration` with what dev's mentions are answered now: where the retriever's answer is taken, its confidence and whether it is
        right (`right` (n, k + 1) bool) in place of the student's."""
        probabilities, taken = self.probabilities(similarities, allow_nil)
        best, _, confidence = self.calibration.decide(probabilities, allow_nil)
        hit = right[np.arange(len(best)), best]
        return replace(
            calibration,
            dev_confidence=tuple(np.where(taken, confidence, calibration.dev_confidence).tolist()),
            dev_right=tuple(np.where(taken, hit, calibration.dev_right).tolist()),
        )


def fit_shortcut(
    similarities: np.ndarray, right: np.ndarray, student: Sequence[int | None], target: float, allow_nil: bool, nil: np.ndarray
) -> Shortcut | None:
    """The retriever's answers that dev shows, with 95 % certainty, to be the student's too in at least `target` of all cases; None: it shows none.

    similarities (n, k); `right` (n, k + 1) bool: the candidates of the gold, or "none"; `student`, n: the place of its answer, None where that
    is not one candidate alone; `nil` (n,) bool: the gold is NIL.
    """
    calibration = fit_calibration(_with_none(similarities), right, f"{len(right)} dev mentions", allow_nil, nil)
    best, said_nil, confidence = calibration.decide(calibration.probabilities(_with_none(similarities)), allow_nil)
    same = np.array([not none and place == said for place, none, said in zip(best.tolist(), said_nil, student, strict=True)], dtype=bool)
    point = operating_point(np.where(said_nil, 0.0, confidence), same, target)
    return Shortcut(calibration, point) if point.reachable else None


def _with_none(similarities: np.ndarray) -> np.ndarray:
    return np.concatenate([similarities, np.zeros((len(similarities), 1))], axis=1)
