"""Mentions in .ann folders and archives: what is read, what its rows mean, and what becomes a reject."""

from __future__ import annotations

import io
import tarfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import MentionsConfig
from rpdr.corpus import Mention, stream_mentions
from rpdr.errors import DataError
from tests.corpus.sources import put, read


def test_standoff_mentions_are_written_out_by_their_document(tmp_path: Path) -> None:
    put(tmp_path / "text" / "A.txt", "Muscle pain (MP). My MP is bad.")
    put(tmp_path / "sct" / "A.ann", "TT1\t267032009 | Pain | 21 23\tMP\n")
    assert [(m.text, m.written) for m in read(tmp_path, "standoff")[0]] == [("Muscle pain", "MP")]


@pytest.mark.parametrize("given", ["unknown", "nil"])
def test_a_standoff_row_without_a_concept_is_read_where_nobody_asks_for_gold(tmp_path: Path, given: str) -> None:
    put(tmp_path / "A.txt", "bad headache today")
    put(tmp_path / "A.ann", "T1\tDisease 4 12\theadache\n")
    [mention], rejects = read(tmp_path, "standoff", gold=given)
    assert (mention.text, mention.gold, rejects) == ("headache", None if given == "unknown" else [], [])


def test_a_mark_of_byte_order_before_standoff_rows_is_in_no_id_and_a_note_stays_one(tmp_path: Path) -> None:
    put(tmp_path / "A.ann", "\ufeffTT1\t267032009 | Pain | 0 4\tpain\n")
    put(tmp_path / "B.ann", "\ufeff#1\ta note\nTT1\t267032009 | Pain | 0 4\tpain\n")
    mentions, rejects = read(tmp_path, "standoff")
    assert [m.mention_id for m in mentions] == ["0:A:TT1", "0:B:TT1"]
    assert rejects == []


POST = "Tired and sad. Severe pain in neck, clumsy."

ANN = """TT1\t267032009 | Tired | or 102498003 | Agony or pain | 0 5\tTired
TT2\t76948002|Severe pain|+81680005 | Neck + pain |  15 26;30 34\tneck Severe pain
TT3\tCONCEPT_LESS 36 42\tclumsy
#1\tAnnotatorNotes TT3\tno concept
TT4     22253000 | Pain | 22 26     pain
TT5\t22253000 | Pain | 22 26\tcough
TT6\t | 22 26\tpain
TT7\t22253000 | Pain\tpain
TT8\t44054006 | Type 2 sadness 10 13\tsad
"""


def check_standoff(mentions: list[Mention], rejects: list[dict[str, Any]]) -> None:
    assert [(m.mention_id, m.gold) for m in mentions] == [
        ("0:P.1:TT1", [["267032009"], ["102498003"]]),
        ("0:P.1:TT2", [["76948002", "81680005"]]),
        ("0:P.1:TT3", []),
        ("0:P.1:TT8", [["44054006"]]),
    ]
    assert mentions[1].text == "neck Severe pain"
    assert mentions[1].context == "Severe pain in neck, clumsy."
    assert {m.doc_id for m in mentions} == {"P.1"}
    assert [r["line"] for r in rejects] == [5, 6, 7, 8]
    assert rejects[0]["file"].endswith("sct/P.1.ann")


def test_standoff_folder_reads_rows_and_rejects_malformed_ones(tmp_path: Path) -> None:
    put(tmp_path / "c/text/P.1.txt", POST)
    put(tmp_path / "c/sct/P.1.ann", ANN)
    put(tmp_path / "c/meddra/P.1.ann", "TT1\t10028411 0 5\tTired\n")
    check_standoff(*read(tmp_path / "c", "standoff"))


def test_standoff_archive_reads_the_same_as_its_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for name, text in {"c/sct/P.1.ann": ANN, "c/text/P.1.txt": POST}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    check_standoff(*read(tmp_path / "c.tar.gz", "standoff"))


