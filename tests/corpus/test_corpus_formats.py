"""Mentions as tables and names of concepts, and what all formats share: what is read, what gold means in it, and what becomes a reject."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpdr.config import MentionsConfig
from rpdr.corpus import mention_notes, save_mentions
from rpdr.errors import DataError
from tests.corpus.sources import put, read


def test_table_reads_gold_cells_as_all_of_either_nil_and_unknown(tmp_path: Path) -> None:
    path = put(tmp_path / "m.tsv", "text\tgold\na\tC1\nb\tC1+C2\nc\tC1|C2+C3\nd\tNIL\ne\t\nf\tC1|-1\ng\tC+1##C2\n")
    mentions, rejects = read(path, "table")
    assert [m.gold for m in mentions] == [[["C1"]], [["C1", "C2"]], [["C1"], ["C2", "C3"]], [], None, [["C1"]], [["C+1", "C2"]]]
    assert rejects == []


def test_table_without_header_takes_columns_by_number_and_rejects_rows_of_wrong_width(tmp_path: Path) -> None:
    path = put(tmp_path / "m.txt", 'only one cell\n1\tname\tSjögren "x\n2\tname\tcough\textra\n3\tname\tfever\r\n', "iso-8859-1")
    mentions, rejects = read(path, "table", header=False, columns={"gold": "0", "text": "2"}, encoding="iso-8859-1")
    assert [(m.text, m.gold) for m in mentions] == [('Sjögren "x', [["1"]]), ("fever", [["3"]])]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (1, "1 cells where 3 are expected"),
        (3, "4 cells where 3 are expected; a cell has '\\t' in it"),
    ]


def test_table_whose_columns_are_numbers_alone_keeps_its_first_row(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "fever,C1\ncough,C2\n")
    columns = {"text": "0", "gold": "1"}
    assert [(m.text, m.gold) for m in read(path, "table", columns=columns)[0]] == [("fever", [["C1"]]), ("cough", [["C2"]])]
    assert [m.text for m in read(path, "table", columns=columns, header=True)[0]] == ["cough"]


@pytest.mark.parametrize("settings", [{}, {"separator": ";"}])
def test_a_first_line_that_tells_the_separator_is_no_header_and_counts_as_a_line(tmp_path: Path, settings: dict[str, str]) -> None:
    path = put(tmp_path / "m.csv", "\ufeffsep=;\r\ntext;gold\r\npain, bad;C1\r\nonly one cell\r\n")
    [mention], rejects = read(path, "table", **settings)
    assert (mention.text, mention.gold, [row["line"] for row in rejects]) == ("pain, bad", [["C1"]], [4])


def test_parquet_gold_and_ids_that_are_decimals_are_whole_numbers(tmp_path: Path) -> None:
    columns = {
        "text": ["a", "b"],
        "id": pa.array([8, 9]).cast(pa.decimal128(38, 10)),
        "gold": pa.array([195967001, None]).cast(pa.decimal128(20, 0)),
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    mentions, rejects = read(tmp_path / "m.parquet", "table")
    assert [(m.mention_id, m.gold) for m in mentions] == [("0:8", [["195967001"]]), ("0:9", None)]
    assert rejects == []


def test_an_unclosed_quote_costs_no_other_row_nor_does_a_stray_return(tmp_path: Path) -> None:
    rows = 'id,text,gold\n1,"unclosed,C1\n2,head ache,C2\n3,"cough",C3\n4,pain in\rleg "bad",C4\n5,"two\nlines, ""quoted""",C5\n'
    mentions, rejects = read(put(tmp_path / "m.csv", rows), "table")
    assert [(m.mention_id, m.gold) for m in mentions][:3] == [("0:1", [["C1"]]), ("0:2", [["C2"]]), ("0:3", [["C3"]])]
    assert [(m.text, m.gold) for m in mentions][-1] == ('two lines, "quoted"', [["C5"]])
    assert len(mentions) + len(rejects) == 5


