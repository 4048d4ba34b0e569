"""Gold answers as sources write them (`A+B` or `A##B` all of, `A|B` either, an id that means NIL) turned into schema.Gold,
and the ids or names in it into ids of the knowledge base."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from itertools import islice, product
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus.normalise import normalise
from rpdr.kb import Concept
from rpdr.schema import ConceptId, Gold

MAX_READINGS = 1000  # of a gold of several names, each of which several concepts have


def parse_gold(value: Any, config: MentionsConfig) -> Gold | None:
    """Gold from a cell's text, a list of texts (alternatives), a list of lists (alternatives, each all of), or None; an id may be a whole number.

    None, empty text or a list of nothing else: not annotated, None. NIL alone, or an empty list: []. NIL beside real ids says nothing and is
    dropped. Raises ValueError for any other shape.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) or _is_id(value):
        alternatives = alternatives_of(str(value), config)
    elif isinstance(value, list):
        alternatives = [_all_of(item, config) for item in value]
    else:
        raise ValueError(f"gold is {type(value).__name__}, not a text or a list")
    return gold_of(alternatives, config.nil_values) or (nil_if_any(alternatives) if value else [])


def alternatives_of(text: str, config: MentionsConfig) -> list[list[str]]:
    """A gold text as alternatives, each the ids (or names) that are right together."""
    parts = [_ids(part, config) for part in text.split("|")]
    return parts if config.gold_bar == "either" else [[i for part in parts for i in part]]


def gold_of(alternatives: Sequence[Sequence[str]], nil_values: Collection[str], rename: Callable[[str], str] = str) -> Gold:
    """Gold with ids stripped and renamed, NIL and empty ids dropped, no alternative twice; [] if nothing is left."""
    gold: Gold = []
    for alternative in alternatives:
        ids = [part.strip() for part in alternative]
        kept = list(dict.fromkeys([ConceptId(rename(part)) for part in ids if part and part not in nil_values]))
        if kept and kept not in gold:
            gold.append(kept)
    return gold


def nil_if_any(alternatives: Sequence[Sequence[str]]) -> Gold | None:
    """What alternatives are of which `gold_of` leaves nothing: NIL; None, not annotated, where they hold nothing at all, as the [""] that the
    splitting of an empty cell leaves."""
    return [] if any(part.strip() for alternative in alternatives for part in alternative) else None


class KnownConcepts:
    """What a knowledge base calls its concepts; `unknown` counts the gold ids and names that `resolve` met and it does not have, `unknown_mentions`
    the golds with one of these."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self.unknown: Counter[str] = Counter()
        self.unknown_mentions = 0
        self._concepts = concepts
        self._own: dict[ConceptId, list[ConceptId]] = {c.concept_id: [c.concept_id] for c in concepts}
        known = frozenset(self._own)
        for concept in concepts:
            for alternate in map(ConceptId, concept.alternate_ids):
                if alternate not in known and concept.concept_id not in (own := self._own.setdefault(alternate, [])):
                    own.append(concept.concept_id)

    def __contains__(self, concept_id: ConceptId) -> bool:
        return concept_id in self._own

    def ids(self, count: int) -> list[ConceptId]:
        """The ids of the first concepts, to show what they are like."""
        return [concept.concept_id for concept in islice(self._concepts, count)]

    def resolve(self, gold: Gold | None, config: MentionsConfig) -> Gold | None:
        """Gold with alternate ids replaced by the concept's own, and, by config.gold_by, names by ids: of several concepts with such an id or
        name each is an alternative. What the knowledge base lacks stays as it is or, by config.unknown_gold, is dropped as NIL is."""
        if not gold:
            return gold
        found: list[Sequence[str]] = []
        lacking = False
        for alternative in map(self._whole, gold) if config.gold_by == "id" else gold:
            options = [self._named(i) if config.gold_by == "name" else self._with_id(i) for i in alternative]
            missing = [i for i, known in zip(alternative, options, strict=True) if not known]
            self.unknown.update(missing)
            lacking = lacking or bool(missing)
            if config.unknown_gold == "keep":  # it stands for itself
                options = [known or [i] for i, known in zip(alternative, options, strict=True)]
            found += islice(product(*filter(None, options)), MAX_READINGS) if any(options) else []
        self.unknown_mentions += lacking
        return gold_of(found, ())

    def in_other_case(self, ids: Collection[ConceptId]) -> dict[ConceptId, ConceptId]:
        """Of these those that differ from an id of the knowledge base in letter case alone, each with that."""
        folded = {i.casefold() for i in ids}
        own = {known.casefold(): known for known in self._own if known.casefold() in folded}
        return {i: own[i.casefold()] for i in ids if i.casefold() in own}

    def _with_id(self, concept_id: ConceptId) -> list[ConceptId]:
        return self._own.get(concept_id, [])

    def _whole(self, ids: list[ConceptId]) -> list[ConceptId]:
        """One id where `+` between these is a part of it, as between dagger and asterisk of ICD-10."""
        whole = ConceptId("+".join(ids))
        return [whole] if whole in self._own else ids

    def _named(self, name: str) -> list[ConceptId]:
        """By preferred names before all names; a name in quotation marks, or with half of them left, without them."""
        wanted = normalise(name)
        for key in dict.fromkeys((wanted, wanted.strip('"').strip())):
            for named in self._by_name:
                if key in named:
                    return named[key]
        return []

    @cached_property
    def _by_name(self) -> tuple[dict[str, list[ConceptId]], ...]:
        """By preferred names, and by all."""
        return _by_name((c.concept_id, [c.name]) for c in self._concepts), _by_name((c.concept_id, c.names) for c in self._concepts)


def _by_name(names: Iterable[tuple[ConceptId, Iterable[str]]]) -> dict[str, list[ConceptId]]:
    """Normalised name -> the concepts that have it, in their order."""
    found: defaultdict[str, list[ConceptId]] = defaultdict(list)
    for concept_id, own in names:
        for key in dict.fromkeys(map(normalise, own)):
            found[key].append(concept_id)
    return dict(found)


def _all_of(item: Any, config: MentionsConfig) -> list[str]:
    if item is None:  # as where the columns of several hands were made into a list
        return []
    parts = [part for part in item if part is not None] if isinstance(item, list) else [item]
    if not all(map(_is_id, parts)):
        raise ValueError("gold ids are not all texts or whole numbers")
    return [str(part) for part in parts] if isinstance(item, list) else _ids(str(item), config)


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _ids(text: str, config: MentionsConfig) -> list[str]:
    """`A+B`, or `A##B` as the Chinese sets have it, where a `+` is part of an id; between names `##` alone."""
    return text.split("##" if "##" in text or config.gold_by == "name" else "+")