def test_a_name_in_a_standoff_folder_that_is_no_utf8_is_refused_where_it_is_read(tmp_path: Path) -> None:
    put(tmp_path / "c/text/P.1.txt", POST)
    put(tmp_path / "c/sct/P.1.ann", ANN)
    put(tmp_path / "c/sct/m\udce9d.pdf", "not read")
    check_standoff(*read(tmp_path / "c", "standoff"))
    put(tmp_path / "c/sct/m\udce9d.ann", ANN)
    with pytest.raises(DataError, match=r"/c/sct/m\\xe9d\.ann: this name is no UTF-8; rename it$"):
        read(tmp_path / "c", "standoff")


def test_a_member_of_a_standoff_archive_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("c/m\udce9d.ann"))
    with pytest.raises(DataError, match=r"/c\.tar\.gz/c/m\\xe9d\.ann: this name is no UTF-8; rename it$"):
        read(tmp_path / "c.tar.gz", "standoff")


def test_a_standoff_archive_is_read_in_the_memory_of_a_few_documents(tmp_path: Path) -> None:
    for n in range(40):
        put(tmp_path / f"c/text/{n}.txt", "pain." + " " * 500_000)
        put(tmp_path / f"c/sct/{n}.ann", "TT1\t22253000 | Pain | 0 4\tpain\n")
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(tmp_path / "c", "c")
    tracemalloc.start()
    assert sum(1 for _ in stream_mentions([MentionsConfig(format="standoff", path=str(tmp_path / "c.tar.gz"))], 13)) == 40
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20  # of the 20 MB that they all take


@pytest.mark.parametrize("filler", [" ", "1", "1 ", "|", "1 2;"])
def test_a_long_standoff_cell_is_refused_or_read_in_no_time(tmp_path: Path, filler: str) -> None:
    put(tmp_path / "A.ann", f"TT1\t22253000 | Pain {filler * 10**5}x\tpain\nTT2\t22253000 | Pain | 0 4{' ' * 10**5}\tpain\n")
    started = time.process_time()
    mentions, rejects = read(tmp_path, "standoff")
    assert time.process_time() - started < 2
    assert [m.gold for m in mentions] == [[["22253000"]]]
    assert [(r["line"], r["reason"]) for r in rejects] == [(1, "no offsets after the concepts")]


def test_a_standoff_folders_documents_are_opened_one_at_a_time(tmp_path: Path) -> None:
    for name in "AB":
        put(tmp_path / "c" / f"sct/{name}.ann", "TT1\t22253000 | Pain | 0 4\tPain\n")
    found = stream_mentions([MentionsConfig(format="standoff", path=str(tmp_path / "c"))], 13)
    assert next(found)
    put(tmp_path / "c/sct/B.ann", "TT1\t49727002 | Cough | 0 5\tCough\n")
    assert [mention.text for mention in found if isinstance(mention, Mention)] == ["Cough"]


def test_standoff_documents_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for name in ("A/1", "B/1", "B/2"):
        put(tmp_path / f"{name}.ann", "T1\t22253000 | Pain | 0 4\tPain\n")
        put(tmp_path / f"{name}.txt", f"Pain in {name}")
    mentions, _ = read(tmp_path, "standoff")
    assert [(m.mention_id, m.doc_id, m.context) for m in mentions] == [
        ("0:A/1:T1", "A/1", "Pain in A/1"),
        ("0:B/1:T1", "B/1", "Pain in B/1"),
        ("0:2:T1", "2", "Pain in B/2"),
    ]


def test_standoff_file_that_is_not_utf8_is_read_as_cp1252(tmp_path: Path) -> None:
    put(tmp_path / "sct/A.ann", "TT1\t83901003 | Sjögren's syndrome | 0 7\tSjögren\n", "cp1252")
    put(tmp_path / "sct/B.ann", "TT1\t22253000 | Pain | 0 4\tPain\n")
    put(tmp_path / "text/A.txt", "Sjögren here", "cp1252")
    assert [(m.text, m.context) for m in read(tmp_path, "standoff")[0]] == [("Sjögren", "Sjögren here"), ("Pain", None)]


def test_standoff_without_annotations_or_a_whole_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.ann file"):
        read(tmp_path, "standoff")
    with pytest.raises(DataError, match="neither a folder nor a whole"):
        read(put(tmp_path / "x.tar.gz", "not a tar"), "standoff")
