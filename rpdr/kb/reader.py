"""From a KbConfig to checked concepts and rejects, and from concepts to schema.CONCEPTS and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr import files
from rpdr.config import KbConfig
from rpdr.errors import DataError
from rpdr.files import Source
from rpdr.kb import icd10cm, medic, obo, table
from rpdr.kb.concept import Concept, distinct_names
from rpdr.kb.mapped import MappedConcepts, concept_of_row
from rpdr.schema import CONCEPTS, ConceptId
from rpdr.tables.mapped import map_arrow, write_arrow
from rpdr.tables.rejects import Reject, reject

_READERS: dict[str, Callable[[Source, KbConfig], Iterator[tuple[int, Concept] | Reject]]] = {
    "obo": obo.read,
    "table": table.read,
    "medic": medic.read,
    "icd10cm": icd10cm.read,
}


def read_kb(config: KbConfig) -> tuple[list[Concept], list[Reject]]:
    """The concepts in the file's order, and the rows that could not be read (dicts of schema.REJECTS).

    Raises DataError if the file or a column is missing, an id stands twice with different names, or no concept is left.
    """
    path = files.locate_source(config.path)
    concepts: list[Concept] = []
    rejects: list[Reject] = []
    first_with: dict[ConceptId, tuple[int, Concept]] = {}
    for item in _READERS[config.format](path, config):
        if isinstance(item, dict):
            rejects.append(item)
            continue
        line, concept = item
        if not concept.concept_id.startswith(config.id_prefix):
            continue
        first, same_id = first_with.setdefault(concept.concept_id, (line, concept))
        if same_id is concept:
            concepts.append(concept)
        elif same_id == concept:
            rejects.append(reject(path, line, f"says the same as line {first}", f"{concept.concept_id} {concept.name}"))
        else:
            raise DataError(
                f"{path}: the concept id {concept.concept_id!r} stands twice, on lines {first} and {line}; "
                "keep one row per concept, with its other names as synonyms; or, where a row is one of its names, set kb.row: name"
            )
    if config.merge_same_names:
        concepts = _merged(concepts)
    if not concepts:
        raise DataError(f"{path}: has no names that could be read as `format: {config.format}`{_why_nothing(config, rejects)}")
    return concepts, rejects


def kb_notes(config: KbConfig) -> list[str]:
    """What a user should know of a file that `read_kb` reads without complaint."""
    return table.notes(files.locate_source(config.path), config) if config.format == "table" else []


def save_kb(path: Path, concepts: Sequence[Concept]) -> None:
    """Write concepts as Parquet of schema.CONCEPTS, and beside it as an Arrow file that `map_kb` maps, both atomically."""
    rows = [
        {
            "concept_id": concept.concept_id,
            "name": concept.name,
            "names": list(concept.names),
            "definition": concept.definition,
            "alternate_ids": list(concept.alternate_ids),
        }
        for concept in concepts
    ]
    table = pa.Table.from_pylist(rows, schema=CONCEPTS)
    files.write_table(path, table, CONCEPTS)
    write_arrow(path.with_suffix(".arrow"), table)


def load_kb(path: Path) -> list[Concept]:
    """The concepts that `save_kb` wrote, in the same order. Raises DataError if the file is missing or not such a file."""
    try:
        rows = pq.read_table(path).cast(CONCEPTS).to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: not a saved knowledge base ({str(error).splitlines()[0]}); run `rpdr prepare` again") from error
    return [concept_of_row(row) for row in rows]


def map_kb(path: Path) -> Sequence[Concept]:
    """As `load_kb`, but mapped into memory and made into objects one at a time: for processes that need few concepts of many."""
    mapped = path.with_suffix(".arrow")
    return MappedConcepts(map_arrow(mapped)) if mapped.exists() else load_kb(path)


def _merged(concepts: Sequence[Concept]) -> list[Concept]:
    """One concept for all whose preferred names differ in letter case at most, at the place of the first."""
    alike: dict[str, list[Concept]] = {}
    for concept in concepts:
        alike.setdefault(concept.name.casefold(), []).append(concept)
    return [
        replace(
            same[0],
            names=distinct_names(name for concept in same for name in concept.names),
            definition=next((concept.definition for concept in same if concept.definition), None),
            alternate_ids=tuple(dict.fromkeys(i for c in same for i in (c.concept_id, *c.alternate_ids) if i != same[0].concept_id)),
        )
        for same in alike.values()
    ]


def _why_nothing(config: KbConfig, rejects: Sequence[Reject]) -> str:
    if rejects:
        return f"; {len(rejects)} rows were refused, the first on line {rejects[0]['line']}: {rejects[0]['reason']}"
    if config.where:
        return f"; check where: {dict(config.where)!r}, which may fit no row"
    if config.id_prefix:
        return f"; check id_prefix: {config.id_prefix!r}, which may fit no id"
    return "; check that the file is whole and the format is right"
