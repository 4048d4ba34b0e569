"""Every wrong answer and every wrong label has one cause; a right one has none."""

from __future__ import annotations

import pytest

from rpdr.evaluation import ERRORS, NOISE, error_cause, noise_kind

OFFERED = ["C1", "C2", "C3"]


@pytest.mark.parametrize(
    ("answer", "gold", "cause"),
    [
        ("C1", [["C1"]], None),
        ("C2", [["C1", "C2"]], None),  # one of several together is right, as in metrics.is_hit
        (None, [], None),
        ("C2", [["C1"]], "ranked_below"),
        (None, [["C1"]], "said_nil"),
        ("C1", [["C9"]], "not_retrieved"),
        (None, [["C9"]], "not_retrieved"),
        ("C1", [["C9"], ["C3"]], "ranked_below"),  # one alternative was a candidate
        ("C1", [], "nil_linked"),
    ],
)
def test_the_cause_of_an_answer(answer: str | None, gold: list, cause: str | None):
    assert error_cause(answer, gold, OFFERED) == cause
    assert cause is None or cause in ERRORS


def test_gold_that_the_knowledge_base_lacks_is_no_miss_of_the_retriever():
    assert error_cause("C1", [["C9"]], OFFERED, known={"C1", "C2", "C3"}) == "unknown_gold"
    assert error_cause("C1", [["C9"]], OFFERED, known={"C1", "C2", "C3", "C9"}) == "not_retrieved"
    assert error_cause("C1", [], OFFERED, known={"C1"}) == "nil_linked"


def test_what_an_exact_name_decided_wrongly_is_told_apart():
    assert error_cause("C1", [["C2"]], OFFERED, exact=True) == "exact_name"
    assert error_cause("C1", [["C1"]], OFFERED, exact=True) is None
    assert error_cause("C1", [], OFFERED, exact=True) == "nil_linked"


@pytest.mark.parametrize(
    ("label", "gold", "kind"),
    [
        ("C1", [["C1"]], None),
        (None, [], None),
        (None, [["C9"]], None),  # nothing offered was right
        ("C2", [["C1"]], "another_though_offered"),
        (None, [["C1"]], "none_though_offered"),
        ("C2", [["C9"]], "another_none_offered"),
        ("C2", [], "concept_for_nil"),
    ],
)
def test_the_kind_of_a_label(label: str | None, gold: list, kind: str | None):
    assert noise_kind(label, gold, OFFERED) == kind
    assert kind is None or kind in NOISE