def test_quotation_marks_that_a_backslash_escapes_are_read_where_nothing_else_can_be_meant(tmp_path: Path) -> None:
    rows = [
        r'"5\" wound",S01,"a \"big\" cut, left"',
        'fever,R50,"says \\"hot\\"\nand more, C:\\temp"',
        r'"ends in \\",R51,ok',
        r'"a \", b",R52,is read as CSV has it',
        r'"never \"closed,R53,x',
        "cough,R05,dry",
    ]
    mentions, rejects = read(put(tmp_path / "m.csv", "text,gold,context\n" + "\n".join(rows)), "table")
    assert [(m.text, m.context) for m in mentions] == [
        ('5" wound', 'a "big" cut, left'),
        ("fever", 'says "hot" and more, C:\\temp'),
        ("ends in \\\\", "ok"),
        ('"never \\"closed', "x"),
        ("cough", "dry"),
    ]
    remedy = r"if \ escapes quotation marks in it, set the writer's escape to a quotation mark, or write Parquet"
    assert [(r["line"], r["reason"]) for r in rejects] == [(6, f"4 cells where 3 are expected; {remedy}")]


def test_a_parquet_cell_that_cannot_be_read_costs_its_row_and_only_if_it_is_asked_for(tmp_path: Path) -> None:
    bad = pa.array([b"ok", b"\xff", b"fine"]).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, bad.buffers())
    late = pa.array([0, 10**7, 1], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": text, "seen": late, "other": text}), tmp_path / "m.parquet")
    mentions, rejects = read(tmp_path / "m.parquet", "table")
    assert [m.text for m in mentions] == ["ok", "fine"]
    [refused] = rejects
    assert refused["line"] == 2
    assert "cannot be read" in refused["reason"]
    pq.write_table(pa.table({"text": ["a", "b", "c"], "seen": late, "other": text}), tmp_path / "m.parquet")
    assert [m.text for m in read(tmp_path / "m.parquet", "table")[0]] == ["a", "b", "c"]


def test_parquet_bytes_are_read_as_utf8(tmp_path: Path) -> None:
    cells = {name: pa.array([value], pa.binary()) for name, value in (("id", b"7"), ("text", "Fußpilz".encode()), ("type", b"T"))}
    gold = pa.array([[[b"C1", b"C2"]]], pa.list_(pa.list_(pa.binary())))
    pq.write_table(pa.table({**cells, "doc_id": pa.array([b"0123"], pa.binary(4)), "gold": gold}), tmp_path / "m.parquet")
    [mention] = read(tmp_path / "m.parquet", "table")[0]
    assert (mention.mention_id, mention.text, mention.type, mention.doc_id) == ("0:7", "Fußpilz", "T", "0123")
    assert mention.gold == [["C1", "C2"]]


def test_half_a_character_in_an_id_costs_its_row(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": "\ud83d"}, {"text": "b", "gold": [["C\ude00"]]}, {"text": "c\ud83d", "id": "3"}]
    mentions, rejects = read(put(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows))), "jsonl")
    assert [m.mention_id for m in mentions] == ["0:3"]
    assert [r["line"] for r in rejects] == [1, 2]


@pytest.mark.parametrize(("name", "data"), [("2.csv", b""), ("2.csv.gz", gzip.compress(b"", mtime=0)), ("2.csv", b"\n")])
def test_of_several_files_empty_ones_are_passed_over(tmp_path: Path, name: str, data: bytes) -> None:
    put(tmp_path / "parts" / "1.csv", "text\na\n")
    (tmp_path / "parts" / name).write_bytes(data)
    assert [m.text for m in read(tmp_path / "parts", "table")[0]] == ["a"]
    with pytest.raises(DataError, match=rf"{name}: empty"):
        read(tmp_path / "parts" / name, "table")
    (tmp_path / "parts" / "1.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty"):
        read(tmp_path / "parts", "table")


def test_of_several_files_a_parquet_file_without_columns_is_passed_over(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({}), tmp_path / "2.parquet")
    assert [m.text for m in read(tmp_path, "table")[0]] == ["a"]


