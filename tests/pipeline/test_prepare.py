"""Gold ids as sources write them, and as the later stages compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rpdr.config import Config
from rpdr.corpus import load_mentions
from rpdr.errors import DataError
from rpdr.pipeline.in_short import in_short
from rpdr.pipeline.prepare import prepare
from rpdr.run import Run


class Silent:
    def update(self, done: int, total: int | None, doing: str) -> None:
        pass


def prepared(folder: Path, gold: list[str], rows: str = "", **more: Any) -> tuple[Run, dict]:
    (folder / "kb.obo").write_text("format-version: 1.2\n\n[Term]\nid: X:1\nname: Vomiting\nalt_id: X:9\n\n[Term]\nid: X:2\nname: Nausea\n")
    (folder / "m.csv").write_text(rows or "text,gold\n" + "".join(f"mention {n},{g}\n" for n, g in enumerate(gold)))
    run = Run(
        Config.model_validate(
            {
                "run_dir": str(folder / "run"),
                "kb": {"format": "obo", "path": str(folder / "kb.obo")},
                "mentions": [{"format": "table", "path": str(folder / "m.csv"), "split": "test"}],
                **more,
            }
        )
    )
    return run, prepare(run, Silent())


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed since it was last asked for, its lines joined."""
    return " ".join(capsys.readouterr().err.split())


def test_alternate_ids_in_gold_become_the_concepts_own(tmp_path: Path):
    run, summary = prepared(tmp_path, ["X:9", "X:9+X:2", "X:2|X:9", "NIL", ""])
    assert [m.gold for m in load_mentions(run.mentions_file)] == [
        [["X:1"]],
        [["X:1", "X:2"]],
        [["X:2"], ["X:1"]],
        [],
        None,
    ]
    assert summary["unknown_gold_ids"] == 0


def test_gold_ids_that_the_knowledge_base_lacks_are_counted_and_kept(tmp_path: Path):
    run, summary = prepared(tmp_path, ["X:7", "X:1", "X:7"])
    assert summary["unknown_gold_ids"] == 2
    assert summary["unknown_gold_examples"] == ["X:7"]
    assert load_mentions(run.mentions_file)[0].gold == [["X:7"]]


def test_no_name_is_written_out_where_names_are_masked(tmp_path: Path):
    rows = "text,gold,context\nMS,NIL,Seen by Dr. Mary Smithson (MS) for Gaucher disease (GD)\nGD,NIL,Seen by Dr. Mary Smithson (MS) for Gaucher disease type 1 (GDT1)\n"
    rows += "GDT1,NIL,for Gaucher disease type 1 (GDT1)\n"
    for policy, expected in (
        ("deidentified", ["MS", "GD", "Gaucher disease type 1"]),
        ("public", ["Mary Smithson", "GD", "Gaucher disease type 1"]),
    ):
        folder = tmp_path / policy
        folder.mkdir()
        run, _ = prepared(folder, [], rows, data_policy=policy)
        assert [m.text for m in load_mentions(run.mentions_file)] == expected


def test_what_a_context_was_cut_out_of_tells_what_of_it_is_masked(tmp_path: Path):
    far = "having two days of worsening central chest pain after the walk from the station to the ward of the hospital"
    notes = [
        f"My daughter Emily Novakova wrote to Dr. Marekov. Novakova told Marekov of {far}",
        f"Hospital number 443322 admitted from the emergency department this morning {far}",
        "Mr Smith has chest pain",
    ]
    rows = [f"{n}|t|{note}\n{n}\t{(at := note.index('chest pain'))}\t{at + 10}\tchest pain\tX\tX:1\n" for n, note in enumerate(notes)]
    long = " ".join(["Seen by Dr. Smithson.", *["it is worse"] * 100, "a rash, said Smithson"])
    (tmp_path / "m.txt").write_text("\n".join(rows))
    (tmp_path / "long.csv").write_text(f"text,context,gold\nrash,{json.dumps(long)},X:1\n")
    split = {"split": "labelled"}
    sources = [
        {"format": "pubtator", "path": str(tmp_path / "m.txt"), **split},
        {"format": "table", "path": str(tmp_path / "long.csv"), **split},
    ]
    secrets = {"Novakova": "NAME", "Marekov": "NAME", "443322": "RECORD", "Smithson": "NAME"}  # the first two in one context
    for policy, expected in (("deidentified", secrets), ("public", {})):
        run, summary = prepared(tmp_path, [], mentions=sources, data_policy=policy)
        contexts = {m.key: m.context or "" for m in load_mentions(run.mentions_file)}
        hidden = pq.read_table(run.path("corpus", "hidden.parquet")).to_pylist()
        assert {contexts[row["key"]][row["start"] : row["end"]]: row["kind"] for row in hidden} == expected
        assert all(secret in " ".join(contexts.values()) for secret in secrets)  # the student's are as they were
        assert summary["cut_contexts"] == 3


