"""What happens to mentions of every format: filters, samples, ids, rejects, and the way to disk and back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpdr.config import MentionsConfig
from rpdr.corpus import load_mentions, mention_key, save_mentions, stream_mentions
from rpdr.corpus.reader import ONE_PHRASE
from rpdr.errors import DataError
from rpdr.schema import MENTIONS, REJECTS
from tests.corpus.sources import WORDS, read_mentions, source


def test_what_is_left_out_is_no_part_of_the_question_but_still_filters(tmp_path: Path) -> None:
    rows = [{"text": "ABC", "type": kind, "context": f"ABC {n}."} for n, kind in enumerate(["Name", "Modifier", "Other"])]
    whole, _ = read_mentions([source(tmp_path, rows)], 13)
    assert len({m.key for m in whole}) == 3
    less, _ = read_mentions([source(tmp_path, rows, leave_out=["context", "type"], types=["Name", "Modifier"])], 13)
    assert [(m.key, m.context, m.type) for m in less] == [(mention_key("ABC"), None, None)] * 2


def test_types_filter_and_gold_overrides(tmp_path: Path) -> None:
    rows = [{"text": "a", "type": "Disease", "gold": "C1"}, {"text": "b", "type": "Chemical", "gold": "C2"}]
    configs = [source(tmp_path, rows, types=["Disease"], gold=gold) for gold in ("given", "nil", "unknown")]
    mentions, _ = read_mentions(configs, 13)
    assert [(m.text, m.gold) for m in mentions] == [("a", [["C1"]]), ("a", []), ("a", None)]


def test_ids_are_unique_across_sources_and_repeats(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": "x"}, {"text": "b", "id": "x"}, {"text": "c"}, {"text": "d", "id": "x#2"}]
    mentions, _ = read_mentions([source(tmp_path, rows), source(tmp_path, rows), source(tmp_path, rows, repeat=50)], 13)
    assert [m.mention_id for m in mentions[:4]] == ["0:x", "0:x#2", "0:3", "0:x#2#4"]
    assert mentions[4].mention_id == "1:x"
    assert len({m.mention_id for m in mentions}) == 58


def test_of_nothing_there_is_nothing_to_repeat(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no mention could be read"):
        read_mentions([source(tmp_path, WORDS, repeat=5, types=["none has it"])], 13)


def test_repeat_draws_a_skewed_sample_that_the_seed_fixes(tmp_path: Path) -> None:
    config = source(tmp_path, WORDS, repeat=5000)
    first, again, other = (read_mentions([config], seed)[0] for seed in (13, 13, 14))
    assert first == again
    assert first != other
    counts = [count for _, count in Counter(m.text for m in first).most_common()]
    assert sum(counts) == 5000
    assert counts[0] > 10 * counts[len(counts) // 2]  # Zipf: the head far above the median
    assert len({m.key for m in first}) == len(counts)


def test_empty_and_overlong_texts_are_rejects_that_fit_the_schema(tmp_path: Path) -> None:
    rows = [{"text": "x" * 1000}, {"text": "x" * 1001}, {"text": " \x00 "}, {"text": "  ok  "}, {"text": "y" * 1_000_000}]
    mentions, rejects = read_mentions([source(tmp_path, rows)], 13)
    assert [len(m.text) for m in mentions] == [1000, 2]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (2, f"text of 1001 characters, more than 1000; {ONE_PHRASE}"),
        (3, "empty text"),
        (5, f"text of 1000000 characters, more than 1000; {ONE_PHRASE}"),
    ]
    assert pa.Table.from_pylist(rejects, schema=REJECTS).num_rows == 3


def test_text_is_cleaned_and_keyed(tmp_path: Path) -> None:
    mentions, _ = read_mentions([source(tmp_path, [{"text": " Leg\tＰain ", "type": "T", "context": "my  leg\n"}])], 13)
    assert (mentions[0].text, mentions[0].context) == ("Leg Pain", "my leg")
    assert mentions[0].key == mention_key("leg pain", "T", "MY LEG")


def test_source_that_yields_nothing_is_an_error_that_says_why(tmp_path: Path) -> None:
    good = source(tmp_path, WORDS)
    with pytest.raises(DataError, match=r"2\.jsonl: no mention could be read; 1 rows were refused, the first on line 1: no text"):
        read_mentions([good, source(tmp_path, WORDS), source(tmp_path, [{"a": 1}])], 13)
    with pytest.raises(DataError, match=r"characters, more than 1000; a row is one phrase that was found, .* belongs in its `context`$"):
        read_mentions([source(tmp_path, [{"text": "a whole note " * 100}])], 13)
    with pytest.raises(DataError, match=r"no mention could be read; .*types, keep_every"):
        read_mentions([source(tmp_path, WORDS, types=["Disease"])], 13)


def test_saved_mentions_load_the_same_by_split_too_and_fit_the_schema(tmp_path: Path) -> None:
    golds = [None, [], [["C1"]], [["C1", "C2"], ["C3"]]]
    rows = [{"text": f"t{n}", "gold": gold, "type": "T" if n else None} for n, gold in enumerate(golds)]
    mentions, _ = read_mentions([source(tmp_path, rows), source(tmp_path, rows, split="test")], 13)
    path = tmp_path / "out" / "mentions.parquet"
    save_mentions(path, mentions)
    assert load_mentions(path) == mentions
    assert load_mentions(path, "test") == mentions[4:]
    assert [m.gold for m in load_mentions(path, "corpus")] == golds
    assert pq.read_schema(path).equals(MENTIONS)
    save_mentions(path, [])
    assert load_mentions(path) == []
    with pytest.raises(DataError, match="'train' is not a split"):
        load_mentions(path, "train")
    with pytest.raises(DataError, match="not a file of saved mentions"):
        load_mentions(tmp_path / "nowhere.parquet")


def test_a_source_of_several_files_is_read_in_order_of_their_names(tmp_path: Path) -> None:
    for name, texts in {"b": ["c", "d"], "a": ["a", "b"]}.items():
        pq.write_table(pa.table({"text": texts, "id": ["1", "2"]}), tmp_path / f"{name}.parquet")
    for path in (tmp_path, tmp_path / "*.parquet"):
        mentions, _ = read_mentions([MentionsConfig(format="table", path=str(path))], 13)
        assert [(m.mention_id, m.text) for m in mentions] == [("0:1", "a"), ("0:2", "b"), ("0:1#3", "c"), ("0:2#4", "d")]


def test_a_damaged_file_is_refused_by_name_before_anything_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    read = stream_mentions([MentionsConfig(format="table", path=str(tmp_path))], 13)
    with pytest.raises(DataError, match=r"b\.parquet: not a Parquet file"):
        next(read)


def test_a_file_of_a_kind_that_arrow_does_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    gold = pa.array([[f"C{n}"] for n in range(4)]).cast(pa.list_(pa.dictionary(pa.int32(), pa.string())))  # as pandas writes categories
    pq.write_table(pa.table({"text": list("abcd"), "gold": gold}), path, row_group_size=2)
    read = [MentionsConfig(format="table", path=str(path))]
    with pytest.raises(DataError, match=r"a\.parquet: damaged after row 0, or .*Nested.*; write it again, with plain columns$"):
        read_mentions(read, 13)
    pq.write_table(pa.table({"text": ["a"], "gold": ["C1"]}), path)
    path.write_bytes(path.read_bytes().replace(b"gold", b"g\xf6ld"))
    with pytest.raises(DataError, match=r"a\.parquet: not a Parquet file .*utf-8"):
        read_mentions(read, 13)


def test_a_file_damaged_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(5000)]}), path, row_group_size=1000, compression="snappy")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = b"x" * (len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: damaged after row"):
        read_mentions([MentionsConfig(format="table", path=str(path))], 13)
