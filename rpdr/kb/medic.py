"""MEDIC as the NCBI Disease corpus carries it: `id1|id2||name1|name2…`, one concept a line; the further ids are alternate ids."""

from __future__ import annotations

from collections.abc import Iterator

from rpdr.config import KbConfig
from rpdr.files import Source, read_lines
from rpdr.kb.concept import Concept, concept_of
from rpdr.tables.rejects import Reject, reject


def read(path: Source, config: KbConfig) -> Iterator[tuple[int, Concept] | Reject]:
    """Concepts with their 1-based line; lines without `||`, an id or a name are rejects."""
    for number, line in enumerate(read_lines(path, config.encoding), start=1):
        if not line.strip():
            continue
        ids_part, bar, names_part = line.partition("||")
        ids = [part.strip() for part in ids_part.split("|")]
        names = [name for name in names_part.split("|") if name.strip()]
        if bar and ids[0] and names:
            yield number, concept_of(ids[0], names[0], names[1:], alternate_ids=ids[1:])
        else:
            yield reject(path, number, "no `||` between ids and names" if not bar else "no concept id" if not ids[0] else "no name", line)