def test_a_parquet_file_without_a_byte_is_a_damaged_one_also_among_others(tmp_path: Path) -> None:
    put(tmp_path / "parts" / "1.csv", "text\na\n")
    (tmp_path / "parts" / "2.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.parquet: not a Parquet file"):
        read(tmp_path / "parts", "table")


def test_an_empty_cell_alone_in_its_row_is_a_row_and_a_blank_line_is_none(tmp_path: Path) -> None:
    mentions, rejects = read(put(tmp_path / "m.csv", 'text\nfever\n""\n\ncough\n'), "table")
    assert [(m.mention_id, m.text) for m in mentions] == [("0:1", "fever"), ("0:3", "cough")]
    assert [(r["line"], r["reason"]) for r in rejects] == [(3, "empty text")]


def test_a_separator_of_several_characters_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", 'text||gold\n"my" leg||C1\n')
    assert [(m.text, m.gold) for m in read(path, "table", separator="||")[0]] == [('"my" leg', [["C1"]])]


@pytest.mark.parametrize("text", ["text\rfever\rcough\r", "text,gold\rfever,C1\rcough,C2"])
@pytest.mark.parametrize("header", [True, False])
def test_a_table_whose_lines_end_in_carriage_returns_alone_is_refused_as_such(tmp_path: Path, text: str, header: bool) -> None:
    with pytest.raises(DataError, match=r"m\.csv: one line, with carriage returns in it.*save it with line feeds") as error:
        read(put(tmp_path / "m.csv", text), "table", header=header)
    assert "fever" not in str(error.value)


def test_a_name_that_two_columns_have_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "text,text,note,note,gold\na,b,c,d,C1\n")
    with pytest.raises(
        DataError, match=r"m\.csv: several columns have the name 'text'; rename all but the one that the source's columns\.text means"
    ):
        read(path, "table")
    assert read(path, "table", columns={"text": "1", "gold": "gold"})[0][0].text == "b"


