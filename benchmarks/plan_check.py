"""How far `rpdr plan` is from what happens: the same run on clusters of 1, 2 and 4 nodes a group, simulated and real.

    python benchmarks/plan_check.py [--nodes 1 2 4] [--simulate-again]

Rates are measured first, as `rpdr calibrate` does. The clusters are Ray's own, grown by its autoscaler, their nodes processes that share this machine, which
the simulation is told (`cores`); how long such a node takes to start is from results/autoscaling.json. Writes results/plan_check.json.
--simulate-again: nothing is run; the runs and rates that are in that file are compared with what is simulated today.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from autoscaling import IDLE_MINUTES, config, watched
from local_cluster import Group
from outcome import RESULTS, keep

from rpdr.config import load
from rpdr.files import write_json
from rpdr.pipeline.forecast.calibrate import FILE, calibrate
from rpdr.pipeline.forecast.plan import UNTIL_LINKED, work_of
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.stages import run_stages
from rpdr.planning import Choice, NodesConfig, simulated
from rpdr.run import Run

CPUS = {"teaching": 1, "training": 1, "linking": 2}  # of a node of each group; one of the last is for Ray Data's own tasks
GROUPS = tuple(CPUS)
NAME = "plan_check"


def main() -> int:
    """Calibrate, then each number of nodes, simulated and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--simulate-again", action="store_true")
    options = parser.parse_args()
    before = json.loads((RESULTS / f"{NAME}.json").read_text()) if options.simulate_again else {}
    real = {found["nodes"]: found["real"] for found in before.get("runs", ())}
    rows, told = [], []
    with tempfile.TemporaryDirectory() as place:
        rates = _prepared(Path(place) / "calibration", 1)
        if before:
            write_json(rates, before["rates"])
        else:
            _calibrate(Path(place) / "calibration")
        for count in real or options.nodes:
            folder = Path(place) / str(count)
            simulated_s = _simulated(folder, count, rates)
            real_s = real.get(count) or _run(folder, count)
            if not real_s:
                return 1
            told.append({"nodes": count, "simulated": simulated_s, "real": {name: real_s[name] for name in simulated_s}})
            rows += _rows(told[-1])
        measured = json.loads(rates.read_text())
    again = " The simulation has been mended since these runs were first compared with it." if before else ""
    keep(
        NAME,
        f"python benchmarks/plan_check.py{' --simulate-again' if before else ''}",
        "a part of HPO; the names that laypeople use are the mentions",
        ("Nodes a group", "Stage", "Simulated", "Real", "Simulated ÷ real"),
        rows,
        protocol=f"Rates calibrated on the same machine before; one run each.{again}",
        rates=measured,
        runs=told,
    )
    return 0


def settings(run_dir: Path, nodes: int) -> dict[str, Any]:
    """The autoscaling benchmark's run, with more to do, and pools and gangs of so many processes."""
    made = config(run_dir)
    half = {name: {**made["resources"][name], "cpus": 0.5} for name in ("retrieving", "reranking")}
    return {
        **made,
        "kb": {**made["kb"], "id_prefix": "HP:0001"},
        "mentions": [{**made["mentions"][0], "kb": {**made["mentions"][0]["kb"], "id_prefix": "HP:0001"}}],
        "retriever": {**made["retriever"], "max_synonym_pairs": 256},
        "teacher": {**made["teacher"], "actors": nodes, "concurrency": 4, "sandbox": {"latency_s": 0.8}},
        "student": {**made["student"], "layers": 16, "epochs": 2, "max_labels": 0, "workers": nodes, "checkpoint_every_steps": 10},
        "link": {**made["link"], "shard_mentions": 100, "retriever_actors": nodes, "student_actors": nodes},
        "resources": {**made["resources"], **half},
    }


def _prepared(folder: Path, nodes: int) -> Path:
    """Where a run's rates are to be, whose mentions are prepared."""
    run = run_stages(load(_written(folder, settings(folder / "run", nodes))), ["prepare"])
    run.path("plan").mkdir()
    return run.path("plan", FILE)


def _calibrate(folder: Path) -> None:
    with stage_progress("calibrate") as progress:
        calibrate(Run(load(folder / "config.yaml")), progress)
    ray.shutdown()


def _written(folder: Path, tree: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return folder / "config.yaml"


def _simulated(folder: Path, count: int, rates: Path) -> dict[str, float]:
    """Seconds of each stage."""
    shutil.copy(rates, _prepared(folder, count))
    work = work_of(Run(load(folder / "config.yaml")), as_configured=True)
    choices = [Choice(group, group, "on_demand", count) for group in GROUPS]
    return {stage.name: stage.seconds for stage in simulated(work.stages, choices, _local_nodes(count)).stages}


def _run(folder: Path, count: int) -> dict[str, float]:
    """Seconds of each stage of a real run; empty where it failed."""
    groups = {group: Group(cpus=CPUS[group], most=count) for group in GROUPS}
    seen = watched(folder, lose=False, tree=settings(folder / "run", count), groups=groups)
    if seen.exit_code:
        sys.stderr.write(seen.log[-3000:])
        return {}
    return {name: seen.stages[name][1] - seen.stages[name][0] for name in UNTIL_LINKED}


def _rows(found: dict[str, Any]) -> list[list[str]]:
    pairs = [(name, found["simulated"][name], found["real"][name]) for name in found["simulated"]]
    pairs.append(("**all**", sum(found["simulated"].values()), sum(found["real"].values())))
    return [
        [str(found["nodes"]) if not n else "", name, f"{guess:.0f} s", f"{real:.0f} s", f"{guess / real:.2f}"]
        for n, (name, guess, real) in enumerate(pairs)
    ]


def _local_nodes(most: int) -> NodesConfig:
    """What local_cluster starts."""
    measured = json.loads((RESULTS / "autoscaling.json").read_text())["figures"]
    starts_s = sum(figures["up_s"] for figures in measured.values()) / len(measured)
    node = {"memory_gib": 8, "usd_per_hour": 0, "starts_s": starts_s}
    return NodesConfig.model_validate(
        {
            "as_of": "2026-11-01",
            "source": "nobody is paid",
            "head": GROUPS[0],
            "idle_timeout_s": IDLE_MINUTES * 60,
            "cores": psutil.cpu_count(),
            "types": {group: {**node, "cpus": cpus} for group, cpus in CPUS.items()},
            "groups": {group: {"types": [group], "most": most} for group in GROUPS},
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
