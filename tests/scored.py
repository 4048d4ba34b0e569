"""Answers of a student that always scores so, and a row of candidates to score."""

from __future__ import annotations

from typing import Any

import numpy as np

from rpdr.answer import answers
from rpdr.kb import Concept
from rpdr.reranker import Calibration, OperatingPoint, Reranker
from rpdr.schema import ConceptId

VOMITING = Concept(ConceptId("C1"), "Vomiting", ("Vomiting", "throwing up"), None, ())
ROW = {
    "text": "keeps nothing down",
    "context": None,
    "candidate_ids": ["C1", "C2", "C3"],
    "candidate_names": ["Vomiting", "Nausea", "Dysphagia"],
    "matched_names": ["throwing up", "Nausea", "Dysphagia"],
    "scores": [0.6, 0.5, 0.4],
}
SURE, UNSURE, NONE = [9.0, 0.0, 1.0, 0.0], [0.0, 0.4, 0.1, 0.0], [0.0, 0.0, 0.0, 9.0]
FROM_80 = OperatingPoint(0.8, True, 0.8, 100, 50, 48, 0.9)
CAUTIOUS = OperatingPoint(0.99, True, 0.9999, 100, 50, 50, 0.95)  # withholds all that these say
UNREACHABLE = OperatingPoint(0.99, False, 1.0, 100, 0, 0, None, 0.9)
SHOWS = Calibration(
    dev_confidence=tuple(np.linspace(0.3, 1, 300).tolist()), dev_right=tuple(n >= 150 for n in range(300)), dev_exact=(None,) * 300
)


class Scored(Reranker):
    """A reranker whose student always scores so."""

    def __init__(self, *scores: list[float], calibration: Calibration | None = None) -> None:
        self.calibration = calibration or Calibration()
        self._scores = np.array(scores, dtype=np.float32)

    def scores(self, queries: Any) -> np.ndarray:
        return self._scores[: len(queries)]


def said(*scores: list[float], allow_nil: bool = True, point: OperatingPoint | None = None) -> list[dict[str, Any]]:
    return answers(Scored(*scores), [ROW] * len(scores), allow_nil, point)
