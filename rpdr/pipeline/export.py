"""A finished run -> export/: gathers what its model card is made from; reranker/export.py writes it. No stage: nothing is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpdr.config import Config
from rpdr.errors import RunError
from rpdr.evaluation.table import markdown_table
from rpdr.files import read_json
from rpdr.reranker.calibration import Calibration
from rpdr.reranker.card import Facts, Merged
from rpdr.reranker.export import export
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.run import STAGES, Run, resolve_run_dir


def export_run(
    config: Config, to: str | None = None, precision: str = "", base_model: str = "", languages: tuple[str, ...] = ()
) -> tuple[Path, Merged]:
    """Export the student of the run to `to` (export/ in the run directory). Raises RunError if it is not trained, or not from this config."""
    run = Run(config)
    run.require("distill")
    path = run.path("student", CALIBRATION_FILE)
    metrics = _metrics(run)
    facts = Facts(
        config=config,
        stages={name: run.summary(name) for name in STAGES},
        calibration=Calibration(**read_json(path)),
        metrics=metrics,
        results_table=markdown_table(metrics["systems"]) if metrics and metrics["systems"] else "",
        base_model=base_model,
        languages=languages,
    )
    folder = (resolve_run_dir(to) if to else run.path("export")).resolve()
    return folder, export(run.path("student"), folder, facts, precision)


def _metrics(run: Run) -> Mapping[str, Any] | None:
    """The figures of this student, where they are measured."""
    try:
        measured = run.finished(STAGES["report"], today=False)
    except RunError:  # a stage before it is missing, or from another config
        return None
    return read_json(run.path("report", "metrics.json")) if measured else None
