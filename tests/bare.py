"""A run whose folder a test lays out by hand: its sources are never read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpdr.config import Config
from rpdr.run import STAGES, Run

TO_STUDENT = ("prepare", "retriever", "candidates", "teach", "retune", "distill")  # the stages that a student is made by
ONE_ROUND = {"rounds": 1, "aliases": False}  # of its retriever: what the teacher was offered is what is linked


def bare_run(folder: Path, **sections: Any) -> Run:
    """The run in `folder`, with these sections of its config."""
    sources = {"kb": {"format": "obo", "path": "x"}, "mentions": [{"format": "jsonl", "path": "x"}]}
    return Run(Config.model_validate({"run_dir": str(folder), **sources, **sections}))


def finish(run: Run, *names: str, **found: dict[str, Any]) -> None:
    """These stages are finished; `found`: the summary of one, where it has to tell more than what is its own."""
    for name in names:
        run.begin(STAGES[name])
        run.finish(STAGES[name], 1.0, found.get(name, {"content": name}))
