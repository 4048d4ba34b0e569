"""The rows of a results file are what its script makes of the figures beside them, and say what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import autoscaling
import pytest
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


def autoscaled() -> tuple[dict[str, Any], autoscaling.Seen]:
    found = kept("autoscaling")
    nodes = [(at, {group: tuple(map(str, range(count))) for group, count in there.items()}) for at, there in found["nodes"]]
    return found, autoscaling.Seen(0, "", found["stages"], nodes, found["lost"])


@pytest.mark.parametrize("group", autoscaling.GROUPS)
def test_figures_of_autoscaling_are_those_of_the_nodes_that_were_seen(group: str):
    found, seen = autoscaled()
    assert found["figures"][group] == pytest.approx(autoscaling.figures(seen, group))


def test_nodes_that_left_before_their_last_stage_ended_are_not_said_to_have_left_after_it():
    found, seen = autoscaled()
    assert max(at for at, there in found["nodes"] if there.get("training")) < seen.stages["distill"][1]
    assert autoscaling.figures(seen, "training")["down_s"] < 0


def test_distill_needs_a_node_to_calibrate_on():
    student = autoscaling.config(Path("run"))["resources"]["reranking"]["labels"]
    assert student[autoscaling.GROUP] in autoscaling.NEEDED["distill"]
