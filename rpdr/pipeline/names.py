"""Names of the knowledge base that decide a mention without a model, and those that are disputed and do not."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.corpus import load_mentions, normalise
from rpdr.kb import load_kb
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import UNDECIDED
from rpdr.run import Run
from rpdr.run.labels import TRUSTED, labels_file
from rpdr.schema import NIL, chosen_ids, members


def by_exact_names(run: Run, rows: list[dict[str, Any]]) -> list[bool | None]:
    """Of rows of `gold.chosen_by_gold`, whether the exact name that decides it is right; None where none does."""
    concepts = load_kb(run.concepts_file)
    owners = ExactNames.for_student(concepts, run.path("student")).find([row["text"] for row in rows])
    return [None if owner == UNDECIDED else concepts[owner].concept_id in row["gold"] for owner, row in zip(owners, rows, strict=True)]


def disputed_names(run: Run) -> list[str]:
    """Names of one concept that stand for another where they are used: somebody has linked them, by hand or, what no hand has linked, the teacher as far
    as it is trusted, and never to that concept. What annotators of a corpus mean by "hepatitis" may not be the concept of that name."""
    concepts = load_kb(run.concepts_file)
    place = {concept.concept_id: row for row, concept in enumerate(concepts)}
    linked: dict[str, set[int]] = defaultdict(set)
    for mention in load_mentions(run.mentions_file, "labelled"):
        if mention.gold:
            linked[normalise(mention.text)] |= {place.get(i, UNDECIDED) for i in members(mention.gold)}
    taught: dict[str, set[int]] = defaultdict(set)
    for row in pq.read_table(labels_file(run), filters=pc.field("trust") > TRUSTED).to_pylist():
        if row["choice"] != NIL:
            taught[normalise(row["text"])] |= {place[i] for i in chosen_ids(row)}
    return ExactNames.of(concepts).disputed({**taught, **linked})
