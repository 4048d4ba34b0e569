"""What is done around a stage's own work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rpdr.config import Config
from rpdr.pipeline.stages import run_stages


def config(folder: Path) -> Config:
    (folder / "kb.csv").write_text("concept_id,name,synonyms\nC1,Vomiting,emesis\n")
    (folder / "m.csv").write_text("text,gold\nthrowing up,C1\n")
    source = {"format": "table", "path": str(folder / "m.csv"), "split": "test"}
    return Config.model_validate(
        {"run_dir": str(folder / "run"), "kb": {"format": "table", "path": str(folder / "kb.csv")}, "mentions": [source]}
    )


@pytest.mark.parametrize(("used", "given_back"), [(True, ["cache"]), (False, [])])
def test_a_stage_gives_back_what_torch_holds_of_a_gpu(tmp_path: Path, used: bool, given_back: list[str], monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    cuda = SimpleNamespace(is_initialized=lambda: used, empty_cache=lambda: done.append("cache"))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    run_stages(config(tmp_path), ["prepare"])
    assert done == given_back


def test_a_stage_that_did_without_torch_ends_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    run_stages(config(tmp_path), ["prepare"])
    assert "torch" not in sys.modules
