"""Parts of the mentions: which is in which, and what two systems score there."""

from __future__ import annotations

import numpy as np
import pytest

from rpdr.evaluation import Resampling, by_count, by_name, gold_shape, slices

NEW, OLD = np.array([True, True, False, True, True]), np.array([True, False, False, False, True])


def test_each_part_has_its_scores_their_difference_and_its_size():
    rows = slices(["a", "a", "b", "b", None], NEW, OLD, Resampling(200, 1), order=["b", "c", "a"])
    assert [(row["name"], row["mentions"]) for row in rows] == [("b", 2), ("a", 2)]  # in order, without empty ones
    b, a = rows
    assert (a["new"].value, a["old"].value, a["difference"].difference) == (1.0, 0.5, 0.5)
    assert (b["new"].value, b["old"].value) == (0.5, 0.0)
    assert b["new"].low <= 0.5 <= b["new"].high
    assert (b["difference"].a_only, b["difference"].b_only) == (1, 0)


def test_counts_fall_into_parts_by_their_bounds():
    parts, order = by_count([0, 1, 2, 4, 5, 1000, None], (0, 1, 2, 5))
    assert order == ["0", "1", "2–4", "5+"]
    assert parts == ["0", "1", "2–4", "2–4", "5+", "5+", None]
    assert by_count([0, 1], (1, 10)) == ([None, "1–9"], ["1–9", "10+"])


def test_names_stand_by_size_and_rare_ones_together():
    names = [*["Disease"] * 3, *["Chemical"] * 2, None]
    assert by_name(names) == ([*["Disease"] * 3, *["Chemical"] * 2, "not given"], ["Disease", "Chemical", "not given"])
    parts, order = by_name([f"t{n}" for n in range(20) for _ in range(20 - n)])
    assert (len(order), order[0], order[-1]) == (12, "t0", "others")
    assert parts.count("others") == sum(20 - n for n in range(11, 20))


@pytest.mark.parametrize(
    ("gold", "shape"),
    [
        ([], "NIL"),
        ([["C1"]], "one concept"),
        ([["C1"], ["C2"]], "one of several"),
        ([["C1", "C2"]], "several together"),
        ([["C1"], ["C2", "C3"]], "several together"),
    ],
)
def test_what_the_gold_asks_for(gold: list, shape: str):
    assert gold_shape(gold) == shape


def test_a_kind_that_is_called_others_is_among_the_others():
    names = [*(f"kind {n}" for n in range(15) for _ in range(15 - n)), *["others"] * 9]
    given, order = by_name(names)
    assert len(order) == len(set(order))
    assert sum(given.count(name) for name in order) == len(names)
