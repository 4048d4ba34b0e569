"""The order in which mentions are asked about."""

from __future__ import annotations

import pytest

from rpdr.schema import ConceptId, MentionKey
from rpdr.teacher.choose import at_random, by_worth, uncertainty

SURE, TORN = [0.9, 0.3, 0.2], [0.61, 0.6, 0.59]


def order(**mentions: tuple[int, list[float], str]) -> list[str]:
    """by_worth over name=(count, scores, first candidate)."""
    keys = [MentionKey(name) for name in mentions]
    counts, scores, first = ({key: mentions[key][n] for key in keys} for n in range(3))
    return list(by_worth(keys, counts, scores, first, seed=1))  # type: ignore[arg-type]


def test_what_the_retriever_is_unsure_of_comes_first():
    assert order(a=(1, SURE, "C1"), b=(1, TORN, "C2")) == ["b", "a"]


def test_of_equals_the_frequent_comes_first():
    assert order(a=(1, TORN, "C1"), b=(50, TORN, "C2")) == ["b", "a"]


def test_a_second_mention_of_a_concept_waits_for_the_first_of_another():
    assert order(a=(3, TORN, "C1"), b=(2, TORN, "C1"), c=(1, TORN, "C2")) == ["a", "c", "b"]


def test_every_key_stands_once():
    mentions = {f"k{n}": (n % 7 + 1, TORN if n % 2 else SURE, f"C{n % 5}") for n in range(200)}
    assert sorted(order(**mentions)) == sorted(mentions)


def test_a_random_order_depends_on_the_seed_and_not_on_the_order_given():
    keys = [MentionKey(f"k{n}") for n in range(50)]
    assert at_random(keys, 1) == at_random(keys[::-1], 1)
    assert at_random(keys, 1) != at_random(keys, 2)


@pytest.mark.parametrize(("scores", "low", "high"), [([0.5] * 10, 1.0, 1.0), (SURE, 0.0, 0.01), (TORN, 0.9, 1.0), ([0.5], 0.0, 0.0)])
def test_uncertainty_is_the_share_of_the_greatest_entropy(scores: list[float], low: float, high: float):
    assert low - 1e-9 <= uncertainty(scores) <= high + 1e-9


def test_no_scores_at_all_are_no_error():
    assert order(a=(1, [], ConceptId("C1"))) == ["a"]
