"""Knowledge bases as CSV, TSV or Parquet: one concept a row, synonyms in one cell (or a list column of Parquet)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.kb.concept import Concept, concept_of
from rpdr.kb.rejects import Reject, reject
from rpdr.kb.rows import cell_text, open_rows


def read(path: Source, config: KbConfig) -> Iterator[tuple[int, Concept] | Reject]:
    """Concepts with their line. Columns given as numbers alone ("0", "1", …) say that the file has no header.

    Synonym and definition columns that only the default config names may be missing. Raises DataError for a missing column, and for ids that are
    floats: which number they were, nobody can tell.
    """
    rows = open_rows(path, config.encoding, config.separator, header=not all(column.isdecimal() for column in config.columns.values()))
    wanted = {"id": "concept_id", "name": "name"} | {str(field): column for field, column in config.columns.items()}
    if _by_default(config):
        wanted = {field: column for field, column in wanted.items() if field in {"id", "name"} or column in rows.names}
    at = rows.columns(wanted, "kb.columns")
    for row in rows.rows:
        if isinstance(row, dict):
            yield row
            continue
        cells = {field: row.cells[position] for field, position in at.items()}
        if isinstance(cells["id"], float):
            raise DataError(
                f"{path}: row {row.line} has the concept id {cells['id']!r}, a float; write the column {wanted['id']!r} as text"
            )
        concept_id, name = cell_text(cells["id"]), cell_text(cells["name"])
        if concept_id and name:
            synonyms = _several(cells.get("synonyms"), config.synonym_separator)
            yield row.line, concept_of(concept_id, name, synonyms, cell_text(cells.get("definition")))
        else:
            yield reject(path, row.line, "no concept id" if not concept_id else "no name", repr(list(row.cells)))


def passed_over(path: Source, config: KbConfig) -> list[str]:
    """A note for each column that is not read, though its name is nearly that of a default column that is missing."""
    if not _by_default(config):
        return []
    names = open_rows(path, config.encoding, config.separator).names
    there = {field: column for field, column in config.columns.items() if column in names}
    free = {name.casefold(): name for name in names if name not in there.values()}
    notes = []
    for field, column in config.columns.items():
        near = difflib.get_close_matches(column, free, n=1) if field not in there else []
        if near:
            meant = ", ".join(f"{known}: {name}" for known, name in {**there, field: free[near[0]]}.items())
            notes.append(f"{path}: no column {column!r}, and {free[near[0]]!r} is not read; if that is meant, set kb.columns: {{{meant}}}")
    return notes


def _by_default(config: KbConfig) -> bool:
    """Whether the config names no columns of its own; a run writes the default out."""
    return config.columns == KbConfig.model_fields["columns"].get_default(call_default_factory=True)


def _several(cell: Any, separator: str) -> list[str]:
    if isinstance(cell, list):
        return [cell_text(item) for item in cell]
    return cell_text(cell).split(separator)
