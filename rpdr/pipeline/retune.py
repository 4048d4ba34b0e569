"""Stage `retune`: the teacher's labels -> retuned/, a second round of the retriever, which finds what the student learns from and re-ranks.

Linked mentions become names of their concepts, as in kNN-BioEL (Lin et al. 2023, arXiv 2312.10330); with `retriever.rounds: 2` the encoder
is tuned on the teacher's labels too. Either way the retriever is sure of what it has met: had it met the labels that the student learns
from, the student would learn to follow it alone. So for a label the alias that it made itself is passed over, and its similarities come
from an encoder that was tuned on the labels of the other fold (cross-fitting, as in stacked generalisation, Wolpert 1992,
doi 10.1016/S0893-6080(05)80023-1). New mentions are met with all aliases, by an encoder that was tuned on all labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.corpus import load_mentions
from rpdr.files import sha256_tree, write_rows
from rpdr.kb import Concept, load_kb
from rpdr.linker import RETUNED, second_round
from rpdr.models import load_encoder
from rpdr.pipeline import candidates, teach
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.retriever import gold_pairs, tuned_encoder
from rpdr.pipeline.run import Run
from rpdr.retriever import Pair, Retriever, add_candidates, distinct_rows, rescored
from rpdr.schema import CANDIDATES, LABELS, NIL, ConceptId, MentionKey

FOLDS = 2
TRUSTED = 0.5  # a label that is more probably right than not makes an alias


def retune(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Tune again, add aliases, retrieve anew, score the labels; nothing unless `retriever.aliases` or `retriever.rounds: 2` asks for it."""
    settings = run.config.retriever
    if not second_round(settings):
        return {"tuned": False, "aliases": 0}
    concepts = load_kb(run.path("kb", "concepts.parquet"))
    mentions = load_mentions(run.path("corpus", "mentions.parquet"))
    labels = pq.read_table(run.path("labels", teach.FILE)).to_pylist()
    maker = _Maker(run, concepts, gold_pairs([m for m in mentions if m.split == "labelled"], concepts), labels, progress)
    final = maker.first() if settings.rounds == 1 else maker.tuned(labels, "on all labels")
    folder = run.path(RETUNED)
    if settings.rounds == 2:
        final.encoder.save(str(folder / "retriever"))
    final.index.save(folder / "index")
    progress.update(0, None, "retrieving candidates")
    found, _ = candidates.retrieved(run, [m for m in mentions if m.split in ("dev", "test")], candidates.final_retriever(run), progress)
    by_hand = pa.Table.from_pylist(distinct_rows([m for m in mentions if m.split == "labelled"]))
    if by_hand.num_rows:
        found += add_candidates(final, by_hand, settings.top_k, as_new=True).select(CANDIDATES.names).to_pylist()
    write_rows(folder / candidates.FILE, found, CANDIDATES)
    write_rows(folder / teach.FILE, _rescored(final, labels) if settings.rounds == 1 else _cross_fitted(maker), LABELS)
    return {
        "tuned": settings.rounds == 2,
        "content": sha256_tree(folder),
        "teacher_pairs": sum(row["choice"] != NIL for row in labels),
        "aliases": final.index.aliases,
    }


def labels_file(run: Run) -> Path:
    """Rows of schema.LABELS that the student learns from: as the teacher gave them, with the similarities of the last round."""
    return run.path(RETUNED if second_round(run.config.retriever) else "labels", teach.FILE)


def taught_pairs(labels: Sequence[dict[str, Any]], concepts: Sequence[Concept]) -> list[Pair]:
    """(mention, preferred name) for each label that names a concept."""
    names = {c.concept_id: c.name for c in concepts}
    chosen = [(row["text"], row["candidate_ids"][row["choice"]]) for row in labels if row["choice"] != NIL]
    return [Pair(text, names[i], i) for text, i in chosen]


@dataclass(frozen=True)
class _Maker:
    """Makes retrievers that know gold, synonyms and the teacher's labels."""

    run: Run
    concepts: Sequence[Concept]
    gold: list[Pair]
    labels: Sequence[dict[str, Any]]
    progress: StageProgress

    def first(self) -> Retriever:
        """The first round's, with aliases."""
        settings = self.run.config.retriever
        encoder = load_encoder(str(self.run.path("retriever")), settings.max_tokens)
        return self._with_aliases(Retriever.load(encoder, self.run.path("index"), self.concepts, settings.prefix))

    def tuned(self, labels: Sequence[dict[str, Any]], what: str) -> Retriever:
        """The base encoder tuned once more, on these labels too, with aliases."""
        settings = self.run.config.retriever
        encoder = tuned_encoder(self.run, self.concepts, self.gold + taught_pairs(labels, self.concepts), self.progress, what)
        return self._with_aliases(Retriever.build(encoder, self.concepts, settings.prefix, settings.index))

    def _with_aliases(self, retriever: Retriever) -> Retriever:
        if not self.run.config.retriever.aliases:
            return retriever
        trusted = [row for row in self.labels if row["trust"] > TRUSTED]
        return retriever.with_aliases(self.gold + taught_pairs(trusted, self.concepts))


def _cross_fitted(maker: _Maker) -> list[dict[str, Any]]:
    """The labels in their order, the candidates of each scored by an encoder that has not seen it."""
    found: dict[MentionKey, dict[str, Any]] = {}
    for fold in range(FOLDS):
        mine = [row for row in maker.labels if _fold(row["key"]) == fold]
        if mine:
            others = [row for row in maker.labels if _fold(row["key"]) != fold]
            retriever = maker.tuned(others, f"for fold {fold + 1} of {FOLDS}")
            found |= {row["key"]: row for row in _rescored(retriever, mine)}
    return [found[row["key"]] for row in maker.labels]


def _rescored(retriever: Retriever, labels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_rechosen(row, old) for row, old in zip(rescored(retriever, labels), labels, strict=True)]


def _rechosen(row: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """`row` with the choice of `old`, whose candidates it has in another order."""
    chosen: ConceptId | None = None if old["choice"] == NIL else old["candidate_ids"][old["choice"]]
    return {**row, "choice": NIL if chosen is None else row["candidate_ids"].index(chosen)}


def _fold(key: MentionKey) -> int:
    """By the key, which is a hash: the same in each run."""
    return int(key[:8], 16) % FOLDS
