"""The rows of a results file are what its script makes of the figures beside them, and say what was measured."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import autoscaling
import corpus_scale
import each_alone
import link_throughput
import pytest
import shortcut
import six_sets
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


def test_what_other_calls_have_measured_keeps_their_machine_and_their_command():
    assert all(point["machine"] for points in kept("curves")["points"].values() for point in points.values())
    assert all(arm["machine"] for arms in kept("second_round")["arms"].values() for arm in arms.values())
    throughput, scale = kept("link_throughput"), kept("corpus_scale")
    assert throughput["command"].split(" && ") == [measured["command"] for measured in throughput["found"].values()]
    assert scale["found"]["growth"]["beside_others"]
    assert "--beside-others" in scale["command"]


def test_commands_have_the_flags_that_were_given():
    run = Path("runs/mine")
    throughput = link_throughput.command(argparse.Namespace(run_dir=run, rounds=2, phrases=True))
    assert throughput == "python benchmarks/link_throughput.py mine --rounds 2 --phrases"
    scale = argparse.Namespace(run_dir=run, times=10, minutes=60.0, only=["growth"], beside_others=True)
    assert corpus_scale.command(scale) == "python benchmarks/corpus_scale.py mine --times 10 --minutes 60 --only growth --beside-others"
    assert each_alone.command("mine", 3, ["twice the epochs"]) == (
        'python benchmarks/each_alone.py --run-dir mine --labels 3 --arms "twice the epochs"'
    )


def test_time_that_the_shortcut_saves_is_told_where_it_was_measured_in_turns_alone():
    found = kept("shortcut")
    assert (found["columns"], found["rows"]) == shortcut.table(found["runs"])
    assert shortcut.SAVED not in found["columns"]
    again = {**found["runs"], "new": {"row": ["new"], "seconds": {"student": [10.0, 2.0, 10.0], "shortcut": [1.0, 4.0, 30.0]}}}
    columns, rows = shortcut.table(again)
    assert columns[-1] == shortcut.SAVED
    assert [row[-1] for row in rows] == [*["–"] * len(found["rows"]), "60%"]


def test_what_exact_names_answer_where_dev_shows_no_target_is_not_told_as_reaching_it():
    test = {"coverage": {"value": 0.3}, "precision": {"value": 0.97}}
    told = [six_sets._answered({"reachable": reachable, "test": test}) for reachable in (True, False)]
    assert told == ["30%, 0.970", "exact names alone"]
    assert six_sets._answered({"reachable": False, "test": {**test, "precision": None}}) == "none"
