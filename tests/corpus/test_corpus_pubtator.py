"""Mentions as PubTator has them: what is read, what its ids mean, and what becomes a reject."""

from __future__ import annotations

from pathlib import Path

from rpdr.corpus.pubtator import with_prefix
from tests.corpus.sources import put, read

PUBTATOR = """1|t|Bad fever and cough.
1|a|The fever (influenza|flu) went.
1\t4\t9\tfever\tDisease\tD1
1\t14\t19\tcough\tDisease\t D2+D3
1\t25\t30\tfever\tDisease\tOMIM:7|D1
1\t32\t45\tinfluenza|flu\tDisease\t-1
1\tCID\tD1\tD2
1\t0\t3\tfever\tDisease\tD1
1\t4\tnine\tfever\tDisease\tD1
2\t4\t9\tfever\tDisease\tD1
1\tfever

2|t|Pain
2|a|Gone
2\t0\t4\tPain\tSymptom
"""


def test_pubtator_reads_annotations_with_context_and_gold(tmp_path: Path) -> None:
    mentions, _ = read(put(tmp_path / "p.txt", PUBTATOR), "pubtator", gold_prefix={"": "MESH:", "OMIM:": "omim."})
    assert [(m.text, m.gold) for m in mentions] == [
        ("fever", [["MESH:D1"]]),
        ("cough", [["MESH:D2", "MESH:D3"]]),
        ("fever", [["omim.7"], ["MESH:D1"]]),
        ("influenza|flu", []),
        ("Pain", None),
    ]
    assert [m.mention_id for m in mentions][:2] == ["0:1:4-9", "0:1:14-19"]
    assert mentions[0].context == "Bad fever and cough."
    assert mentions[2].context == "The fever (influenza|flu) went."
    assert (mentions[4].doc_id, mentions[4].type) == ("2", "Symptom")


def test_pubtator_ids_of_which_nothing_is_left_are_not_annotated(tmp_path: Path) -> None:
    path = put(tmp_path / "p.txt", "1|t|Pain\n1|a|\n1\t0\t4\tPain\tSymptom\t|\n1\t0\t4\tPain\tSymptom\t-1\n")
    assert [m.gold for m in read(path, "pubtator")[0]] == [None, []]


def test_pubtator_rows_that_do_not_fit_their_document_are_rejects(tmp_path: Path) -> None:
    _, rejects = read(put(tmp_path / "p.txt", PUBTATOR), "pubtator")
    assert [r["line"] for r in rejects] == [8, 9, 10, 11]
    assert rejects[0]["reason"] == "at 0-3 the document has another text"
    assert "not numbers" in rejects[1]["reason"]
    assert "another document" in rejects[2]["reason"]


def test_pubtator_text_may_differ_from_its_document_in_white_space(tmp_path: Path) -> None:
    text = '7|t|Fits " plus "\n7|a|And  more.\n7\t0\t13\tFits " plus "  \tDisease\tD1\n7\t5\t23\t" plus " And more\tDisease\tD2\n'
    mentions, rejects = read(put(tmp_path / "p.txt", text), "pubtator")
    assert [(m.text, m.gold) for m in mentions] == [('Fits " plus "', [["D1"]]), ('" plus " And more', [["D2"]])]
    assert rejects == []


def test_pubtator_composite_mention_has_all_its_concepts(tmp_path: Path) -> None:
    text = "7|t|Eye and ear toxicity\n7|a|\n7\t0\t20\tEye and ear toxicity\tDisease\tD1|OMIM:2\tEye toxicity|ear toxicity\n"
    path = put(tmp_path / "p.txt", text)
    assert read(path, "pubtator", gold_bar="all", gold_prefix={"OMIM:": ""})[0][0].gold == [["D1", "2"]]
    assert read(path, "pubtator")[0][0].gold == [["D1"], ["OMIM:2"]]


def test_gold_prefix_is_put_before_ids_without_a_colon_only() -> None:
    assert with_prefix("D1", {"": "MESH:"}) == "MESH:D1"
    assert with_prefix("OMIM:1", {"": "MESH:"}) == "OMIM:1"
    assert with_prefix("OMIM:1", {"OMIM:": ""}) == "1"
    assert with_prefix("D1", {}) == "D1"
