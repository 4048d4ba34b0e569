"""Names that decide a mention without a model."""

from __future__ import annotations

from pathlib import Path

from rpdr.kb.concept import concept_of
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import UNDECIDED

CONCEPTS = [
    concept_of("C1", "Heart attack", ["MI", "Myocardial infarction"]),
    concept_of("C2", "Mitral insufficiency", ["MI"]),
    concept_of("C3", "左膝退变"),
    concept_of("C4", "Heart  ATTACK, old", ["heart attack old"]),
]


def test_a_name_of_one_concept_decides_whatever_its_case_and_one_of_two_does_not():
    names = ExactNames.of(CONCEPTS)
    texts = ["HEART attack", "mi", "myocardial\tinfarction", "左膝退变", "no such name", "", "Ｈeart attack old"]
    assert names.find(texts).tolist() == [0, UNDECIDED, 0, 2, UNDECIDED, UNDECIDED, 3]
    assert names.find([]).tolist() == []


def test_a_concept_with_a_name_twice_still_owns_it():
    same_when_normalised = concept_of("C1", "ﬁbroma", ["fibroma"])
    assert ExactNames.of([same_when_normalised]).find(["Fibroma"]).tolist() == [0]


def test_a_disputed_name_decides_nothing_and_its_concepts_other_names_do():
    names = ExactNames.of(CONCEPTS, ["heart attack", "no such name"])
    assert names.find(["Heart attack", "myocardial infarction"]).tolist() == [UNDECIDED, 0]
    linked = {"heart attack": {1}, "myocardial infarction": {0, 1}, "mi": {2}, "chest pain": {0}}
    assert ExactNames.of(CONCEPTS).disputed(linked) == ["heart attack"]


def test_without_names_nothing_is_decided():
    assert ExactNames.of([]).find(["heart attack"]).tolist() == [UNDECIDED]


def test_what_is_saved_decides_the_same(tmp_path: Path):
    names = ExactNames.of(CONCEPTS)
    assert not ExactNames.saved(tmp_path)
    names.save(tmp_path)
    assert ExactNames.saved(tmp_path)
    texts = ["heart attack", "mi", "x"]
    assert ExactNames.load(tmp_path).find(texts).tolist() == names.find(texts).tolist()
