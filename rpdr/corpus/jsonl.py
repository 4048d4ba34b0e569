"""Mentions as JSON Lines, or as one JSON array of objects; gold a text, a list of alternatives, a list of lists (each all of), or null."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus.fields import FIELDS, raw_mention, wanted_columns
from rpdr.corpus.mention import RawMention
from rpdr.errors import DataError
from rpdr.files import Source, read_lines, read_text
from rpdr.tables.columns import listed, named, offered
from rpdr.tables.rejects import Reject, reject

LOOKED_AT = 100  # objects, for the keys that a source has
_ARRAY = re.compile(r"\s*\[\s*\{")
_BETWEEN = re.compile(r"\s*(,\s*|\])")


class KeysMissing(DataError):
    """No object of a file has these keys; those of another part may, as Spark leaves out a key that has no value."""

    def __init__(self, told: str, keys: set[str]) -> None:
        super().__init__(told)
        self.keys = keys


def read(path: Source, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """Mentions and rejects in the file's order. Raises DataError if the file is missing, no object has the text's key, or an array is broken, or
    not alone: where its next object begins, nobody can tell. At its end, KeysMissing if no object has some other key that the config names."""
    columns = wanted_columns(config, FIELDS)
    keys_of = lru_cache(maxsize=1000)(partial(_keys, columns))  # most objects have the same keys

    def meant(field: str, key: str, value: Any) -> bool:
        """Of a key in another letter case that nobody has named, what is no single value is none of ours."""
        return config.columns is not None or key == columns[field] or not isinstance(value, list | dict)

    missing, seen = set(config.columns.values()) if config.columns else set(), set[str]()
    for number, source in _objects(path, config.encoding):
        if not source.strip():
            continue
        try:
            row = json.loads(source, parse_constant=lambda _: None)  # NaN, as pandas writes nothing
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__}, not an object")
            keys = keys_of(tuple(row))
            missing.difference_update(columns[field] for field in keys)
            seen.update(list(row)[:20])
            yield raw_mention(str(path), number, {field: row[key] for field, key in keys.items() if meant(field, key, row[key])}, config)
        except json.JSONDecodeError as error:
            yield reject(path, number, f"not JSON: {error.msg} at character {error.pos + 1}", source)
        except (ValueError, RecursionError) as error:
            yield reject(path, number, str(error), source)
    if missing and seen:
        lacking, field = " or ".join(map(repr, sorted(missing))), next(field for field, column in columns.items() if column in missing)
        there = listed(offered(columns[field], field, sorted(seen))) or "they look like data, and are not shown"
        told = f"{path}: no line has the key {lacking}; set the source's columns to keys it has: {there}"
        raise DataError(told) if columns["text"] in missing else KeysMissing(told, missing)


def _keys(columns: Mapping[str, str], there: tuple[str, ...]) -> dict[str, str]:
    """Field -> the key that its column means, of those that are there."""
    return {field: key for field, column in columns.items() if (key := named(column, there))}


def names(path: Source, config: MentionsConfig) -> Sequence[str]:
    """The keys of its first objects."""
    found: dict[str, None] = {}
    for _, source in islice(_objects(path, config.encoding), LOOKED_AT):
        try:
            row = json.loads(source)
        except (ValueError, RecursionError):
            continue
        found.update(dict.fromkeys(row if isinstance(row, dict) else ()))
    return list(found)


def _objects(path: Source, encoding: str) -> Iterator[tuple[int, str]]:
    """The line on which each value begins, and its text. An array is held in memory, JSON Lines are not."""
    if _is_array(path, encoding):
        yield from _of_array(path, read_text(path, encoding))
    else:
        yield from enumerate(read_lines(path, encoding), start=1)


def _is_array(path: Source, encoding: str) -> bool:
    """Whether the first line that is not empty begins an array of objects, or, where it is a bracket alone, it and the next one do."""
    filled = (line for line in read_lines(path, encoding) if line.strip())
    first = next(filled, "")
    return bool(_ARRAY.match(first + next(filled, "") if first.strip() == "[" else first))


def _of_array(path: Source, text: str) -> Iterator[tuple[int, str]]:
    """The line on which each value of the array begins, and its text."""
    decoder, start, line, counted = json.JSONDecoder(), text.index("{"), 1, 0
    while start < len(text):
        line, counted = line + text.count("\n", counted, start), start
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {line}: this object of the array is not JSON ({error}); mend it, or write one object a line"
            ) from error
        yield line, text[start:end]
        between = _BETWEEN.match(text, end)
        if between is None:
            raise DataError(f"{path}, line {line}: no comma or end of the array after this object; is the file whole?")
        if between[1] == "]":
            if rest := text[between.end() :].lstrip():
                line = text.count("\n", 0, len(text) - len(rest)) + 1
                raise DataError(
                    f"{path}, line {line}: something follows the array's end; give each array a file of its own, or write one object a line"
                )
            return
        start = between.end()
    raise DataError(f"{path}: the array has no end; is the file whole?")
