"""A base model of two layers, made here: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from stirred import stirred

from rpdr.config import StudentConfig
from rpdr.reranker import Student


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
