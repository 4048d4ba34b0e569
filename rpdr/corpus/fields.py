"""From the fields of a row or a JSON object to a RawMention; shared by the readers whose columns a config can name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus.gold import parse_gold
from rpdr.corpus.mention import RawMention
from rpdr.tables.columns import named, placed
from rpdr.tables.rows import cell_text

FIELDS = ("id", "text", "context", "type", "doc_id", "gold")


def wanted_columns(config: MentionsConfig, names: Sequence[str]) -> dict[str, str]:
    """Field -> column: as the config says; without `columns`, those of FIELDS that are there. `text` always."""
    if config.columns is not None:
        return {"text": "text"} | {str(field): column for field, column in config.columns.items()}
    return {field: field for field in FIELDS if field == "text" or named(field, names)}


def not_read(config: MentionsConfig, names: Sequence[str]) -> list[str]:
    """The columns of a field's name that the config's `columns` leave out, though it does nothing to say that they should not count."""
    if config.columns is None:
        return []
    own = {names[at] for column in config.columns.values() if (at := placed(column, names)) is not None}
    idle = {*config.columns, *config.leave_out, "text", "gold" if config.gold != "given" else ""}
    return [column for field in FIELDS if field not in idle and (column := named(field, names)) and column not in own]


def raw_mention(file: str, line: int, cells: Mapping[str, Any], config: MentionsConfig) -> RawMention:
    """A mention from field -> value. Raises ValueError, the reason for a reject, if the text is missing, gold has no known shape, or another field is no
    single value, or an id a float."""
    text = cells.get("text")
    if text is None:
        raise ValueError("no text")
    if not isinstance(text, str):
        raise ValueError(f"text is {type(text).__name__}, not a text")
    for field in ("id", "context", "type", "doc_id"):
        _check_single(field, cells.get(field))
    if floats := float_ids(cells, config):
        raise ValueError(f"{floats[0]} is {cells[floats[0]]!r}, a float; write it as a text or a whole number")
    gold = cells.get("gold") if config.gold == "given" else None  # else nobody reads it, and none of it costs a row
    gold = None if isinstance(gold, float) else gold  # NaN, as no other is left
    for value in (cells.get("id"), cells.get("type"), cells.get("doc_id"), gold):
        if value is not None and not (isinstance(value, str) and value.isascii()):  # most are, and each is looked at
            # raises where it holds half a character: of such, text and context alone are mended
            json.dumps(value, ensure_ascii=False, default=str).encode()
    return RawMention(
        file=file,
        line=line,
        text=text,
        id=cell_text(cells.get("id")),
        context=cell_text(cells.get("context")) or None,
        type=cell_text(cells.get("type")) or None,
        doc_id=cell_text(cells.get("doc_id")) or None,
        gold=parse_gold(gold, config),
    )


def float_ids(cells: Mapping[str, Any], config: MentionsConfig) -> list[str]:
    """The fields of an id that are read and are floats: which number or text that was, nobody can tell. NaN is nothing."""
    fields = ("id", "doc_id", "gold") if config.gold == "given" else ("id", "doc_id")
    return [field for field in fields if isinstance(value := cells.get(field), float) and not math.isnan(value)]


def _check_single(field: str, value: Any) -> None:
    """Raises ValueError for a list or an object: written out as Python does, it would be no text of the source's."""
    if isinstance(value, list | dict):
        raise ValueError(
            f"{field} is {'a list' if isinstance(value, list) else 'an object'}, not a text; give one {field}, or leave it out"
        )
