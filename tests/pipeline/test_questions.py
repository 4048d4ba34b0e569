"""Questions on disk: every wanted row once, readable by number, whatever block it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpdr.files import write_rows
from rpdr.masking import Span
from rpdr.pipeline.questions import ROWS_AT_ONCE, Questions, question_of, write_questions
from rpdr.schema import CANDIDATES

SPAN = Span(0, 4, "NAME")


def row(n: int) -> dict:
    names = {"candidate_ids": ["C1", "C2"], "candidate_names": ["one", "two"], "matched_names": ["one", "2"], "scores": [0.5, 0.25]}
    return {"key": f"k{n:05}", "text": f"text {n}", "context": None, "type": None, **names}


@pytest.mark.parametrize("count", [0, 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
def test_each_wanted_row_is_found_by_its_number(tmp_path: Path, count: int):
    write_rows(tmp_path / "c.parquet", [row(n) for n in range(2 * count)], CANDIDATES)
    wanted = {f"k{n:05}" for n in range(1, 2 * count, 2)}
    numbers = write_questions(tmp_path / "q.arrow", tmp_path / "c.parquet", wanted, {"C1": "a definition"}, {"k00001": [SPAN]})
    assert numbers.keys() == wanted
    questions = Questions(tmp_path / "q.arrow")
    keys = sorted(wanted, reverse=True)
    found = questions.rows([numbers[key] for key in keys])
    assert [r["key"] for r in found] == keys
    assert all(question_of(r).definitions == ("a definition", None) for r in found)
    assert {r["key"]: question_of(r).hidden for r in found if question_of(r).hidden} == ({"k00001": (SPAN,)} if count else {})
    assert all(r["text"] == f"text {int(r['key'][1:])}" for r in found)


def test_a_question_of_candidates_takes_the_definitions_it_is_given():
    assert question_of(row(1), {"C2": "two things"}).definitions == (None, "two things")
