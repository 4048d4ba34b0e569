"""Mentions as CSV, TSV or Parquet: one a row, columns by name or by 0-based number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus.fields import float_ids, raw_mention, wanted_columns
from rpdr.corpus.mention import RawMention
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.tables.columns import placed
from rpdr.tables.rejects import Reject, reject
from rpdr.tables.rows import Row, open_rows

LOOKED_AT = 10_000  # rows of a large file that tell what its cells are like


def read(path: Source, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Mentions and rejects in the file's order. Raises DataError for a missing file or column, an empty file, or ids that are floats."""
    rows = open_rows(path, config.encoding, config.separator, config.header)
    wanted = wanted_columns(config, rows.names)
    at = rows.columns(wanted, "the source's columns")
    if not at:
        raise DataError(f"{path}: no columns to read; name at least `columns: {{text: …}}`")
    for row in rows.rows:
        if isinstance(row, dict):
            yield row
            continue
        cells: dict[str, Any] = {field: row.cells[position] for field, position in at.items()}
        for field in float_ids(cells, config):
            raise DataError(f"{path}: row {row.line} has the {field} {cells[field]!r}, a float; write the column {wanted[field]!r} as text")
        try:
            yield raw_mention(str(path), row.line, cells, config)
        except ValueError as error:
            yield reject(path, row.line, str(error), repr(list(row.cells)))


def names(path: Source, config: MentionsConfig) -> Sequence[str]:
    """What its columns are called."""
    return open_rows(path, config.encoding, config.separator, config.header).names


def notes(path: Source, config: MentionsConfig) -> list[str]:
    """What a user should know of the cells of a table that is read without complaint; of gold the knowledge base tells more."""
    rows = open_rows(path, config.encoding, config.separator, config.header)
    asked = [column for field, column in wanted_columns(config, rows.names).items() if field != "gold"]
    there = [at for column in asked if (at := placed(column, rows.names)) is not None]
    first = [row.cells for row in islice(rows.rows, LOOKED_AT) if isinstance(row, Row)] if rows.separator else []
    return [note for at in there for note in rows.quotes_kept(rows.names[at], [cells[at] for cells in first])]
