"""What a student learns from the labelled mentions alone, with no teacher: what a teacher's labels bring is what it has over that one.

    RPDR_DATA=… RPDR_MODELS=… python benchmarks/by_hand.py --sets askapatient ncbi_disease

Beside a run of `six_sets.py` in the same --root, of a teacher of 0.90, one whose teacher is asked nothing (`teacher.max_mentions: 0`) and whose student learns from the
labelled mentions (`student.gold_labels: true`). A row a set in results/by_hand.json, which keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finished import annotated_test, metrics_of, student_over, students_outcomes
from outcome import in_short, keep, kept, machine
from six_sets import MAIN, SETS, run_until, settings, systems_of

from rpdr.evaluation import paired_test
from rpdr.pipeline.details import resampling
from rpdr.pipeline.systems import LABELLED_NAMES, RETRIEVER, STUDENT, TITLES
from rpdr.run import Run

NAME = "by_hand"
RETRIEVERS = (RETRIEVER, LABELLED_NAMES)
COLUMNS = (
    *("Set", "Labelled", "Few labels", "… as names too", "Student of these alone", "over these as names too"),
    *("Student of a teacher of 0.90", "over the student of these alone"),
)


def main() -> int:
    """The results file is written after each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs") / "six_sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    options = parser.parse_args()
    for name in options.sets:
        found: dict[str, Any] = kept(NAME).get("runs", {})
        found[name] = _measured(name, options.root)
        _write(found)
    return 0


def _measured(name: str, root: Path) -> dict[str, Any]:
    with_teacher = settings(name, MAIN, root)
    nobody: dict[str, Any] = {"run_dir": str(root / f"{name}-by-hand"), "teacher.max_mentions": 0, "student.gold_labels": True}
    alone = settings(name, MAIN, root, no_baselines=True, **nobody)
    run_until("report", with_teacher, [])
    run_until("report", alone, [root / f"{name}-{MAIN:g}"])
    run, metrics = Run(alone), metrics_of(Run(alone))
    test, of = annotated_test(run), systems_of(metrics)
    drawn = resampling(run, test)
    taught = paired_test(students_outcomes(Run(with_teacher), test), students_outcomes(run, test), drawn)
    tests = student_over(metrics)
    return {
        "labelled": run.summary("distill")["gold_labels"],
        "balance": run.summary("distill")["balance"],
        "acc_at_1": {system: of[TITLES[system]]["acc_at_1"] for system in (*RETRIEVERS, STUDENT) if TITLES[system] in of},
        "student_over": {system: tests[TITLES[system]] for system in RETRIEVERS if TITLES[system] in tests},
        "taught": systems_of(metrics_of(Run(with_teacher)))[TITLES[STUDENT]]["acc_at_1"],
        "taught_over": asdict(taught),
        "ece": metrics["calibration"]["ece"],
        "protocol": metrics["protocol"],
        "machine": machine(),
    }


def _write(found: dict[str, Any]) -> None:
    keep(
        NAME,
        f"RPDR_DATA=… RPDR_MODELS=… python benchmarks/by_hand.py --sets {' '.join(name for name in SETS if name in found)}",
        "Sets by their configs in jobs/configs, with teacher.max_mentions: 0 and student.gold_labels: true",
        COLUMNS,
        [_row(SETS[name], found[name]) for name in SETS if name in found],
        protocol="Acc@1 on all test mentions, one run each; the paired tests are those of the table of the six sets. Labelled: different questions that were linked by hand, from "
        "which the student learns, by the similarities of encoders that have not met them. The student of a teacher of 0.90, who is simulated, learned from that one's labels alone.",
        machines={SETS[name]: of["machine"] for name, of in found.items()},
        runs=found,
    )


def _row(title: str, of: dict[str, Any]) -> list[str]:
    over = [of["student_over"].get(LABELLED_NAMES), of["taught_over"]]  # dev may have found no more by these as names
    few, names, alone = (f"{found['value']:.3f}" if (found := of["acc_at_1"].get(system)) else "–" for system in (*RETRIEVERS, STUDENT))
    gains = [in_short(test["difference"], test["p_value"]) if test else "–" for test in over]
    return [title, f"{of['labelled']:,}", few, names, alone, gains[0], f"{of['taught']['value']:.3f}", gains[1]]


if __name__ == "__main__":
    raise SystemExit(main())
