"""The rows of a results file are what its script makes of the figures beside them, and say what was measured."""

from __future__ import annotations

import json
from typing import Any

import teacher_faults
import teacher_throughput
from outcome import RESULTS


def kept(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_faults_of_the_teacher_say_what_was_paid_again_after_an_answer():
    found = kept("teacher_faults")
    assert found["rows"] == teacher_faults.rows(found["sync"], found["batch"])
    again = [found[mode]["meter"]["questions"]["paid_again_after_an_answer"] for mode in teacher_faults.MODES]
    assert ["paid again after a readable answer had gone out", *map(str, again)] in found["rows"]


def test_all_paid_calls_count_those_in_flight_at_kills_too():
    sync = kept("teacher_faults")["sync"]
    assert sync["paid_calls_to_a_clean_pass"] == sync["meter"]["sync"]["billed"] / sync["mentions"]


def test_throughput_of_the_teacher_says_by_how_many_actors():
    found = kept("teacher_throughput")
    assert found["rows"] == teacher_throughput._rows(found["limits"], found["cpu"], found["memory"])
    titles = {
        title: found[part][0]["actors"] for part, title in (("limits", "share of a limit of 50"), ("memory", "peak memory of the job's"))
    }
    for title, actors in titles.items():
        assert any(row[0].startswith(title) and f"{actors} actor" in row[0] for row in found["rows"])
