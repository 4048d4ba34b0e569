"""Between mentions, Arrow tables and the retriever: the distinct questions of a corpus, and a table with its candidates added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rpdr.corpus import Mention
from rpdr.retriever.retriever import Candidates, Retriever
from rpdr.schema import CANDIDATES

COLUMNS = ("candidate_ids", "candidate_names", "matched_names", "scores")


def distinct_rows(mentions: Sequence[Mention]) -> list[dict[str, Any]]:
    """One row a key, of its first mention, sorted by key: the questions, of which mentions are repeats."""
    rows = {m.key: {"key": m.key, "text": m.text, "context": m.context, "type": m.type} for m in reversed(mentions)}
    return [rows[key] for key in sorted(rows)]


def add_candidates(retriever: Retriever, batch: pa.Table, top_k: int, as_new: bool = False) -> pa.Table:
    """`batch` with the candidate columns of schema.CANDIDATES; `as_new`: see `Retriever.retrieve`."""
    found = [_columns(retriever, candidates) for candidates in retriever.retrieve(batch["text"].to_pylist(), top_k, as_new)]
    for name in COLUMNS:
        values = [columns[name] for columns in found]
        batch = batch.append_column(CANDIDATES.field(name), pa.array(values, CANDIDATES.field(name).type))
    for name in ("context", "type"):  # a column of nulls alone has lost its type on the way
        batch = batch.set_column(batch.schema.get_field_index(name), CANDIDATES.field(name), batch[name].cast(pa.string()))
    return batch


def rescored(retriever: Retriever, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of schema.CANDIDATES with the candidates that they have, as this retriever scores and orders them for a text that it has not met."""
    place = {concept.concept_id: number for number, concept in enumerate(retriever.concepts)}
    found = retriever.score([row["text"] for row in rows], [[place[i] for i in row["candidate_ids"]] for row in rows], as_new=True)
    return [{**row, **_columns(retriever, candidates)} for row, candidates in zip(rows, found, strict=True)]


def _columns(retriever: Retriever, candidates: Candidates) -> dict[str, Any]:
    concepts = [retriever.concepts[row] for row in candidates.rows]
    values = ([c.concept_id for c in concepts], [c.name for c in concepts], candidates.matched_names, candidates.scores)
    return dict(zip(COLUMNS, values, strict=True))
