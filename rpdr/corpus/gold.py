"""Gold answers as sources write them (`A+B` or `A##B` all of, `A|B` either, an id that means NIL) turned into schema.Gold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from rpdr.schema import ConceptId, Gold


def parse_gold(value: Any, nil_values: Collection[str]) -> Gold | None:
    """Gold from a cell's text, a list of texts (alternatives), a list of lists (alternatives, each all of), or None.

    Empty text or None: not annotated, None. NIL alone, or an empty list: []. NIL beside real ids says nothing and is dropped.
    Raises ValueError for any other shape.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return gold_of([_ids(part) for part in str(value).split("|")], nil_values)
    if not isinstance(value, list):
        raise ValueError(f"gold is {type(value).__name__}, not a text or a list")
    return gold_of([_all_of(item) for item in value], nil_values)


def gold_of(alternatives: Sequence[Sequence[str]], nil_values: Collection[str], rename: Callable[[str], str] = str) -> Gold:
    """Gold with ids stripped and renamed, NIL and empty ids dropped, no alternative twice; [] if nothing is left."""
    gold: Gold = []
    for alternative in alternatives:
        ids = [part.strip() for part in alternative]
        kept = list(dict.fromkeys(ConceptId(rename(part)) for part in ids if part and part not in nil_values))
        if kept and kept not in gold:
            gold.append(kept)
    return gold


def _all_of(item: Any) -> list[str]:
    parts = item if isinstance(item, list) else [item]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("gold ids are not all texts")
    return parts if isinstance(item, list) else _ids(item)


def _ids(text: str) -> list[str]:
    """`A+B`, or `A##B` as the Chinese sets have it, where a `+` is part of an id."""
    return text.split("##" if "##" in text else "+")
