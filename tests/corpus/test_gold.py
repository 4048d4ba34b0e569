"""From gold as a source has it to concepts of the knowledge base: ids and alternate ids, names, and what is not in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import KbConfig, MentionsConfig
from rpdr.corpus import KnownConcepts
from rpdr.corpus.gold import MAX_READINGS, alternatives_of
from rpdr.kb import read_kb
from rpdr.kb.concept import concept_of
from rpdr.schema import ConceptId, Gold
from tests.corpus.sources import read_mentions

KB = """code,name,synonyms
R51,头痛,
R51.x,头痛,头部疼痛
I10,高血压,
M15.9,"骨关节病,全身性",
D45,CD30+增殖(真性),头痛|旧名
"""


def known(folder: Path, **settings: Any) -> KnownConcepts:
    (folder / "kb.csv").write_text(KB, encoding="utf-8")
    columns = {"id": "code", "name": "name", "synonyms": "synonyms"}
    return KnownConcepts(
        read_kb(KbConfig.model_validate({"format": "table", "path": str(folder / "kb.csv"), "columns": columns, **settings}))[0]
    )


def resolved(concepts: KnownConcepts, text: str, **settings: Any) -> Gold | None:
    config = MentionsConfig.model_validate({"format": "table", "path": "x", "gold_by": "name", **settings})
    return concepts.resolve(alternatives_of(text, config), config)


def test_names_become_ids_and_those_that_stand_together_stay_together(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    assert resolved(concepts, "高血压") == [["I10"]]
    assert resolved(concepts, "高血压##头部疼痛") == [["I10", "R51.x"]]
    assert resolved(concepts, "ＣＤ30＋增殖（真性）") == [["D45"]]  # full-width signs, and a plus that is part of the name
    assert concepts.unknown.total() == 0


def test_a_name_of_several_concepts_is_any_of_them_and_a_preferred_name_goes_before_a_synonym(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    assert resolved(concepts, "头痛") == [["R51"], ["R51.x"]]
    assert resolved(concepts, "头痛##高血压") == [["R51", "I10"], ["R51.x", "I10"]]
    assert resolved(known(tmp_path, merge_same_names=True), "头痛##高血压") == [["R51", "I10"]]


def test_very_many_readings_of_one_gold_are_cut(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    config = MentionsConfig(format="table", path="x", gold_by="name")
    assert len(list(concepts.resolve([["头痛", *["高血压"] * 3]], config) or [])) == 2
    (tmp_path / "kb.csv").write_text("concept_id,name\n" + "".join(f"C{n}-{m},name {n}\n" for n in range(12) for m in range(3)))
    many = KnownConcepts(read_kb(KbConfig(format="table", path=str(tmp_path / "kb.csv")))[0])
    gold = many.resolve([[ConceptId(f"name {n}") for n in range(12)]], config)
    assert len(gold or []) == MAX_READINGS


def test_quotation_marks_that_a_table_left_around_a_name_are_passed_over(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    for text in ('"骨关节病,全身性"', '骨关节病,全身性"'):
        assert resolved(concepts, text) == [["M15.9"]]


def test_what_the_knowledge_base_lacks_is_kept_or_nil_and_counted_either_way(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    assert resolved(concepts, "截肢##高血压") == [["截肢", "I10"]]
    assert resolved(concepts, "截肢##高血压", unknown_gold="nil") == [["I10"]]
    assert resolved(concepts, "截肢", unknown_gold="nil") == []
    assert concepts.unknown == {"截肢": 3}


def test_ids_are_looked_up_as_ids_and_alternate_ids_become_the_concepts_own(tmp_path: Path) -> None:
    concepts = known(tmp_path, merge_same_names=True)
    assert resolved(concepts, "R51.x+I10", gold_by="id") == [["R51", "I10"]]
    assert resolved(concepts, "R51.x|R51", gold_by="id") == [["R51"]]
    assert resolved(concepts, "高血压", gold_by="id") == [["高血压"]]


def test_an_id_that_several_concepts_have_as_an_alternate_one_is_any_of_them() -> None:
    concepts = KnownConcepts(
        [replace(concept_of(i, i, []), alternate_ids=others) for i, others in {"A": ("X", "B"), "B": ("X", "Y")}.items()]
    )
    config = MentionsConfig(format="table", path="x")
    for given, right in {"X": [["A"], ["B"]], "Y": [["B"]], "B": [["B"]], "A+X": [["A"], ["A", "B"]]}.items():
        assert concepts.resolve(alternatives_of(given, config), config) == right
    assert not concepts.unknown


def test_a_plus_that_is_part_of_an_id_of_the_knowledge_base_separates_nothing() -> None:
    concepts = KnownConcepts([concept_of(i, i) for i in ("E11.200+N08.3*", "E11.200", "R50")])
    assert resolved(concepts, "E11.200+N08.3*", gold_by="id") == [["E11.200+N08.3*"]]
    assert resolved(concepts, "E11.200+R50|E11.200+N08.3*", gold_by="id") == [["E11.200", "R50"], ["E11.200+N08.3*"]]
    assert not concepts.unknown


def test_a_bar_means_either_or_all(tmp_path: Path) -> None:
    concepts = known(tmp_path)
    assert resolved(concepts, "I10|D45", gold_by="id") == [["I10"], ["D45"]]
    assert resolved(concepts, "I10|D45+R51", gold_by="id", gold_bar="all") == [["I10", "D45", "R51"]]


@pytest.mark.parametrize(("given", "right"), [("nil", []), ("unknown", None)])
def test_a_source_whose_gold_is_overridden_has_nothing_to_look_up(tmp_path: Path, given: str, right: Gold | None) -> None:
    (tmp_path / "m.tsv").write_text("text\tgold\nsore head\t截肢\n", encoding="utf-8")
    concepts = known(tmp_path)
    source = {"format": "table", "path": str(tmp_path / "m.tsv"), "gold_by": "name", "gold": given}
    assert [m.gold for m in read_mentions([MentionsConfig.model_validate(source)], 13, concepts)[0]] == [right]
    assert not concepts.unknown
