"""Knowledge bases as CSV, TSV or Parquet: a concept a row, its synonyms in one cell (or a list column of Parquet), or a name a row."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.kb.concept import Concept, concept_of
from rpdr.tables.columns import named
from rpdr.tables.rejects import Reject, reject
from rpdr.tables.rows import Row, Rows, cell_text, open_rows

OPTIONAL = ("synonyms", "definition")
SYNONYM_SEPARATORS = "|;,"  # that synonyms may have between them in place of the config's, the least ambiguous first
FEW, LOOKED_AT = 3, 100_000  # cells with such a one that may have it by chance; rows of a large file that tell
MANY, SHOWN = 20, 100  # concepts that share a text by chance no longer; characters of it
_LIST = re.compile(r"\[\s*(?:['\"].*['\"])?\s*\]", re.DOTALL)  # as Python, pandas or numpy writes one out
_DEFAULT: dict[str, str] = KbConfig.model_fields["columns"].get_default(call_default_factory=True)


def read(path: Source, config: KbConfig) -> Iterator[tuple[int, Concept] | Reject]:
    """Concepts with their line.

    Synonym and definition columns that only the default config names may be missing. Raises DataError for a missing column, and for ids that are
    floats: which number they were, nobody can tell; and for cells that are no plain values.
    """
    rows = _open(path, config)
    wanted = _wanted(config, rows.names)
    at = rows.columns(wanted, "kb.columns")
    conditions, marks = _asked(rows, config.where, "kb.where"), _asked(rows, config.preferred, "kb.preferred")
    gathered: dict[str, _Gathered] = {}
    for row in rows.rows:
        if isinstance(row, dict):
            yield row
            continue
        if _fitting(row, conditions) < len(conditions):
            continue
        cells = {field: row.cells[position] for field, position in at.items()}
        for field, cell in cells.items():
            _check_plain(path, row.line, wanted[field], cell, lists=field == "synonyms")
        if isinstance(cells["id"], float):
            raise DataError(
                f"{path}: row {row.line} has the concept id {cells['id']!r}, a float; write the column {wanted['id']!r} as text"
            )
        concept_id, name = cell_text(cells["id"]), cell_text(cells["name"])
        if not (concept_id and name):
            yield reject(path, row.line, "no concept id" if not concept_id else "no name", repr(list(row.cells)))
            continue
        synonyms, definition = _several(cells.get("synonyms"), config.synonym_separator), cell_text(cells.get("definition"))
        if config.row == "name":
            gathered.setdefault(concept_id, _Gathered(row.line)).add(name, synonyms, definition, _fitting(row, marks))
        else:
            yield row.line, concept_of(concept_id, name, synonyms, definition)
    for concept_id, one in gathered.items():
        yield one.line, concept_of(concept_id, one.name, one.names, one.definition)


class _Gathered:
    """What the rows say of one concept, the first of them on `line`."""

    __slots__ = ("_fits", "definition", "line", "name", "names")

    def __init__(self, line: int) -> None:
        self.line, self.name, self.definition = line, "", ""
        self.names: list[str] = []
        self._fits = -1

    def add(self, name: str, synonyms: Sequence[str], definition: str, fits: int) -> None:
        """A further name, whose row has so much of what the preferred one has."""
        if fits > self._fits:
            self.name, self._fits = name, fits
        self.names += [name, *synonyms]
        self.definition = self.definition or definition


def _asked(rows: Rows, asked: Mapping[str, Sequence[str]], setting: str) -> list[tuple[int, set[str]]]:
    """(position of a column, what it may have, letter case aside) of each; to be asked before rows are read."""
    at = rows.columns({column: column for column in asked}, setting)
    return [(at[column], {value.casefold() for value in values}) for column, values in asked.items()]


def _fitting(row: Row, asked: Sequence[tuple[int, set[str]]]) -> int:
    """How many of these columns have what is asked for."""
    return sum(cell_text(row.cells[position]).casefold() in values for position, values in asked)


def _check_plain(path: Source, line: int, column: str, cell: Any, lists: bool) -> None:
    """Raises DataError where a cell, or an item of its list, is no plain value, or a list is written out as Python does: it would be no name of the source's."""
    items = cell if lists and isinstance(cell, list) else [cell]
    if odd := [item for item in items if isinstance(item, list | tuple | dict | bytes)]:
        wanted = "texts, or lists of texts" if lists else "texts"
        raise DataError(f"{path}: row {line} has in the column {column!r} a {type(odd[0]).__name__}; write {wanted} there")
    if lists and isinstance(cell, str) and _LIST.fullmatch(cell.strip()):
        remedy = "join its items with the synonym_separator, or write Parquet with a column of lists"
        raise DataError(f"{path}: row {line} has in the column {column!r} a list that is written out as text; {remedy}")


