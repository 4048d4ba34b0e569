"""The teacher's questions on disk: candidates and their definitions, read by row number from any process, never all at once.

In: candidates.parquet and the keys to ask about. Out: one Arrow file, mapped into memory. Their order is the candidates' own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.files import atomic_file
from rpdr.masking import Span
from rpdr.schema import QUESTIONS, ConceptId, MentionKey
from rpdr.teacher import Question

ROWS_AT_ONCE = 256  # of one block of the file: what a read of one row maps


def write_questions(
    path: Path,
    candidates: Path,
    keys: Collection[MentionKey],
    definitions: Mapping[ConceptId, str | None],
    hidden: Mapping[MentionKey, Sequence[Span]],
) -> dict[MentionKey, int]:
    """The row number of each key's question. `candidates`: Parquet of schema.CANDIDATES; what is not among `keys` is left out; `hidden`: see `question_of`."""
    numbers: dict[MentionKey, int] = {}
    waiting: list[dict[str, Any]] = []
    with atomic_file(path) as file, pa.ipc.new_file(file, QUESTIONS) as writer:

        def flush(least: int) -> None:
            while len(waiting) >= least:
                writer.write_batch(pa.RecordBatch.from_pylist(waiting[:ROWS_AT_ONCE], schema=QUESTIONS))
                del waiting[:ROWS_AT_ONCE]

        for batch in pq.ParquetFile(candidates).iter_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                if row["key"] in keys:
                    numbers[row["key"]] = len(numbers)
                    told = {
                        "definitions": [definitions.get(i) for i in row["candidate_ids"]],
                        "hidden": [span._asdict() for span in hidden.get(row["key"], ())],
                    }
                    waiting.append({**row, **told})
            flush(ROWS_AT_ONCE)
        flush(1)
    return numbers


class Questions:
    """What `write_questions` wrote."""

    def __init__(self, path: Path) -> None:
        self._file = pa.ipc.open_file(pa.memory_map(str(path)))

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of schema.QUESTIONS, in the order of `numbers`."""
        return [self._file.get_batch(n // ROWS_AT_ONCE).slice(n % ROWS_AT_ONCE, 1).to_pylist()[0] for n in numbers]


def question_of(
    row: Mapping[str, Any],
    definitions: Mapping[ConceptId, str | None] | None = None,
    hidden: Mapping[MentionKey, Sequence[Span]] = MappingProxyType({}),
) -> Question:
    """The question of a row of schema.QUESTIONS; or of schema.CANDIDATES, with the concepts' `definitions` and what of each key's context is `hidden`."""
    ids = tuple(row["candidate_ids"])
    about = row["definitions"] if definitions is None else (definitions.get(i) for i in ids)
    spans = tuple(Span(**span) for span in row["hidden"]) if definitions is None else tuple(hidden.get(row["key"], ()))
    return Question(row["key"], row["text"], row["context"], row["type"], ids, tuple(row["candidate_names"]), tuple(about), spans)
