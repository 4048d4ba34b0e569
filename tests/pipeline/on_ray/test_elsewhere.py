"""Work in a process of Ray's, whose own folder is another, on the run of this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpdr.config import Config
from rpdr.pipeline import prepare
from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.on_ray.elsewhere import run_elsewhere
from rpdr.pipeline.progress import stage_progress
from rpdr.run import Run


@pytest.mark.slow
def test_work_elsewhere_is_on_the_run_directory_that_was_found_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "there")
    connect()  # its processes begin in this folder
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "kb.csv").write_text("concept_id,name,synonyms\nC1,Vomiting,emesis\n")
    (tmp_path / "m.csv").write_text("text,gold\nthrowing up,C1\n")
    sources = {
        "kb": {"format": "table", "path": str(tmp_path / "kb.csv")},
        "mentions": [{"format": "table", "path": str(tmp_path / "m.csv")}],
    }
    run = Run(Config.model_validate({"run_dir": "runs/mine", **sources, "resources": {"tuning": {}}}))
    with stage_progress("elsewhere") as progress:
        assert run_elsewhere("tuning", run, prepare.__name__, "prepare", progress)["mentions"] == 1
    assert (tmp_path / "here" / "runs" / "mine" / "kb" / "concepts.parquet").exists()
