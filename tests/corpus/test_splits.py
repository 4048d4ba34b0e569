"""Which split a mention belongs to: by the hash of its text, by its document; and the sample that `keep_every` is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rpdr.corpus.normalise import clean
from rpdr.corpus.splits import text_hash
from rpdr.errors import DataError
from tests.corpus.sources import WORDS, read_mentions, source


def md5(text: str) -> int:
    return int(hashlib.md5(text.lower().encode()).hexdigest(), 16)


def test_hash_split_follows_md5_of_the_lower_case_text_and_drops_other_remainders(tmp_path: Path) -> None:
    rule = {"modulo": 10, "labelled": [0], "dev": [1, 2], "unlabelled": [3]}
    mentions, _ = read_mentions([source(tmp_path, WORDS, split=rule)], 13)
    split = {0: "labelled", 1: "dev", 2: "dev", 3: "unlabelled"}
    assert {m.text: m.split for m in mentions} == {r["text"]: split[md5(r["text"]) % 10] for r in WORDS if md5(r["text"]) % 10 in split}


def test_texts_that_differ_in_case_or_white_space_fall_on_the_same_side(tmp_path: Path) -> None:
    rows = [{"text": text} for row in WORDS for text in (row["text"], f" {row['text'].upper()}\t")]
    mentions, _ = read_mentions([source(tmp_path, rows, split={"modulo": 2, "labelled": [0], "test": [1]})], 13)
    assert len({(m.text.lower(), m.split) for m in mentions}) == len(WORDS)


def test_texts_of_one_key_fall_on_the_same_side(tmp_path: Path) -> None:
    rows = [{"text": text} for n in range(50) for text in (f"Fußpilz {n}", f"FUSSPILZ {n}", f"ΝΟΣΟΣ {n} ΝΟΣΟΣ", f"νοσοσ {n} νοσος")]
    mentions, _ = read_mentions([source(tmp_path, rows, split={"modulo": 2, "labelled": [0], "test": [1]})], 13)
    assert len({m.key for m in mentions}) == len({(m.key, m.split) for m in mentions}) == 100


@pytest.mark.parametrize("text", ["Ménière's Disease", "α-Synuclein ↑ 5 µg", "糖尿病 II 型", "İzmir fever", "Ångström ΐ ǰ"])
def test_other_texts_are_where_the_md5_of_their_lower_case_text_puts_them(text: str) -> None:
    assert text_hash(clean(text)) == md5(clean(text))


def test_keep_every_is_a_sample_by_hash_that_does_not_empty_a_hash_split(tmp_path: Path) -> None:
    kept, _ = read_mentions([source(tmp_path, WORDS, keep_every=5)], 13)
    assert [m.text for m in kept] == [r["text"] for r in WORDS if md5(r["text"]) % 5 == 0]
    rule = {"modulo": 5, "labelled": [0], "test": [1, 2, 3, 4]}
    assert {m.split for m in read_mentions([source(tmp_path, WORDS, keep_every=5, split=rule)], 13)[0]} == {"labelled", "test"}


def test_split_file_overrides_split_and_drops_unknown_documents(tmp_path: Path) -> None:
    splits = tmp_path / "splits.json"
    splits.write_text('{"A": "dev", "B": "test"}')
    rows: list[dict[str, Any]] = [{"text": "a", "doc_id": "A"}, {"text": "b", "doc_id": "B"}, {"text": "c", "doc_id": "C"}, {"text": "d"}]
    mentions, rejects = read_mentions([source(tmp_path, rows, split_file=str(splits))], 13)
    assert [(m.text, m.split) for m in mentions] == [("a", "dev"), ("b", "test")]
    assert [(r["line"], r["reason"]) for r in rejects] == [(4, "no document id, which split_file goes by")]
    splits.write_text('{"A": "train"}')
    with pytest.raises(DataError, match=r"splits\.json: 'A' has the split 'train'; the splits are labelled"):
        read_mentions([source(tmp_path, rows, split_file=str(splits))], 13)
    splits.write_text("{")
    with pytest.raises(DataError, match=r"splits\.json, line 1: not JSON"):
        read_mentions([source(tmp_path, rows, split_file=str(splits))], 13)


def test_split_documents_gives_shares_of_the_documents_in_the_order_of_the_source(tmp_path: Path) -> None:
    docs = ["b", "a", *"cdefghij", "a"]  # the last row is of a document that came before
    rows = [{"text": f"{doc} {n}", "type": "T" if doc != "b" else "U", "doc_id": doc} for n, doc in enumerate(docs)]
    shares = {"test": 0.2, "labelled": 0.1, "unlabelled": 0.6}  # in whatever order
    mentions, _ = read_mentions([source(tmp_path, rows, split_documents=shares)], 13)
    splits = {doc: {m.split for m in mentions if m.doc_id == doc} for doc in docs}
    assert splits == {"b": {"labelled"}, **{d: {"unlabelled"} for d in "acdefg"}, "h": {"test"}, "i": {"test"}, "j": set()}
    some, _ = read_mentions([source(tmp_path, rows, split_documents=shares, types=["T"])], 13)
    assert some == [m for m in mentions if m.type == "T"]  # what is filtered out still counts as a document


def test_split_documents_refuses_mentions_without_a_document(tmp_path: Path) -> None:
    rows = [{"text": "a", "doc_id": "A"}, {"text": "b"}]
    mentions, rejects = read_mentions([source(tmp_path, rows, split_documents={"test": 1.0})], 13)
    assert [m.text for m in mentions] == ["a"]
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "no document id, which split_documents goes by")]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"split_documents": {"labelled": 0.5, "test": 0.6}}, "the shares make 1.1"),
        ({"split_documents": {}}, "the shares make 0"),
        ({"split_documents": {"test": 1.0}, "split_file": "x.json"}, "give one of them"),
    ],
)
def test_splits_by_document_that_contradict_themselves_are_refused(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        source(tmp_path, WORDS, **settings)


def test_hash_split_of_the_given_text_is_the_plain_md5_that_others_use(tmp_path: Path) -> None:
    rows = [{"text": text} for n in range(200) for text in (f"ＡＢ{n}（术）", f"Word {n}", f"half \ud83d {n}")]
    halves = {"modulo": 2, "labelled": [0], "test": [1]}
    as_given, _ = read_mentions([source(tmp_path, rows, split={**halves, "of": "given"})], 13)
    cleaned, _ = read_mentions([source(tmp_path, rows, split=halves)], 13)
    wanted = [int(hashlib.md5(row["text"].encode(errors="surrogatepass")).hexdigest(), 16) % 2 for row in rows]
    assert [m.split for m in as_given] == [("labelled", "test")[n] for n in wanted]
    assert [m.split for m in cleaned] == [("labelled", "test")[md5(m.text) % 2] for m in cleaned]
    assert as_given != cleaned