def notes(path: Source, config: KbConfig) -> list[str]:
    """What a user should know of a table that is read without complaint."""
    rows = _open(path, config)
    at = rows.columns(_wanted(config, rows.names), "kb.columns")
    first = [row.cells for row in islice(rows.rows, LOOKED_AT) if isinstance(row, Row)]
    cells = {field: [of[position] for of in first] for field, position in at.items()}
    quotes = chain.from_iterable(rows.quotes_kept(rows.names[position], cells[field]) for field, position in at.items())
    synonyms = cells.get("synonyms", [])
    names = ({name.casefold() for name in _several(cell, config.synonym_separator)} for cell in synonyms)
    definitions = ({cell_text(cell)} for cell in cells.get("definition", []))
    shared = [*_shared(path, "synonym", names), *_shared(path, "definition", definitions)]
    return [*_passed_over(rows, config), *quotes, *_not_split(path, synonyms, config.synonym_separator), *shared]


def _passed_over(rows: Rows, config: KbConfig) -> list[str]:
    """A note for each column that is not read, though its name is a default's that the config leaves out, or nearly that of one that is missing."""
    names = rows.names
    by_default = _by_default(config)
    there = {str(field): named(column, names) for field, column in config.columns.items()}
    own = {str(field): column for field, column in (there if by_default else config.columns).items() if column}
    free = {name.casefold(): name for name in names if name not in there.values()}
    told = []
    for field, column in _DEFAULT.items():
        if field in own:
            continue
        if by_default:
            near, why = difflib.get_close_matches(column, free, n=1), f"no column {column!r}, and"
        else:
            near, why = [column] if field in OPTIONAL and column in free else [], "its column"
        for name in near:
            meant = ", ".join(f"{known}: {its}" for known, its in {**own, field: free[name]}.items())
            told.append(f"{rows.path}: {why} {free[name]!r} is not read; if that is meant, set kb.columns: {{{meant}}}")
    return told


def _not_split(path: Source, synonyms: Sequence[Any], separator: str) -> list[str]:
    """A note where no cell of synonyms has the separator, but many have another: each would be one name."""
    cells = [text for cell in synonyms if isinstance(cell, str) and (text := cell.strip())]
    if any(separator in cell for cell in cells):
        return []
    for mark in SYNONYM_SEPARATORS:
        count = sum(mark in cell for cell in cells)
        if mark != separator and count >= max(FEW, len(cells) / 5):
            return [
                f"{path}: no synonym has {separator!r}, {count:,} have {mark!r}; if that stands between synonyms, "
                f'set kb.synonym_separator: "{mark}"'
            ]
    return []


def _shared(path: Source, what: str, of_each: Iterable[set[str]]) -> list[str]:
    """A note on the text that most concepts have for their own, where those are many: likely a word for nothing, as nan or NULL."""
    concepts, having = 0, Counter[str]()
    for own in of_each:
        concepts += 1
        having.update(own - {""})
    [(text, count)] = having.most_common(1) or [("", 0)]
    if count < max(MANY, concepts / 100):
        return []
    remedy = "leave the cell empty where that means that there is none"
    return [f"{path}: the {what} {text[:SHOWN]!r} is that of {count:,} of {concepts:,} concepts; {remedy}"]


def _open(path: Source, config: KbConfig) -> Rows:
    """Columns given as numbers alone ("0", "1", …) say that the file has no header."""
    return open_rows(path, config.encoding, config.separator, header=not all(column.isdecimal() for column in config.columns.values()))


def _wanted(config: KbConfig, names: Sequence[str]) -> dict[str, str]:
    """Field -> column; of those that only the default config names, the optional ones that are there."""
    wanted = {"id": _DEFAULT["id"], "name": _DEFAULT["name"]} | {str(field): column for field, column in config.columns.items()}
    return {field: column for field, column in wanted.items() if not (_by_default(config) and field in OPTIONAL) or named(column, names)}


def _by_default(config: KbConfig) -> bool:
    """Whether the config names no columns of its own; a run writes the default out."""
    return config.columns == _DEFAULT


def _several(cell: Any, separator: str) -> list[str]:
    if isinstance(cell, list):
        return [cell_text(item) for item in cell]
    return [part.strip() for part in cell_text(cell).split(separator)]
