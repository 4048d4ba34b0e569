"""A finished run, as benchmarks read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console

from rpdr.answer import guess
from rpdr.config import StudentConfig, load
from rpdr.corpus import Mention, load_mentions
from rpdr.evaluation import outcomes
from rpdr.files import read_json
from rpdr.reranker import Calibration, Example, Reranker, Student
from rpdr.reranker.reranker import best_device
from rpdr.reranker.training import Hooks, train
from rpdr.run import Run


def run_in(folder: str) -> Run:
    """The run of a run directory, wherever it has been moved."""
    return Run(load(Path(folder) / "config.yaml", {"run_dir": folder}))


def metrics_of(run: Run) -> dict[str, Any]:
    """What its report measured."""
    return dict(read_json(run.path("report", "metrics.json")))


def student_over(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The paired tests of the student's Acc@1 on all test mentions, by the title of whom it is compared with."""
    return {row["b"]: row for row in metrics["comparison"] if (row["on"], row["metric"]) == ("all", "acc_at_1")}


def annotated_test(run: Run) -> list[Mention]:
    """The test mentions that have gold."""
    return [m for m in load_mentions(run.mentions_file, "test") if m.gold is not None]


def students_outcomes(run: Run, test: Sequence[Mention]) -> np.ndarray:
    """(n,) bool: whether the concept that the run's student named first is right, of these mentions."""
    linked = pq.read_table(run.path("linked"), filters=[("split", "=", "test")]).to_pylist()
    said = {row["mention_id"]: guess(row) for row in linked}
    return outcomes([[said[m.mention_id]] for m in test], [m.gold or [] for m in test], 1)


def answers(student: Reranker, scores: np.ndarray, allow_nil: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (n, k + 1) (n,) the place of each answer, -1 for NIL; (n,) its confidence."""
    best, nil, confidence = student.calibration.decide(student.calibration.probabilities(scores), allow_nil)
    return np.where(nil, -1, best), confidence


def share_cores(processes: int) -> None:
    """In each of so many processes side by side: as many threads as are its share."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


def trained(
    settings: StudentConfig,
    chosen: Sequence[Example],
    seed: int,
    create: Callable[[StudentConfig, int, str], Student] = Student.create,
) -> Reranker:
    """A student of these examples, not calibrated. No checkpoints: it would be minutes of work."""
    device, settings = best_device(), settings.model_copy(update={"checkpoint_every_steps": 10**9})
    hooks = Hooks(_tell, Path, lambda *_: None)
    student = train(settings, chosen, seed, hooks, resume_from=None, device=device, save_to=None, create=create)
    return Reranker(student, Calibration(), 32, device)


def _tell(done: int, total: int, loss: float) -> None:
    """Training's progress, now and then."""
    if done % 20 == 0:
        Console(stderr=True).print(f"training: {done} of {total}, loss {loss:.3f}")
