"""The teacher's labels in a run: in which file they lie, which of them are learned from, and what they teach a retriever."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.config import Config
from rpdr.kb import Concept
from rpdr.retriever import Pair
from rpdr.run.folder import LABELS_FILE, RETUNED, Run
from rpdr.schema import ConceptId, chosen_ids

SET_ASIDE_FILE = "set_aside.parquet"
TRUSTED = 0.5  # a label that is more probably right than not makes an alias


def labels_file(run: Run) -> Path:
    """Rows of schema.LABELS that the student learns from: as the teacher gave them, with the similarities of the last round."""
    return run.path(RETUNED, LABELS_FILE) if run.config.retriever.second_round else run.teacher_labels


def learned_labels(run: Run, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The teacher's labels that the student learns from, in the order in which they were asked for."""
    settings = run.config.student
    trusted = pc.field("trust") >= settings.min_trust
    return pq.read_table(labels_file(run), columns=columns, filters=trusted).to_pylist()[: settings.max_labels or None]


def taught_pairs(labels: Sequence[dict[str, Any]], concepts: Sequence[Concept], one_of_several: bool = False) -> list[Pair]:
    """(mention, preferred name) for each concept that a label names, and the hardest candidate that the teacher passed over: not where it names
    `one_of_several` that the mention means."""
    names = {c.concept_id: c.name for c in concepts}
    pairs = []
    for row in labels:
        named = chosen_ids(row)
        other = None if one_of_several else hardest(row, named)
        pairs += [Pair(row["text"], names[chosen], chosen, (names[other], other) if other else None) for chosen in named]
    return pairs


def hardest(label: dict[str, Any], named: Collection[ConceptId]) -> ConceptId | None:
    """The candidate that is the most similar, of those that are not `named`; None if all are."""
    return next((candidate for candidate in label["candidate_ids"] if candidate not in named), None)


def names_one_of_several(config: Config) -> bool:
    """Whether the teacher is asked for one concept of mentions that may mean several."""
    return config.link.several and not config.teacher.several
