"""Real corpora, as published; skipped where RPDR_DATA does not name a folder that has them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import MentionsConfig
from rpdr.corpus import Mention, read_mentions

DATA = Path(os.environ.get("RPDR_DATA") or "/nonexistent")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="RPDR_DATA does not name a folder of data sets")


def read(format: str, path: str, **settings: Any) -> tuple[list[Mention], list[dict[str, Any]]]:
    return read_mentions([MentionsConfig.model_validate({"format": format, "path": str(DATA / path), **settings})], seed=13)


@pytest.mark.parametrize(("part", "rows"), [("train", 15_612), ("validation", 845), ("test", 867)])
def test_askapatient_is_read_whole(part: str, rows: int) -> None:
    settings = {"encoding": "iso-8859-1", "header": False, "columns": {"gold": "0", "text": "2"}}
    mentions, rejects = read("table", f"askapatient/AskAPatient.fold-0.{part}.txt.gz", **settings)
    assert (len(mentions), rejects) == (rows, [])
    assert all(m.gold and len(m.gold[0]) == 1 and m.gold[0][0].isdecimal() for m in mentions)


def test_ncbi_disease_development_set_is_read_whole() -> None:
    mentions, rejects = read("pubtator", "ncbi_disease/NCBIdevelopset_corpus.txt", gold_prefix={"OMIM:": ""})
    assert (len(mentions), rejects) == (787, [])
    assert all(m.gold and m.context and m.text in m.context for m in mentions)
    assert not any("OMIM" in i for m in mentions for ids in m.gold or [] for i in ids)


def test_ncbi_disease_row_with_wrong_text_is_a_reject() -> None:
    mentions, rejects = read("pubtator", "ncbi_disease/NCBItrainset_corpus.txt")
    assert (len(mentions), [r["line"] for r in rejects]) == (5_144, [3_249])


def test_bc5cdr_relations_are_passed_over_and_minus_one_is_nil() -> None:
    mentions, rejects = read("pubtator", "bc5cdr/dev_corpus.PubTator.txt.gz")
    assert rejects == []
    assert set(Counter(m.type for m in mentions)) == {"Disease", "Chemical"}
    assert any(m.gold == [] for m in mentions)


def test_cadec_is_read_with_its_malformed_rows_as_rejects() -> None:
    mentions, rejects = read("standoff", "cadec/cadec.tar.gz", split_file=str(DATA / "cadec/splits.json"))
    assert len(mentions) + len(rejects) == 6_388
    assert {(r["file"].rsplit("/", 1)[1], r["line"]) for r in rejects} == {
        ("DICLOFENAC-SODIUM.7.ann", 7),
        ("DICLOFENAC-SODIUM.7.ann", 8),
        ("LIPITOR.944.ann", 4),
    }
    by_id = {m.mention_id: m for m in mentions}
    assert len([i for i in by_id if i.startswith("0:LIPITOR.253:")]) == 19
    assert by_id["0:LIPITOR.253:TT11"].gold == [["83901003"]]
    assert by_id["0:ARTHROTEC.140:TT3"].gold == [["102498003"], ["76948002"]]
    assert sum(m.gold == [] for m in mentions) == 314
    splits = json.loads((DATA / "cadec/splits.json").read_text(encoding="utf-8"))
    assert all(m.doc_id and splits[m.doc_id] == m.split for m in mentions)
