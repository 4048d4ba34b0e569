"""Index and retriever over a fake encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from rpdr.errors import RunError
from rpdr.kb import Concept
from rpdr.kb.concept import concept_of
from rpdr.retriever import Index, Pair, Remembering, Retriever, add_candidates, build_index, rescored
from rpdr.schema import CANDIDATES
from tests.retriever.letter_pairs import HashEncoder, letters_apart


def concepts(*names: tuple[str, ...]) -> list[Concept]:
    return [concept_of(f"C{n}", first, rest) for n, (first, *rest) in enumerate(names)]


FEW = concepts(("Vomiting", "throwing up", "emesis"), ("Nausea", "feeling sick"), ("Fever", "pyrexia", "high temperature"), ("Dysphagia",))


@pytest.fixture
def many() -> list[Concept]:
    letters = np.random.default_rng(0).integers(97, 123, size=(200, 2, 8))
    return concepts(*(tuple("".join(map(chr, name)) for name in pair) for pair in letters.tolist()))


CLOSE = {"flat": 1e-5, "ivf": 1e-3, "hnsw": 1e-5}  # lists keep 16 bits of a number


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_name_finds_its_own_concept_first(kind: str):
    found = Retriever.build(HashEncoder(), FEW, kind=kind).retrieve(["emesis", "pyrexia", "Dysphagia"], 2)
    assert [c.rows[0] for c in found] == [0, 2, 3]
    assert [c.matched_names[0] for c in found] == ["emesis", "pyrexia", "Dysphagia"]
    assert [c.scores[0] for c in found] == pytest.approx([1, 1, 1], abs=CLOSE[kind])


def test_names_are_read_in_the_form_that_mentions_are():
    found = Retriever.build(HashEncoder(), concepts(("factor VII",), ("factor Ⅷ",))).retrieve(["factor VIII"], 2)[0]
    assert (found.rows[0], found.matched_names[0], found.scores[0]) == (1, "factor Ⅷ", pytest.approx(1, abs=1e-5))


def test_a_concepts_score_is_that_of_its_best_name():
    encoder = HashEncoder()
    names = [name for concept in FEW for name in concept.names]
    cosines = dict(zip(names, encoder.encode(names) @ encoder.encode(["vomiting up"])[0], strict=True))
    found = Retriever.build(encoder, FEW).retrieve(["vomiting up"], 4)[0]
    for row, matched, score in zip(found.rows, found.matched_names, found.scores, strict=True):
        assert matched == max(FEW[row].names, key=cosines.__getitem__)
        assert score == pytest.approx(cosines[matched], abs=1e-5)


def test_candidates_are_distinct_and_best_first(many: list[Concept]):
    for found in Retriever.build(HashEncoder(), many).retrieve([c.names[1] for c in many[:20]], 10):
        assert len(found.rows) == len(set(found.rows)) == 10
        assert found.scores == sorted(found.scores, reverse=True)
        assert all(-1 <= score <= 1 for score in found.scores)


def test_k_concepts_are_returned_though_one_of_them_has_most_of_the_names():
    greedy = concept_of("C", "fever 0", [f"fever {n}" for n in range(1, 300)])
    found = Retriever.build(HashEncoder(), [*FEW, greedy]).retrieve(["fever 7"], 5)[0]
    assert sorted(found.rows) == [0, 1, 2, 3, 4]
    assert found.rows[0] == 4


def test_no_more_candidates_than_concepts_with_a_name():
    nameless = concept_of("C", "hidden", [], name_among_names=False)
    found = Retriever.build(HashEncoder(), [nameless, *FEW]).retrieve(["fever"], 10)[0]
    assert sorted(found.rows) == [1, 2, 3, 4]


def test_a_query_does_not_depend_on_the_queries_beside_it(many: list[Concept]):
    retriever = Retriever.build(HashEncoder(), many)
    texts = [c.name for c in many[:10]]
    assert retriever.retrieve(texts, 5) == [retriever.retrieve([text], 5)[0] for text in texts]


def test_no_query_is_no_result():
    assert Retriever.build(HashEncoder(), FEW).retrieve([], 3) == []


def test_the_prefix_goes_before_names_and_queries_and_a_text_is_encoded_once():
    encoder = HashEncoder()
    shared = concepts(("Cold", "flu"), ("Influenza", "flu"))
    Retriever.build(encoder, shared, prefix="query: ").retrieve(["flue", "flue"], 2)
    assert encoder.seen == ["query: Cold", "query: flu", "query: Influenza", "query: flue"]


def test_a_name_of_two_concepts_finds_both():
    found = Retriever.build(HashEncoder(), concepts(("Cold", "flu"), ("Influenza", "flu"), ("Fever",))).retrieve(["flu"], 2)[0]
    assert sorted(found.rows) == [0, 1]
    assert found.matched_names == ["flu", "flu"]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_saved_index_answers_as_before(tmp_path: Path, many: list[Concept], kind: str):
    encoder = HashEncoder()
    before = Retriever.build(encoder, many, kind=kind)
    before.index.save(tmp_path / "index")
    after = Retriever.load(encoder, tmp_path / "index", many)
    texts = [c.names[1][:5] for c in many[:30]]
    assert after.retrieve(texts, 10) == before.retrieve(texts, 10)
    assert after.index.names == before.index.names
    assert after.index.concept_rows.tolist() == before.index.concept_rows.tolist()


def test_saving_again_over_an_index_replaces_it(tmp_path: Path):
    build_index(letters_apart, [0, 1, 2, 3], list("abcd")).save(tmp_path)
    build_index(letters_apart, [0, 1], list("xy")).save(tmp_path)
    assert Index.load(tmp_path).names == ["x", "y"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.arrow", "names.faiss"]


def test_an_index_of_an_earlier_rpdr_is_refused_with_a_remedy(tmp_path: Path):
    build_index(letters_apart, [0, 1], list("xy")).save(tmp_path)
    (tmp_path / "names.arrow").unlink()
    with pytest.raises(RunError, match=r"no names\.arrow here.*--redo"):
        Index.load(tmp_path)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_agrees_with_flat_on_a_small_knowledge_base(many: list[Concept], kind: str):
    texts = [c.names[1][:6] for c in many]
    flat = Retriever.build(HashEncoder(), many, kind="flat").retrieve(texts, 5)
    near = Retriever.build(HashEncoder(), many, kind=kind, asked=texts).retrieve(texts, 5)
    shared = [len(set(a.rows) & set(b.rows)) for a, b in zip(flat, near, strict=True)]
    assert sum(shared) >= 0.98 * 5 * len(texts)
    assert sum(a.rows[0] == b.rows[0] for a, b in zip(flat, near, strict=True)) >= 0.98 * len(texts)


def test_so_many_lists_are_searched_as_the_texts_that_are_asked_for_need(many: list[Concept]):
    stems = [" ".join(name for concept in many[n : n + 2] for name in concept.names) for n in range(0, 200, 20)]
    names = [f"{stem} {n}" for stem in stems for n in range(40)]

    def lists(asked: list[str]) -> tuple[int, int]:
        index = build_index(HashEncoder().encode, range(len(names)), names, "ivf", asked).own.parts[0].faiss_index
        return index.nprobe, index.nlist

    few, of = lists(names)
    more, _ = lists([a.name + b.name for a, b in zip(many[3:], many, strict=False)])  # like nothing here: their nearest are in any list
    assert 1 <= few < more <= of


def test_a_small_knowledge_base_is_searched_exactly_and_a_large_one_by_lists(many: list[Concept], monkeypatch: pytest.MonkeyPatch):
    names = [name for concept in many for name in concept.names]
    assert isinstance(build_index(HashEncoder().encode, range(400), names).own.parts[0].faiss_index, faiss.IndexFlatIP)
    monkeypatch.setattr("rpdr.retriever.index.SMALL", 399)
    assert isinstance(build_index(HashEncoder().encode, range(400), names).own.parts[0].faiss_index, faiss.IndexIVF)


@pytest.mark.parametrize(("allowed", "kind"), [(2**12, faiss.ScalarQuantizer.QT_8bit), (2**30, faiss.ScalarQuantizer.QT_fp16)])
def test_lists_are_in_8_bits_where_others_would_take_half_of_what_a_container_allows(
    many: list[Concept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, kind: int
):
    (tmp_path / "mine").write_text("0::/")
    (tmp_path / "memory.max").write_text(str(allowed))
    monkeypatch.setattr("rpdr.machine.GROUPS", tmp_path)
    monkeypatch.setattr("rpdr.machine.MINE", tmp_path / "mine")
    names = [name for concept in many for name in concept.names]
    assert build_index(HashEncoder().encode, range(len(names)), names, "ivf").own.parts[0].faiss_index.sq.qtype == kind


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_names_are_encoded_some_at_a_time_and_keep_their_rows(many: list[Concept], monkeypatch: pytest.MonkeyPatch, kind: str):
    whole = Retriever.build(HashEncoder(), many, kind=kind)
    monkeypatch.setattr("rpdr.retriever.index.CHUNK", 37)
    parts = Retriever.build(HashEncoder(), many, kind=kind)
    [one], [other] = whole.index.own.parts, parts.index.own.parts
    assert np.allclose(one.faiss_index.reconstruct_n(0, 400), other.faiss_index.reconstruct_n(0, 400), atol=1e-3)
    assert parts.retrieve([many[150].name], 1)[0].rows == [150]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_no_name_is_encoded_twice(many: list[Concept], monkeypatch: pytest.MonkeyPatch, kind: str):
    encoded: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        encoded.extend(texts)
        return HashEncoder().encode(texts)

    monkeypatch.setattr("rpdr.retriever.index.CHUNK", 37)
    monkeypatch.setattr("rpdr.retriever.index.PER_LIST", 4)  # or all names of a small knowledge base are learned from
    names = [name for concept in many for name in concept.names]
    build_index(encode, range(len(names)), names, kind, ["a text that is asked for"])
    assert sorted(text for text in encoded if text != "a text that is asked for") == sorted(names)


def test_where_the_lists_that_are_searched_hold_no_more_there_are_fewer_candidates(many: list[Concept]):
    retriever = Retriever.build(HashEncoder(), many, kind="ivf")
    retriever.index.own.parts[0].faiss_index.nprobe = 1
    [found] = retriever.retrieve([many[7].name], 200)
    assert found.rows[0] == 7
    assert 1 <= len(found.rows) < 200


def test_vectors_that_are_not_all_there_are_refused(tmp_path: Path):
    build_index(letters_apart, [0, 1, 2], list("xyz")).save(tmp_path / "three")
    build_index(letters_apart, [0, 1], list("xy")).save(tmp_path / "two")
    (tmp_path / "three" / "names.faiss").replace(tmp_path / "two" / "names.faiss")
    with pytest.raises(RunError, match=r"holds 3 vectors of 2 names.*--redo"):
        Index.load(tmp_path / "two")


def test_added_columns_fit_the_schema_even_where_a_column_is_all_null():
    rows = [{"key": "k", "text": "emesis", "context": None, "type": None}]
    table = add_candidates(Retriever.build(HashEncoder(), FEW), pa.Table.from_pylist(rows), 2)
    row = table.select(CANDIDATES.names).cast(CANDIDATES).to_pylist()[0]
    assert row["candidate_ids"][0] == "C0"
    assert row["candidate_names"][0] == "Vomiting"
    assert row["matched_names"][0] == "emesis"


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_given_concepts_are_scored_as_if_they_had_been_found(kind: str, many: list[Concept]):
    texts = [concept.names[1][:5] for concept in many[:20]]
    retriever = Retriever.build(HashEncoder(), many, kind=kind)
    found = retriever.retrieve(texts, 10)
    again = retriever.score(texts, [sorted(candidates.rows) for candidates in found])
    for first, second in zip(found, again, strict=True):
        assert second.rows == first.rows
        assert second.matched_names == first.matched_names
        assert second.scores == pytest.approx(first.scores, abs=1e-6)


def test_concepts_that_many_phrases_were_linked_to_are_scored_some_texts_at_a_time(many: list[Concept], monkeypatch: pytest.MonkeyPatch):
    said = [Pair(f"{many[n % 3].name} {n}", many[n % 3].name, many[n % 3].concept_id) for n in range(60)]
    retriever = Retriever.build(HashEncoder(), many).with_aliases(said)
    texts = [pair.anchor for pair in said[:20]]
    for as_new in (False, True):
        found = retriever.retrieve(texts, 10, as_new)
        monkeypatch.setattr("rpdr.retriever.retriever.SCORED", 7)
        again = retriever.score(texts, [candidates.rows[::-1] for candidates in found], as_new)
        for first, second, text in zip(found, again, texts, strict=True):
            assert second.rows == first.rows
            assert second.matched_names == first.matched_names
            assert second.scores == pytest.approx(first.scores, abs=1e-6)
            assert (text in second.matched_names) != as_new


def test_rescored_rows_keep_their_candidates_and_get_a_new_order():
    rows = [{"text": "pyrexia", "candidate_ids": ["C0", "C2"], "candidate_names": ["Vomiting", "Fever"], "scores": [0.9, 0.1], "key": "k"}]
    [row] = rescored(Retriever.build(HashEncoder(), FEW), rows)
    assert row["key"] == "k"
    assert row["candidate_ids"] == ["C2", "C0"]
    assert row["matched_names"][0] == "pyrexia"
    assert row["scores"][0] == pytest.approx(1, abs=1e-5)


SAID = [Pair("couldn't keep it down", "Vomiting", "C0"), Pair("Burning up", "Fever", "C2"), Pair("FEVER", "Fever", "C2")]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_linked_mention_is_a_name_of_its_concept(tmp_path: Path, kind: str):
    encoder = HashEncoder()
    retriever = Retriever.build(encoder, FEW, kind=kind)
    before = list(retriever.index.names)
    retriever.with_aliases(SAID).index.save(tmp_path)
    learned = Retriever.load(encoder, tmp_path, FEW)
    assert learned.index.names == [*before, "couldn't keep it down", "Burning up"]  # it was called Fever before
    assert retriever.index.names == before
    found = learned.retrieve(["burning up", "couldn't keep it down"], 1)
    assert [(c.rows, c.matched_names) for c in found] == [([2], ["Burning up"]), ([0], ["couldn't keep it down"])]


def test_a_linked_mention_that_is_another_concepts_name_has_its_discount():
    concepts = [concept_of("C0", "neck pain"), concept_of("C1", "cervicalgia")]
    retriever = Retriever.build(HashEncoder(), concepts).with_aliases([Pair("neck pain", "cervicalgia", "C1")], 0.25)
    [found] = retriever.retrieve(["neck pain"], 2)
    assert (found.rows, found.matched_names) == ([0, 1], ["neck pain", "neck pain"])
    assert found.scores == pytest.approx([1.0, 0.75], abs=1e-5)


def test_aliases_can_be_added_to_an_index_that_is_mapped_into_memory(tmp_path: Path):
    encoder = HashEncoder()
    Retriever.build(encoder, FEW).index.save(tmp_path)
    twice = Retriever.load(encoder, tmp_path, FEW).with_aliases(SAID[:1]).with_aliases(SAID[1:])
    assert twice.index.aliases == 2
    assert twice.retrieve(["couldn't keep it down"], 1)[0].rows == [0]


def test_a_text_met_as_new_does_not_find_itself_but_what_others_said():
    retriever = Retriever.build(HashEncoder(), FEW).with_aliases([*SAID, Pair("burning up inside", "Fever", "C2")])
    [found] = retriever.retrieve(["burning  UP"], 4, as_new=True)
    assert found.matched_names[found.rows.index(2)] == "burning up inside"
    [again] = retriever.score(["burning  UP"], [[0, 1, 2, 3]], as_new=True)
    assert again.matched_names == found.matched_names
    assert again.scores == pytest.approx(found.scores, abs=1e-6)
    assert retriever.retrieve(["emesis"], 1, as_new=True)[0].matched_names == ["emesis"]  # the knowledge base's own name


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_alias_at_a_discount_counts_that_much_less_and_no_other_name_does(tmp_path: Path, kind: str):
    encoder = HashEncoder()
    Retriever.build(encoder, FEW, kind=kind).with_aliases(SAID, discount=0.2).index.save(tmp_path)
    retriever = Retriever.load(encoder, tmp_path, FEW)
    for found in (retriever.retrieve(["burning up", "emesis"], 4), retriever.score(["burning up", "emesis"], [[0, 1, 2, 3]] * 2)):
        linked, known = found
        cosine = float(encoder.encode(["Burning up"])[0] @ encoder.encode(["burning up"])[0])
        assert (linked.rows[0], linked.matched_names[0]) == (2, "Burning up")
        assert linked.scores[0] == pytest.approx(0.8 * cosine, abs=1e-5)
        assert (known.rows[0], known.scores[0]) == (0, pytest.approx(1, abs=CLOSE[kind]))


def test_aliases_alone_know_no_other_name():
    alone = Retriever.build(HashEncoder(), FEW).aliases_alone(SAID)
    assert alone is not None
    assert alone.index.names == ["couldn't keep it down", "Burning up"]
    assert [c.rows for c in alone.retrieve(["burning up"], 10)] == [[2, 0]]
    assert [c.rows for c in alone.retrieve(["burning up"], 10, as_new=True)] == [[0]]
    assert Retriever.build(HashEncoder(), FEW).aliases_alone([Pair("FEVER", "Fever", "C2")]) is None


def test_a_remembering_encoder_encodes_no_text_twice():
    encoder = HashEncoder()
    remembering = Remembering(encoder)
    first = remembering.encode(["a fever", "emesis"])
    assert np.array_equal(remembering.encode(["emesis", "nausea", "a fever"])[[2, 0]], first)
    assert encoder.seen == ["a fever", "emesis", "nausea"]
