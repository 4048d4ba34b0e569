"""A finished run, as benchmarks read it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from rpdr.config import load
from rpdr.corpus import Mention, load_mentions
from rpdr.pipeline.run import Run


def run_in(folder: str) -> Run:
    """The run of a run directory, wherever it has been moved."""
    return Run(load(Path(folder) / "config.yaml", {"run_dir": folder}))


def annotated_test(run: Run) -> list[Mention]:
    """The test mentions that have gold."""
    return [m for m in load_mentions(run.path("corpus", "mentions.parquet"), "test") if m.gold is not None]


def tell(done: int, total: int, loss: float) -> None:
    """Training's progress, now and then."""
    if done % 20 == 0:
        Console(stderr=True).print(f"training: {done} of {total}, loss {loss:.3f}")
