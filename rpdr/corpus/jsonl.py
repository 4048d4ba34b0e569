"""Mentions as JSON Lines: one object a line; gold a text, a list of alternatives, a list of lists (each all of), or null."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rpdr import files
from rpdr.config import MentionsConfig
from rpdr.corpus.fields import FIELDS, raw_mention, wanted_columns
from rpdr.corpus.mention import RawMention
from rpdr.errors import DataError
from rpdr.kb.rejects import Reject, reject
from rpdr.kb.rows import text_of


def read(config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Mentions and rejects in the file's order. Raises DataError if the file is missing, or no line has a key that the config names."""
    path = files.locate(config.path)
    columns = wanted_columns(config, FIELDS)
    missing, seen = set(config.columns.values()) if config.columns else set(), set[str]()
    for number, line in enumerate(text_of(path, config.encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__}, not an object")
            missing.difference_update(row)
            seen.update(list(row)[:20])
            yield raw_mention(str(path), number, {field: row.get(column) for field, column in columns.items()}, config)
        except json.JSONDecodeError as error:
            yield reject(path, number, f"not JSON: {error.msg} at character {error.pos + 1}", line)
        except (ValueError, RecursionError) as error:
            yield reject(path, number, str(error), line)
    if missing and seen:
        there = ", ".join(sorted(seen)[:20])
        raise DataError(f"{path}: no line has the key {sorted(missing)[0]!r}; set mentions.columns to keys it has: {there}")
