"""What a link job tells of itself at its end."""

from __future__ import annotations

from typing import Any

from rpdr.pipeline.link_summary import summary_lines

DONE: dict[str, Any] = {
    "mentions": 1_000_000,
    "distinct": 200_000,
    "exact": 20_000,
    "by_retriever": 130_000,
    "student_scored": 50_000,
    "mentions_per_s": 500.0,
    "retriever_mentions_per_s": 231.4,
    "student_mentions_per_s": 9.64,
    "start_mentions": 1_000_000,
    "start_s": 4_000.0,
}


def test_repeats_deciders_speed_and_price_are_told():
    told = dict(summary_lines(DONE, 0.9))
    assert told["repeats"] == "1,000,000 mentions were 200,000 questions, 5.0 mentions each"
    assert told["decided by"] == "exact names 10.0%, the retriever 65.0%, the student 25.0% of the questions"
    assert (
        told["speed"]
        == "500 mentions a second; a copy of the retriever answers 231 questions a second; a copy of the student answers 9.6 questions a second"
    )
    assert told["price"] == "$1.00 for a million mentions, reading and loading included, at $0.9 an hour"


def test_who_decided_nothing_is_not_told_and_a_price_only_where_there_is_one():
    told = dict(summary_lines({**DONE, "exact": 0, "by_retriever": 0, "student_scored": 200_000}, None))
    assert told["decided by"] == "the student 100.0% of the questions"
    assert "price" not in told


def test_a_start_that_went_on_from_another_knows_no_price():
    assert "price" not in dict(summary_lines({**DONE, "start_mentions": 10, "shards_resumed": 99}, 0.9))


def test_a_job_that_had_nothing_left_to_do_tells_no_speed():
    told = dict(summary_lines({name: DONE[name] for name in ("mentions", "distinct", "exact", "by_retriever", "student_scored")}, 0.9))
    assert set(told) == {"repeats", "decided by"}
    assert summary_lines({"mentions": 0, "distinct": 0}, 1.0) == []
