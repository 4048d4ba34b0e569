"""Accuracy against how many labels the teacher gave: does more of them ever make it worse, and does filtering them help?

    RPDR_DATA=… RPDR_MODELS=… python benchmarks/curves.py --root runs/six_sets

For each accuracy of the teacher and each number of its labels, a run as its config has it (filtered: labels of little trust are left out, the
others believed as far as they are trusted), and one whose student believes every label wholly. The second round filters in both. Takes over
what six_sets.py has made in the same --root. results/curves.json keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finished import metrics_of
from job import side_by_side
from outcome import keep, kept, machine, shown
from rich.console import Console
from six_sets import BEFORE, SETS, run_until, settings, systems_of

from rpdr.config import Config
from rpdr.evaluation.systems import Score
from rpdr.pipeline.systems import SECOND, STUDENT, TITLES
from rpdr.run import STAGES, Run

NAME, ALL = "curves", 0
COUNTS, ACCURACIES = (100, 300, 1000, ALL), (0.8, 0.9)
FILTERED, WHOLE = "filtered", "all believed"
UNFILTERED = {"student.min_trust": 0.0, "student.soft_labels": False}


@dataclass(frozen=True)
class Point:
    """One run: so many labels (0: all that the teacher gives) of a teacher of this accuracy."""

    accuracy: float
    labels: int
    filtered: bool

    @property
    def name(self) -> str:
        """As its run directory's name has it."""
        return f"{self.accuracy:g}-{self.labels}-{'filtered' if self.filtered else 'whole'}"

    def config(self, of: str, root: Path) -> Config:
        """The set's config at this point."""
        few = {"teacher.max_mentions": self.labels} if self.labels != ALL else {}
        changes = {"run_dir": str(root / f"{of}-{self.name}"), **few, **({} if self.filtered else UNFILTERED)}
        return settings(of, self.accuracy, root, no_baselines=True, **changes)


def main() -> int:
    """Every point; the results file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs") / "six_sets")
    parser.add_argument("--set", choices=list(SETS), default="askapatient")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, a share of the cores each")
    parser.add_argument("--points", nargs="+", help="some points alone, as 0.9-1000-filtered or 0.8-0-whole (0: all labels)")
    parser.add_argument("--until", choices=list(STAGES), default="report", help="stop after this stage, and write no results")
    options = parser.parse_args()
    points = [Point(a, n, filtered) for filtered in (True, False) for n in COUNTS for a in ACCURACIES]
    points = [point for point in points if not options.points or point.name in options.points]
    failed: list[str] = []
    if options.at_once > 1:
        flags = ["--root", str(options.root), "--set", options.set, "--until", "link"]
        jobs = [(point.name, [__file__, *flags, "--points", point.name]) for point in points]
        failed = side_by_side(jobs, options.at_once, options.root / "logs")
    for point in points:
        if point.name in failed:
            Console(stderr=True).print(f"failed, see {options.root / 'logs' / point.name}.log")
            continue
        config = point.config(options.set, options.root)
        run_until(options.until, config, *_like(point, options))
        if options.until == "report":
            _write(options.set, _kept(options.set, point, config))
    return 1 if failed else 0


def _like(point: Point, options: argparse.Namespace) -> tuple[list[Path], tuple[str, ...]]:
    """(runs to take over from, the stages that are the same there): of the same labels, filtered, all before the student."""
    twin = options.root / f"{options.set}-{replace(point, filtered=True).name}"
    if not point.filtered and (twin / ".stages" / "retune.json").exists():
        return [twin], (*BEFORE, "teach", "retune")
    return sorted(options.root.glob(f"{options.set}-*")), BEFORE


def _kept(of: str, point: Point, config: Config) -> dict[str, Any]:
    """The points so far, with this one."""
    found: dict[str, Any] = kept(NAME).get("points", {})
    run = Run(config)
    metrics = metrics_of(run)
    systems = systems_of(metrics)
    measured = {
        "accuracy": point.accuracy,
        "filtered": point.filtered,
        "asked": run.summary("teach")["labelled"],
        "learned_from": run.summary("distill")["labels"],
        **{key: systems[TITLES[name]]["acc_at_1"] for key, name in (("second_round", SECOND), ("student", STUDENT))},
        "comparison": metrics["comparison"],
        "created_at": metrics["created_at"],
        "machine": machine(),
    }
    found.setdefault(of, {})[point.name] = measured
    return found


def _write(of: str, found: dict[str, Any]) -> None:
    points = sorted(found[of].values(), key=lambda p: (p["accuracy"], not p["filtered"], p["asked"]))
    keep(
        NAME,
        f"RPDR_DATA=… RPDR_MODELS=… python benchmarks/curves.py --set {of}",
        SETS[of],
        ("Teacher", "Student's labels", "Asked", "Learned from", "Second round", "Student", "Worse than with fewer"),
        [
            [
                f"{p['accuracy']:.2f}",
                FILTERED if p["filtered"] else WHOLE,
                f"{p['asked']:,}",
                f"{p['learned_from']:,}",
                shown(Score(**p["second_round"])),
                shown(Score(**p["student"])),
                _worse(p, points),
            ]
            for p in points
        ],
        protocol="Acc@1 on all test mentions; 95 % percentile bootstrap, by document where documents are known; one run each. It is the student that filters or not: the "
        "second round does in both. Worse: the most that a point of the same curve with "
        "fewer labels was better, and whether that point is above this one's interval.",
        machines={name: point["machine"] for name, point in found[of].items()},
        points=found,
    )


def _worse(point: dict[str, Any], points: list[dict[str, Any]]) -> str:
    curve = [p for p in points if (p["accuracy"], p["filtered"]) == (point["accuracy"], point["filtered"]) and p["asked"] < point["asked"]]
    best = max((p["student"]["value"] for p in curve), default=0.0)
    drop = best - point["student"]["value"]
    return f"by {drop:.3f}{', beyond its interval' if best > point['student']['high'] else ''}" if drop > 0 else "no"


if __name__ == "__main__":
    raise SystemExit(main())
