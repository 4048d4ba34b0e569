"""A system's scores over all and unseen mentions, and the tables that show them."""

from __future__ import annotations

import io
from dataclasses import asdict

import numpy as np
import pytest
from rich.console import Console

from rpdr.evaluation import Resampling, SystemResult, compare_sets, evaluate
from rpdr.evaluation.table import markdown_table, results_table
from rpdr.schema import ConceptId, Gold

RANKED = [["C1"], ["C2", "C1"], [None, "C9"]]
GOLDS = [[["C1"]], [["C1"]], []]


def result(name: str = "student", price_usd: float | None = None, mentions_per_s: float | None = None) -> SystemResult:
    unseen, drawn = np.array([False, True, False]), Resampling(100, 1)
    return evaluate(name, RANKED, GOLDS, unseen, resampling=drawn, price_usd=price_usd, mentions_per_s=mentions_per_s)


def test_scores_are_of_all_mentions_and_of_unseen_ones() -> None:
    got = result()
    assert (got.mentions, got.unseen_mentions) == (3, 1)
    assert got.acc_at_1.value == pytest.approx(2 / 3)
    assert got.acc_at_5.value == 1
    assert got.recall_at_10 is not None
    assert got.recall_at_10.value == 1
    assert got.unseen_acc_at_1 is not None
    assert got.unseen_acc_at_1.value == 0
    assert got.acc_at_1.low <= got.acc_at_1.value <= got.acc_at_1.high


def test_a_score_without_mentions_is_none() -> None:
    got = evaluate("x", [[None]], [[]], np.array([False]), resampling=Resampling(100, 1))
    assert got.recall_at_10 is None
    assert got.unseen_acc_at_1 is None
    assert got.unseen_recall_at_10 is None


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="not equally many"):
        evaluate("x", [["C1"]], [[], []], np.array([False]), resampling=Resampling(100, 1))


def test_terminal_table_fits_80_columns_and_takes_names_literally() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table([asdict(result("retriever [bold]")), asdict(result("student", price_usd=0.214, mentions_per_s=1234.5))]))
    text = console.export_text()
    assert "retriever [bold]" in text
    assert "0.667" in text
    assert "$0.214" in text
    assert "1,234.5" in text
    assert max(map(len, text.splitlines())) <= 80


def test_markdown_table_has_three_decimals_intervals_and_only_columns_with_values() -> None:
    lines = markdown_table([asdict(result("a|b", price_usd=12.0))]).splitlines()
    assert lines[0] == "| System | Acc@1 | Acc@5 | Recall@10 | Acc@1, unseen | Price |"
    assert lines[2].startswith("| a\\|b | 0.667 [")
    assert "| 1.000 [1.000, 1.000] |" in lines[2]
    assert lines[2].endswith("| $12.00 |")


def test_micro_f1_is_measured_where_a_gold_has_several_together_and_not_elsewhere() -> None:
    golds, ranked = [[["C1", "C2"]], [["C3"]], []], [["C1", "C2"], ["C3"], [None, "C1"]]
    unseen = np.array([True, False, False])
    one = evaluate("one", ranked, golds, unseen, resampling=Resampling(200, 1))
    whole = evaluate("whole", ranked, golds, unseen, resampling=Resampling(200, 1), sets=[["C1", "C2"], ["C3"], []])
    assert one.micro_f1 is not None
    assert one.micro_f1.value == pytest.approx(2 * 2 / (2 + 3))
    assert one.unseen_micro_f1 is not None
    assert one.unseen_micro_f1.value == pytest.approx(2 / 3)
    assert whole.micro_f1 is not None
    assert whole.micro_f1.value == 1
    assert result().micro_f1 is None
    assert "Micro F1" in markdown_table([asdict(whole)])
    assert "Micro F1" not in markdown_table([asdict(result())])


def test_sets_are_compared_by_all_concepts_of_an_answer() -> None:
    golds: list[Gold] = [[[ConceptId("A"), ConceptId("B")]]] * 40
    both, one = [[ConceptId("A"), ConceptId("B")]] * 40, [[ConceptId("A")]] * 40
    found = compare_sets(both, one, golds, Resampling(100, 1))
    assert found.difference == pytest.approx(1 - 2 / 3)
    assert (found.a_only, found.b_only) == (40, 0)
    assert found.p_value < 0.001
    assert compare_sets(one, one, golds, Resampling(100, 1)).p_value == 1.0
