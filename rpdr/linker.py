"""The product in a notebook: `Linker.load("runs/quickstart").link(["heart attack"])`. No Ray.

Also home of the two rules that the batch job shares with it: what an exact name decides, and how probabilities become an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rpdr import config as configuration
from rpdr.corpus import normalise
from rpdr.corpus.normalise import clean
from rpdr.errors import RunError
from rpdr.kb import Concept, load_kb
from rpdr.models import load_encoder
from rpdr.reranker import Reranker, queries
from rpdr.retriever import Retriever, add_candidates
from rpdr.schema import ConceptId


@dataclass(frozen=True)
class Link:
    """The answer for one text: `concept_id` and `name` are None where no concept of the knowledge base fits (NIL).

    `confidence` in [0, 1] is the calibrated probability of this answer; `ranked` are all candidates as (id, name, probability).
    """

    text: str
    concept_id: ConceptId | None
    name: str | None
    confidence: float
    ranked: tuple[tuple[ConceptId, str, float], ...]
    source: str


class Linker:
    """A finished run, ready to link a few texts."""

    def __init__(self, config: configuration.Config, retriever: Retriever, reranker: Reranker) -> None:
        self.config, self.retriever, self.reranker = config, retriever, reranker
        self._exact = exact_names(retriever.concepts) if config.link.exact_match else {}

    @classmethod
    def load(cls, run_dir: str | Path, device: str | None = None) -> Linker:
        """From a run directory whose student is trained. Raises RunError if there is none, ModelError if a model cannot be loaded."""
        folder = Path(run_dir).expanduser()
        for needed, stage in (("config.yaml", "prepare"), ("index", "retriever"), ("student/adapter_config.json", "distill")):
            if not (folder / needed).exists():
                raise RunError(f"{folder}: no {needed} here; run `rpdr {stage} --config …` first")
        config = configuration.load(folder / "config.yaml")
        concepts = load_kb(folder / "kb" / "concepts.parquet")
        encoder = load_encoder(str((folder / "retriever").absolute()), config.retriever.max_tokens, device)
        reranker = Reranker.load(folder / "student", config.student, config.link.batch_size, device)
        return cls(config, Retriever.load(encoder, folder / "index", concepts, config.retriever.prefix), reranker)

    def link(self, texts: Sequence[str], contexts: Sequence[str | None] | None = None) -> list[Link]:
        """One Link for each text, in order. Repeats are linked once. An empty text is NIL with confidence 1."""
        context = list(contexts) if contexts is not None else [None] * len(texts)
        asked = list(dict.fromkeys((clean(t), c) for t, c in zip(texts, context, strict=True)))
        hard = [(t, c) for t, c in asked if t and normalise(t) not in self._exact]
        known: dict[tuple[str, str | None], Link] = {}
        if hard:
            batch = pa.table({"text": [t for t, _ in hard], "context": [c for _, c in hard], "type": [None] * len(hard)})
            rows = add_candidates(self.retriever, batch, self.config.retriever.top_k).to_pylist()
            names = {c: n for row in rows for c, n in zip(row["candidate_ids"], row["candidate_names"], strict=True)}
            for key, answer in zip(hard, answers(self.reranker, rows, self.config.link.allow_nil), strict=True):
                ranked = tuple((ConceptId(i), names[i], p) for i, p in zip(answer["ranked_ids"], answer["ranked_scores"], strict=True))
                known[key] = Link(key[0], answer["concept_id"], answer["name"], answer["confidence"], ranked, answer["source"])
        for key in asked:
            if key not in known:
                known[key] = self._easy(key[0])
        return [known[clean(t), c] for t, c in zip(texts, context, strict=True)]

    def _easy(self, text: str) -> Link:
        concept = self._exact.get(normalise(text)) if text else None
        if concept is None:
            return Link(text, None, None, 1.0, (), "empty")
        return Link(text, concept.concept_id, concept.name, 1.0, ((concept.concept_id, concept.name, 1.0),), "exact")


def exact_names(concepts: Iterable[Concept]) -> dict[str, Concept]:
    """Normalised name -> concept, for names that exactly one concept has: a mention that is one needs no model."""
    owners: dict[str, set[str]] = {}
    by_id = {}
    for concept in concepts:
        by_id[concept.concept_id] = concept
        for name in concept.names:
            owners.setdefault(normalise(name), set()).add(concept.concept_id)
    return {name: by_id[ConceptId(next(iter(ids)))] for name, ids in owners.items() if len(ids) == 1}


def answers(reranker: Reranker, rows: Sequence[dict[str, Any]], allow_nil: bool) -> list[dict[str, Any]]:
    """For rows of schema.CANDIDATES: concept_id, name (both None for NIL), confidence, ranked_ids, ranked_scores, source."""
    found = []
    for row, p in zip(rows, reranker.probabilities(queries(rows), allow_nil), strict=True):
        n = len(row["candidate_ids"])
        order = np.argsort(-p[:n], kind="stable")
        best, none = int(order[0]), float(p[-1])
        nil = none > reranker.calibration.nil_above
        found.append(
            {
                "concept_id": None if nil else row["candidate_ids"][best],
                "name": None if nil else row["candidate_names"][best],
                "confidence": none if nil else float(p[best]),
                "ranked_ids": [row["candidate_ids"][i] for i in order],
                "ranked_scores": [float(p[i]) for i in order],
                "source": "student",
            }
        )
    return found
