"""What the dev mentions say of a trained student: how sure it is, how far it is to be believed against the retriever, and what need not be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpdr.corpus import mention_key
from rpdr.files import write_atomically
from rpdr.pipeline.names import by_exact_names
from rpdr.pipeline.on_ray.cluster import share_threads
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.several import with_threshold
from rpdr.reranker import Calibration, Reranker, fit_calibration, queries
from rpdr.reranker.balance import ENOUGH, fit_balance
from rpdr.reranker.calibration import FEW, UNFITTED, different
from rpdr.reranker.shortcut import Shortcut, fit_shortcut
from rpdr.reranker.student import HEAD_FILE
from rpdr.retriever import similarity_matrix
from rpdr.run import Run
from rpdr.run.gold import chosen_by_gold, right_among


def calibrate(run: Run, _: StageProgress) -> tuple[Calibration, dict[str, float] | None, Shortcut | None]:
    """On dev gold; by how much the balance of the student was changed; and what need not be asked. With fewer than 20 different dev mentions, on nothing:
    probabilities are then the plain softmax, and NIL is never said. A start after one that was cut off begins from the head as it was trained."""
    rows = chosen_by_gold(run, "dev", final=True)
    if not rows:
        return UNFITTED, None, None
    trained = as_trained(run)
    if not trained.exists():
        write_atomically(trained, lambda file: file.write(run.path("student", HEAD_FILE).read_bytes()))
    reranker = _reranker(run)
    scores = reranker.scores(queries(rows))
    right = right_among(rows, scores.shape[1] - 1)
    exact = by_exact_names(run, rows)
    asked = np.array([not run.config.link.exact_match or by_name is None for by_name in exact], dtype=bool)
    scores, balance = _balanced(run, reranker, rows, scores, right, asked)
    nil = np.array([not row["gold"] for row in rows])
    questions = _asked_of(run, rows)
    fitted = fit_calibration(scores, right, "dev mentions", run.config.link.allow_nil, nil, exact, asked, questions)
    if run.config.link.several and fitted.dev_right and different(questions, asked) >= FEW:
        fitted = with_threshold(
            fitted, scores[asked], [row for row, one in zip(rows, asked, strict=True) if one], run.config.link.allow_nil
        )
    return fitted, balance, shortcut_on_dev(run, fitted, rows, scores, right, nil, [by_name is not None for by_name in exact])


def as_trained(run: Run) -> Path:
    """A copy of the student's head before it was balanced, while the stage is not finished; what a start that was cut off has balanced is as it was again."""
    kept = run.path("student.training", HEAD_FILE)
    if kept.exists():
        write_atomically(run.path("student", HEAD_FILE), lambda file: file.write(kept.read_bytes()))
    return kept


def shortcut_on_dev(
    run: Run,
    calibration: Calibration,
    rows: list[dict[str, Any]],
    scores: np.ndarray,
    right: np.ndarray,
    nil: np.ndarray,
    exact: Sequence[bool],
) -> Shortcut:
    """What dev tells of the retriever's answers, by rows of `gold.chosen_by_gold`, the student's `scores` (n, k + 1) of them, its calibration,
    which candidates are `right` (n, k + 1) bool, "none" last, whether the gold is NIL (n,) bool, and whether an exact name decides it."""
    allow_nil = run.config.link.allow_nil
    probabilities = calibration.probabilities(scores)
    best, said_nil, _ = calibration.decide(probabilities, allow_nil)
    alone = ~said_nil & ((probabilities[:, :-1] > calibration.also_above).sum(axis=1) <= 1)
    student = [place if one else None for place, one in zip(best.tolist(), alone, strict=True)]
    similarities, questions = similarity_matrix([row["scores"] for row in rows]), _asked_of(run, rows)
    return fit_shortcut(similarities, right, student, allow_nil, nil, exact, run.config.link.exact_match, questions)


def _asked_of(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each the key of what the student is asked: the same for those that are answered alike."""
    return [mention_key(row["text"], None, row["context"] if run.config.student.use_context else None) for row in rows]


def _balanced(
    run: Run, reranker: Reranker, rows: list[dict[str, Any]], scores: np.ndarray, right: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, dict[str, float] | None]:
    """(the scores, and how much is believed of the retriever and of what was learned) at the balance that suits those of dev that the student is `asked`
    about, (n,) bool, which it is told. (the scores as they are, None) where those are too few to tell."""
    if different(_asked_of(run, rows), asked) < ENOUGH:
        return scores, None
    head = reranker.student.head
    before = head.scale().item()
    similarities = similarity_matrix([row["scores"] for row in rows])
    learned = np.subtract(scores[:, :-1], before * similarities, out=np.zeros_like(similarities), where=np.isfinite(similarities))
    balance = fit_balance(similarities[asked], learned[asked], scores[asked, -1], right[asked], before)
    head.rebalance(balance)
    head.save(run.path("student", HEAD_FILE))
    return balance.scores(similarities, learned, scores[:, -1]), {"similarity": balance.similarity / before, "learned": balance.learned}


def _reranker(run: Run) -> Reranker:
    share_threads(1, run.config.resources.reranking)
    return Reranker.load(run.path("student"), run.config.student, run.config.link.batch_size)
