"""Tidying of text, keys of mentions and the passage around a span."""

from __future__ import annotations

import time

import pytest

from rpdr.corpus import mention_key, normalise
from rpdr.corpus.context import given_context, hidden_in, window
from rpdr.corpus.normalise import MAX_CHARS, clean


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        ("  Head\t\x00ache \n", "head ache"),
        ("ＡＢＣ（ｘ）", "abc(x)"),
        ("Straße", "strasse"),
        ("ﬁbrosis", "fibrosis"),
        ("a\u2028b\x85c\u3000d", "a b c d"),
        ("half \ud83d pair", "half pair"),
        ("\ufeffhead\u200bac\u00adhe\u2060", "headache"),
        ("e\u00ad\u0301", "é"),
        ("\u00ad\u200b", ""),
        ("می\u200cخواهم\u200d", "می\u200cخواهم\u200d"),
        ("", ""),
    ],
)
def test_normalise_makes_texts_that_look_the_same_equal(raw: str, tidy: str) -> None:
    assert normalise(raw) == tidy


@pytest.mark.parametrize("raw", ["ͅΑ", "ΐ", "İstanbul", "ﷺ" * 300, "㍿ ™ Ⅳ", "e\u0301" * 999])
def test_normalise_twice_is_normalise_once_and_within_the_cap(raw: str) -> None:
    assert normalise(normalise(raw)) == normalise(raw)
    assert len(clean(raw)) <= MAX_CHARS


def test_clean_keeps_letter_case() -> None:
    assert clean(" COX-2\u00a0Inhibitor ") == "COX-2 Inhibitor"


def test_a_megabyte_of_text_is_cut_before_it_costs_anything() -> None:
    started = time.thread_time()  # not the clock's, which goes on while others have the CPU
    assert len(normalise("ﷺ \x00" * 400_000)) <= MAX_CHARS
    assert time.thread_time() - started < 0.1


def test_key_is_the_same_for_the_same_question_only() -> None:
    key = mention_key("Head  Ache", "Disease", "A head ache.")
    assert key == mention_key("head ache", "Disease", " a HEAD ache. ")
    assert len(key) == 32
    assert int(key, 16) >= 0
    others = [
        mention_key("head ache"),
        mention_key("head ache", "Disease"),
        mention_key("head", "ache"),
        mention_key("head ache", None, "Disease"),
    ]
    assert len({key, *others}) == 5


def test_window_is_the_sentence_around_the_span_where_it_is_near() -> None:
    text = "First one. I had bad leg pain for 2.5 weeks. Then it went."
    start = text.index("leg pain")
    assert window(text, start, start + 8) == "I had bad leg pain for 2.5 weeks."


def test_window_is_cut_at_words_where_no_sentence_ends() -> None:
    text = "word " * 100 + "pain " + "word " * 100
    found = window(text, 500, 504)
    assert set(found.split()) == {"word", "pain"}
    assert 150 < len(found) <= 204


def test_long_given_context_is_cut_around_the_mention() -> None:
    context = given_context("x " * 5000 + "leg pain" + " y" * 5000, "leg pain")
    assert context is not None
    assert "leg pain" in context
    assert len(context) <= MAX_CHARS
    assert given_context("  ", "leg pain") is None


@pytest.mark.parametrize("text", ["knee pain ", " knee  pain", "knee\npain"])
def test_white_space_of_the_mention_may_differ_from_that_of_its_context(text: str) -> None:
    for there in ("knee pain", "knee \n pain"):
        context = given_context("x " * 5000 + there + " y" * 5000, text)
        assert context is not None
        assert "knee pain" in context


def test_a_mention_of_white_space_alone_is_found_nowhere() -> None:
    assert given_context("x " * 5000, " ") == given_context("x " * 5000, "")


def test_what_a_document_hides_is_hidden_wherever_a_context_stands_in_it():
    document = "Mr Novak said: Novak has pain. MRN 4433 and Novak has pain."
    spans = [(3, 8, "NAME"), (15, 20, "NAME"), (35, 39, "RECORD"), (44, 49, "NAME")]
    assert hidden_in("Novak has pain.", document, spans) == [(0, 5, "NAME")]
    assert hidden_in("vak has pain. MRN 44", document, spans) == [(0, 3, "NAME"), (18, 20, "RECORD")]
    assert hidden_in("has pain", document, spans) == []
    assert hidden_in("\u0301 has pain", document, spans) == [(0, 10, "CONTEXT")]  # half of a composed character: it is not known where
