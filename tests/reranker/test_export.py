"""What an export holds, that it scores as the student does, and what it refuses to overwrite."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stirred import stirred
from transformers import AutoModelForCausalLM, AutoTokenizer

from rpdr.config import Config, StudentConfig
from rpdr.errors import ModelError, RunError
from rpdr.reranker import Calibration, Query, Reranker
from rpdr.reranker.card import Facts
from rpdr.reranker.export import _compared, _scores, export
from rpdr.reranker.merged import ABOUT_FILE, load_merged

NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever of unknown origin")
ASKED = [
    Query("throwing up all day", NAMES, ("Vomiting", "feeling sick", *NAMES[2:]), (0.71, 0.64, 0.40, 0.12), "She was throwing up all day."),
    Query("fever", NAMES[::-1][:2], NAMES[::-1][:2], (0.9, 0.2)),
    Query("a pain " * 30, NAMES, NAMES, (0.5, 0.4, 0.3, 0.2)),
]


def facts(config: StudentConfig, run_dir: str = "runs/mine") -> Facts:
    tree = {"run_dir": run_dir, "kb": {"format": "obo", "path": "hp.obo"}, "mentions": [{"format": "table", "path": "m.csv"}]}
    whole = Config.model_validate({**tree, "student": config.model_dump()})
    return Facts(whole, {"distill": {"precision": "fp32"}}, Calibration(2.0, 0.5, 0.8, "30 dev mentions"))


def taught(config: StudentConfig, folder: Path, seed: int = 2) -> Path:
    """The folder of a student whose adapters and head are no longer zero."""
    stirred(config, seed).save(folder)
    return folder


@pytest.mark.parametrize("layers", [0, 1], ids=["whole", "first layer"])
@pytest.mark.parametrize("use_context", [False, True])
def test_an_export_scores_as_the_student_and_loads_without_peft(config: StudentConfig, tmp_path: Path, layers: int, use_context: bool):
    settings = config.model_copy(update={"layers": layers, "use_context": use_context, "max_tokens_mention": 60})
    student, to = taught(settings, tmp_path / "student"), tmp_path / "export"
    merged = export(student, to, facts(settings))
    assert merged.difference < 1e-4
    before, after = Reranker.load(student, settings, device="cpu"), Reranker.load(str(to), device="cpu")
    assert np.allclose(after.scores(ASKED), before.scores(ASKED), atol=1e-4)
    assert (np.argsort(-after.scores(ASKED)) == np.argsort(-before.scores(ASKED))).all()
    assert after.calibration == Calibration(2.0, 0.5, 0.8, "30 dev mentions")
    lm, told = AutoModelForCausalLM.from_pretrained(to, output_loading_info=True)
    assert not any(told.values()), told
    assert lm.config.num_hidden_layers == len(lm.model.layers) == (layers or 2)
    assert not any("lora" in name for name in lm.state_dict())
    assert AutoTokenizer.from_pretrained(to)("\n- Vomiting")["input_ids"] == before.student.prompt.tokenizer("\n- Vomiting")["input_ids"]


def test_an_export_begins_a_mention_as_its_student_does_and_its_card_says_how(beginning_with_eos: StudentConfig, tmp_path: Path):
    student, to = taught(beginning_with_eos, tmp_path / "student"), tmp_path / "export"
    export(student, to, facts(beginning_with_eos))
    before, after = Reranker.load(student, beginning_with_eos, device="cpu"), Reranker.load(str(to), device="cpu")
    assert np.allclose(after.scores(ASKED), before.scores(ASKED), atol=1e-4)
    begin = before.student.prompt.begin
    assert len(begin) == 1
    assert f"ids = [{begin[0]}] + encode(" in (to / "README.md").read_text()


@pytest.mark.parametrize("tuning", ["qlora", "full"])
def test_an_export_of_another_tuning_is_an_ordinary_model_too(config: StudentConfig, tmp_path: Path, tuning: str):
    settings = config.model_copy(update={"tuning": tuning})
    student, to = taught(settings, tmp_path / "student"), tmp_path / "export"
    export(student, to, facts(settings))
    before, after = Reranker.load(student, settings, device="cpu"), Reranker.load(str(to), device="cpu")
    assert np.allclose(after.scores(ASKED), before.scores(ASKED), atol=1e-3)
    assert {weight.dtype for weight in load_file(to / "model.safetensors").values()} == {torch.float32}
    assert "quantization_config" not in json.loads((to / "config.json").read_text())


def test_what_was_learned_is_in_the_merged_weights(config: StudentConfig, base_model: Path, tmp_path: Path):
    export(taught(config, tmp_path / "student"), tmp_path / "export", facts(config))
    base, merged = load_file(base_model / "model.safetensors"), load_file(tmp_path / "export" / "model.safetensors")
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed == {name for name in base if name.endswith("_proj.weight")}


def test_precision_is_that_of_the_training_unless_another_is_asked_for(config: StudentConfig, tmp_path: Path):
    student = taught(config, tmp_path / "student")
    made = dataclasses.replace(facts(config), stages={"distill": {"precision": "bf16"}})
    assert export(student, tmp_path / "a", made).precision == "bf16"
    assert export(student, tmp_path / "b", made, "fp32").precision == "fp32"
    types = [{v.dtype for v in load_file(tmp_path / name / "model.safetensors").values()} for name in ("a", "b")]
    assert types == [{torch.bfloat16}, {torch.float32}]
    assert load_file(tmp_path / "a" / "head.safetensors")["candidate.weight"].dtype == torch.float32


def test_nothing_of_this_machine_and_every_file_is_told_of_an_export(config: StudentConfig, base_model: Path, tmp_path: Path):
    to = tmp_path / "export"
    export(taught(config, tmp_path / "student"), to, facts(config, str(tmp_path / "runs" / "mine")))
    about = json.loads((to / ABOUT_FILE).read_text())
    assert sorted(about["files"]) == sorted(file.name for file in to.iterdir())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "head.safetensors", "calibration.json"} <= set(
        about["files"]
    )
    for file in (ABOUT_FILE, "README.md", "config.json", "tokenizer_config.json"):
        assert str(base_model.parent) not in (to / file).read_text(), file
    assert {oct(file.stat().st_mode & 0o777) for file in to.iterdir()} == {"0o644"}


def test_an_earlier_export_is_replaced_whole(config: StudentConfig, tmp_path: Path):
    to = tmp_path / "export"
    to.mkdir()  # empty: nothing is lost
    export(taught(config, tmp_path / "one"), to, facts(config))
    first = (to / "model.safetensors").read_bytes()
    export(taught(config, tmp_path / "two", seed=3), to, facts(config))
    assert (to / "model.safetensors").read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "one", "two"]


def test_what_is_no_export_is_not_overwritten(config: StudentConfig, tmp_path: Path):
    student, to = taught(config, tmp_path / "student"), tmp_path / "export"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(RunError, match="no export of rpdr"):
        export(student, tmp_path / "notes", facts(config))
    with pytest.raises(RunError, match="no export of rpdr"):
        export(student, student, facts(config))
    with pytest.raises(RunError, match="a file is in the way"):
        export(student, tmp_path / "notes" / "a.txt", facts(config))
    export(student, to, facts(config))
    (to / ".git").mkdir()
    with pytest.raises(RunError, match=r"\.git was added"):
        export(student, to, facts(config))
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "notes", "student"]


def test_scores_that_merging_changed_are_found(config: StudentConfig, tmp_path: Path):
    known = facts(config)
    export(taught(config, tmp_path / "student"), tmp_path / "export", known)
    before = _scores(load_merged(tmp_path / "export"), known)
    assert _compared(before, tmp_path / "export", known, "fp32") == 0.0
    with pytest.raises(RunError, match="scores otherwise"):
        _compared(before + 0.1, tmp_path / "export", known, "fp32")


def test_a_student_that_diverged_is_no_export(config: StudentConfig, tmp_path: Path):
    student = taught(config, tmp_path / "student")
    weights = load_file(student / "adapter_model.safetensors")
    save_file({name: value * float("nan") for name, value in weights.items()}, student / "adapter_model.safetensors")
    with pytest.raises(RunError, match=r"student\.learning_rate"):
        export(student, tmp_path / "export", facts(config))
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_folder_that_is_no_export_is_named(config: StudentConfig, tmp_path: Path):
    student = taught(config, tmp_path / "student")
    with pytest.raises(ModelError, match="rpdr export"):
        Reranker.load(student)
    (tmp_path / ABOUT_FILE).write_text('{"student": {"max_tokens_mention": "many"}, "files": []}')
    with pytest.raises(ModelError, match="export the student again"):
        Reranker.load(tmp_path)
