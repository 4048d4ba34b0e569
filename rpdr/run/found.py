"""The candidates of a run's mentions: in which file they lie, as the teacher saw them and as the student does."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.run.folder import CANDIDATES_FILE, RETUNED, Run
from rpdr.schema import CANDIDATES, MentionKey

# beside an index in which labelled mentions are names, these met as new: a test mention may have the same key
LABELLED_FILE = "labelled.parquet"


def candidates_file(run: Run, final: bool = False, split: str = "test") -> Path:
    """Rows of schema.CANDIDATES, of the mentions of this `split` among others, as the teacher saw them; `final`: as the student does (test, dev and
    labelled). Labelled mentions are met as new, none finds itself."""
    if final and run.config.retriever.second_round:
        return run.path(RETUNED, LABELLED_FILE if split == "labelled" else CANDIDATES_FILE)
    as_new = run.path("index", LABELLED_FILE)
    return as_new if split == "labelled" and as_new.exists() else run.teacher_candidates


def load_candidates(run: Run, final: bool = False, keys: Collection[str] | None = None) -> dict[MentionKey, dict[str, Any]]:
    """Rows of `candidates_file` by mention key, as `candidates_in`."""
    return candidates_in(candidates_file(run, final), keys)


def candidates_in(file: Path, keys: Collection[str] | None = None) -> dict[MentionKey, dict[str, Any]]:
    """Rows of a file of schema.CANDIDATES by mention key; those of these `keys` alone, where they are told: a pool of millions is gigabytes."""
    filters = None if keys is None else pc.field("key").isin(pa.array(keys, pa.string()))
    return {row["key"]: row for row in pq.read_table(file, columns=CANDIDATES.names, filters=filters).to_pylist()}
