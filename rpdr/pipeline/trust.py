"""What the teacher answered -> labels, each with how far it may be trusted: a second reading, as it takes all answers to know the teacher.

A number a label is held in memory, no more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.corpus import normalise
from rpdr.files import writing_rows
from rpdr.pipeline.questions import ROWS_AT_ONCE
from rpdr.retriever import Prior, fit_prior, similarity_matrix
from rpdr.run import Run
from rpdr.run.gold import chosen_by_gold
from rpdr.schema import LABELS
from rpdr.teacher import believe, kind

ANSWERED = pa.schema([field for field in LABELS if field.name != "trust"])
ENOUGH = 20  # held-out texts to fit the retriever's probabilities on


def write_labels(run: Run, answered: Path, out: Path) -> dict[str, Any]:
    """Rows of ANSWERED -> rows of schema.LABELS. How accurate the teacher is believed to be, and by what."""
    dev = chosen_by_gold(run, "dev")
    if enough(row["text"] for row in dev):
        prior, fitted_on = _prior_of(dev), f"{len(dev)} dev mentions"
    else:
        some = next(_batches(answered, ["scores", "choice"]), [])
        prior, fitted_on = _prior_of(some), "the labels themselves, for want of dev mentions: it is too sure of the teacher"
    trust, accuracy = _believed(_batches(answered, ["scores", "choice", "agreed", "asked", "confidence"]), prior)
    if not len(trust):
        with writing_rows(out, LABELS):
            return {"believed_accuracy": None}
    sure = iter(trust.tolist())
    with writing_rows(out, LABELS) as label:
        for rows in _batches(answered):
            for row in rows:
                label({**row, "trust": next(sure)})
    return {
        "believed_accuracy": float(trust.mean()),
        "believed_by": {"prior": asdict(prior), "fitted_on": fitted_on, "accuracy_by_kind": {str(name): a for name, a in accuracy.items()}},
    }


def enough(texts: Iterable[str]) -> bool:
    """Whether held-out mentions with these texts are enough to fit on: repeats tell nothing new."""
    return len(set(map(normalise, texts))) >= ENOUGH


def believed_again(labels: list[dict[str, Any]], dev: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of schema.LABELS, trusted as far as their similarities of another round say; `dev`: rows of `gold.by_gold` of that round."""
    prior = _prior_of(dev if enough(row["text"] for row in dev) else labels)
    trust, _ = _believed([labels] if labels else [], prior)
    return [{**row, "trust": sure} for row, sure in zip(labels, trust.tolist(), strict=True)]


def _prior_of(rows: list[dict[str, Any]]) -> Prior:
    return fit_prior([row["scores"] for row in rows], [row["choice"] for row in rows]) if rows else Prior(1.0, 0.0)


def _believed(batches: Iterable[list[dict[str, Any]]], prior: Prior) -> tuple[np.ndarray, dict[Hashable, float]]:
    """(trust of each label, accuracy of the teacher by kind of label)."""
    chosen: list[np.ndarray] = []
    options: list[int] = []
    kinds: list[Hashable] = []
    for rows in batches:
        believed = prior.probabilities(similarity_matrix([row["scores"] for row in rows]))
        places = np.array([row["choice"] for row in rows])  # NIL is -1, and "none" is last
        chosen.append(believed[np.arange(len(rows)), places])
        options += [len(row["scores"]) + 1 for row in rows]
        kinds += [kind(row["agreed"], row["asked"], row["confidence"]) for row in rows]
    return believe(np.concatenate(chosen), np.array(options), kinds) if kinds else (np.empty(0), {})


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            yield batch.to_pylist()
