"""A base model of two layers, made here: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stirred import stirred
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rpdr.config import StudentConfig
from rpdr.reranker import Student


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_llm")
    bpe = ByteLevelBPETokenizer()
    texts = ["Mention: throwing up all day", "\nConcept: Vomiting\n", "\nConcept: Nausea (feeling sick)\n", "\nNone of these\n"]
    bpe.train_from_iterator(texts, vocab_size=320, min_frequency=1, special_tokens=["<eos>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<eos>")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.3, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def config(base_model: Path) -> StudentConfig:
    return StudentConfig(model=str(base_model), precision="fp32", lora_rank=4, lora_alpha=8)


@pytest.fixture
def untrained(config: StudentConfig) -> Student:
    return Student.create(config, seed=1)


@pytest.fixture
def trained(config: StudentConfig) -> Student:
    """As after training: head and adapters are no longer zero."""
    return stirred(config)
