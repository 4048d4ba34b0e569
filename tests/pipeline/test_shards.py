"""The corpus in shards: every mention in one, repeats together, whatever was done before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rpdr.corpus import Mention, mention_key
from rpdr.corpus.mention import save_mentions
from rpdr.pipeline import shards as module
from rpdr.pipeline.shards import SCHEMA, Shards, distinct, joined, shard_of
from rpdr.schema import LINKED


def corpus(folder: Path, texts: list[str], split: str = "corpus") -> Path:
    mentions = [Mention(f"0:{n}", mention_key(text), text, None, None, None, split, None) for n, text in enumerate(texts)]
    other = [Mention(f"1:{n}", mention_key(f"other {n}"), f"other {n}", None, None, None, "dev", None) for n in range(20)]
    save_mentions(folder / "mentions.parquet", [*other[:10], *mentions, *other[10:]])
    return folder / "mentions.parquet"


@pytest.mark.parametrize("part", [7, 200_000])
def test_every_mention_is_in_one_shard_with_its_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int):
    monkeypatch.setattr(module, "PART", part)
    texts = [f"Text {n % 30}" if n % 2 else f"text {n % 30}" for n in range(200)]
    spread = Shards.spread(corpus(tmp_path, texts), ("test", "corpus"), 10, tmp_path / "work", False)
    assert len(spread) == 20
    tables = [spread.read(shard) for shard in range(len(spread))]
    assert all(table.schema == SCHEMA for table in tables)
    assert spread.mentions.tolist() == [table.num_rows for table in tables]
    ids = [i for table in tables for i in table["mention_id"].to_pylist()]
    assert Counter(ids) == Counter(f"0:{n}" for n in range(200))
    where = [set(table["key"].to_pylist()) for table in tables]
    assert sum(map(len, where)) == 30
    for table in tables:  # in the order of the corpus
        numbers = [int(i[2:]) for i in table["mention_id"].to_pylist()]
        assert numbers == sorted(numbers)


def test_contexts_of_gibibytes_that_nobody_asks_about_cost_a_shard_nothing():
    """Of each of three parts the second row has one of 1 GiB, which is never touched: together they are more than a column of Arrow's holds."""
    long = pa.py_buffer(np.zeros(2**30, np.uint8))
    parts = []
    for n in range(3):
        contexts = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 2, 2**30], np.int32)), long)
        columns = {name: pa.array([f"{name} {n}"] * 2) for name in SCHEMA.names}
        parts.append(pa.table({**columns, "question": [f"q{n}"] * 2, "context": contexts}).cast(SCHEMA))
    found = distinct(pa.concat_tables(parts))
    assert (found["key"].to_pylist(), found["context"].to_pylist()) == (["q0", "q1", "q2"], ["\0\0"] * 3)
    assert found["mention_id"].to_pylist() == [f"mention_id {n}" for n in range(3)]


@pytest.mark.parametrize(("use_context", "questions"), [(False, 2), (True, 4)])
def test_a_phrase_is_asked_about_once_where_nobody_reads_its_sentence_and_whatever_its_type(
    tmp_path: Path, use_context: bool, questions: int
):
    told = [
        ("Pain", "a", None),
        ("pain", "b", None),
        ("pain", None, "sign"),
        ("pain", None, None),
        ("rash", "a", None),
        ("rash", "a", None),
    ]
    mentions = [Mention(f"0:{n}", mention_key(t, kind, c), t, c, kind, None, "corpus", None) for n, (t, c, kind) in enumerate(told)]
    save_mentions(tmp_path / "mentions.parquet", mentions)
    spread = Shards.spread(tmp_path / "mentions.parquet", ("corpus",), 1, tmp_path / "work", use_context)
    tables = [spread.read(shard) for shard in range(len(spread))]
    asked = pa.concat_tables([distinct(table) for table in tables])
    assert asked.num_rows == len(set(asked["key"].to_pylist())) == questions
    if not use_context:
        assert asked.sort_by("mention_id").select(["text", "context", "key"]).to_pylist() == [
            {"text": text, "context": "a", "key": mention_key(text)} for text in ("Pain", "rash")
        ]
    answers = pa.table({"key": asked["key"], "concept_id": asked["mention_id"]})
    schema = pa.schema([LINKED.field("mention_id"), LINKED.field("key"), LINKED.field("concept_id")])
    answered = {row["mention_id"]: row for table in tables for part in joined(table, answers, schema) for row in part.to_pylist()}
    assert {i: row["key"] for i, row in answered.items()} == {m.mention_id: m.key for m in mentions}  # each its own
    first = ["0:0"] * 4 + ["0:4"] * 2 if not use_context else ["0:0", "0:1", "0:2", "0:2", "0:4", "0:4"]
    assert [answered[f"0:{n}"]["concept_id"] for n in range(6)] == first


