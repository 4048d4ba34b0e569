"""Mentions as JSON Lines, or one JSON array: what is read, what gold means in it, and what becomes a reject."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpdr.config import MentionsConfig
from rpdr.corpus import Mention, stream_mentions
from rpdr.errors import DataError
from tests.corpus.sources import put, read


def test_json_that_is_read_as_a_table_is_told_of_and_not_shown(tmp_path: Path) -> None:
    path = put(tmp_path / "m.json", '[{"text": "sick of Dr. No"}]\n')
    with pytest.raises(DataError, match=r"m\.json: no column 'text'; its first line is JSON: set format: jsonl$"):
        read(path, "table")
    with pytest.raises(DataError, match=r"nearest first: '\[Phrase\]', '\[Id\]'"):  # as some databases write columns
        read(put(tmp_path / "m.csv", "[Id],[Phrase]\n1,sick\n"), "table")


def test_jsonl_reads_every_shape_of_gold(tmp_path: Path) -> None:
    golds: list[Any] = ["C1", ["C1", "C2"], [["C1", "C2"]], None, [], "-1", 17]
    path = put(tmp_path / "m.jsonl", "".join(json.dumps({"text": f"t{n}", "gold": gold}) + "\n" for n, gold in enumerate(golds)))
    mentions, _ = read(path, "jsonl")
    assert [m.gold for m in mentions] == [[["C1"]], [["C1"], ["C2"]], [["C1", "C2"]], None, [], [], [["17"]]]


def test_jsonl_bad_lines_are_rejects_and_the_rest_is_read(tmp_path: Path) -> None:
    bad = [
        '{"text": ',
        '{"gold": "C1"}',
        "[1]",
        '{"text": 5}',
        '{"text": "x", "gold": {"a": 1}}',
        '{"text": "x", "gold": [[1.5]]}',
        "[" * 100_000,
    ]
    path = put(tmp_path / "m.jsonl", "\n".join([*bad, "", '{"text": "good \\ud83d one"}']))
    mentions, rejects = read(path, "jsonl")
    assert [m.text for m in mentions] == ["good one"]
    assert [r["line"] for r in rejects] == [1, 2, 3, 4, 5, 6, 7]
    assert rejects[0]["reason"].startswith("not JSON")
    assert rejects[1]["reason"] == "no text"


def test_jsonl_nan_is_nothing(tmp_path: Path) -> None:
    path = put(tmp_path / "m.jsonl", '{"text": "a", "id": NaN, "context": NaN, "type": NaN, "doc_id": NaN, "gold": NaN}\n{"text": NaN}\n')
    [mention], [refused] = read(path, "jsonl")
    assert (mention.mention_id, mention.context, mention.type, mention.doc_id, mention.gold) == ("0:1", None, None, None, None)
    assert refused["reason"] == "no text"


@pytest.mark.parametrize("field", ["id", "doc_id", "gold"])
def test_ids_that_became_floats_are_refused_with_their_table_and_cost_a_json_line(tmp_path: Path, field: str) -> None:
    pq.write_table(pa.table({"text": ["a", "b", "c"], "key": [None, float("nan"), 7.0]}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match=rf"m\.parquet: row 3 has the {field} 7\.0, a float; write the column 'key' as text"):
        read(tmp_path / "m.parquet", "table", columns={"text": "text", field: "key"})
    path = put(tmp_path / "m.jsonl", f'{{"text": "a", "{field}": 7.0}}\n{{"text": "b", "{field}": 7}}\n')
    mentions, rejects = read(path, "jsonl")
    assert [m.text for m in mentions] == ["b"]
    assert [r["reason"] for r in rejects] == [f"{field} is 7.0, a float; write it as a text or a whole number"]


def test_jsonl_key_that_no_line_has_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "m.jsonl", '{"mention": "a", "code": "C1"}\n')
    assert read(path, "jsonl", columns={"text": "mention", "gold": "code"})[0][0].gold == [["C1"]]
    with pytest.raises(DataError, match=r"no line has the key 'label'; .* 'code', 'mention'$"):
        read(path, "jsonl", columns={"text": "mention", "gold": "label"})


def test_jsonl_keys_may_differ_in_letter_case_where_only_one_does(tmp_path: Path) -> None:
    path = put(tmp_path / "m.jsonl", '{"ID": "7", "Text": "a", "Context": "an a", "Gold": "C1"}\n{"text": "b", "TYPE": "T", "Type": "U"}\n')
    for columns in (None, {"id": "id", "context": "context", "gold": "GOLD"}):
        mentions, _ = read(path, "jsonl", columns=columns)
        found = [(m.mention_id, m.text, m.context, m.type, m.gold) for m in mentions]
        assert found == [("0:7", "a", "an a", None, [["C1"]]), ("0:2", "b", None, None, None)]
    path = put(
        tmp_path / "m.jsonl", '{"text": "a", "Type": ["Sign"], "Context": {"x": 1}}\n'
    )  # nobody has named these, and they are no such thing
    assert [(m.text, m.type, m.context) for m in read(path, "jsonl")[0]] == [("a", None, None)]
    with pytest.raises(DataError, match="type is a list"):
        read(path, "jsonl", columns={"text": "text", "type": "type"})


def test_jsonl_key_may_be_missing_from_one_part_but_not_from_all(tmp_path: Path) -> None:
    columns = {"text": "mention", "type": "kind", "gold": "code"}
    put(tmp_path / "parts" / "1.jsonl", '{"mention": "a", "code": "C1"}\n')
    put(tmp_path / "parts" / "2.jsonl", '{"mention": "b", "kind": "T"}\n')
    mentions, _ = read(tmp_path / "parts", "jsonl", columns=columns)
    assert [(m.text, m.type, m.gold) for m in mentions] == [("a", None, [["C1"]]), ("b", "T", None)]
    with pytest.raises(DataError, match=r"1\.jsonl: no line has the key 'doc'"):
        read(tmp_path / "parts", "jsonl", columns={"text": "mention", "doc_id": "doc"})
    put(tmp_path / "parts" / "3.jsonl", '{"words": "c", "code": "C1", "kind": "T"}\n')
    with pytest.raises(DataError, match=r"3\.jsonl: no line has the key 'mention'"):
        read(tmp_path / "parts", "jsonl", columns=columns)


def test_jsonl_reads_one_array_of_objects_with_the_line_on_which_each_begins(tmp_path: Path) -> None:
    text = (
        '\n [\n  {\n    "text": "左手甲,右手乙",\n    "result": "甲病##乙病"\n  },\n  {"text": 5}, {"text": "丙", "result": "丁+病"}\n]\n'
    )
    columns = {"text": "text", "gold": "result"}
    mentions, rejects = read(put(tmp_path / "cdn.json", text), "jsonl", columns=columns, gold_by="name")
    assert [(m.text, m.gold) for m in mentions] == [("左手甲,右手乙", [["甲病", "乙病"]]), ("丙", [["丁+病"]])]
    assert [(r["line"], r["reason"]) for r in rejects] == [(7, "text is int, not a text")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[{"text": "a"},\n{"text": b}]', r"line 2: this object of the array is not JSON"),
        ('[{"text": "a"}\n{"text": "b"}]', r"line 1: no comma or end of the array"),
        ('[{"text": "a"},', "the array has no end"),
        ("[" + '{"a":' * 100_000, "line 1: this object of the array is not JSON"),
        ('[{"text": "a"},\n{"text": "b"}]\n\n[{"text": "c"}]\n', "line 4: something follows the array's end; give each array a file"),
        ('[{"text": "a"}]\n{"text": "b"}\n', "line 2: something follows the array's end; .* one object a line"),
    ],
)
def test_jsonl_array_that_is_broken_is_an_error_since_its_next_object_cannot_be_found(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=rf"m\.json.*{problem}"):
        read(put(tmp_path / "m.json", text), "jsonl")


@pytest.mark.parametrize("first", ['["kidney"]', "[1, 2]", "["])
def test_json_lines_are_read_as_such_where_the_first_is_a_list(tmp_path: Path, first: str) -> None:
    path = put(tmp_path / "m.jsonl", f'{first}\n["liver"]\n' + '{"text": "good one"}\n' * 2**17)
    path.write_bytes(path.read_bytes() + b"\xff")  # which who reads the whole first stumbles over
    found = stream_mentions([MentionsConfig(format="jsonl", path=str(path))], 13)
    assert [row["line"] for row in islice(found, 2) if isinstance(row, dict)] == [1, 2]
    assert isinstance(next(found), Mention)
