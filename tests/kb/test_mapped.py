"""Concepts that are mapped into memory are those that were saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpdr.kb import load_kb, map_kb, save_kb
from rpdr.kb.concept import concept_of

CONCEPTS = [
    concept_of("C1", "Vomiting", ["emesis", "throwing up"], "Ejection of contents.", ["X1", "X2"]),
    concept_of("C2", "左膝退变"),
    concept_of("C3", "a", name_among_names=False),
]


def test_mapped_concepts_are_the_saved_ones(tmp_path: Path):
    path = tmp_path / "concepts.parquet"
    save_kb(path, CONCEPTS)
    mapped = map_kb(path)
    assert load_kb(path) == list(mapped) == CONCEPTS
    assert len(mapped) == 3
    assert [mapped[0], mapped[-1]] == [CONCEPTS[0], CONCEPTS[2]]
    assert mapped[1:] == CONCEPTS[1:]
    with pytest.raises(IndexError):
        mapped[3]


def test_what_was_saved_before_there_was_a_map_is_read(tmp_path: Path):
    path = tmp_path / "concepts.parquet"
    save_kb(path, CONCEPTS)
    path.with_suffix(".arrow").unlink()
    assert list(map_kb(path)) == CONCEPTS
