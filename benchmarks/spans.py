"""Spans of real medical text by the million (RPDR_DATA/throughput), and jobs that link them in a copy of a finished run."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from job import Job

from rpdr import cli
from rpdr.files import locate
from rpdr.pipeline import link
from rpdr.reranker.shortcut import Shortcut

SPANS = "${RPDR_DATA}/throughput/mentions.tsv.gz"
PATIENCE_S = 1800.0
UNASKED = "RPDR_UNASKED"  # in the environment of a job whose student is asked about nothing


def spans(most: int | None = None) -> Iterator[str]:
    """The text of each, in the file's order, repeats too."""
    with gzip.open(locate(SPANS), "rt", encoding="utf-8") as file:
        for line in islice(file, 1, None if most is None else most + 1):
            yield line.partition("\t")[0]


def as_job(asked: type[link.Rerank], unasked: type[link.Rerank]) -> int:
    """What `start` runs: rpdr with one of these students in place of its own."""
    with patch.object(link, "Rerank", unasked if os.environ.get(UNASKED) else asked):
        return cli.main(sys.argv[2:])


class TakesAll(Shortcut):
    """Every answer of the retriever is taken."""

    def probabilities(self, similarities: np.ndarray, allow_nil: bool) -> tuple[np.ndarray, np.ndarray]:
        probabilities, taken = super().probabilities(similarities, allow_nil)
        return probabilities, np.ones_like(taken)


class Unasked(link.Rerank):
    """Its student is loaded, and asked about nothing."""

    def __init__(self, folder: Path, *more: Any) -> None:
        super().__init__(folder, *more)
        found = Shortcut.load(folder / "student")
        if found is None:
            raise SystemExit(f"{folder}: its student was calibrated on nothing; take a run with dev mentions")
        self.reranker.shortcut = TakesAll(**vars(found))


class Linking:
    """A copy of a run in a folder, and jobs of a script whose `--job` is `as_job`."""

    def __init__(self, script: str, folder: Path, run_dir: Path, *sets: str, unasked: bool) -> None:
        self.script, self.folder, self.run, self.unasked = script, folder, folder / "run", unasked
        shutil.copytree(run_dir, self.run, ignore=shutil.ignore_patterns("corpora", "ledger"))
        self.sets = [f"run_dir={self.run}", *sets]

    def start(self, name: str, corpus: Path, **environment: str) -> Job:
        """Link a table whose column `mention` has the texts into corpora/NAME of the run."""
        told = f"corpora.{name}={{format: table, path: {corpus}, columns: {{text: mention}}}}"
        sets = [part for text in [*self.sets, told] for part in ("--set", text)]
        command = [self.script, "--job", "link", "--config", str(self.run / "config.yaml"), "--corpus", name, *sets]
        return Job(command, self.log(name), **({UNASKED: "1"} if self.unasked else {}), **environment)

    def failed(self, name: str, job: Job, must: bool = True, patience_s: float | None = PATIENCE_S) -> bool:
        """Wait for its end; whether it failed. Where it `must` not, that ends this process, with what the job said."""
        failed = job.process.wait(patience_s) != 0
        job.sweep()
        if failed and must:
            raise SystemExit(self.log(name).read_text()[-3000:])
        return failed

    def log(self, name: str) -> Path:
        """What a job says."""
        return self.folder / f"{name}.log"

    def output(self, name: str) -> Path:
        """The folder that it writes."""
        return self.run / "corpora" / name

    def linked(self, name: str) -> pa.Table:
        """All its rows, by mention_id."""
        return pq.read_table(self.output(name)).sort_by("mention_id")
