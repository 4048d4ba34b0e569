"""Answers of several concepts: how probable a candidate beside the best must be to belong to the answer, set on dev, for the student and for the
retrievers that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rpdr.corpus import Mention, mention_key
from rpdr.evaluation import nearest
from rpdr.reranker import Calibration, fit_calibration
from rpdr.reranker.calibration import also_threshold
from rpdr.retriever import fit_prior, similarity_matrix
from rpdr.run.gold import by_gold, right_among
from rpdr.schema import ConceptId, MentionKey


def with_threshold(calibration: Calibration, scores: np.ndarray, rows: Sequence[Mapping[str, Any]], allow_nil: bool) -> Calibration:
    """With the threshold of what belongs to an answer beside its best candidate. `scores` (n, k + 1) of n rows of `gold.chosen_by_gold`. Of
    alternatives that the best is in, that of most candidates counts."""
    probabilities = calibration.probabilities(scores)
    best, nil, _ = calibration.decide(probabilities, allow_nil)
    golds = [_meant(row, row["candidate_ids"][first]) for row, first in zip(rows, best, strict=True)]
    wanted = np.zeros(scores[:, :-1].shape, dtype=bool)
    for n, (row, gold) in enumerate(zip(rows, golds, strict=True)):
        wanted[n, : len(row["candidate_ids"])] = [i in gold for i in row["candidate_ids"]]
    sizes = np.array([len(gold) for gold in golds])
    return replace(calibration, also_above=also_threshold(probabilities[:, :-1], nil, wanted, sizes))


def retrievers_sets(
    dev_mentions: Sequence[Mention],
    test: Sequence[Mention],
    found: Mapping[MentionKey, dict[str, Any]],
    firsts: Sequence[list[ConceptId]],
    allow_nil: bool,
) -> list[list[ConceptId]]:
    """All concepts of a retriever's answer to each test mention, by its first one, as `evaluation.firsts` has it, and rows of schema.CANDIDATES of dev and
    test: from similarities alone, with a threshold from dev as the student has one. The first alone where dev has too few texts."""
    annotated = [m for m in dev_mentions if m.gold is not None]
    dev = by_gold(annotated, found)
    if not dev:
        return [*firsts]
    prior = fit_prior([row["scores"] for row in dev], [row["choice"] for row in dev])
    scores = prior.scores(similarity_matrix([row["scores"] for row in dev]))
    nil = np.array([not row["gold"] for row in dev])
    texts = [mention_key(m.text) for m in annotated]  # all that a retriever reads
    fitted = fit_calibration(scores, right_among(dev, scores.shape[1] - 1), "dev mentions", allow_nil, nil, texts=texts)
    if not fitted.dev_right:
        return [*firsts]
    fitted = with_threshold(fitted, scores, dev, allow_nil)
    rows = [found[m.key] for m in test]
    likely = fitted.probabilities(prior.scores(similarity_matrix([row["scores"] for row in rows])))  # as the threshold was set
    return [
        said + [i for i, p in zip(row["candidate_ids"], of_one, strict=False) if said and i not in said and p > fitted.also_above]
        for said, row, of_one in zip(firsts, rows, likely.tolist(), strict=True)
    ]


def _meant(row: Mapping[str, Any], best: ConceptId) -> set[ConceptId]:
    with_it = [alternative for alternative in row["alternatives"] if best in alternative]
    return nearest(row["candidate_ids"], with_it or row["alternatives"])
