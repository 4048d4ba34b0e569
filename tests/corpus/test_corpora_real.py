"""Real corpora, as published; skipped where RPDR_DATA does not name a folder that has them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import MentionsConfig, load
from rpdr.corpus import KnownConcepts, Mention
from rpdr.kb import read_kb
from rpdr.schema import SPLITS
from tests.corpus.sources import read_mentions

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
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
    assert all(m.gold and m.context and (m.written or m.text) in m.context for m in mentions)
    assert not any("OMIM" in i for m in mentions for ids in m.gold or [] for i in ids)


def test_ncbi_disease_training_set_is_read_whole_with_the_row_that_has_more_white_space_than_its_document() -> None:
    mentions, rejects = read("pubtator", "ncbi_disease/NCBItrainset_corpus.txt", gold_bar="all")
    assert (len(mentions), rejects) == (5_145, [])
    assert next(m for m in mentions if m.mention_id == "0:10923035:711-761").gold == [["D004829", "D003294"]]
    assert len({m.doc_id for m in mentions}) == 592  # of 593 abstracts: one is there twice


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


PROTOCOLS = {  # config -> concepts, rejected rows, gold outside the knowledge base, and by split: mentions, NIL, those with several concepts
    "askapatient": (
        *(1_036, 0, 0),
        {"labelled": (1_333, 0, 0), "unlabelled": (14_279, 0, 0), "dev": (845, 0, 0), "test": (867, 0, 0)},
    ),
    "cadec": (
        *(1_044, 3, 3),
        {"labelled": (736, 35, 13), "unlabelled": (3_798, 180, 112), "dev": (865, 43, 18), "test": (986, 56, 38)},
    ),
    "ncbi_disease": (
        *(11_915, 0, 0),
        {"labelled": (547, 0, 9), "unlabelled": (4_083, 0, 89), "dev": (515, 0, 10), "test": (787, 0, 30)},
    ),
    "bc5cdr_disease": (
        *(11_915, 0, 68),
        {"labelled": (350, 1, 17), "unlabelled": (3_407, 30, 68), "dev": (425, 1, 9), "test": (4_244, 16, 97)},
    ),
    "bc5cdr_chemical": (
        *(29_054, 0, 1_200),
        {"labelled": (401, 4, 1), "unlabelled": (4_138, 39, 2), "dev": (664, 1, 0), "test": (5_347, 43, 2)},
    ),
    "chip2019": (
        *(9_468, 0, 0),
        {"labelled": (411, 0, 21), "unlabelled": (3_159, 0, 155), "dev": (430, 0, 23), "test": (1_000, 0, 50)},
    ),
    "chip_cdn": (
        *(37_645, 0, 498),
        {"labelled": (604, 19, 314), "unlabelled": (4_197, 196, 2_131), "dev": (611, 26, 324), "test": (588, 17, 309)},
    ),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_shipped_config_reads_its_data_set_by_the_protocol(name: str) -> None:
    config = load(CONFIGS / f"{name}.yaml")
    concepts, refused = read_kb(config.kb)
    known = KnownConcepts(concepts)
    mentions, rejects = read_mentions(config.mentions, config.seed, known)
    assert all(m.gold is not None for m in mentions)
    counts = {
        split: (len(some), sum(m.gold == [] for m in some), sum(any(len(ids) > 1 for ids in m.gold or []) for m in some))
        for split in SPLITS
        if (some := [m for m in mentions if m.split == split])
    }
    assert (len(concepts), len(refused) + len(rejects), known.unknown.total(), counts) == PROTOCOLS[name]


def test_the_first_tenth_of_the_abstracts_is_labelled() -> None:
    mentions, _ = read_mentions(load(CONFIGS / "ncbi_disease.yaml").mentions, 13)
    labelled = {m.doc_id for m in mentions if m.split == "labelled"}
    with (DATA / "ncbi_disease/NCBItrainset_corpus.txt").open(encoding="utf-8") as file:
        titles = [line.partition("|")[0] for line in file if "|t|" in line]
    assert labelled == set(titles[:59])


def test_chinese_sets_are_split_by_the_md5_of_the_text_as_it_stands() -> None:
    with (DATA / "chip_cdn/CHIP-CDN_train.json").open(encoding="utf-8") as file:
        texts = [row["text"] for row in json.load(file)]
    mentions, _ = read_mentions(load(CONFIGS / "chip_cdn.yaml").mentions, 13)
    split = {0: "test", 1: "dev", 2: "labelled"}
    wanted = [split.get(int(hashlib.md5(text.encode()).hexdigest(), 16) % 10, "unlabelled") for text in texts]
    assert [m.split for m in mentions] == wanted
