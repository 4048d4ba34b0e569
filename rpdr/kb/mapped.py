"""Texts and concepts in Arrow files that are mapped into memory: the processes of one machine share one copy, and none holds Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from rpdr.files import write_atomically
from rpdr.kb.concept import Concept
from rpdr.schema import ConceptId

AT_HAND = 50_000  # concepts that are kept as objects: those asked for last


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as one Arrow file that `map_arrow` maps, atomically."""

    def write(file: Any) -> None:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())

    write_atomically(path, write)


def map_arrow(path: Path) -> pa.Table:
    """The table that `write_arrow` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


class Texts(Sequence[str]):
    """A column of texts."""

    def __init__(self, texts: pa.ChunkedArray) -> None:
        self.column = texts

    def with_more(self, texts: Sequence[str]) -> Texts:
        """With these behind them; none is copied."""
        return Texts(pa.chunked_array([*self.column.chunks, pa.array(texts, self.column.type)], self.column.type))

    def first(self, count: int) -> Texts:
        """So many of them, from the beginning; none is copied."""
        return Texts(self.column.slice(0, count))

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        return self.column[place].to_pylist() if isinstance(place, slice) else self.column[int(place)].as_py()

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_HAND):
            yield from self[start : start + AT_HAND]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


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
