"""What linked mentions make of a retriever: further names of their concepts, and how often each concept is meant. Both are weighed on dev.

Hand-labelled mentions do that before the teacher is asked, and its labels, too, after it. Linked mentions as names are those of kNN-BioEL
(Lin et al. 2023, arXiv 2312.09806).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rpdr.corpus import Mention
from rpdr.evaluation import is_hit
from rpdr.kb import Concept
from rpdr.pipeline.trust import enough
from rpdr.retriever import Commonness, Pair, Remembering, Retriever, add_candidates, distinct_rows, fit_discount, fit_weights
from rpdr.schema import CANDIDATES, ConceptId, MentionKey, chosen_ids, members

Known = list[tuple[str, set[ConceptId]]]  # texts and their right concepts


def gold_pairs(mentions: Sequence[Mention], concepts: Sequence[Concept]) -> list[Pair]:
    """(mention, preferred name) for each distinct labelled mention and concept of its gold that the knowledge base has."""
    names = {c.concept_id: c for c in concepts}
    found = {
        (m.text, i): Pair(m.text, names[i].name, i) for m in mentions for alternative in m.gold or [] for i in alternative if i in names
    }
    return list(found.values())


def with_links(
    base: Retriever, mentions: Sequence[Mention], aliases: Sequence[Pair], links: Commonness | None, top_k: int
) -> tuple[Retriever, float]:
    """`base` with these aliases and, if they are told, `links`; and the aliases' discount. Both are weighed on the dev mentions among `mentions`."""
    known, as_new = _known(mentions)
    discount = fit_discount(base, aliases, known, top_k, as_new)
    final = base.with_aliases(aliases, discount)
    return (final.with_commonness(_weighed(final, links, known, top_k, as_new)) if links else final), discount


def with_labelled(base: Retriever, mentions: Sequence[Mention], top_k: int) -> Retriever | None:
    """`base` with the links of the split `labelled`; None where what is known does not show that more is found so: right ones among the `top_k`, which
    is what a teacher can choose from, and of equals right ones that are first."""
    known, as_new = _known(mentions)
    labelled = [m for m in mentions if m.split == "labelled"]
    aliases = gold_pairs(labelled, base.concepts)
    if not known or not aliases:
        return None
    linked, _ = with_links(base, mentions, aliases, links_of(mentions, [], base.concepts), top_k)
    return linked if _hits(linked, known, top_k, as_new) > _hits(base, known, top_k, as_new) else None


def met_as_new(retriever: Retriever, mentions: Sequence[Mention], top_k: int) -> dict[MentionKey, dict[str, Any]]:
    """Rows of schema.CANDIDATES by key, as if nobody had linked these texts before."""
    rows = distinct_rows(mentions)
    found = add_candidates(retriever, pa.Table.from_pylist(rows), top_k, as_new=True).select(CANDIDATES.names).to_pylist() if rows else []
    return {row["key"]: row for row in found}


def remembering(base: Retriever) -> Retriever:
    """The same, that encodes no text twice."""
    return Retriever(Remembering(base.encoder), base.index, base.concepts, base.prefix)


def links_of(mentions: Sequence[Mention], labels: Sequence[dict[str, Any]], concepts: Sequence[Concept]) -> Commonness:
    """Who was linked to what: by hand, and by the teacher as far as it is trusted."""
    place = {c.concept_id: row for row, c in enumerate(concepts)}
    linked = [(m.text, place[i], 1.0) for m in mentions if m.split == "labelled" for i in sorted(members(m.gold)) if i in place]
    taught = [(row["text"], place[chosen], row["trust"]) for row in labels for chosen in chosen_ids(row)]
    return Commonness.of(linked + taught)


def _known(mentions: Sequence[Mention]) -> tuple[Known, bool]:
    """What discount and weights are fitted on, and whether it is to be met as new: dev, of which some were linked before and some not, as new
    mentions are; labelled mentions met as new, where dev has too few; nothing, where they have."""
    for split, as_new in (("dev", False), ("labelled", True)):
        known = [(m.text, members(m.gold)) for m in mentions if m.split == split and m.gold]
        if enough(text for text, _ in known):
            return known, as_new
    return [], False


def _weighed(retriever: Retriever, links: Commonness, known: Known, top_k: int, as_new: bool) -> Commonness:
    """The links, at the weights that suit what is known."""
    place = {c.concept_id: row for row, c in enumerate(retriever.concepts)}
    parts = retriever.with_commonness(links).parts([text for text, _ in known], top_k, as_new)
    return links.weighed(fit_weights((some, [place[i] for i in gold if i in place]) for some, (_, gold) in zip(parts, known, strict=True)))


def _hits(retriever: Retriever, known: Known, top_k: int, as_new: bool) -> tuple[int, int]:
    """How many of these mentions have a right candidate, and a right one that is first."""
    found = retriever.retrieve([text for text, _ in known], top_k, as_new)
    ranked = [[retriever.concepts[row].concept_id for row in candidates.rows] for candidates in found]
    among, first = (sum(is_hit(ids, [[*gold]], k) for ids, (_, gold) in zip(ranked, known, strict=True)) for k in (top_k, 1))
    return among, first
