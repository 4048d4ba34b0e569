"""Rows of CSV, TSV and Parquet files, for knowledge bases and corpora alike: cells and line numbers, with no meaning given to them.

One bad row never costs its neighbours: a quote that is never closed spoils its own line alone.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.errors import DataError
from rpdr.files import Source, read_lines
from rpdr.remote import Remote
from rpdr.tables.columns import has_known, listed, offered, placed
from rpdr.tables.rejects import Reject, reject

LINES_AT_ONCE = 100
MAX_LINES_PER_ROW = 10_000  # a note in a quoted cell has hundreds
ROWS_THAT_TELL_THE_WIDTH = 100
SEVERAL = 3  # cells that have it by chance no longer
SEPARATORS = ";\t|,"  # that a file may have in place of its suffix's
SEPARATOR_TOLD = re.compile("sep=(?P<mark>.)")  # a line of Excel's before the header
RICH_RELEASE = ".rrf"
BEGINS_JSON = re.compile(r"[\[{]\s*([\[{\"]|$)")  # a column may be called [Id]
ESCAPED = '\\"'  # a quotation mark in a quoted cell of Spark's
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
NO_LIMIT = 2**31 - 1  # the csv module's own limit, 131,072 characters a cell, would end the whole file


class EmptyFile(DataError):
    """A table without a line, or without columns. One of several files may be so."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row and its 1-based line (Parquet: row). Text files give str; Parquet whatever type the column has."""

    line: int
    cells: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """An open table: its column names (the numbers "0", "1", … without a header), and its rows or rejects, to be read once."""

    path: Source
    names: tuple[str, ...]
    rows: Iterator[Row | Reject]
    asked: set[int] = field(default_factory=set)  # positions of columns; of a Parquet file no other is read
    separator: str = ""  # between cells; of a Parquet file nothing

    def columns(self, wanted: Mapping[str, str], setting: str) -> dict[str, int]:
        """Field -> position of its column; to be asked before rows are read, of a Parquet file's other columns the cells are None. Raises
        DataError where two have its name, or, offering those that are there, none has."""
        found = {field: self._position(column, field, setting) for field, column in wanted.items()}
        self.asked.update(found.values())
        return found

    def quotes_kept(self, column: str, cells: Iterable[Any]) -> list[str]:
        """A note where several of these cells stand between quotation marks that count as text: as spreadsheets write them, or with a blank before."""
        texts = [cell for cell in cells if isinstance(cell, str)] if self.separator else []
        quoted = [cell for cell in texts if (inside := cell.strip())[:1] == inside[-1:] == '"' and len(inside) > 1]
        if _may_quote(self.path, self.separator):
            quoted = [cell for cell in quoted if cell[0] != '"']
            remedy = "as a blank stands before them; take these blanks out"
        else:
            remedy = f"as they do where {self.separator!r} stands between cells; save the file as CSV if they should not"
        if len(quoted) < SEVERAL:
            return []
        return [
            f"{self.path}: {len(quoted):,} cells of the column {column!r} have quotation marks around them, which count as text, {remedy}"
        ]

    def _position(self, column: str, field: str, setting: str) -> int:
        if self.names.count(column) > 1:
            raise DataError(f"{self.path}: several columns have the name {column!r}; rename all but the one that {setting}.{field} means")
        if (there := placed(column, self.names)) is not None:
            return there
        if BEGINS_JSON.match(self.names[0]):
            remedy = "make it a table" if setting.startswith("kb.") else "set format: jsonl"
            raise DataError(f"{self.path}: no column {column!r}; its first line is JSON: {remedy}")
        between = next((mark for mark in SEPARATORS if mark in self.names[0]), None) if len(self.names) == 1 else None
        if between:
            where = setting.removesuffix("columns") + "separator"
            raise DataError(
                f"{self.path}: no column {column!r}; its first line is one cell, with {between!r} in it: set {where} if that stands between cells"
            )
        raise DataError(f"{self.path}: no column {column!r}; {self._remedy(column, field, setting)}")

    def _remedy(self, column: str, field: str, setting: str) -> str:
        """The columns that there are, and what to do if these are none."""
        names, count = offered(column, field, self.names), len(self.names)
        choose = f"set {setting}.{field} to one that is there"
        if names:
            choose += f", nearest first: {listed(names)}"
        if hidden := sum(map(bool, self.names)) - len(names):
            choose += f" ({count:,} columns; not shown, as they look like data: {hidden:,})"
        numbers = "number the columns" if setting.startswith("kb.") else "set header: false and number the columns"
        numbered = self.names == tuple(map(str, range(count)))
        return choose if numbered or (has_known(names) and not hidden) else f"{choose}; if the first line is data, {numbers}"


