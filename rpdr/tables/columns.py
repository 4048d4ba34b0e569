"""Which column of a table a name means, and which are offered where none has it. The first line of a file without a header may be a patient's words: what
looks like data is not shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

SHOWN = 40  # of a very wide table
NEAR = 0.8  # likeness in spelling, of 1, that counts as much as a word that means the same
_CONCEPT = {"code", "cui", "concept", "id", "identifier"}
WORDS = {  # field -> what columns of it are called
    "id": {*_CONCEPT, "nr", "number", "no"},
    "name": {"name", "term", "label", "preferred", "title"},
    "synonyms": {"synonym", "alias", "aliases", "alternative", "other"},
    "definition": {"definition", "def", "description", "meaning"},
    "text": {"text", "mention", "phrase", "term", "string", "span", "expression", "verbatim"},
    "context": {"context", "sentence", "passage", "snippet", "note"},
    "type": {"type", "kind", "category", "class"},
    "doc_id": {"doc", "document", "post", "pmid", "note"},
    "gold": {*_CONCEPT, "gold", "label", "answer", "target"},
}
_ALL_WORDS = set().union(*WORDS.values())
_NUMBER = re.compile(r"\d(?:[-./: ]?\d){5}")  # a date, a telephone's or a patient's


def named(column: str, names: Sequence[str]) -> str | None:
    """Of these names the one that is this; or else the only one that differs from it in letter case alone."""
    if column in names:
        return column
    alike = [name for name in names if name.casefold() == column.casefold()]
    return alike[0] if len(alike) == 1 else None


def placed(column: str, names: Sequence[str]) -> int | None:
    """Where the column stands that this means: by its name, or else by its number."""
    if there := named(column, names):
        return names.index(there)
    return int(column) if column.isdecimal() and int(column) < len(names) else None


def offered(column: str, field: str, names: Sequence[str]) -> list[str]:
    """The names that may be those of columns, the most likely for this one first; none where the first line is more likely data."""
    plausible = [name for name in names if _is_plausible(name)]
    if len(plausible) < sum(map(bool, names)) and not has_known(plausible):
        return []
    return sorted(plausible, key=lambda name: _likeness(name, column, field), reverse=True)


def listed(names: Sequence[str]) -> str:
    """Names for an error's line."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def has_known(names: Sequence[str]) -> bool:
    """Whether one of the names has a word that columns are called by."""
    return any(_words(name) & _ALL_WORDS for name in names)


def _is_plausible(name: str) -> bool:
    return 0 < len(name) <= 40 and len(name.split()) <= 4 and not _NUMBER.search(name)


def _likeness(name: str, column: str, field: str) -> tuple[float, float]:
    """By the share of its words that mean the field, then by spelling."""
    words, wanted = _words(name), WORDS.get(field, set())
    spelling = difflib.SequenceMatcher(None, column.casefold(), name.casefold()).ratio()
    return max(len(words & wanted) / max(1, len(words)), spelling if spelling >= NEAR else 0), spelling


def _words(name: str) -> set[str]:
    """Its words in small letters, a plural as one: conceptIDs are concept and id."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))
    return {word if word in _ALL_WORDS else word.removesuffix("s") for word in (word.casefold() for word in words)}