def test_table_reads_all_columns_and_a_separator_of_ones_own(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", 'nr;span;sentence;kind;post\n7;"leg; pain";my leg; Disease ;P1\n'.replace("my leg;", '"my leg";'))
    columns = {"id": "nr", "text": "span", "context": "sentence", "type": "kind", "doc_id": "post"}
    mention = read(path, "table", separator=";", columns=columns)[0][0]
    assert (mention.mention_id, mention.text, mention.context) == ("0:7", "leg; pain", "my leg")
    assert (mention.type, mention.doc_id, mention.gold, mention.split) == ("Disease", "P1", None, "corpus")


def test_table_missing_column_names_the_nearest(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "phrase,code\na,C1\n")
    with pytest.raises(DataError, match=r"m\.csv: no column 'phrases'; set the source's columns\.text .*'phrase'"):
        read(path, "table", columns={"text": "phrases"})
    with pytest.raises(DataError, match="no column 'text'"):
        read(path, "table")
    with pytest.raises(DataError, match="no column '2'"):
        read(path, "table", header=False, columns={"text": "2"})


def test_a_column_whose_name_differs_in_letter_case_alone_is_read_if_it_is_the_only_one(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "TEXT,Gold\na,C1\n")
    assert [(m.text, m.gold) for m in read(path, "table")[0]] == [("a", [["C1"]])]
    assert read(path, "table", columns={"text": "gold"})[0][0].text == "C1"
    with pytest.raises(DataError, match=r"no column 'text'; .* nearest first: 'Text', 'TEXT', 'gold'$"):
        read(put(tmp_path / "m.csv", "Text,gold,TEXT\na,C1,b\n"), "table")


def test_a_first_line_that_looks_like_data_is_not_shown(tmp_path: Path) -> None:
    for line in (
        "throwing up,seen 1974-03-12,C1",
        "throwing up,0172 123 4567,C1",
        "sick,I have been throwing up all night,C1",
        f"sick,{'x' * 41},C1",
    ):
        path = put(tmp_path / "m.csv", line + "\n")
        with pytest.raises(
            DataError, match=r"m\.csv: no column 'text'; .*3 columns.* if the first line is data, set header: false"
        ) as error:
            read(path, "table")
        assert not any(cell in str(error.value) for cell in line.split(","))
    json_lines = put(tmp_path / "m.jsonl", '{"I have been throwing up all night": "C1"}\n')
    with pytest.raises(DataError, match=r"no line has the key 'text'.* are not shown$"):
        read(json_lines, "jsonl", columns={"text": "text"})


def test_columns_that_are_there_are_all_offered_those_that_mean_the_same_first(tmp_path: Path) -> None:
    header = "tex_nr,visit,What did the patient say to you,code,mention,,concept name"
    path = put(tmp_path / "m.csv", f"{header}\n{',' * 6}\n")
    with pytest.raises(DataError, match=r"nearest first: 'mention', .*\(7 columns; not shown, as they look like data: 1\)") as error:
        read(path, "table")
    assert all(f"'{name}'" in str(error.value) for name in ("tex_nr", "visit", "code", "concept name"))
    with pytest.raises(DataError, match=r"the source's columns\.gold .* nearest first: 'code', "):
        read(path, "table", columns={"text": "mention", "gold": "gold"})


def test_parquet_table_reads_nested_gold_and_nulls(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", None], "gold": [[["C1", "C2"], ["C3"]], None, []]})
    pq.write_table(table, tmp_path / "m.parquet")
    mentions, rejects = read(tmp_path / "m.parquet", "table")
    assert [m.gold for m in mentions] == [[["C1", "C2"], ["C3"]], None]
    assert [(r["line"], r["reason"]) for r in rejects] == [(3, "no text")]


@pytest.mark.parametrize("gold", [[""], [[]], [" ", [""]], "|", "+", [None], [[None]], [None, ""]])
def test_gold_with_neither_an_id_nor_nil_is_not_annotated(tmp_path: Path, gold: Any) -> None:
    path = put(tmp_path / "m.jsonl", json.dumps({"text": "a", "gold": gold}))
    assert read(path, "jsonl")[0][0].gold is None
    nil = put(tmp_path / "m.jsonl", json.dumps({"text": "a", "gold": ["", "NIL"]}))
    assert read(nil, "jsonl")[0][0].gold == []


def test_nothing_beside_gold_says_nothing(tmp_path: Path) -> None:
    path = put(tmp_path / "m.jsonl", '{"text": "a", "gold": [null, "C1", ["C2", null]]}\n')
    assert read(path, "jsonl")[0][0].gold == [["C1"], ["C2"]]


@pytest.mark.parametrize(("given", "right"), [("nil", []), ("unknown", None)])
def test_gold_that_nobody_reads_costs_no_row(tmp_path: Path, given: str, right: Any) -> None:
    path = put(tmp_path / "m.jsonl", '{"text": "a", "gold": {"x": 1}}\n{"text": "b", "gold": "\\ud83d"}\n')
    mentions, rejects = read(path, "jsonl", gold=given)
    assert [m.gold for m in mentions] == [right, right]
    assert rejects == []
    pq.write_table(pa.table({"text": ["a"], "gold": [7.0]}), tmp_path / "m.parquet")
    assert [m.gold for m in read(tmp_path / "m.parquet", "table", gold=given)[0]] == [right]


def test_gold_ids_may_be_whole_numbers_wherever_they_stand(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "gold": [[123, 4], []]}), tmp_path / "m.parquet")
    assert [m.gold for m in read(tmp_path / "m.parquet", "table")[0]] == [[["123"], ["4"]], []]
    path = put(tmp_path / "m.jsonl", '{"text": "a", "gold": [[1, "C2"], 3]}\n{"text": "b", "gold": [true]}\n')
    mentions, rejects = read(path, "jsonl")
    assert [m.gold for m in mentions] == [[["1", "C2"], ["3"]]]
    assert [r["reason"] for r in rejects] == ["gold ids are not all texts or whole numbers"]


