"""Concepts in an Arrow file that is mapped into memory, made into objects as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

import pyarrow as pa

from rpdr.kb.concept import Concept
from rpdr.schema import ConceptId

AT_HAND = 50_000  # concepts that are kept as objects: those asked for last


class MappedConcepts(Sequence[Concept]):
    """The rows of schema.CONCEPTS, made into objects as they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._at_hand = lru_cache(maxsize=AT_HAND)(self._concept)

    @overload
    def __getitem__(self, place: int) -> Concept: ...
    @overload
    def __getitem__(self, place: slice) -> list[Concept]: ...
    def __getitem__(self, place: int | slice) -> Concept | list[Concept]:
        if isinstance(place, slice):
            return [self._at_hand(row) for row in range(len(self))[place]]
        return self._at_hand(range(len(self))[int(place)])

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[Concept]:
        for batch in self._table.to_batches(max_chunksize=10_000):
            yield from map(concept_of_row, batch.to_pylist())

    def _concept(self, row: int) -> Concept:
        return concept_of_row({name: self._table[name][row].as_py() for name in self._table.column_names})


def concept_of_row(row: dict[str, Any]) -> Concept:
    """From a row of schema.CONCEPTS."""
    return Concept(ConceptId(row["concept_id"]), row["name"], tuple(row["names"]), row["definition"], tuple(row["alternate_ids"] or ()))
