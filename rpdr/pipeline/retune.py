"""Stage `retune`: the teacher's labels -> retuned/, a second retriever, which finds the candidates that the student learns from and re-ranks.

An encoder is sure of what it was tuned on: had it seen the labels that the student learns from, the student would learn to follow it
alone. So a label's similarities come from an encoder that was tuned on the labels of the other fold (cross-fitting, as in stacked
generalisation, Wolpert 1992, doi 10.1016/S0893-6080(05)80023-1), and new mentions' from one that was tuned on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rpdr.corpus import load_mentions
from rpdr.files import sha256_tree, write_rows
from rpdr.kb import Concept, load_kb
from rpdr.linker import RETUNED
from rpdr.pipeline import candidates, teach
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.retriever import gold_pairs, tuned_encoder
from rpdr.pipeline.run import Run
from rpdr.retriever import Pair, Retriever, rescored
from rpdr.schema import CANDIDATES, LABELS, NIL, ConceptId, MentionKey

FOLDS = 2


def retune(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Tune on all labels, index, retrieve anew; then tune on each fold's complement. Nothing unless `retriever.rounds` is 2."""
    if run.config.retriever.rounds == 1:
        return {"tuned": False}
    concepts = load_kb(run.path("kb", "concepts.parquet"))
    mentions = load_mentions(run.path("corpus", "mentions.parquet"))
    labels = pq.read_table(run.path("labels", teach.FILE)).to_pylist()
    tuner = _Tuner(run, concepts, gold_pairs([m for m in mentions if m.split == "labelled"], concepts), progress)
    folder = run.path(RETUNED)
    final = tuner.tuned(labels, "on all labels")
    final.encoder.save(str(folder / "retriever"))
    final.index.save(folder / "index")
    progress.update(0, None, "retrieving candidates")
    found, _ = candidates.retrieved(run, [m for m in mentions if m.split not in ("corpus", "unlabelled")], folder, progress)
    write_rows(folder / candidates.FILE, found, CANDIDATES)
    write_rows(folder / teach.FILE, _cross_fitted(tuner, labels), LABELS)
    return {"tuned": True, "content": sha256_tree(folder), "teacher_pairs": sum(row["choice"] != NIL for row in labels)}


def labels_file(run: Run) -> Path:
    """Rows of schema.LABELS that the student learns from: as the teacher gave them, with the similarities of the last round."""
    return run.path("labels" if run.config.retriever.rounds == 1 else RETUNED, teach.FILE)


def taught_pairs(labels: Sequence[dict[str, Any]], concepts: Sequence[Concept]) -> list[Pair]:
    """(mention, preferred name) for each label that names a concept."""
    names = {c.concept_id: c.name for c in concepts}
    chosen = [(row["text"], row["candidate_ids"][row["choice"]]) for row in labels if row["choice"] != NIL]
    return [Pair(text, names[i], i) for text, i in chosen]


@dataclass(frozen=True)
class _Tuner:
    """Tunes the base encoder on gold, synonyms and some labels."""

    run: Run
    concepts: Sequence[Concept]
    gold: list[Pair]
    progress: StageProgress

    def tuned(self, labels: Sequence[dict[str, Any]], what: str) -> Retriever:
        settings = self.run.config.retriever
        encoder = tuned_encoder(self.run, self.concepts, self.gold + taught_pairs(labels, self.concepts), self.progress, what)
        return Retriever.build(encoder, self.concepts, settings.prefix, settings.index)


def _cross_fitted(tuner: _Tuner, labels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The labels in their order, the candidates of each scored by an encoder that has not seen it."""
    found: dict[MentionKey, dict[str, Any]] = {}
    for fold in range(FOLDS):
        mine = [row for row in labels if _fold(row["key"]) == fold]
        if mine:
            others = [row for row in labels if _fold(row["key"]) != fold]
            retriever = tuner.tuned(others, f"for fold {fold + 1} of {FOLDS}")
            found |= {row["key"]: _rechosen(row, old) for row, old in zip(rescored(retriever, mine), mine, strict=True)}
    return [found[row["key"]] for row in labels]


def _rechosen(row: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """`row` with the choice of `old`, whose candidates it has in another order."""
    chosen: ConceptId | None = None if old["choice"] == NIL else old["candidate_ids"][old["choice"]]
    return {**row, "choice": NIL if chosen is None else row["candidate_ids"].index(chosen)}


def _fold(key: MentionKey) -> int:
    """By the key, which is a hash: the same in each run."""
    return int(key[:8], 16) % FOLDS
