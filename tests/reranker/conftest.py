"""A base model of two layers, made here: nothing is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stirred import stirred
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from rpdr.config import StudentConfig
from rpdr.reranker import Student


@pytest.fixture
def config(base_model: Path) -> StudentConfig:
    return StudentConfig(model=str(base_model), precision="fp32", lora_rank=4, lora_alpha=8)


@pytest.fixture
def beginning_with_eos(config: StudentConfig, tmp_path: Path) -> StudentConfig:
    """Of the same model with a tokenizer that puts <eos> before each text, as Gemma's puts <bos>."""
    folder = shutil.copytree(config.model, tmp_path / "begins")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer._tokenizer.post_processor = TemplateProcessing("<eos> $A", special_tokens=[("<eos>", tokenizer.eos_token_id)])
    tokenizer.save_pretrained(folder)
    return config.model_copy(update={"model": str(folder)})


@pytest.fixture
def untrained(config: StudentConfig) -> Student:
    return Student.create(config, seed=1)


@pytest.fixture
def trained(config: StudentConfig) -> Student:
    """As after training: head and adapters are no longer zero."""
    return stirred(config)
