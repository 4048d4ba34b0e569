"""Tables and texts in Arrow files that are mapped into memory: the processes of one machine share one copy, and none holds Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from rpdr.files import write_atomically

AT_ONCE = 50_000  # texts that are objects at a time


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
        for start in range(0, len(self), AT_ONCE):
            yield from self[start : start + AT_ONCE]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)
