"""What counts as right, by hand-computed cases."""

from __future__ import annotations

import pytest

from rpdr.evaluation.metrics import is_hit, micro_f1, nearest, outcomes, recall_outcomes, set_counts

RANKED = [["C1", "C2"], ["C3", None, "C4"], [None, "C5"], []]
GOLDS = [[["C2"]], [], [["C5", "C6"]], [["C7"]]]


@pytest.mark.parametrize(
    ("ranked", "gold", "k", "right"),
    [
        (["C1"], [["C1"]], 1, True),
        (["C2", "C1"], [["C1"]], 1, False),
        (["C2", "C1"], [["C1"]], 2, True),
        (["C2"], [["C1"], ["C2"]], 1, True),  # either
        (["C2"], [["C1", "C2"]], 1, True),  # both: one member is enough for a linker that gives one
        ([None, "C1"], [], 1, True),
        (["C1", None], [], 1, False),
        (["C1", None], [], 2, True),
        (["C1"], [], 1, False),
        ([None, "C1"], [["C1"]], 1, False),
        ([], [], 5, False),
    ],
)
def test_hit_follows_the_convention(ranked: list, gold: list, k: int, right: bool) -> None:
    assert is_hit(ranked, gold, k) is right


def test_none_takes_a_position_for_accuracy_but_not_for_recall() -> None:
    assert outcomes(RANKED, GOLDS, 1).tolist() == [False, False, False, False]
    assert outcomes(RANKED, GOLDS, 2).tolist() == [True, True, True, False]
    assert recall_outcomes(RANKED, GOLDS, 1).tolist() == [
        False,
        True,
        False,
    ]  # C5 is first once None is left out; the NIL mention is not counted


def test_lengths_and_k_are_checked() -> None:
    with pytest.raises(ValueError, match="k: 0"):
        is_hit(["C1"], [["C1"]], 0)
    with pytest.raises(ValueError, match=r"longer|shorter"):
        outcomes(RANKED, GOLDS[:2], 1)


def test_an_answer_of_several_concepts_is_counted_against_the_nearest_alternative() -> None:
    both, either = [["C1", "C2"]], [["C1"], ["C2", "C3"]]
    assert nearest({"C3"}, either) == {"C2", "C3"}
    assert nearest({"C9"}, either) == {"C1"}  # equally far: the smallest
    assert nearest({"C1"}, []) == set()
    answers = [["C1", "C2"], ["C1"], ["C2", "C9"], [], ["C4"], []]
    golds = [both, both, either, both, [], []]
    counts = set_counts(answers, golds)
    assert counts.tolist() == [[2, 2, 2], [1, 1, 2], [1, 2, 2], [0, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert micro_f1(counts) == pytest.approx(2 * 4 / (6 + 8))
    assert micro_f1(counts[5:]) == 1
    assert set_counts([], []).shape == (0, 3)
