"""How much less an alias counts than a name of the knowledge base.

Other people's words for a concept lie anywhere; many of them crowd the right concept out of the candidates of a mention that nobody has
linked. A mention that somebody has linked finds its own words at any discount.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from rpdr.retriever.retriever import Candidates, Retriever
from rpdr.retriever.train import Pair
from rpdr.schema import ConceptId

DISCOUNTS = (0.05, 0.1, 0.15, 0.2, 0.25)
USUAL = 0.1  # where there is nothing to choose by


def fit_discount(
    retriever: Retriever, pairs: Iterable[Pair], asked: Sequence[tuple[str, Collection[ConceptId]]], k: int, as_new: bool = False
) -> float:
    """Of DISCOUNTS the one at which most of `asked` (text, right concepts) have a right one first and among the k best, both counted alike;
    the smaller of equals. `as_new`: see `Retriever.retrieve`."""
    asked = [(text, gold) for text, gold in asked if gold]
    aliases = retriever.aliases_alone(pairs)
    if aliases is None or not asked:
        return USUAL
    texts = [text for text, _ in asked]
    both = list(zip(retriever.retrieve(texts, k), aliases.retrieve(texts, k, as_new), strict=True))
    place = {concept.concept_id: row for row, concept in enumerate(retriever.concepts)}
    right = [{place[i] for i in gold if i in place} for _, gold in asked]

    def hits(discount: float) -> int:
        found = [_merged(names, others, discount, k) for names, others in both]
        return sum((rows[0] in gold) + bool(gold.intersection(rows)) for rows, gold in zip(found, right, strict=True) if rows)

    return DISCOUNTS[int(np.argmax([hits(discount) for discount in DISCOUNTS]))]


def _merged(names: Candidates, aliases: Candidates, discount: float, k: int) -> list[int]:
    """The k best concepts of both: what the index of both would find."""
    scores = dict(zip(names.rows, names.scores, strict=True))
    for row, score in zip(aliases.rows, aliases.scores, strict=True):
        scores[row] = max(scores.get(row, -1.0), score * (1 - discount))
    return sorted(scores, key=lambda row: -scores[row])[:k]
