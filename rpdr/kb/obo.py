"""Ontologies in OBO 1.2 and 1.4: [Term] stanzas with id, name, def, synonym and alt_id; obsolete terms are left out, and
their ids are further ones of what replaces them.

Scopes of synonyms (EXACT, NARROW, …) are not told apart; types (layperson, abbreviation, …) can be kept or dropped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.files import Source, read_lines
from rpdr.kb.concept import Concept, concept_of, distinct_names
from rpdr.tables.rejects import Reject, reject

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_SYNONYM = re.compile(_QUOTED + r"(?:\s+(EXACT|NARROW|BROAD|RELATED))?(?:\s+([^\s\[{]+))?\s*(?:\[.*\])?\s*(?:\{.*\})?\s*(?:!.*)?$")
_DEFINITION = re.compile(_QUOTED)
_TRAILING = re.compile(r"\s+\{[^{}]*=[^{}]*\}\s*$")
_ESCAPES = {"n": "\n", "W": " ", "t": "\t"}


@dataclass(slots=True)
class _Term:
    line: int
    concept_id: str = ""
    name: str = ""
    definition: str = ""
    obsolete: bool = False
    synonyms: list[tuple[str, str]] = field(default_factory=list)  # text, type ("" if it has none)
    alternate_ids: list[str] = field(default_factory=list)
    replaced_by: list[str] = field(default_factory=list)


def read(path: Source, config: KbConfig) -> Iterator[tuple[int, Concept] | Reject]:
    """Concepts with the line of their stanza. Raises DataError if a synonym type that the config names is nowhere in the file."""
    types: set[str] = set()
    terms = list(_terms(path, config))  # all of them: what an obsolete one says of its successor may stand behind that
    replaced = _replaced(terms)
    successors = {obsolete for ids in replaced.values() for obsolete in ids}
    for term in terms:
        if isinstance(term, dict):
            yield term
            continue
        types.update(kind for _, kind in term.synonyms)
        if term.obsolete:
            continue
        if not term.concept_id or not term.name:
            yield reject(path, term.line, "no concept id" if not term.concept_id else "no name", f"[Term] {term.concept_id} {term.name}")
            continue
        # what an obsolete term itself says of its successor is before what others say of it
        term.alternate_ids = [i for i in term.alternate_ids if i not in successors] + replaced.get(term.concept_id, [])
        concept = _concept(term, config)
        if concept is not None:
            yield term.line, concept
    for wanted in (*config.only_synonym_types, *config.drop_synonym_types):
        if wanted not in types:
            near = difflib.get_close_matches(wanted, types, n=1, cutoff=0.4) or sorted(types - {""})
            raise DataError(f"{path}: no synonym has the type {wanted!r}; it has {', '.join(map(repr, near)) or 'no synonym types'}")


def _replaced(terms: Iterable[_Term | Reject]) -> dict[str, list[str]]:
    """Of each concept the ids of obsolete ones that it alone took the place of, or of what took their place."""
    by = {
        term.concept_id: term.replaced_by[0]
        for term in terms
        if isinstance(term, _Term) and term.obsolete and term.concept_id and len(term.replaced_by) == 1
    }
    found: dict[str, list[str]] = {}
    for obsolete in by:
        found.setdefault(_last(by, obsolete), []).append(obsolete)
    return found


def _last(by: Mapping[str, str], obsolete: str) -> str:
    """What stands at the end of the way from one to the next; where that goes round, one of them."""
    seen = {obsolete}
    while (obsolete := by.get(obsolete, obsolete)) not in seen:
        seen.add(obsolete)
    return obsolete


def _concept(term: _Term, config: KbConfig) -> Concept | None:
    only, drop = set(config.only_synonym_types), set(config.drop_synonym_types)
    kept = [text for text, kind in term.synonyms if (not only or kind in only) and kind not in drop]
    if only and not distinct_names(kept):
        return None
    return concept_of(term.concept_id, term.name, kept, term.definition, term.alternate_ids, name_among_names=not only)


def _terms(path: Source, config: KbConfig) -> Iterator[_Term | Reject]:
    term: _Term | None = None
    for number, line in enumerate(read_lines(path, config.encoding), start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            if term is not None:
                yield term
            term = _Term(number) if line == "[Term]" else None
        elif term is not None and line and not line.startswith("!"):
            tag, colon, value = line.partition(":")
            problem = _put(term, tag, value.strip()) if colon else "not `tag: value`"
            if problem:
                yield reject(path, number, problem, line)
    if term is not None:
        yield term


def _put(term: _Term, tag: str, value: str) -> str | None:
    """Take a tag into the term; the problem if its value cannot be read."""
    if tag == "id":
        term.concept_id = _bare(value)
    elif tag == "name":
        term.name = _unescape(_TRAILING.sub("", value))
    elif tag == "alt_id":
        term.alternate_ids.append(_bare(value))
    elif tag == "replaced_by":
        term.replaced_by.append(_bare(value))
    elif tag == "is_obsolete":
        term.obsolete = value.startswith("true")
    elif tag == "def":
        match = _DEFINITION.match(value)
        if not match:
            return "def is not a quoted text"
        term.definition = _unescape(match[1])
    elif tag == "synonym":
        match = _SYNONYM.match(value)
        if not match:
            return 'synonym is not `"text" SCOPE type [xrefs]`'
        term.synonyms.append((_unescape(match[1]), match[3] or ""))
    return None


def _bare(value: str) -> str:
    """An id without the comment or the modifiers behind it."""
    return re.split(r"\s+[!{]", value, maxsplit=1)[0].strip()


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)
