"""Answers of several concepts: a retriever's, with a threshold from dev."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rpdr.corpus import Mention
from rpdr.pipeline.several import retrievers_sets
from rpdr.schema import ConceptId, MentionKey

A, B, C = ConceptId("A"), ConceptId("B"), ConceptId("C")


def dev_of(n: int) -> list[Mention]:
    """Those of even number mean two concepts, the others one."""
    return [Mention(f"{i}", MentionKey(f"d{i}"), f"text {i}", None, None, None, "dev", [[A, B]] if i % 2 == 0 else [[A]]) for i in range(n)]


def found_for(mentions: list[Mention]) -> dict[MentionKey, dict[str, Any]]:
    """Where two are meant the second candidate is nearly as similar."""
    noise = np.random.default_rng(1).normal(0, 0.005, len(mentions))
    return {
        m.key: {"key": m.key, "candidate_ids": [A, B, C], "scores": [0.9, (0.85 if len((m.gold or [[]])[0]) > 1 else 0.3) + e, 0.1]}
        for m, e in zip(mentions, noise.tolist(), strict=True)
    }


def test_candidates_beside_the_first_are_let_in_where_dev_says_so():
    dev = dev_of(60)
    test = [
        Mention("t0", MentionKey("t0"), "t", None, None, None, "test", [[A, B]]),
        Mention("t1", MentionKey("t1"), "u", None, None, None, "test", [[A]]),
    ]
    found = found_for(dev + test)
    assert retrievers_sets(dev, test, found, [[A], [A]], allow_nil=False) == [[A, B], [A]]
    assert retrievers_sets(dev, test, found, [[], [A]], allow_nil=False) == [[], [A]]  # "none of these" names none


def test_few_dev_mentions_let_in_none():
    dev = dev_of(4)
    assert retrievers_sets(dev, dev[:1], found_for(dev), [[A]], allow_nil=False) == [[A]]


def test_repeats_of_few_dev_texts_let_in_none():
    dev = [replace(m, text=f"text {n % 4}") for n, m in enumerate(dev_of(60))]
    assert retrievers_sets(dev, dev[:1], found_for(dev), [[A]], allow_nil=False) == [[A]]