def test_a_source_for_learning_or_measuring_that_has_no_gold_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"m\.csv: none of its 2 mentions in the splits labelled, dev, test has gold; name the column"):
        prepared(tmp_path, [], "text,Code\nthrowing up,X:1\nqueasy,X:2\n")


def test_gold_of_which_the_knowledge_base_knows_nothing_is_refused(tmp_path: Path):
    with pytest.raises(DataError) as refused:
        prepared(tmp_path, ["UMLS:X:1", "UMLS:X:2|UMLS:X:1", "NIL", "", "UMLS:X:3", "UMLS:X:4", "UMLS:X:5+UMLS:X:6", "UMLS:X:7"])
    message = str(refused.value)
    for words in (
        "m.csv",
        "none of the concepts in its gold (6 mentions)",
        "'UMLS:X:1', 'UMLS:X:2', 'UMLS:X:3'",
        "'X:1', 'X:2'",
        "gold_by: name",
    ):
        assert words in message
    assert "UMLS:X:6" not in message  # five are enough
    assert not (tmp_path / "run" / "corpus" / "mentions.parquet").exists()
    kb = {"format": "obo", "path": str(tmp_path / "kb.obo"), "id_prefix": "X:"}
    with pytest.raises(DataError, match=r"such as 'Nausea'; .*; kb\.id_prefix keeps of its concepts those with 'X:' alone"):
        prepared(tmp_path, ["Nausea"] * 5, kb=kb)


def test_gold_of_another_form_is_no_error_where_it_is_little_or_nil_or_meant_as_nil(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepared(tmp_path, ["UMLS:X:1"] * 4)
    assert "m.csv: the knowledge base has none of the concepts in its gold (4 mentions)" in capsys.readouterr().err
    prepared(tmp_path, ["NIL"] * 9)
    assert "has none of the concepts" not in capsys.readouterr().err
    source = {"format": "table", "path": str(tmp_path / "m.csv"), "split": "test", "unknown_gold": "nil"}
    _, summary = prepared(tmp_path, ["UMLS:X:1"] * 9, mentions=[source])
    assert summary["unknown_gold_ids"] == 9
    assert "such as 'UMLS:X:1'" in in_short("prepare", summary)


def test_rows_of_the_knowledge_base_and_of_mentions_that_were_lost_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "kb.csv").write_text("concept_id,name\nX:1,Vomiting\nX:2,Pain, acute\nX:3,Pain, chronic\n")
    run, summary = prepared(tmp_path, ["X:1", "X:1,one too many"], kb={"format": "table", "path": str(tmp_path / "kb.csv")})
    told = " ".join(capsys.readouterr().err.split())
    assert f"kb.csv: 2 of the knowledge base's rows were set aside ({run.path('corpus', 'rejects.parquet')}), concepts left: 1;" in told
    assert "the first, line 3: 3 cells where 2 are expected; quote a cell that has ',' in it" in told
    where = "3 rows set aside (2 of the knowledge base, 1 of mentions: corpus/rejects.parquet)"
    assert in_short("prepare", summary).endswith(f"{where}; of mentions most often: n cells where 2 are expected (1)")


def test_splits_are_counted_and_what_an_empty_one_costs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows, splits = "text,gold\nsick,X:1\nqueasy,X:2\n", ("labelled", "dev", "test", "unlabelled", "corpus")
    each = {split: {"format": "table", "path": str(tmp_path / f"{split}.csv"), "split": split} for split in splits}
    for split in splits:  # of one text in several there is a note of its own
        (tmp_path / f"{split}.csv").write_text(rows.replace("sick", f"sick {split}").replace("queasy", f"queasy {split}"))
    _, summary = prepared(tmp_path, [], rows, mentions=list(each.values()))
    assert "note:" not in capsys.readouterr().err
    assert "10 mentions (2 labelled, 2 unlabelled, 2 dev, 2 test, 2 corpus)" in in_short("prepare", summary)
    prepared(tmp_path, [], rows, mentions=[each["corpus"]])
    told = capsys.readouterr().err
    for line in (
        "no mention with gold in the split labelled: the retriever is tuned on",
        "no mention with gold in the split dev: confidences are not calibrated",
        "no mention with gold in the split test: nothing is measured",
        "no mention in the split unlabelled: the teacher is asked nothing",
    ):
        assert line in told
    prepared(tmp_path, [], rows, mentions=[{**each["dev"], "gold": "unknown"}])
    assert "no mention with gold in the split dev" in capsys.readouterr().err


