"""What hands have linked, against the candidates that a run has found: which of them is right."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rpdr.corpus import Mention, load_mentions
from rpdr.run.folder import Run
from rpdr.run.found import candidates_file, candidates_in
from rpdr.schema import NIL, ConceptId, Gold, MentionKey, members


def chosen_by_gold(run: Run, split: str, final: bool = False) -> list[dict[str, Any]]:
    """The split's mentions that have gold, as rows of schema.CANDIDATES with the `choice` that the gold makes among them, NIL where
    none is right, what it names `also`, together with it, the concepts of the `gold`: an empty set is NIL, a concept that the knowledge base lacks; and its `alternatives`. `final`: the candidates of
    the last round, which the student re-ranks."""
    return _by_gold(run, load_mentions(run.mentions_file, split), split, final)


def questions_by_gold(run: Run, split: str, final: bool = False) -> list[dict[str, Any]]:
    """As `chosen_by_gold`, each question once, whatever hands have linked it to."""
    mentions = load_mentions(run.mentions_file, split)
    golds = golds_by_key(mentions)
    once = {m.key: replace(m, gold=golds[m.key]) for m in mentions if m.key in golds}
    return _by_gold(run, list(once.values()), split, final)


def _by_gold(run: Run, mentions: Sequence[Mention], split: str, final: bool) -> list[dict[str, Any]]:
    return by_gold(mentions, candidates_in(candidates_file(run, final, split), {m.key for m in mentions}))


def golds_by_key(mentions: Iterable[Mention]) -> dict[MentionKey, Gold]:
    """Of annotated mentions the gold of each question: hands may have linked it in several ways, which are alternatives then; NIL only where all say so."""
    golds: dict[MentionKey, Gold] = {}
    for mention in mentions:
        if mention.gold is not None:
            known = golds.setdefault(mention.key, [])
            known += [alternative for alternative in mention.gold if alternative not in known]
    return golds


def by_gold(mentions: Sequence[Mention], found: Mapping[MentionKey, dict[str, Any]]) -> list[dict[str, Any]]:
    """As `chosen_by_gold`, of rows of schema.CANDIDATES by key."""
    rows = []
    for mention in mentions:
        if mention.gold is None:
            continue
        gold = members(mention.gold)
        row = found[mention.key]
        right = [n for n, i in enumerate(row["candidate_ids"]) if i in gold]
        choice = right[0] if right else NIL
        together = _fullest(mention.gold, row["candidate_ids"][choice], {*row["candidate_ids"]}) if right else []
        also = [n for n in right[1:] if row["candidate_ids"][n] in together]
        rows.append({**row, "choice": choice, "also": also, "gold": gold, "alternatives": mention.gold})
    return rows


def _fullest(gold: Gold, chosen: ConceptId, offered: Collection[ConceptId]) -> Collection[ConceptId]:
    """Of the alternatives that have `chosen`, the one of which most is `offered`."""
    return max((a for a in gold if chosen in a), key=lambda a: sum(i in offered for i in a))


def right_among(rows: Sequence[Mapping[str, Any]], k: int) -> np.ndarray:
    """(n, k + 1) bool, of n rows of `chosen_by_gold` with at most k candidates: which of them the gold names; last, that none is."""
    right = np.zeros((len(rows), k + 1), dtype=bool)
    for n, row in enumerate(rows):
        right[n, : len(row["candidate_ids"])] = [i in row["gold"] for i in row["candidate_ids"]]
    right[:, -1] = ~right.any(axis=1)
    return right
