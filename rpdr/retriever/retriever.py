"""Mentions in, ranked candidate concepts out: a bi-encoder and an index over all names. A concept's score is its best name's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from rpdr.corpus.normalise import clean, normalise
from rpdr.kb import Concept
from rpdr.retriever.commonness import Commonness, Parts
from rpdr.retriever.index import Index, build_index
from rpdr.retriever.train import Pair
from rpdr.retriever.vectors import Vectors
from rpdr.schema import ConceptId

NONE = np.empty(0, np.int64)  # no rows
SCORED = 512  # texts whose concepts' names are scored at a time: a common concept has an alias for each phrase that was linked to it
WIDER = 3  # so many concepts are weighed by commonness for each that is wanted


@dataclass(frozen=True)
class Candidates:
    """The candidates of one mention, best first: rows into the knowledge base, the name that matched, and how similar it is: a cosine in [-1, 1], an
    alias's at its discount; with commonness, more where the concept is common."""

    rows: list[int]
    matched_names: list[str]
    scores: list[float]

    def first(self, k: int) -> Candidates:
        """The k best."""
        return Candidates(self.rows[:k], self.matched_names[:k], self.scores[:k])


class Retriever:
    """Search `concepts` by the meaning of their names.

    `encoder` is an Encoder; `prefix` goes before every text, as some encoders want ("query: "). Without `commonness` similarity alone
    counts.
    """

    def __init__(
        self, encoder: Any, index: Index, concepts: Sequence[Concept], prefix: str = "", commonness: Commonness | None = None
    ) -> None:
        self.encoder, self.index, self.concepts, self.prefix, self.commonness = encoder, index, concepts, prefix, commonness
        first = len(index.names) - index.aliases
        self._aliases = {row: normalise(text) for row, text in enumerate(index.names[first:], first)}

    @classmethod
    def build(
        cls,
        encoder: Any,
        concepts: Sequence[Concept],
        prefix: str = "",
        kind: str = "auto",
        asked: Sequence[str] = (),
        parts: int = 1,
        only: Collection[ConceptId] | None = None,
    ) -> Retriever:
        """Encode every name of every concept, or of `only` some, and index them. `kind`, `asked`, texts like those that it will be asked for, and
        `parts`: see `build_index`."""
        mine = [(row, concept) for row, concept in enumerate(concepts) if only is None or concept.concept_id in only]
        rows = [row for row, concept in mine for _ in concept.names]
        names = [name for _, concept in mine for name in concept.names]
        return cls(encoder, build_index(partial(encode, encoder, prefix=prefix), rows, names, kind, asked, parts), concepts, prefix)

    @classmethod
    def load(
        cls, encoder: Any, folder: Path, concepts: Sequence[Concept], prefix: str = "", own: Callable[[int], Vectors] | None = None
    ) -> Retriever:
        """Over what `save` wrote into `folder`, searched on the encoder's device. `own`: see `Index.load`."""
        return cls(encoder, Index.load(folder, own, str(encoder.device)), concepts, prefix, Commonness.load(folder))

    def save(self, folder: Path) -> None:
        """Write the index and the commonness, but not the encoder."""
        self.index.save(folder)
        if self.commonness:
            self.commonness.save(folder)

    def with_commonness(self, commonness: Commonness | None) -> Retriever:
        """With this in the scores; None: similarity alone."""
        return Retriever(self.encoder, self.index, self.concepts, self.prefix, commonness)

    def with_aliases(self, pairs: Iterable[Pair], discount: float = 0.0) -> Retriever:
        """With linked mentions as further names of their concepts: the anchor of each pair, where the knowledge base does not call it so.

        A cosine with an alias counts 1 - `discount` times.
        """
        rows, texts = self._new_names(pairs)
        if not rows:
            return self
        index = self.index.extended(encode(self.encoder, texts, self.prefix) * np.float32(1 - discount), rows, texts)
        return Retriever(self.encoder, index, self.concepts, self.prefix, self.commonness)

    def plain(self) -> Retriever:
        """Without aliases and commonness: the knowledge base's own names alone."""
        return Retriever(self.encoder, self.index.plain(), self.concepts, self.prefix)

    def aliases_alone(self, pairs: Iterable[Pair]) -> Retriever | None:
        """A retriever over what `with_aliases` would add, at no discount; None if that is nothing."""
        rows, texts = self._new_names(pairs)
        if not rows:
            return None
        index = Index.of_aliases(encode(self.encoder, texts, self.prefix), rows, texts)
        return Retriever(self.encoder, index, self.concepts, self.prefix)

    def _new_names(self, pairs: Iterable[Pair]) -> tuple[list[int], list[str]]:
        """(concept rows, texts) that are not among the knowledge base's names."""
        place: dict[str, int] = {concept.concept_id: row for row, concept in enumerate(self.concepts)}
        found = dict.fromkeys((place[pair.concept], pair.anchor) for pair in pairs)
        known = {row: {normalise(name) for name in self.concepts[row].names} for row, _ in found}
        new = [(row, text) for row, text in found if normalise(text) not in known[row]]
        return [row for row, _ in new], [text for _, text in new]

    def retrieve(self, texts: Sequence[str], k: int, as_new: bool = False) -> list[Candidates]:
        """The k best concepts for each text (fewer only if the knowledge base has fewer, or an approximate index found no more).

        `as_new`: as if nobody had linked this text before: aliases that say the same are passed over.
        """
        if not self.commonness:
            return self._similar(texts, k, as_new)[1]
        vectors, found = self._similar(texts, WIDER * k, as_new)
        return [candidates.first(k) for candidates in self._common(texts, vectors, found, as_new)]

    def parts(self, texts: Sequence[str], k: int, as_new: bool = False) -> list[Parts]:
        """What `retrieve` weighs for each text, of all concepts that it would choose from. Needs commonness."""
        return self._parts(texts, *self._similar(texts, WIDER * k, as_new), as_new)

    def score(self, texts: Sequence[str], concept_rows: Sequence[Sequence[int]], as_new: bool = False) -> list[Candidates]:
        """For each text these concepts alone, best first, scored as `retrieve` scores them; `concept_rows` are rows into the knowledge base."""
        if not texts:
            return []
        vectors = encode(self.encoder, texts, self.prefix)
        found = []
        for start in range(0, len(texts), SCORED):
            some = slice(start, start + SCORED)
            found += self._scored(texts[some], vectors[some], concept_rows[some], as_new)
        return found

    def _scored(self, texts: Sequence[str], vectors: np.ndarray, concept_rows: Sequence[Sequence[int]], as_new: bool) -> list[Candidates]:
        names = [self._all_names.of(concepts) for concepts in concept_rows]
        cosines = self._cosines(vectors, [np.concatenate([*of_all, NONE]) for of_all in names])
        found = []
        for text, concepts, of_all, scores in zip(texts, concept_rows, names, cosines, strict=True):
            passed_over = self._saying.get(normalise(text), NONE) if as_new else NONE
            best = []
            for row, mine, end in zip(concepts, of_all, np.cumsum([len(of_one) for of_one in of_all]), strict=True):
                own = scores[end - len(mine) : end]
                if len(passed_over):
                    own = np.where(np.isin(mine, passed_over), -np.inf, own)
                if own.max(initial=-np.inf) > -np.inf:
                    place = int(np.argmax(own))
                    best.append((row, int(mine[place]), float(own[place])))
            found.append(self._in_order(sorted(best, key=lambda one: -one[2])))
        return self._common(texts, vectors, found, as_new) if self.commonness else found

    def _cosines(self, vectors: np.ndarray, names: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each vector its cosines with the names of these rows; all asked for at once, as the index may be on other machines."""
        counts = [len(some) for some in names]
        found = self.index.cosines(vectors, np.repeat(np.arange(len(names)), counts), np.concatenate(names))
        return np.split(found, np.cumsum(counts)[:-1])

    def _similar(self, texts: Sequence[str], k: int, as_new: bool) -> tuple[np.ndarray, list[Candidates]]:
        """(vectors of the texts, the k most similar concepts for each)."""
        if not texts:
            return np.empty((0, 0), np.float32), []
        vectors = encode(self.encoder, texts, self.prefix)
        results: list[Candidates | None] = [None] * len(texts)
        # A concept with many names takes many places of the name list: widen until k different concepts are seen
        todo, width = list(range(len(texts))), 4 * k
        while todo:
            scores, names = self.index.search(vectors[todo], width)
            unfinished = []
            for position, query in enumerate(todo):
                best = self._best_by_concept(scores[position], names[position], k, texts[query] if as_new else None)
                if len(best.rows) < min(k, len(self.concepts)) and width < len(self.index.names) and names[position, -1] >= 0:
                    unfinished.append(query)
                else:
                    results[query] = best
            todo, width = unfinished, width * 4
        return vectors, [result for result in results if result is not None]

    def _common(self, texts: Sequence[str], vectors: np.ndarray, found: Sequence[Candidates], as_new: bool) -> list[Candidates]:
        """Of each text the same concepts in the order of their scores with commonness."""
        assert self.commonness
        results = []
        for each, parts in zip(found, self._parts(texts, vectors, found, as_new), strict=True):
            scores = parts.scores(self.commonness.weights)
            order = np.argsort(-scores, kind="stable").tolist()
            results.append(Candidates([each.rows[n] for n in order], [each.matched_names[n] for n in order], scores[order].tolist()))
        return results

    def _parts(self, texts: Sequence[str], vectors: np.ndarray, found: Sequence[Candidates], as_new: bool) -> list[Parts]:
        assert self.commonness
        if not texts:
            return []
        names = [self._own_names.of(each.rows) for each in found]
        cosines = self._cosines(vectors, [np.concatenate([*some, NONE]) for some in names])
        results = []
        for text, each, some, scores in zip(texts, found, names, cosines, strict=True):
            ends = np.cumsum([len(of_one) for of_one in some])
            own = [scores[end - len(of_one) : end].max(initial=-1.0) for of_one, end in zip(some, ends, strict=True)]
            features = self.commonness.features(text, each.rows, as_new)
            results.append(Parts(np.array(each.rows), np.array(each.scores), np.array(own), *features))
        return results

    @cached_property
    def _saying(self) -> dict[str, np.ndarray]:
        """The rows of the aliases of each normalised text."""
        found: dict[str, list[int]] = {}
        for row, text in self._aliases.items():
            found.setdefault(text, []).append(row)
        return {text: np.array(rows) for text, rows in found.items()}

    @cached_property
    def _all_names(self) -> _NamesOf:
        return _NamesOf(self.index.concept_rows, len(self.concepts))

    @cached_property
    def _own_names(self) -> _NamesOf:
        return _NamesOf(self.index.concept_rows[: len(self.index.names) - self.index.aliases], len(self.concepts))

    def _best_by_concept(self, scores: np.ndarray, names: np.ndarray, k: int, new: str | None = None) -> Candidates:
        best: dict[int, tuple[int, int, float]] = {}
        own = None if new is None else normalise(new)
        for score, name in zip(scores.tolist(), names.tolist(), strict=True):
            row = int(self.index.concept_rows[name])
            if name < 0 or row in best or (own is not None and self._aliases.get(name) == own):
                continue
            best[row] = (row, name, score)
            if len(best) == k:
                break
        return self._in_order(list(best.values()))

    def _in_order(self, best: Sequence[tuple[int, int, float]]) -> Candidates:
        """Of each concept (its row, its best name's row, the score), by falling score; equal texts score alike, but for a last bit that hangs on their
        place in a matrix product."""
        own_names = len(self.index.names) - self.index.aliases
        of_text: dict[tuple[str, bool], float] = {}  # and whether it is an alias, which has a discount
        told = []
        for row, name, score in best:
            text = self.index.names[name]
            told.append((of_text.setdefault((text, name >= own_names), max(-1.0, min(1.0, score))), name, row, text))
        told.sort(key=lambda one: (-one[0], one[1]))
        return Candidates([row for _, _, row, _ in told], [text for *_, text in told], [score for score, *_ in told])


class _NamesOf:
    """Which name rows (n,) belong to a concept."""

    def __init__(self, concept_rows: np.ndarray, concepts: int) -> None:
        self._order = np.argsort(concept_rows, kind="stable")
        self._starts = np.searchsorted(concept_rows, np.arange(concepts + 1), sorter=self._order)

    def of(self, concepts: Sequence[int]) -> list[np.ndarray]:
        """Of each of these concepts."""
        return [self._order[self._starts[row] : self._starts[row + 1]] for row in concepts]


class Remembering:
    """An encoder that encodes no text twice; for work that comes back to the same texts, as it holds their vectors."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.device = encoder, encoder.device
        self._vectors: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str], **how: Any) -> np.ndarray:
        """(n, d), as the encoder's own."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder.encode(new, **how), strict=True))
        return np.stack([self._vectors[text] for text in texts])


def encode(encoder: Any, texts: Sequence[str], prefix: str = "") -> np.ndarray:
    """Unit vectors (n, d) float32; each distinct text is encoded once, tidied as mentions are."""
    distinct = list(dict.fromkeys(texts))
    vectors = encoder.encode(
        [prefix + clean(text) for text in distinct],
        normalize_embeddings=True,
    ).astype(np.float32)
    place = {text: row for row, text in enumerate(distinct)}
    return vectors[[place[text] for text in texts]]
