"""Between mentions, Arrow tables and the retriever: the distinct questions of a corpus, and a table with its candidates added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rpdr.corpus import Mention
from rpdr.retriever.retriever import Retriever
from rpdr.schema import CANDIDATES


def distinct_rows(mentions: Sequence[Mention]) -> list[dict[str, Any]]:
    """One row a key, sorted by key: the questions, of which mentions are repeats."""
    rows = {m.key: {"key": m.key, "text": m.text, "context": m.context, "type": m.type} for m in mentions}
    return [rows[key] for key in sorted(rows)]


def add_candidates(retriever: Retriever, batch: pa.Table, top_k: int) -> pa.Table:
    """`batch` with the candidate columns of schema.CANDIDATES."""
    found = retriever.retrieve(batch["text"].to_pylist(), top_k)
    concepts = retriever.concepts
    columns = {
        "candidate_ids": [[concepts[row].concept_id for row in c.rows] for c in found],
        "candidate_names": [[concepts[row].name for row in c.rows] for c in found],
        "matched_names": [c.matched_names for c in found],
        "scores": [c.scores for c in found],
    }
    for name, values in columns.items():
        batch = batch.append_column(CANDIDATES.field(name), pa.array(values, CANDIDATES.field(name).type))
    for name in ("context", "type"):  # a column of nulls alone has lost its type on the way
        batch = batch.set_column(batch.schema.get_field_index(name), CANDIDATES.field(name), batch[name].cast(pa.string()))
    return batch