def test_a_context_that_only_the_teacher_reads_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = "text,context\npain,the pain is back\npain,no pain\nrash,\n"
    source = {"format": "table", "path": str(tmp_path / "m.csv"), "split": "unlabelled"}
    prepared(tmp_path, [], rows, mentions=[source])
    assert "2 unlabelled mentions have a context: the teacher reads it" in said(capsys)
    for more in ({"mentions": [source], "student": {"use_context": True}}, {"mentions": [{**source, "leave_out": ["context"]}]}):
        prepared(tmp_path, [], rows, **more)
        assert "have a context" not in said(capsys)
    prepared(tmp_path, [], rows, mentions=[{**source, "split": "corpus"}])
    assert "have a context" not in said(capsys)


def test_mentions_with_gold_that_no_split_names_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = {"format": "table", "path": str(tmp_path / "m.csv"), "split": {"modulo": 10, "labelled": [0, 1], "dev": [2], "test": [3, 7]}}
    prepared(tmp_path, ["X:1"] * 50 + [""] * 9, mentions=[source])
    with_gold = sum(m.gold is not None for m in load_mentions(tmp_path / "run" / "corpus" / "mentions.parquet"))
    assert (
        f"m.csv: {50 - with_gold} of 50 mentions with gold have a remainder that no split names (4 to 6, 8 to 9) and are left out"
        in said(capsys)
    )
    for on_purpose in ({"gold": "unknown"}, {"split": {"modulo": 2, "test": [0], "unlabelled": [1]}}):
        prepared(tmp_path, ["X:1"] * 50, mentions=[{**source, **on_purpose}])
        assert "no split names" not in said(capsys)


def test_mentions_with_gold_of_documents_in_no_split_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "splits.json").write_text('{"1": "test", "0123": "dev"}')
    source = {"format": "table", "path": str(tmp_path / "m.csv")}
    rows = "text,gold,doc_id\na,X:1,1\nb,X:1,123\nc,X:1,123\nd,,9\ne,X:1,8\n"
    for settings, says in [
        ({"split_file": str(tmp_path / "splits.json")}, "3 of 4 mentions with gold are of 2 documents that split_file does not name, such as '123', '8', and are left out"),
        ({"split_documents": {"test": 0.75}}, "1 of 4 mentions with gold are of a document that the shares of split_documents leave over, such as '8', and are left out"),
    ]:  # fmt: skip
        prepared(tmp_path, [], rows, mentions=[{**source, **settings}])
        assert f"m.csv: {says}" in said(capsys)
    for on_purpose in ({"gold": "unknown"}, {"types": ["T"], "path": str(tmp_path / "typed.csv")}):
        (tmp_path / "typed.csv").write_text("text,gold,doc_id,type\na,X:1,1,T\nb,X:1,2,U\n")
        prepared(tmp_path, [], rows, mentions=[{**source, "split_file": str(tmp_path / "splits.json"), **on_purpose}])
        assert "are left out" not in said(capsys)


@pytest.mark.parametrize(
    ("gold", "settings", "words"),
    [
        (["X:7"] * 10, {}, ["lacks 1 id in the gold of 10 of 11 mentions, such as 'X:7'; no answer is right there", "unknown_gold: nil"]),
        (["x:1", "x:2", "x:1"], {}, ["lacks 2 ids in the gold of 3 of 4 mentions", "letter case alone is other in 2", "as in 'x:1' for 'X:1'"]),
        (["none", "-", "n/a"], {}, ["'-', 'n/a', 'none': if that means that there is no concept", 'nil_values: ["-1", "NIL", "CUI-less", "CONCEPT_LESS", "-", "n/a", "none"]']),
        (["X:1;X:2"], {}, ["'X:1;X:2' holds several ids: write + or ## between those that are right together, | between alternatives"]),
        (["X:1 X:9"], {}, ["'X:1 X:9' holds several ids"]),
        (["None"], {"nil_values": ["NIL"]}, ['nil_values: ["NIL", "None"]']),
    ],
)  # fmt: skip
def test_gold_that_the_knowledge_base_lacks_in_part_is_told_with_what_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gold: list[str], settings: dict[str, Any], words: list[str]
):
    source = {"format": "table", "path": str(tmp_path / "m.csv"), "split": "test", **settings}
    prepared(tmp_path, [*gold, "X:1"], mentions=[source])
    told = said(capsys)
    for each in ["note: ", "m.csv: the knowledge base lacks", *words]:
        assert each in told
    assert ("no answer is right" in told) == (gold[0] == "X:7")


