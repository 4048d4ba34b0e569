"""Abbreviations that a document defines, and mentions with them written out."""

from __future__ import annotations

import time

import pytest

from rpdr.corpus.abbreviations import definitions, written_out
from rpdr.corpus.normalise import MAX_CHARS, clean


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("Duchenne muscular dystrophy (DMD) is severe.", {"DMD": "Duchenne muscular dystrophy"}),
        ("in patients with DMD (Duchenne muscular dystrophy), who", {"DMD": "Duchenne muscular dystrophy"}),
        ("Wiskott-Aldrich syndrome (WAS; MIM 301000)", {"WAS": "Wiskott-Aldrich syndrome"}),
        (
            "attenuated adenomatous polyposis coli (AAPC)",
            {"AAPC": "attenuated adenomatous polyposis coli"},
        ),  # and not from the nearest a on
        ("ataxia-telangiectasia (A-T)", {"A-T": "ataxia-telangiectasia"}),
        ("atelosteogenesis type 2 [AO2]", {"AO2": "atelosteogenesis type 2"}),
        ("adrenoleukodystrophy (ALD)", {"ALD": "adrenoleukodystrophy"}),
        ("We saw it. Renal cell carcinoma (RCC)", {"RCC": "Renal cell carcinoma"}),
        ("heat shock protein (HSP) and heavy smoking people (HSP)", {"HSP": "heat shock protein"}),
        ("breast cancer cases on chromosome 17q (BRCA1)", {}),  # a digit is not found in the midst of a number
        ("glycogen storage disease type 1 (GSD1)", {"GSD1": "glycogen storage disease type 1"}),
        ("hepatitis type 10 (H10)", {"H10": "hepatitis type 10"}),
        ("in İstanbul and İzmir renal cell carcinoma (RCCa)", {"RCCa": "renal cell carcinoma"}),  # İ in lower case is two characters
        ("three patients (see below) and others (n)", {}),
        ("fever of unknown origin (12)", {}),
        ("a rash, all over (DMD)", {}),
        ("complained for months and he switched me to another drug (Crestor)", {}),
        ("restless legs syndrome (rls)", {"rls": "restless legs syndrome"}),
        ("DMD gene in DMD (DMD)", {}),
        ("(DMD)", {}),
        ("pain (particularly in neck), cold (chills or low drive)", {}),
        ("legs (lower extremities getting sore), it was okay (ok)", {}),
        ("inability to sleep (is) and weak (was extremely achy knees)", {}),
        ("杜氏肌营养不良，Duchenne muscular dystrophy（DMD）", {"DMD": "Duchenne muscular dystrophy"}),
        ("Gaucher \ud800disease\x00  type (GDT)", {"GDT": "Gaucher disease type"}),
        ("", {}),
    ],
)
def test_definitions(document: str, expected: dict[str, str]):
    assert definitions(document) == expected


LONG = {"DMD": "Duchenne muscular dystrophy", "HPT-JT": "hyperparathyroidism-jaw tumor syndrome", "A-T": "ataxia-telangiectasia"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DMD", "Duchenne muscular dystrophy"),
        ("carriers of DMD", "carriers of Duchenne muscular dystrophy"),
        ("DMD, A-T", "Duchenne muscular dystrophy, ataxia-telangiectasia"),
        ("HPT-JT syndrome", "hyperparathyroidism-jaw tumor syndrome"),
        ("Duchenne muscular dystrophy (DMD)", "Duchenne muscular dystrophy (DMD)"),
        ("DMDs", "DMDs"),
        ("non-DMD", "non-DMD"),
        ("dmd", "dmd"),
    ],
)
def test_whole_words_are_written_out(text: str, expected: str):
    assert written_out(text, LONG) == expected


def test_what_a_long_form_holds_is_taken_as_it_is():
    assert written_out("a AB", {"AB": r"alpha \\1 beta"}) == r"a alpha \\1 beta"


def test_nothing_that_was_written_out_is_written_out_again_and_no_text_grows_past_its_limit():
    chain = {"AB": "CD CD CD alpha", "CD": "AB AB beta"}
    assert written_out("AB CD", chain) == "CD CD CD alpha AB AB beta"
    assert written_out("AB " * 300, {"AB": "a long form of it"}) == "AB " * 300
    assert len(written_out("AB " * 20, {"AB": "a long form of it"})) <= MAX_CHARS


def test_a_document_of_hostile_length_is_read_in_bearable_time():
    begin = time.process_time()
    for document in ("(" * 300_000, "a(ab)" * 100_000, "ab (" + "a" * 500_000, "(a " * 100_000, "a b (AB) " * 50_000):
        forms = definitions(document)
        assert all(clean(form) == form for pair in forms.items() for form in pair)
    many = {f"A{n}": f"alpha {n}" for n in range(1000)}
    for _ in range(20):
        written_out(" ".join(f"A{n}" for n in range(200)), many)
    assert time.process_time() - begin < 60