def open_rows(path: Source, encoding: str, separator: str = "", header: bool = True) -> Rows:
    """Open a .csv, .tsv, .txt, .rrf (each also .gz) or .parquet file. `separator` empty: what a first line `sep=;` says, as Excel writes it; else as
    `default_separator` has it.

    Where tabs, or several characters, stand between cells, a quotation mark is a character like any other. Rows of the wrong width become
    rejects. Raises DataError if the file cannot be read, EmptyFile if it holds no row.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    lines = read_lines(path, encoding)
    first = next(lines)
    if told := SEPARATOR_TOLD.fullmatch(first.removesuffix("\r")):
        first, separator = "", separator or told["mark"]
    separator = separator or default_separator(path)
    records = _records(chain([first], lines), separator, _may_quote(path, separator))
    filled = (row for row in records if row.cells)
    head = list(islice(filled, ROWS_THAT_TELL_THE_WIDTH))
    if not head:
        raise EmptyFile(f"{path}: empty; {'its first line should name the columns' if header else 'it should hold one row a line'}")
    if len(head) == 1 and any("\r" in cell for cell in head[0].cells):
        raise DataError(f"{path}: one line, with carriage returns in it, as old Macs end lines; save it with line feeds, e.g. as CSV UTF-8")
    if header:
        names = tuple(cell.strip() for cell in head[0].cells)
        return Rows(path, names, _checked(path, chain(head[1:], filled), len(names), separator), separator=separator)
    width = Counter(len(row.cells) for row in head).most_common(1)[0][0]
    return Rows(path, tuple(map(str, range(width))), _checked(path, chain(head, filled), width, separator), separator=separator)


def default_separator(path: Source) -> str:
    """Tab for .tsv and .txt, | for .rrf, comma for the rest; a final .gz is passed over."""
    return {".tsv": "\t", ".txt": "\t", RICH_RELEASE: "|"}.get(_suffix(path), ",")


def _suffix(path: Source) -> str:
    return PurePosixPath(path.name.removesuffix(".gz")).suffix.lower()


def cell_text(value: Any) -> str:
    """A cell as stripped text; nothing (None, NaN) is the empty text."""
    return "" if value is None or value != value else str(value).strip()


def _records(lines: Iterator[str], separator: str, may_quote: bool) -> Iterator[Row]:
    csv.field_size_limit(NO_LIMIT)
    number, ahead = 1, deque[str]()
    while ahead or (ahead := deque(islice(lines, LINES_AT_ONCE))):
        line = ahead[0].removesuffix("\r")
        size, cells = 1, line.split(separator) if line else []  # a blank line is no row; "" between quotation marks is
        if may_quote and '"' in line:
            size, cells = _quoted(ahead, lines, separator) or (1, cells)
        yield Row(number, cells)
        for _ in range(size):
            ahead.popleft()
        number += size


def _quoted(ahead: deque[str], lines: Iterator[str], separator: str) -> tuple[int, list[str]] | None:
    """The first record of `ahead`, which grows by as many `lines` as that has, and how many of them it takes; None if a quote in it is never closed,
    or only by another record's. Quotes may be escaped by a backslash where it can be read in no other way."""

    def more() -> Iterator[str]:
        yield from ahead
        while len(ahead) < MAX_LINES_PER_ROW and (line := next(lines, None)) is not None:
            ahead.append(line)
            yield line
        yield ""

    for written in (str, _doubled):  # as CSV has it; as Spark does
        reader = csv.reader((written(line.removesuffix("\r")) + "\n" for line in more()), delimiter=separator, strict=True)
        with suppress(csv.Error):
            cells = next(reader)
            if reader.line_num <= len(ahead):
                return reader.line_num, cells
        if not any(ESCAPED in line for line in islice(ahead, reader.line_num)):
            break
    return None