def test_parquet_nan_is_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]} | {field: [float("nan")] for field in ("context", "type", "gold")}), tmp_path / "m.parquet")
    [mention] = read(tmp_path / "m.parquet", "table")[0]
    assert (mention.context, mention.type, mention.gold) == (None, None, None)


@pytest.mark.parametrize("field", ["id", "context", "type", "doc_id"])
def test_a_field_with_several_values_costs_its_row(tmp_path: Path, field: str) -> None:
    rows = [{"text": "a", field: ["x", "y"]}, {"text": "b", field: {"x": 1}}, {"text": "c", field: "x"}]
    mentions, rejects = read(put(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows))), "jsonl")
    assert [m.text for m in mentions] == ["c"]
    assert [r["reason"].partition(",")[0] for r in rejects] == [f"{field} is a list", f"{field} is an object"]


def test_table_gold_given_by_name_is_split_at_double_hashes_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "train.tsv", "mention\tnormalized\n左甲切除+右甲切除\t甲+乙状腺切除##甲切除\n")
    (mention,), _ = read(path, "table", columns={"text": "mention", "gold": "normalized"}, gold_by="name")
    assert (mention.text, mention.gold) == ("左甲切除+右甲切除", [["甲+乙状腺切除", "甲切除"]])


ABBREVIATED = """1|t|Gaucher disease (GD) in twins
1|a|Both had GD, one type 1 GD.
1\t0\t15\tGaucher disease\tDisease\tC1
1\t39\t41\tGD\tDisease\tC1
1\t47\t56\ttype 1 GD\tDisease\tC2

2|t|GD
2|a|Nobody says what it is.
2\t0\t2\tGD\tDisease\tC3
"""


def test_abbreviations_are_written_out_as_their_own_document_defines_them(tmp_path: Path) -> None:
    path = put(tmp_path / "m.txt", ABBREVIATED)
    mentions, _ = read(path, "pubtator", leave_out=["context", "type"])
    said = [("Gaucher disease", None), ("Gaucher disease", "GD"), ("type 1 Gaucher disease", "type 1 GD"), ("GD", None)]
    assert [(m.text, m.written) for m in mentions] == said
    assert mentions[0].key == mentions[1].key
    assert [(m.text, m.written) for m in read(path, "pubtator", abbreviations=False)[0]] == [
        (written or text, None) for text, written in said
    ]


def test_a_row_is_written_out_by_its_own_context(tmp_path: Path) -> None:
    path = put(tmp_path / "m.tsv", "text\tcontext\nGD\tGaucher disease (GD) in twins\nGD\tboth had GD\nGD\t\n")
    assert [(m.text, m.written) for m in read(path, "table")[0]] == [("Gaucher disease", "GD"), ("GD", None), ("GD", None)]


def test_the_same_text_is_in_the_same_split_written_out_or_not(tmp_path: Path) -> None:
    rows = (f"G{n}\tGaucher disease type {n} (G{n})\nGaucher disease type {n}\t\n" for n in range(10, 60))
    path = put(tmp_path / "m.tsv", "text\tcontext\n" + "".join(rows))
    mentions, _ = read(path, "table", split={"modulo": 3, "labelled": [0], "dev": [1], "test": [2]})
    assert [m.written for m in mentions[:2]] == ["G10", None]
    for short, long in zip(mentions[::2], mentions[1::2], strict=True):
        assert (short.text, short.split) == (long.text, long.split)
    assert {m.split for m in mentions} == {"labelled", "dev", "test"}


def test_a_row_whose_context_cannot_be_written_is_read_all_the_same(tmp_path: Path) -> None:
    path = put(tmp_path / "m.jsonl", '{"text": "GD", "context": "Gaucher \\ud800disease (GD)"}\n')
    [mention] = read(path, "jsonl")[0]
    assert (mention.text, mention.written) == ("Gaucher disease", "GD")
    save_mentions(tmp_path / "m.parquet", [mention])


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("pubtator", "1|t|Secret words\n1|a|\n1\t0\t6\tfever\tD\tD1\n"),
        ("pubtator", "1|t|Secret words\n1|a|\nSecret\t0\t6\tSecret\tD\tD1\n"),
        ("standoff", "TT1\t22253000 | Pain | 0 6\tPain\n"),
    ],
)
def test_an_empty_corpus_says_why_without_a_word_of_a_document(tmp_path: Path, format: str, text: str) -> None:
    put(tmp_path / "c" / "1.txt", "Secret words" if format == "standoff" else text)
    if format == "standoff":
        put(tmp_path / "c" / "1.ann", text)
    with pytest.raises(
        DataError, match=r"the first on line \d: (at 0.6 the document has another text|annotates another document)"
    ) as error:
        read(tmp_path / "c", format)
    assert "Secret" not in str(error.value)


