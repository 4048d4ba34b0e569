"""How often concepts were meant, in the scores of candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rpdr.kb.concept import concept_of
from rpdr.retriever import Commonness, Pair, Retriever, fit_weights
from rpdr.retriever.commonness import Parts, Weights
from tests.retriever.letter_pairs import HashEncoder

# two concepts of the same name, as knowledge bases have them, and others
CONCEPTS = [concept_of("A", "leg pain"), concept_of("B", "leg pain"), concept_of("C", "leg cramps", ["cramps"]), concept_of("D", "rash")]
LINKED = [("my legs hurt", 1, 1.0), ("leg pain", 1, 0.9), ("LEG  pain", 0, 0.5), ("itchy", 3, 1.0)]


def test_of_two_concepts_of_one_name_the_common_one_is_meant():
    alone = Retriever.build(HashEncoder(), CONCEPTS)
    for common, other in ((0, 1), (1, 0)):
        [found] = alone.with_commonness(Commonness.of([("my legs hurt", common, 1.0)])).retrieve(["leg pain"], 2)
        assert found.rows == [common, other]
        assert found.scores[0] > found.scores[1]


def test_features_are_the_logarithm_of_links_and_the_share_of_the_text():
    concept, text = Commonness.of(LINKED).features("Leg Pain", [0, 1, 2])
    assert concept == pytest.approx(np.log1p([0.5, 1.9, 0.0]))
    assert text == pytest.approx([0.5 / 2.4, 0.9 / 2.4, 0.0])
    concept, text = Commonness.of(LINKED).features("leg pain", [0, 1, 2], as_new=True)
    assert concept == pytest.approx(np.log1p([0.0, 1.0, 0.0]))
    assert not text.any()


def test_a_score_is_what_the_weights_make_of_the_parts():
    weights = Weights(names=0.5, concept=0.1, text=0.2)
    retriever = Retriever.build(HashEncoder(), CONCEPTS).with_aliases([Pair("my legs hurt", "leg pain", "B")])
    [found] = retriever.with_commonness(Commonness.of(LINKED).weighed(weights)).retrieve(["my legs hurt"], 4)
    own = float(np.dot(*HashEncoder().encode(["my legs hurt", "leg pain"])))
    assert found.rows[0] == 1
    assert found.matched_names[0] == "my legs hurt"
    assert found.scores[0] == pytest.approx(0.5 * 1 + 0.5 * own + 0.1 * np.log1p(1.9) + 0.2 * 1 / 2, abs=1e-5)


@pytest.mark.parametrize("as_new", [False, True])
def test_given_concepts_are_scored_as_if_they_had_been_found(as_new: bool):
    retriever = Retriever.build(HashEncoder(), CONCEPTS).with_aliases(
        [Pair("my legs hurt", "leg pain", "B"), Pair("legs", "leg cramps", "C")]
    )
    retriever = retriever.with_commonness(Commonness.of(LINKED))
    texts = ["my legs hurt", "leg pain", "rash"]
    found = retriever.retrieve(texts, 4, as_new)
    again = retriever.score(texts, [[3, 2, 1, 0]] * 3, as_new)
    for first, second in zip(found, again, strict=True):
        assert second.rows == first.rows
        assert second.matched_names == first.matched_names
        assert second.scores == pytest.approx(first.scores, abs=1e-6)
    for parts, candidates in zip(retriever.parts(texts, 4, as_new), found, strict=True):
        assert sorted(parts.scores(Weights()))[::-1] == pytest.approx(candidates.scores, abs=1e-6)


def test_a_concept_without_names_of_its_own_may_have_aliases():
    nameless = [concept_of("A", "a", name_among_names=False), concept_of("B", "b")]
    retriever = Retriever.build(HashEncoder(), nameless).with_aliases([Pair("said", "a", "A")]).with_commonness(Commonness.of([]))
    assert retriever.retrieve(["said"], 2)[0].matched_names[0] == "said"


def test_what_is_saved_scores_the_same_and_an_index_without_it_by_similarity_alone(tmp_path: Path):
    encoder = HashEncoder()
    plain = Retriever.build(encoder, CONCEPTS)
    plain.save(tmp_path / "plain")
    assert Retriever.load(encoder, tmp_path / "plain", CONCEPTS).commonness is None
    common = plain.with_commonness(Commonness.of(LINKED).weighed(Weights(0.1, 0.2, 0.3)))
    common.save(tmp_path / "common")
    loaded = Retriever.load(encoder, tmp_path / "common", CONCEPTS)
    assert loaded.retrieve(["leg pain"], 3) == common.retrieve(["leg pain"], 3)


def drawn(weights: Weights, mentions: int, seed: int) -> list[tuple[Parts, list[int]]]:
    """Mentions of 8 concepts whose right one is drawn by these weights, at a scale of 20."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(mentions):
        best, links, shares = random.uniform(0.3, 1, 8), random.uniform(0, 5, 8), random.dirichlet(np.full(8, 0.2))
        parts = Parts(np.arange(8), best, best * random.uniform(0.5, 1, 8), links, shares)
        p = np.exp(20 * parts.scores(weights))
        found.append((parts, [int(random.choice(8, p=p / p.sum()))]))
    return found


@pytest.mark.parametrize("weights", [Weights(0.7, 0.06, 0.3), Weights(0.1, 0.0, 0.05)])
def test_the_weights_are_found_that_mentions_were_drawn_by(weights: Weights):
    found = fit_weights(drawn(weights, 3000, 1))
    assert found.names == pytest.approx(weights.names, abs=0.08)
    assert found.concept == pytest.approx(weights.concept, abs=0.01)
    assert found.text == pytest.approx(weights.text, abs=0.06)


def test_few_mentions_hardly_move_the_usual_weights():
    assert fit_weights([]) == Weights()
    assert fit_weights([(parts, [99]) for parts, _ in drawn(Weights(), 5, 2)]) == Weights()
    few = fit_weights(drawn(Weights(0.7, 0.06, 0.3), 5, 3))
    assert abs(few.text - Weights().text) < 0.1


def test_mentions_may_have_fewer_concepts_than_others():
    found = drawn(Weights(0.7, 0.06, 0.3), 400, 4)
    cut = [(Parts(*(part[:5] for part in (p.rows, p.best, p.own, p.concept, p.text))), right) for p, right in found]
    assert np.isfinite(list(vars(fit_weights([*cut, *found])).values())).all()
