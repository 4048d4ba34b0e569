"""How probabilities become an answer, and when nothing is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from rpdr.answer import answers, exact_answer, guess, guesses, operating_point
from rpdr.config import LinkConfig
from rpdr.reranker import Calibration
from rpdr.reranker.shortcut import Shortcut
from rpdr.schema import LINKED
from tests.scored import CAUTIOUS, FROM_80, NONE, ROW, SHOWS, SURE, UNREACHABLE, UNSURE, VOMITING, Scored, said


def test_without_a_target_everything_is_answered():
    sure, unsure, none = said(SURE, UNSURE, NONE)
    assert [row["concept_id"] for row in (sure, unsure, none)] == ["C1", "C2", None]
    assert not any(row["abstained"] for row in (sure, unsure, none))
    assert none["confidence"] > 0.99
    assert unsure["ranked_ids"] == ["C2", "C3", "C1"]
    assert unsure["confidence"] == unsure["ranked_scores"][0]


def test_what_is_not_sure_enough_is_neither_a_concept_nor_nil_but_keeps_its_candidates():
    sure, unsure, none = said(SURE, UNSURE, NONE, point=FROM_80)
    assert [row["abstained"] for row in (sure, unsure, none)] == [False, True, False]
    assert (sure["concept_id"], none["concept_id"]) == ("C1", None)
    assert (unsure["concept_id"], unsure["name"]) == (None, None)
    [plain] = said(UNSURE)
    assert [unsure[name] for name in ("confidence", "ranked_ids", "ranked_scores")] == [
        plain[name] for name in ("confidence", "ranked_ids", "ranked_scores")
    ]


def test_the_student_is_not_asked_about_what_the_retriever_is_sure_enough_of():
    class Counting(Scored):
        asked = 0

        def scores(self, queries: Any) -> np.ndarray:
            queries = list(queries)
            self.asked += len(queries)
            return super().scores(queries)

    student = Counting(NONE)
    student.shortcut = Shortcut(Calibration(temperature=0.1), (), (), (), (), above=0.95)
    clear = {**ROW, "scores": [0.9, 0.5, 0.4]}
    short = {**ROW, "candidate_ids": ["C2"], "candidate_names": ["Nausea"], "matched_names": ["Nausea"], "scores": [0.9]}
    unsure, sure, alone = answers(student, [ROW, clear, short], allow_nil=True)
    assert (unsure["source"], sure["source"], alone["source"]) == ("student", "retriever", "retriever")
    assert student.asked == 1
    assert (unsure["concept_id"], sure["concept_id"], alone["concept_id"]) == (None, "C1", "C2")
    assert sure["confidence"] == sure["ranked_scores"][0] > 0.95
    assert sure["ranked_ids"] == ["C1", "C2", "C3"]
    assert [answers(student, [clear], True, point)[0]["abstained"] for point in (FROM_80, UNREACHABLE)] == [False, True]
    assert student.asked == 1


def test_nothing_is_answered_where_dev_cannot_show_the_target():
    assert all(row["abstained"] for row in said(SURE, UNSURE, NONE, point=UNREACHABLE))


def test_a_guess_that_was_withheld_is_still_known_after_it_was_written():
    rows = [{**row, "mention_id": "1", "key": "k", "text": "x", "split": "test"} for row in said(SURE, UNSURE, NONE, point=CAUTIOUS)]
    assert all(row["abstained"] for row in rows)
    read = pa.Table.from_pylist(rows, schema=LINKED).to_pylist()
    assert [guess(row) for row in read] == ["C1", "C2", None]
    assert [guess(row) for row in said(SURE, NONE)] == ["C1", None]


def test_of_an_answer_of_several_that_was_withheld_all_are_known():
    several = Calibration(also_above=0.2)
    two, nil = [3.0, 2.5, 0.0, 0.0], NONE
    given = answers(Scored(two, nil, calibration=several), [ROW, ROW], True)
    withheld = answers(Scored(two, nil, calibration=several), [ROW, ROW], True, UNREACHABLE)
    assert [row["concept_ids"] for row in withheld] == [[], []]
    assert [guesses(row, several) for row in withheld] == [guesses(row, several) for row in given] == [["C1", "C2"], []]


def test_where_nil_is_not_allowed_none_of_these_lowers_the_confidence_and_is_never_said():
    [row] = said([2.0, 0.0, 0.0, 4.0], allow_nil=False)
    assert row["concept_id"] == "C1"
    assert row["confidence"] < 0.5
    assert sum(row["ranked_scores"]) < 0.5


def test_an_exact_name_is_given_where_dev_has_not_found_such_names_wrong():
    trusted, doubted = Calibration(), Calibration(dev_exact=(True, False, True))
    assert exact_answer(VOMITING.concept_id, VOMITING.name, trusted, None)["confidence"] == 1.0
    assert exact_answer(VOMITING.concept_id, VOMITING.name, doubted, None)["confidence"] == 0.75
    for point in (FROM_80, UNREACHABLE):
        assert exact_answer(VOMITING.concept_id, VOMITING.name, trusted, point)["concept_id"] == "C1"
        withheld = exact_answer(VOMITING.concept_id, VOMITING.name, doubted, replace(point, exact=0.75))
        assert (withheld["concept_id"], withheld["abstained"], guess(withheld)) == (None, True, "C1")


def test_the_target_can_be_changed_without_the_student():
    assert operating_point(SHOWS, LinkConfig()) is None
    low, high = (operating_point(SHOWS, LinkConfig(target_precision=target)) for target in (0.6, 0.95))
    assert low is not None
    assert high is not None
    assert low.above < high.above


def test_an_answer_of_several_has_the_best_and_what_is_probable_enough_beside_it():
    scores = [[2.0, 1.8, 0.0, -9.0], SURE, NONE]
    one, several = (answers(Scored(*scores, calibration=Calibration(also_above=above)), [ROW] * 3, True) for above in (1.0, 0.3))
    assert [row["concept_ids"] for row in one] == [["C1"], ["C1"], []]
    assert [row["concept_ids"] for row in several] == [["C1", "C2"], ["C1"], []]
    assert [row["concept_id"] for row in several] == ["C1", "C1", None]
    withheld = answers(Scored(*scores, calibration=Calibration(also_above=0.3)), [ROW] * 3, True, UNREACHABLE)
    assert [row["concept_ids"] for row in withheld] == [[], [], []]


def test_where_exact_names_leave_nothing_the_student_is_not_asked():
    class Silent(Scored):
        def scores(self, queries: Any) -> np.ndarray:
            raise AssertionError("it is asked about nothing")

    assert answers(Silent(), [], allow_nil=True) == []
