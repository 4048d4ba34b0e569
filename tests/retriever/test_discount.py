"""How much less an alias counts, chosen by mentions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from rpdr.kb.concept import concept_of
from rpdr.retriever import Pair, Retriever, fit_discount
from rpdr.retriever.discount import DISCOUNTS, USUAL


class Placed:
    """Puts each text at its angle, in degrees."""

    def __init__(self, **angles: float) -> None:
        self.angles = angles

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        angles = np.radians([self.angles[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


CONCEPTS = [concept_of("A", "a"), concept_of("B", "b")]
OF_B = [Pair("said", "b", "B")]


def fitted(encoder: Placed, pairs: list[Pair], *asked: tuple[str, set[str]], k: int = 1, as_new: bool = False) -> float:
    return fit_discount(Retriever.build(encoder, CONCEPTS), pairs, asked, k, as_new)


@pytest.mark.parametrize(("away", "least"), [(15, 0.05), (24, 0.1), (30, 0.15), (36, 0.2)])
def test_it_is_the_least_that_lets_the_knowledge_base_speak(away: float, least: float):
    # the right concept's own name is `away` degrees off, another's alias none
    assert fitted(Placed(a=0, b=180, said=away, asked=away), OF_B, ("asked", {"A"})) == least


def test_it_is_small_where_aliases_are_right():
    encoder = Placed(a=0, b=180, said=30, asked=27)
    assert fitted(encoder, OF_B, *[("asked", {"B"})] * 3, ("a", {"A"})) == DISCOUNTS[0]


def test_a_concept_among_the_best_counts_as_one_named_first_does():
    concepts = [*CONCEPTS, concept_of("C", "c")]
    retriever = Retriever.build(Placed(a=0, b=180, c=50, said=24, other=24, asked=24), concepts)
    pairs = [*OF_B, Pair("other", "c", "C")]
    assert fit_discount(retriever, pairs, [("asked", {"A"})], 2) == 0.1
    assert fit_discount(retriever, pairs, [("asked", {"B"})], 2) == DISCOUNTS[0]


def test_a_mention_met_as_new_does_not_find_itself():
    encoder = Placed(a=0, b=180, said=24, near=60)
    pairs = [*OF_B, Pair("near", "b", "B")]
    assert fitted(encoder, pairs, ("said", {"A"}), as_new=True) == DISCOUNTS[0]
    assert fitted(encoder, pairs, ("said", {"A"})) == 0.1


def test_where_there_is_nothing_to_choose_by_it_is_the_usual_one():
    encoder = Placed(a=0, b=180, said=30, asked=27)
    assert fitted(encoder, OF_B) == USUAL
    assert fitted(encoder, OF_B, ("asked", set())) == USUAL
    assert fitted(encoder, [Pair("B", "b", "B")], ("asked", {"A"})) == USUAL