def test_a_large_corpus_is_in_larger_parts_not_in_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PART", 10)
    monkeypatch.setattr(module, "PARTS", 4)
    spread = Shards.spread(corpus(tmp_path, [f"text {n}" for n in range(200)]), ("test", "corpus"), 10, tmp_path / "work", False)
    assert 4 <= len(list((tmp_path / "work").glob("part-*"))) <= 5
    assert spread.mentions.sum() == sum(spread.read(shard).num_rows for shard in range(len(spread))) == 200


def test_what_was_spread_is_taken_as_it_is_and_what_was_begun_is_done_anew(tmp_path: Path):
    path = corpus(tmp_path, ["a", "b", "a"])
    work = tmp_path / "work"
    first = Shards.spread(path, ("corpus",), 1, work, False)
    (work / module.BOUNDS).unlink()
    (work / "part-000000.arrow").write_bytes(b"half")
    again = Shards.spread(path, ("corpus",), 1, work, False)
    assert [again.read(n).to_pylist() for n in range(3)] == [first.read(n).to_pylist() for n in range(3)]
    path.unlink()
    assert Shards.spread(path, ("corpus",), 1, work, False).mentions.tolist() == first.mentions.tolist()


def test_a_shard_without_mentions_is_empty(tmp_path: Path):
    spread = Shards.spread(corpus(tmp_path, ["same"] * 50), ("corpus",), 10, tmp_path / "work", False)
    filled = shard_of(mention_key("same"), 5)
    assert spread.mentions.tolist() == [50 if n == filled else 0 for n in range(5)]
    assert spread.read((filled + 1) % 5).num_rows == 0


def test_no_mention_at_all_is_one_empty_shard(tmp_path: Path):
    spread = Shards.spread(corpus(tmp_path, []), ("corpus",), 10, tmp_path / "work", False)
    assert spread.mentions.tolist() == [0]


def test_an_answer_is_given_to_every_repeat_with_its_own_text(monkeypatch: pytest.MonkeyPatch):
    rows = [("1", "k1", "Pain"), ("2", "k2", "rash"), ("3", "k1", "pain")]
    told = [{"mention_id": i, "key": key, "question": key, "text": text, "split": "corpus"} for i, key, text in rows]
    mentions = pa.Table.from_pylist(told, SCHEMA)
    asked = distinct(mentions)
    assert asked["text"].to_pylist() == ["Pain", "rash"]
    answers = pa.table({"key": ["k2", "k1"], "text": ["?", "?"], "concept_id": [None, "C1"]})
    schema = pa.schema([("mention_id", pa.string()), ("text", pa.string()), ("concept_id", pa.string())])
    monkeypatch.setattr(module, "JOINED", 2)
    parts = list(joined(mentions, answers, schema))
    assert [part.num_rows for part in parts] == [2, 1]
    assert pa.concat_tables(parts).to_pylist() == [
        {"mention_id": "1", "text": "Pain", "concept_id": "C1"},
        {"mention_id": "2", "text": "rash", "concept_id": None},
        {"mention_id": "3", "text": "pain", "concept_id": "C1"},
    ]
