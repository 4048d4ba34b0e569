"""`rpdr export`: which run may be exported, with which figures, and where to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rpdr.cli import main
from rpdr.config import load
from rpdr.reranker import Calibration, Reranker, Student
from rpdr.run import STAGES, Run

SYSTEM = {"name": "Student", "acc_at_1": {"value": 0.71234, "low": 0.6, "high": 0.8}, "acc_at_5": None, "recall_at_10": None, "mentions": 9}
METRICS = {"systems": [SYSTEM], "comparison": [], "protocol": "as always", "calibration": {"ece": 0.05}, "teacher": {}}


@pytest.fixture(scope="module")
def base(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model which states its licence."""
    folder = Path(shutil.copytree(base_model, tmp_path_factory.mktemp("base") / "model"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def config_in(folder: Path, base: Path) -> Path:
    tree: dict[str, Any] = {
        "run_dir": str(folder / "run"),
        "kb": {"format": "obo", "path": "hp.obo"},
        "mentions": [{"format": "table", "path": "m.csv"}],
        "student": {"model": str(base), "precision": "fp32", "lora_rank": 2},
    }
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def finish(config: Path, *names: str) -> Run:
    """The run, with these stages finished; a student where `distill` is."""
    run = Run(load(config))
    for name in names:
        run.begin(STAGES[name])
        if name == "distill":
            Student.create(run.config.student, seed=1).save(run.path("student"))
            Calibration(fitted_on="30 dev mentions").save(run.path("student", "calibration.json"))
        if name == "report":
            run.path("report").mkdir()
            run.path("report", "metrics.json").write_text(json.dumps(METRICS))
        run.finish(STAGES[name], 1.0, {"precision": "fp32"} if name == "distill" else {})
    return run


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def test_a_whole_run_is_exported_with_its_figures_and_its_base_s_licence(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]):
    config = config_in(tmp_path, base)
    run = finish(config, *STAGES)
    assert main(["export", "--config", str(config), "--base-model", "org/base", "--language", "en", "--language", "de"]) == 0
    to = run.path("export")
    assert f"Export: {to}" in capsys.readouterr().out
    text = card_of(to)
    assert "0.712 [0.600, 0.800]" in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "mit"
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == "org/base"
    assert yaml.safe_load(text.split("---\n")[1])["language"] == ["en", "de"]
    assert Reranker.load(to, device="cpu").calibration.fitted_on == "30 dev mentions"
    assert run.finished(STAGES["report"])  # nothing of the run has changed
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "there")]) == 0
    assert (tmp_path / "there" / "model.safetensors").exists()


def test_figures_of_an_earlier_student_are_not_told(tmp_path: Path, base: Path):
    config = config_in(tmp_path, base)
    run = finish(config, *STAGES)
    run.forget(STAGES["distill"])
    finish(config, "distill")
    run.forget(STAGES["link"])
    assert main(["export", "--config", str(config)]) == 0
    assert "Not measured yet" in card_of(run.path("export"))
    assert "0.712" not in card_of(run.path("export"))


@pytest.mark.parametrize(
    ("stages", "more", "says"),
    [
        ((), [], "rpdr prepare"),
        (("prepare", "retriever", "candidates", "teach", "retune"), [], "rpdr distill"),
        (tuple(STAGES), ["--set", "student.epochs=9"], "another config"),
    ],
    ids=["nothing was run", "not trained", "another config"],
)
def test_what_is_not_trained_from_this_config_is_not_exported(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str], stages: tuple[str, ...], more: list[str], says: str
):
    config = config_in(tmp_path, base)
    run = finish(config, *stages)
    assert main(["export", "--config", str(config), *more]) == 2
    assert says in capsys.readouterr().err
    assert not run.path("export").exists()


def test_other_files_are_not_overwritten(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]):
    config = config_in(tmp_path, base)
    run = finish(config, *STAGES)
    assert main(["export", "--config", str(config), "--to", str(run.folder)]) == 2
    assert "--to" in capsys.readouterr().err
    assert run.finished(STAGES["report"])