def test_gold_that_is_all_written_in_another_way_is_refused_with_what_mends_it(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"none of the concepts in its gold \(5 mentions\), such as 'x:1'; letter case alone is other in 1 of these"
    ):
        prepared(tmp_path, ["x:1"] * 5)


def test_mentions_and_ids_that_the_knowledge_base_lacks_are_counted_apart(tmp_path: Path):
    _, summary = prepared(tmp_path, [*["X:7"] * 9, "X:7+X:8", "X:1"])
    assert ", 10 with gold that the knowledge base lacks (2 distinct, such as 'X:7', 'X:8');" in in_short("prepare", summary)


def test_columns_that_are_not_read_are_told_of_once_where_several_sources_read_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = {"format": "table", "path": str(tmp_path / "m.csv"), "columns": {"text": "text", "gold": "gold"}}
    prepared(
        tmp_path, [], "text,gold,id\nsick,X:1,7\n", mentions=[{**source, "split": split} for split in ("test", "unlabelled", "corpus")]
    )
    assert said(capsys).count("m.csv: its column id is not read; name it under `columns` where that is meant") == 1


def test_texts_that_measure_and_are_learned_from_too_are_told_of_if_they_are_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    splits = {
        "test": ["Sick", "queasy", "ache", "sore"],
        "dev": ["tired", "dizzy", "weak", "faint", "hot", "cold"],
        "unlabelled": ["sick", "SICK ", "queasy", "faint", "wan"],
        "labelled": ["Tired", "pale"],
    }
    for split, texts in splits.items():
        (tmp_path / f"{split}.csv").write_text("text,gold\n" + "".join(f"{text},X:1\n" for text in texts))
    sources = {split: {"format": "table", "path": str(tmp_path / f"{split}.csv"), "split": split} for split in splits}
    prepared(tmp_path, [], mentions=list(sources.values()))
    told = said(capsys)
    assert (
        "note: 2 of 4 test and 1 of 6 dev texts are in the pool too, and measure a student that has met them: it links new texts less well"
        in told
    )
    assert "in the split labelled too" not in told  # a sixth of dev
    (tmp_path / "labelled.csv").write_text("text,gold\nTired,X:1\ndizzy,X:1\n")
    prepared(tmp_path, [], mentions=[sources["labelled"], sources["dev"]])
    assert "note: 2 of 6 dev texts are in the split labelled too" in said(capsys)


def test_one_text_or_id_with_several_golds_in_one_source_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = "id,text,gold,context\n1,sick,X:1,\n2,Sick,X:2,\n3,sick,X:1,\n4,sick,X:2,sick of it\n5,ill,X:1|X:2,\n5,ill,X:2|X:1,\n6,hot,X:1,\n6,cold,NIL,\n"
    prepared(tmp_path, [], rows)
    assert "m.csv: in labelled, dev, test 1 text and 1 id with different gold in different rows: of one question" in said(capsys)
    prepared(tmp_path, ["X:1", "X:2"])
    assert "different gold" not in said(capsys)


def test_the_most_frequent_reasons_why_mentions_were_set_aside_are_told(tmp_path: Path):
    long = "".join(f"{'x' * n},X:1\n" for n in (1001, 1002, 1003))
    _, summary = prepared(tmp_path, [], f"text,gold\nsick,X:1\n{long},X:1\n ,X:1\n[a,b,c\n")
    told = "text of n characters, more than 1000 (3), empty text (2), n cells where 2 are expected (1)"
    assert in_short("prepare", summary).endswith(
        f"6 rows set aside (6 of mentions: corpus/rejects.parquet); of mentions most often: {told}"
    )
    assert in_short("prepare", prepared(tmp_path, ["X:1"])[1]).endswith("; 0 rows set aside")