def _doubled(line: str) -> str:
    """With quotation marks doubled that are escaped by a backslash, which an even number of them does not."""
    return _ESCAPED_QUOTE.sub(r'\1""', line)


def _checked(path: Source, rows: Iterator[Row], width: int, separator: str) -> Iterator[Row | Reject]:
    for row in rows:
        if len(row.cells) == width:
            yield row
        else:
            why = _other_width(row.cells, width, separator, _may_quote(path, separator))
            yield reject(path, row.line, why, separator.join(row.cells))


def _other_width(cells: Sequence[str], width: int, separator: str, may_quote: bool) -> str:
    told = f"{len(cells)} cells where {width} are expected"
    if len(cells) < width:
        return told
    if may_quote and any(ESCAPED in cell or cell.endswith("\\") for cell in cells):
        return f"{told}; if \\ escapes quotation marks in it, set the writer's escape to a quotation mark, or write Parquet"
    return f"{told}; {'quote a cell that has' if may_quote else 'a cell has'} {separator!r} in it"


def _may_quote(path: Source, separator: str) -> bool:
    """Of more characters, csv knows nothing; with tabs, and in UMLS's Rich Release Format, nobody quotes."""
    return separator != "\t" and len(separator) == 1 and _suffix(path) != RICH_RELEASE


def _parquet_rows(path: Source) -> Rows:
    file = open_parquet(path)

    names = tuple(file.schema_arrow.names)
    if not names:
        raise EmptyFile(f"{path}: empty, it has no columns; was it written from a table that had none?")
    asked: set[int] = set()

    def rows() -> Iterator[Row | Reject]:
        line = 0
        plain = len(set(names)) == len(names) and not any("." in name for name in names)  # else a name does not tell a column
        wanted = [names[n] for n in sorted(asked)] if plain else None
        try:
            for batch in file.iter_batches(10_000, columns=wanted):
                held = dict(zip(range(len(names)) if wanted is None else sorted(asked), batch.columns, strict=True))
                nothing = [None] * batch.num_rows
                for cells in zip(*(_cells(held[n]) if n in asked else nothing for n in range(len(names))), strict=True):
                    line += 1
                    broken = next((cell for cell in cells if isinstance(cell, _Broken)), None)
                    yield reject(path, line, broken.why, "") if broken else Row(line, cells)
        except (pa.ArrowException, OSError) as error:
            why = f"damaged after row {line}, or of a kind that Arrow does not read ({str(error).splitlines()[0]})"
            raise DataError(f"{path}: {why}; write it again, with plain columns") from error
        if isinstance(path, Remote):
            path.check_unchanged()

    return Rows(path, names, rows(), asked)


@dataclass(frozen=True)
class _Broken:
    """A cell that cannot be read."""

    why: str


def _cells(column: pa.Array) -> list[Any]:
    if (kind := _as_text(column.type)) != column.type:
        column = column.cast(kind, safe=False)  # what is no UTF-8 is found below, with its row
    try:
        found = list(column.to_pylist())
        if pa.types.is_decimal(column.type):  # what databases call a number without saying more, ids too
            return [int(value) if value is not None and value == value.to_integral_value() else value for value in found]
        return found
    except (ValueError, OverflowError):  # bytes that are no UTF-8, a date that Python does not have
        return [_cell(value) for value in column]


def _as_text(kind: pa.DataType) -> pa.DataType:
    """The type with texts in place of bytes: as such Impala and older Sparks write texts, without a word that they are UTF-8."""
    if pa.types.is_list(kind):
        return pa.list_(_as_text(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_as_text(kind.value_type))
    if pa.types.is_dictionary(kind):
        return _as_text(kind.value_type) if _as_text(kind.value_type) != kind.value_type else kind
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind):
        return pa.string()
    return pa.large_string() if pa.types.is_large_binary(kind) else kind


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:
        return _Broken(f"a cell that cannot be read ({error})")


def open_parquet(path: Source) -> pq.ParquetFile:
    """A Parquet file whose metadata are sound. Raises DataError."""
    try:
        return pq.ParquetFile(path.open("rb", buffering=0) if isinstance(path, Remote) else path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a column's name
        raise DataError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from error