def test_concept_names_are_mentions_of_their_own_concepts(tmp_path: Path) -> None:
    kb = {"format": "table", "path": str(put(tmp_path / "kb.csv", "concept_id,name,synonyms\nC1,a,b|c\nC2,d,\n"))}
    mentions, _ = read("", "concept_names", kb=kb)
    assert [(m.text, m.gold) for m in mentions] == [("a", [["C1"]]), ("b", [["C1"]]), ("c", [["C1"]]), ("d", [["C2"]])]
    assert [m.gold for m in read("", "concept_names", kb=kb, gold="nil")[0]] == [[]] * 4


@pytest.mark.parametrize(
    ("columns", "settings", "told"),
    [
        ({"text": "phrase"}, {}, "its columns id, Context, gold are not read; name them under `columns`"),
        ({"text": "phrase", "gold": "gold", "context": "Context"}, {}, "its column id is not read; name it under `columns`"),
        ({"text": "phrase", "doc_id": "id"}, {"gold": "nil", "leave_out": ["context"]}, None),
        (None, {}, None),
    ],
)
def test_columns_of_a_fields_name_that_the_config_leaves_out_are_told_of(
    tmp_path: Path, columns: dict[str, str] | None, settings: dict[str, Any], told: str | None
) -> None:
    row = {"id": "1", "phrase": "fever", "Context": "a fever", "gold": "C1", "other": "x"}
    paths = {
        "table": put(tmp_path / "m.csv", ",".join(row) + "\n" + ",".join(row.values()) + "\n"),
        "jsonl": put(tmp_path / "m.jsonl", "{\n" + json.dumps(row)),
    }
    for format, path in paths.items():
        notes = mention_notes(MentionsConfig.model_validate({"format": format, "path": str(path), "columns": columns, **settings}))
        assert [note.partition(" where")[0] for note in notes] == ([f"{path}: {told}"] if told else [])


def test_a_table_without_a_header_or_an_empty_one_has_no_columns_to_tell_of(tmp_path: Path) -> None:
    for text, columns in (("id,fever\n", {"text": "1"}), ("", {"text": "phrase"})):
        assert mention_notes(MentionsConfig(format="table", path=str(put(tmp_path / "m.csv", text)), columns=columns)) == []


@pytest.mark.parametrize(
    ("name", "cells", "says"),
    [
        ("m.tsv", ['"fever, high"'] * 3 + ["cough"], "3 cells of the column 'Text' have quotation marks .*; save the file as CSV"),
        ("m.csv", [' "fever"'] * 3, "3 cells of the column 'Text' have quotation marks .*; take these blanks out"),
        ("m.tsv", ['"Pains" and "aches"', '"brain fog"', '"', '"fever', 'so "tired"'], None),
        ("m.csv", ['"fever"', '"""brain fog"""'] * 3, None),  # what CSV says with two of them
    ],
)
def test_quotation_marks_that_count_as_text_are_told_of(tmp_path: Path, name: str, cells: list[str], says: str | None) -> None:
    mark = "\t" if name == "m.tsv" else ","
    path = put(tmp_path / name, f"gold{mark}Text\n" + "".join(f'"C1"{mark}{cell}\n' for cell in cells))
    notes = mention_notes(MentionsConfig(format="table", path=str(path)))
    assert [bool(says and re.search(rf"^{path}: {says}", note)) for note in notes] == ([True] if says else [])
