"""Shards in a store: whole or made again, of nothing else, and counted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpdr.corpus import Mention, mention_key
from rpdr.corpus.mention import save_mentions
from rpdr.errors import RunError
from rpdr.pipeline import shards
from rpdr.pipeline.link import ANSWERED
from rpdr.pipeline.linked import COUNTED, Linked
from rpdr.pipeline.shards import Shards, distinct
from rpdr.pipeline.store import store_at
from rpdr.schema import LINKED

ANSWER = {
    **{**dict.fromkeys(LINKED.names), "abstained": False, "nil": False, "source": "student", "concept_id": "C1", "confidence": 0.9},
    **{"concept_ids": ["C1"], "ranked_ids": ["C1"], "ranked_scores": [0.9]},
}


def spread_over(folder: Path, mentions: list[tuple[str, str | None]], size: int) -> Shards:
    """These (text, context), about `size` a shard."""
    told = [Mention(f"0:{n}", mention_key(t, None, c), t, c, None, None, "corpus", None) for n, (t, c) in enumerate(mentions)]
    save_mentions(folder / "mentions.parquet", told)
    return Shards.spread(folder / "mentions.parquet", ("test", "corpus"), size, folder / "work", False)


def test_shards_that_nothing_tells_the_making_of_are_refused_and_a_short_one_is_made_again(tmp_path: Path):
    spread = spread_over(tmp_path, [(f"text {n}", None) for n in range(40)], 10)
    store = store_at(tmp_path / "linked")
    rows = [{**ANSWER, **row} for row in spread.read(1).select(["mention_id", "key", "text", "split"]).to_pylist()]
    output = Linked(store, spread, {"inputs": "a", "mentions": "b"})
    store.write_tables("shard-000001.parquet", [pa.Table.from_pylist(rows[1:], schema=LINKED)], LINKED)
    assert output.todo == Linked(store, spread, output.made_from).todo == [0, 1, 2, 3]
    store.write_tables("shard-000001.parquet", [pa.Table.from_pylist(rows, schema=LINKED)], LINKED)
    assert Linked(store, spread, output.made_from).todo == [0, 2, 3]
    (tmp_path / "linked" / "shard-000002.parquet").write_bytes(b"")
    assert Linked(store, spread, output.made_from).todo == [0, 2, 3]
    with pytest.raises(RunError, match="another corpus, student or config"):
        Linked(store, spread, {"inputs": "c", "mentions": "b"})
    store.remove("_manifest.json")
    with pytest.raises(RunError, match="another corpus, student or config"):
        Linked(store, spread, output.made_from)


def test_a_shard_of_many_repeats_is_written_in_parts_and_counts_each_of_its_mentions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "JOINED", 7)
    told = [(f"text {n % 4}", f"sentence {n % 3}") for n in range(50)]  # of which the keys tell, and the questions do not
    spread = spread_over(tmp_path, told, 50)
    store = store_at(tmp_path / "linked")
    output = Linked(store, spread, {"inputs": "a", "mentions": "b"})
    keys = distinct(spread.read(0))["key"].to_pylist()
    nothing = {"concept_id": None, "concept_ids": []}
    said = [{}, {**nothing, "nil": True}, {"source": "exact"}, {**nothing, "abstained": True}]
    rows = [{**ANSWER, **more, "key": key, "shard": 0, "of": 4} for key, more in zip(keys, said, strict=True)]
    output.accept(pa.Table.from_pylist(rows, ANSWERED))
    assert output.total() == dict(zip(COUNTED, (50, 4, 13, 12, 1, 0, 3), strict=True))
    linked = pq.read_table(tmp_path / "linked" / "shard-000000.parquet")
    assert linked.schema == LINKED
    assert linked["mention_id"].to_pylist() == spread.read(0)["mention_id"].to_pylist()
    assert linked["key"].to_pylist() == spread.read(0)["key"].to_pylist()
    before = output.counts
    store.remove("_manifest.json")
    store.write_json("_manifest.json", {"made_from": output.made_from})
    assert Linked(store, spread, output.made_from).counts == before  # as the shard itself tells
