"""One concept of a knowledge base: its ids and its names. Readers build it with `concept_of`, which tidies the names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rpdr.schema import ConceptId


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept. `names` has no empties and no repeats (letter case and runs of white space aside), the preferred one first.

    Where a config reads names from some synonym types alone, `names` holds those synonyms only, and `name` is not among them
    unless it is also such a synonym.
    """

    concept_id: ConceptId
    name: str
    names: tuple[str, ...]
    definition: str | None
    alternate_ids: tuple[str, ...] = ()


def concept_of(
    concept_id: str,
    name: str,
    synonyms: Iterable[str] = (),
    definition: str | None = None,
    alternate_ids: Iterable[str] = (),
    *,
    name_among_names: bool = True,
) -> Concept:
    """A concept with collapsed white space, distinct names, and alternate ids that differ from its own and from each other."""
    others = dict.fromkeys(other for other in (_collapse(i) for i in alternate_ids) if other and other != concept_id)
    return Concept(
        concept_id=ConceptId(concept_id),
        name=_collapse(name),
        names=distinct_names([name, *synonyms] if name_among_names else synonyms),
        definition=_collapse(definition or "") or None,
        alternate_ids=tuple(others),
    )


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order, white space collapsed; of those that differ only in letter case the first; no empties."""
    first: dict[str, str] = {}
    for name in map(_collapse, names):
        if name:
            first.setdefault(name.casefold(), name)
    return tuple(first.values())


def _collapse(text: str) -> str:
    return " ".join(text.split())
