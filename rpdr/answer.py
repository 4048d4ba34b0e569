"""How probabilities become an answer, for notebook and batch job alike: what an exact name decides, whom the student is not asked about, what is withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpdr.config import LinkConfig
from rpdr.reranker import Calibration, OperatingPoint, Reranker, queries
from rpdr.retriever import similarity_matrix
from rpdr.schema import ConceptId


def operating_point(calibration: Calibration, settings: LinkConfig) -> OperatingPoint | None:
    """Where to abstain under these settings; None: nowhere."""
    return None if settings.target_precision is None else calibration.operating_point(settings.target_precision, settings.exact_match)


def answers(
    reranker: Reranker, rows: Sequence[dict[str, Any]], allow_nil: bool, point: OperatingPoint | None = None
) -> list[dict[str, Any]]:
    """For rows of schema.CANDIDATES: concept_id, name (both None for NIL or abstained), concept_ids, abstained, nil, confidence, ranked_ids,
    ranked_scores, source. The student is asked about what the retriever is not sure enough of."""
    if not rows:
        return []
    shortcut, taken = reranker.shortcut, np.zeros(len(rows), dtype=bool)
    found: list[dict[str, Any]] = [{}] * len(rows)
    if shortcut:
        similarities = similarity_matrix([row["scores"] for row in rows])
        probabilities, taken = shortcut.probabilities(similarities, allow_nil)
        for n in np.flatnonzero(taken).tolist():
            found[n] = _answer(rows[n], probabilities[n], shortcut.calibration, allow_nil, point, "retriever")
    hard = np.flatnonzero(~taken).tolist()
    if hard:
        for n, p in zip(hard, reranker.probabilities(queries(rows[n] for n in hard)), strict=True):
            found[n] = _answer(rows[n], p, reranker.calibration, allow_nil, point, "student")
    return found


def _answer(
    row: Mapping[str, Any], p: np.ndarray, calibration: Calibration, allow_nil: bool, point: OperatingPoint | None, source: str
) -> dict[str, Any]:
    """By probabilities (k + 1,), "none of these" last."""
    n = len(row["candidate_ids"])
    [best], [nil], [sure] = calibration.decide(p[None], allow_nil)
    order = np.argsort(-p[:n], kind="stable")
    abstained = point is not None and not point.gives(float(sure))
    silent = nil or abstained
    also = [row["candidate_ids"][i] for i in order[1:] if p[i] > calibration.also_above]
    return {
        "concept_id": None if silent else row["candidate_ids"][best],
        "name": None if silent else row["candidate_names"][best],
        "concept_ids": [] if silent else [row["candidate_ids"][best], *also],
        "abstained": abstained,
        "nil": bool(nil),
        "confidence": float(sure),
        "ranked_ids": [row["candidate_ids"][i] for i in order],
        "ranked_scores": p[order].tolist(),
        "source": source,
    }


def exact_answer(concept_id: ConceptId, name: str, calibration: Calibration, point: OperatingPoint | None) -> dict[str, Any]:
    """What `answers` gives for a mention that is a name of this concept alone, whose preferred name is `name`."""
    sure = calibration.exact_confidence
    abstained = point is not None and not point.gives(sure, exact=True)
    return {
        "concept_id": None if abstained else concept_id,
        "name": None if abstained else name,
        "concept_ids": [] if abstained else [concept_id],
        "abstained": abstained,
        "nil": False,
        "confidence": sure,
        "ranked_ids": [concept_id],
        "ranked_scores": [sure],
        "source": "exact",
    }


def guesses(row: Mapping[str, Any], calibration: Calibration) -> list[ConceptId]:
    """All concepts that a row of schema.LINKED says or, where it abstained, would have said; `calibration`: the student's."""
    if row["nil"] or not row["abstained"]:
        return list(row["concept_ids"])
    above = calibration.also_above if row["source"] == "student" else 1.0
    first, *others = row["ranked_ids"]
    return [first, *(i for i, p in zip(others, row["ranked_scores"][1:], strict=True) if p > above)]


def guess(row: Mapping[str, Any]) -> ConceptId | None:
    """What a row of schema.LINKED says or, where it abstained, would have said; None for NIL."""
    return None if row["nil"] else row["ranked_ids"][0]
