"""Mentions in, ranked candidate concepts out: a bi-encoder and an index over all names. A concept's score is its best name's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rpdr.kb import Concept
from rpdr.retriever.index import Index, build_index


@dataclass(frozen=True)
class Candidates:
    """The candidates of one mention, best first: rows into the knowledge base, the name that matched, cosine in [-1, 1]."""

    rows: list[int]
    matched_names: list[str]
    scores: list[float]


class Retriever:
    """Search `concepts` by the meaning of their names.

    `encoder` is a SentenceTransformer; `prefix` goes before every text, as some encoders want ("query: ").
    """

    def __init__(self, encoder: Any, index: Index, concepts: Sequence[Concept], prefix: str = "") -> None:
        self.encoder, self.index, self.concepts, self.prefix = encoder, index, concepts, prefix

    @classmethod
    def build(cls, encoder: Any, concepts: Sequence[Concept], prefix: str = "", kind: str = "flat", batch_size: int = 128) -> Retriever:
        """Encode every name of every concept, once for names that several concepts share, and index them."""
        rows = [row for row, concept in enumerate(concepts) for _ in concept.names]
        names = [name for concept in concepts for name in concept.names]
        return cls(encoder, build_index(encode(encoder, names, prefix, batch_size), rows, names, kind), concepts, prefix)

    @classmethod
    def load(cls, encoder: Any, folder: Path, concepts: Sequence[Concept], prefix: str = "") -> Retriever:
        """Over an index that was saved in `folder`."""
        return cls(encoder, Index.load(folder), concepts, prefix)

    def retrieve(self, texts: Sequence[str], k: int) -> list[Candidates]:
        """The k best concepts for each text (fewer only if the knowledge base has fewer)."""
        if not texts:
            return []
        vectors = encode(self.encoder, texts, self.prefix)
        results: list[Candidates | None] = [None] * len(texts)
        # A concept with many names takes many places of the name list: widen until k different concepts are seen
        todo, width = list(range(len(texts))), 4 * k
        while todo:
            scores, names = self.index.search(vectors[todo], width)
            unfinished = []
            for position, query in enumerate(todo):
                best = self._best_by_concept(scores[position], names[position], k)
                if len(best.rows) < min(k, len(self.concepts)) and width < len(self.index.names):
                    unfinished.append(query)
                else:
                    results[query] = best
            todo, width = unfinished, width * 4
        return [result for result in results if result is not None]

    def score(self, texts: Sequence[str], concept_rows: Sequence[Sequence[int]]) -> list[Candidates]:
        """For each text these concepts alone, best first, scored as `retrieve` scores them; `concept_rows` are rows into the knowledge base."""
        by_concept = np.argsort(self.index.concept_rows, kind="stable")
        starts = np.searchsorted(self.index.concept_rows, np.arange(len(self.concepts) + 1), sorter=by_concept)
        results = []
        for vector, concepts in zip(encode(self.encoder, texts, self.prefix) if texts else (), concept_rows, strict=True):
            names = np.concatenate([by_concept[starts[row] : starts[row + 1]] for row in concepts])
            scores = self.index.vectors(names) @ vector
            order = np.argsort(-scores, kind="stable")
            results.append(self._best_by_concept(scores[order], names[order], len(concepts)))
        return results

    def _best_by_concept(self, scores: np.ndarray, names: np.ndarray, k: int) -> Candidates:
        best = Candidates([], [], [])
        seen: set[int] = set()
        for score, name in zip(scores.tolist(), names.tolist(), strict=True):
            row = int(self.index.concept_rows[name])
            if name < 0 or row in seen:
                continue
            seen.add(row)
            best.rows.append(row)
            best.matched_names.append(self.index.names[name])
            best.scores.append(max(-1.0, min(1.0, score)))
            if len(seen) == k:
                break
        return best


def encode(encoder: Any, texts: Sequence[str], prefix: str = "", batch_size: int = 128) -> np.ndarray:
    """Unit vectors (n, d) float32; each distinct text is encoded once."""
    distinct = list(dict.fromkeys(texts))
    vectors = encoder.encode(
        [prefix + text for text in distinct],
        batch_size=batch_size,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    ).astype(np.float32)
    place = {text: row for row, text in enumerate(distinct)}
    return vectors[[place[text] for text in texts]]
