"""The six data sets, each by its own config: retriever, teacher and student side by side, for teachers of several accuracies.

    RPDR_DATA=… RPDR_MODELS=… python benchmarks/six_sets.py --root runs/six_sets

Each set and accuracy is a run of its own, which `jobs/run_all.py` with the settings below repeats; what is finished is not run again. An
accuracy of 1.0 is a student that learns from gold in the teacher's place. --sets and --accuracies choose some; results/six_sets.json keeps
what other calls have measured. A set takes 20 to 120 minutes an accuracy on two CPU cores; --at-once shares a larger machine, or a GPU,
among several.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dictionary
from asked import teachers_answers
from finished import annotated_test, metrics_of, students_outcomes
from job import side_by_side
from outcome import in_short, keep, kept, machine, shown
from rich.console import Console

from rpdr.config import Config, load
from rpdr.evaluation import outcomes, paired_test, score
from rpdr.evaluation.systems import Score
from rpdr.pipeline.baselines import FROM_TEACHER, ZERO_SHOT
from rpdr.pipeline.details import resampling
from rpdr.pipeline.stages import run_stages
from rpdr.pipeline.systems import LABELLED_NAMES, RETRIEVER, SECOND, STUDENT, TITLES
from rpdr.run import STAGES, Run

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
SETS = {
    "askapatient": "Ask A Patient",
    "cadec": "CADEC",
    "ncbi_disease": "NCBI Disease",
    "bc5cdr_disease": "BC5CDR, diseases",
    "chip2019": "CHIP 2019",
    "chip_cdn": "CHIP-CDN",
}
TEACHERS, GOLD = (0.8, 0.9, 0.95), 1.0
BASELINES = {
    RETRIEVER: "few labels",
    LABELLED_NAMES: "few labels as names too",
    FROM_TEACHER: "few + teacher's labels",
    SECOND: "the second round",
}
PRECISION = 0.95  # that an abstaining student is to reach
MAIN = 0.9  # the accuracy at which the baselines are measured too
BEFORE = ("prepare", "retriever", "candidates")  # the same for each accuracy
NAME, SHORT, MORE, INTERVALS, TESTS = "six_sets", "six_sets_short", "six_sets_more", "six_sets_intervals", "six_sets_tests"
WHERE = "The six sets, each by its config in jobs/configs"
COMMAND = "RPDR_DATA=… RPDR_MODELS=… python benchmarks/six_sets.py"
MEASURES = (
    ("Acc@1", "acc_at_1"),
    ("Acc@5", "acc_at_5"),
    ("Recall@10", "recall_at_10"),
    ("Acc@1, not linked by hand", "unseen_acc_at_1"),
    ("Micro F1 of the set", "micro_f1"),
)


def main() -> int:
    """Every set at every accuracy; the results file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--accuracies", nargs="+", type=float, default=[MAIN, *(a for a in TEACHERS if a != MAIN), GOLD])
    parser.add_argument("--no-baselines", action="store_true", help="leave the two baselines out; a later call without this measures them")
    parser.add_argument("--until", choices=list(STAGES), default="report", help="stop after this stage, and write no results")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, a share of the cores each")
    options = parser.parse_args()
    runs = [(name, accuracy) for accuracy in options.accuracies for name in options.sets]
    failed: list[str] = []
    if options.at_once > 1:
        _side_by_side(runs[: len(options.sets)], BEFORE[-1], options)  # the others take these over
        failed = _side_by_side(runs, "link", options)
    for name, accuracy in runs:
        if _called(name, accuracy) in failed:
            Console(stderr=True).print(f"failed, see {options.root / 'logs' / _called(name, accuracy)}.log")
            continue
        config = settings(name, accuracy, options.root, options.no_baselines)
        run_until(options.until, config, sorted(options.root.glob(f"{name}-*")))
        if options.until == "report":
            _write(_kept(name, accuracy, config))
    return 1 if failed else 0


def _called(name: str, accuracy: float) -> str:
    return f"{name}-{accuracy:g}"


def _side_by_side(runs: list[tuple[str, float]], until: str, options: argparse.Namespace) -> list[str]:
    """Each run in a process of its own; those that failed."""
    flags = ["--root", str(options.root), "--until", until, *(["--no-baselines"] if options.no_baselines else [])]
    jobs = [(_called(name, accuracy), [__file__, *flags, "--sets", name, "--accuracies", f"{accuracy:g}"]) for name, accuracy in runs]
    return side_by_side(jobs, options.at_once, options.root / "logs")


def settings(name: str, accuracy: float, root: Path, no_baselines: bool = False, **changes: Any) -> Config:
    """A set's config, for a teacher of this accuracy, with these dotted changes."""
    return load(
        CONFIGS / f"{name}.yaml",
        {
            "run_dir": str(root / _called(name, accuracy)),
            "teacher.sandbox": {"accuracy": accuracy, "invalid_rate": 0.01 if accuracy < GOLD else 0.0},
            "retriever.baselines": accuracy == MAIN and not no_baselines,
            **changes,
        },
    )


def run_until(stage: str, config: Config, others: list[Path], same: Sequence[str] = BEFORE) -> None:
    """All stages to this one; of the first of the others' runs that has them, the stages that are the `same` are taken over."""
    _take_over(config, others, same)
    run_stages(config, [*STAGES][: [*STAGES].index(stage) + 1], redo=True)  # what other settings of these flags have left


def _take_over(config: Config, others: list[Path], same: Sequence[str]) -> None:
    """What another run has made and this one would make again."""
    run = Run(config)
    if run.folder.exists():
        return
    for other in others:
        records = [other / ".stages" / f"{stage}.json" for stage in same]
        if all(record.exists() and "id" in json.loads(record.read_text()) for record in records):
            for part in (folder for stage in same for folder in STAGES[stage].owns if (other / folder).exists()):
                shutil.copytree(other / part, run.path(part))
            for record in records:
                run.path(".stages").mkdir(exist_ok=True)
                shutil.copy(record, run.path(".stages"))
            return


def _kept(name: str, accuracy: float, config: Config) -> dict[str, Any]:
    """The results so far, with this run's figures."""
    found: dict[str, Any] = kept(NAME).get("runs", {})
    run = Run(config)
    metrics = metrics_of(run)
    figures = {
        **{key: metrics.get(key) for key in ("created_at", "protocol", "systems", "comparison", "calibration", "teacher", "stages")},
        "nil_share": nil_share(run),
        "met_by_nobody": _part(metrics, "before", "nobody"),
        "one_concept": _part(metrics, "gold", "one concept"),
        "nil": _part(metrics, "gold", "NIL"),
        "said_nil": _part(metrics, "said", "NIL"),
        "surest": next((row for row in (metrics.get("selective") or {}).get("targets", []) if row["target"] == PRECISION), None),
        "teacher_on_test": teacher_on_test(run),
        "machine": machine(),
        "student": config.student.model_dump(mode="json"),
    }
    found.setdefault(name, {})[f"{accuracy:g}"] = figures
    return found


def teacher_on_test(run: Run) -> dict[str, Any]:
    """Acc@1 of the simulated teacher, asked about the test mentions as it was about its pool, and the student's difference from it."""
    test = annotated_test(run)
    golds = [mention.gold or [] for mention in test]
    teacher, student = outcomes(teachers_answers(run, test), golds, 1), students_outcomes(run, test)
    drawn = resampling(run, test)
    right = score(teacher, drawn)
    return {"acc_at_1": asdict(right) if right else None, "student_over": asdict(paired_test(student, teacher, drawn))}


def _part(metrics: dict[str, Any], by: str, name: str) -> dict[str, Any] | None:
    """What the report says of a part of the test mentions; None where it has no such part."""
    groups = (metrics.get("parts") or {}).get("groups", [])
    return next((row for group in groups if group["by"] == by for row in group["rows"] if row["name"] == name), None)


def nil_share(run: Run) -> float:
    """Of the test mentions, those that the knowledge base has no concept for."""
    test = annotated_test(run)
    return sum(not mention.gold for mention in test) / len(test)


def _write(runs: dict[str, Any]) -> None:
    rows = [row for name in SETS if name in runs for row in _rows(SETS[name], runs[name])]
    trigrams = _by_trigrams()
    on = {f"{SETS[name]} ({accuracy})": figures["machine"] for name in SETS for accuracy, figures in sorted(runs.get(name, {}).items())}
    keep(
        NAME,
        COMMAND,
        WHERE,
        (
            *("Set", "Measured", "Zero-shot", "Few labels", "… as names too", "… tuned on the teacher's too", "… second round"),
            *("Teachers 0.80 / 0.90 / 0.95", "Student of 0.80", "of 0.90", "of 0.95", "of gold", "Student of 0.90 over few labels"),
        ),
        rows,
        protocol="The retrievers that learned from a teacher did so from that of 0.90. As names too: the few labels are names of their concepts and "
        "tell what is common, as in the second round, without a teacher. Teachers: the simulation, asked about the test mentions for this figure alone, no student "
        "learns from that; with ≈ what its accuracy makes of the test's recall@10 and of its NIL, as those runs are older. A mention is right if the concept named first is in its gold. "
        "Not linked by hand: its text is not among the labelled mentions. NCBI Disease and BC5CDR are "
        "measured on their development sets. Encoders: MiniLM, of the CHIP sets multilingual-e5-small; students: 16 of SmolLM2-135M's 30 layers, of the CHIP sets "
        "Gemma 3 270M. Micro F1: on CHIP-CDN, whose student re-ranks 20 candidates, answers have as many concepts as "
        "a threshold from dev lets in; elsewhere one. CADEC's and Ask A Patient's knowledge bases hold the sets' own concepts, about a thousand each. 95 % "
        f"percentile bootstrap and exact randomisation test {_how_drawn(runs)} "
        "–: not run yet.",
        machines=on,
        runs=runs,
    )
    keep(
        SHORT,
        COMMAND,
        WHERE,
        (
            "Set",
            "Labelled + dev",
            "Dictionary linker",
            "Few labels",
            "… as names too",
            "Second round",
            "Student",
            "Student over few labels",
            "… over these as names too",
        ),
        [_in_short(SETS[name], runs[name], trigrams.get(name, "–")) for name in SETS if f"{MAIN:g}" in runs.get(name, {})],
        protocol=f"Acc@1 on test mentions; the teacher is right in {MAIN:.0%} of what it is asked, where the right concept is among the candidates. The second round, "
        "a retriever, and the student learn from its labels, those before them from what is linked by hand alone. Dictionary linker: character trigrams of the names and of "
        "what is linked by hand, as docs/measured.md has it. –: not measured yet.",
        machines={name: machine for name, machine in on.items() if name.endswith(f"({MAIN:g})")},
    )
    keep(
        MORE,
        COMMAND,
        WHERE,
        ("Set", "Measured", "Few labels", "Student of 0.80", "of 0.90", "of 0.95", "of gold", "Student of 0.90 over few labels"),
        [row for name in SETS if name in runs for row in _more(SETS[name], runs[name])],
        protocol="Met by nobody: the text is neither among the labelled mentions nor among those that the teacher labelled. ECE: the mean gap between confidence and "
        "share of right answers; in brackets what a perfect confidence would stay below in 95 of 100 draws. Answered at a target precision: see "
        "`link.target_precision`, which dev must show with 95 % certainty. –: not run yet, or by an earlier report.",
        machines=on,
    )
    keep(
        INTERVALS,
        COMMAND,
        WHERE,
        ("Set", "System", *(measured for measured, _ in MEASURES)),
        [row for name in SETS if name in runs for row in _with_intervals(SETS[name], runs[name])],
        protocol=f"The figures of the table of the six sets with their 95 % percentile bootstrap intervals, drawn {_how_drawn(runs)} "
        "Retrievers, and the teacher on the pool that it labelled: of the run with the teacher of 0.90.",
        machines=on,
    )
    keep(
        TESTS,
        COMMAND,
        WHERE,
        ("Set", "Student of", "Measured", *(f"over {BASELINES[system]}" for system in BASELINES), "over its teacher"),
        [row for name in SETS if name in runs for row in _tests(SETS[name], runs[name])],
        protocol="What each student is right in more often than the retrievers of its own run, and than its teacher, who is simulated and was asked about the "
        f"same test mentions. 95 % percentile bootstrap and exact randomisation test {_how_drawn(runs)} As names too: see the table of the six sets. "
        "–: that run has not measured it.",
        machines=on,
    )


def _how_drawn(runs: dict[str, Any]) -> str:
    """What is drawn anew, or swapped, in intervals and tests; and which runs are older than that."""
    older = [
        f"{SETS[name]} ({accuracy})"
        for name in SETS
        for accuracy, figures in sorted(runs.get(name, {}).items())
        if "bootstrap over mentions" in figures["protocol"]
    ]
    of_older = f"; but by mention in {', '.join(older)}, which are older or have each text once" if older else ""
    shuffled = "of micro F1 10,000 shuffles, whose least p is 0.0001"
    return f"by document; of the sets without documents (Ask A Patient, CHIP), by text{of_older}; {shuffled}."


def _tests(title: str, runs: dict[str, Any]) -> list[list[str]]:
    """A row for each student, and where mentions name several concepts another of the micro F1."""
    rows: list[list[str]] = []
    for accuracy in (*TEACHERS, GOLD):
        figures = runs.get(f"{accuracy:g}")
        if not figures:
            continue
        tests = {(row["b"], row["metric"]): row for row in figures["comparison"] if row["on"] == "all"}
        for metric, measured in (("acc_at_1", "Acc@1"), ("micro_f1", "Micro F1 of the set")):
            told = [_told(tests[TITLES[b], metric]) if (TITLES[b], metric) in tests else "–" for b in BASELINES]
            teacher = figures.get("teacher_on_test") if metric == "acc_at_1" else None
            if any(cell != "–" for cell in told):
                rows.append(
                    ["" if rows else title, _taught_by(accuracy), measured, *told, _told(teacher["student_over"]) if teacher else "–"]
                )
    return rows


def _with_intervals(title: str, runs: dict[str, Any]) -> list[list[str]]:
    """A row a system."""
    main = {system: found for system, found in systems_of(runs.get(f"{MAIN:g}", {})).items() if system != TITLES[STUDENT]}
    names, of_run = _labels_as_names(runs)
    systems = main if TITLES[LABELLED_NAMES] in main or not names else {**main, f"{TITLES[LABELLED_NAMES]} (of the run of {of_run})": names}
    students = {_of(accuracy): systems_of(runs.get(f"{accuracy:g}", {})).get(TITLES[STUDENT]) for accuracy in (*TEACHERS, GOLD)}
    systems |= {name: found for name, found in students.items() if found}
    return [
        [title if n == 0 else "", name, *(shown(Score(**found[key])) if found.get(key) else "–" for _, key in MEASURES)]
        for n, (name, found) in enumerate(systems.items())
    ]


def _of(accuracy: float) -> str:
    return f"Student of {_taught_by(accuracy)}"


def _taught_by(accuracy: float) -> str:
    return "gold" if accuracy == GOLD else f"{accuracy:.2f}"


def _rows(title: str, runs: dict[str, Any]) -> list[list[str]]:
    """Acc@1, Acc@5, Acc@1 on what nobody had linked by hand, and where mentions name several concepts the micro F1, of one set."""
    at_main = runs.get(f"{MAIN:g}", {})
    main = {TITLES[LABELLED_NAMES]: _labels_as_names(runs)[0], **systems_of(at_main)}
    recall = (main.get(TITLES[RETRIEVER]) or {}).get("recall_at_10")
    teachers = " / ".join(_teacher(a, runs.get(f"{a:g}", {}), recall, at_main.get("nil_share")) for a in TEACHERS)
    measures = [("Acc@1", "acc_at_1", "all"), ("Acc@5", "acc_at_5", None), ("Acc@1, not linked by hand", "unseen_acc_at_1", "unseen")]
    if any(system.get("micro_f1") for system in main.values()):
        measures.append(("Micro F1 of the set", "micro_f1", None))
    rows = []
    for measured, key, on in measures:
        retrievers = [_value(main, TITLES[system], key) for system in (ZERO_SHOT, *BASELINES)]
        students = [_value(systems_of(runs.get(f"{a:g}", {})), TITLES[STUDENT], key) for a in (*TEACHERS, GOLD)]
        first = on == "all"
        rows.append([title if first else "", measured, *retrievers, teachers if first else "", *students, _gain(at_main, on)])
    return rows


def _more(title: str, runs: dict[str, Any]) -> list[list[str]]:
    """Acc@1 of parts of one set's test mentions, how far confidences are from the truth, and what is answered at a target precision."""
    at_main = runs.get(f"{MAIN:g}", {})
    rows = []
    for part, measured in (("one_concept", "Acc@1, mentions of one concept"), ("met_by_nobody", "Acc@1, met by nobody")):
        found = at_main.get(part)
        if (
            found and found["mentions"] < 0.9 * systems_of(at_main)[TITLES[STUDENT]]["mentions"]
        ):  # a part that is nearly all tells nothing more
            few, student = (f"{found[which]['value']:.3f}" for which in ("old", "new"))
            rows.append([measured, few, "", student, "", "", _told(found["difference"])])
    rows.append(
        [
            "ECE, and what 5 % of perfect confidences would pass",
            "",
            *(_calibration_error(runs.get(f"{a:g}", {})) for a in (*TEACHERS, GOLD)),
            "",
        ]
    )
    surest = [_answered(runs.get(f"{a:g}", {}).get("surest")) for a in (*TEACHERS, GOLD)]
    if surest != ["–"] * len(surest):
        rows.append([f"Answered at a target precision of {PRECISION:.2f}, and right of that", "", *surest, ""])
    return [[title if n == 0 else "", *row] for n, row in enumerate(rows)]


def _by_trigrams() -> dict[str, str]:
    """Set -> Acc@1 of trigrams, which no teacher and no training has a part in: of whichever run."""
    found: dict[str, Any] = kept(dictionary.NAME).get("runs", {})
    return {
        run.rpartition("-")[0]: f"{told['acc_at_1'][dictionary.TRIGRAMS + dictionary.LINKED]['value']:.3f}" for run, told in found.items()
    }


def _in_short(title: str, runs: dict[str, Any], trigrams: str) -> list[str]:
    """Acc@1 of one set, of the teacher of MAIN."""
    figures = runs[f"{MAIN:g}"]
    names, of_run = _labels_as_names(runs)
    there = systems_of(figures)
    as_names = _value({TITLES[LABELLED_NAMES]: names}, TITLES[LABELLED_NAMES], "acc_at_1") + (
        "" if not names or TITLES[LABELLED_NAMES] in there else f" (run of {of_run})"
    )
    learn, check = (re.search(rf"([\d,]+) {split}", figures["protocol"]) for split in ("labelled", "dev"))
    of = [_value(there, TITLES[system], "acc_at_1") for system in (RETRIEVER, SECOND, STUDENT)]
    by_hand = f"{learn[1]} + {check[1]}" if learn and check else "–"
    return [title, by_hand, trigrams, of[0], as_names, of[1], of[2], *(_over(figures, system) for system in (RETRIEVER, LABELLED_NAMES))]


def _labels_as_names(runs: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(the retriever with few labels as names too, the run that it is of): of the main run where that has it, else of any, as no teacher has a part in it."""
    for accuracy in (MAIN, *TEACHERS, GOLD):
        found = systems_of(runs.get(f"{accuracy:g}", {})).get(TITLES[LABELLED_NAMES])
        if found:
            return found, _taught_by(accuracy)
    return {}, ""


def _teacher(accuracy: float, figures: dict[str, Any], recall: dict[str, Any] | None, nil: float | None) -> str:
    """Acc@1 on test as it was asked there; else what may be expected, NIL rightly said as often as others are rightly linked."""
    if figures.get("teacher_on_test"):
        return f"{figures['teacher_on_test']['acc_at_1']['value']:.3f}"
    return f"≈{accuracy * (recall['value'] * (1 - nil) + nil):.3f}" if recall and nil is not None else "–"


def _answered(surest: dict[str, Any] | None) -> str:
    """Of the test mentions."""
    if not surest or not (precision := surest["test"]["precision"]):
        return "none" if surest else "–"
    if not surest["reachable"]:
        return "exact names alone"
    return f"{surest['test']['coverage']['value']:.0%}, {precision['value']:.3f}"


def systems_of(figures: dict[str, Any]) -> dict[str, Any]:
    """A report's systems, or those of a run that is kept, by name."""
    return {system["name"]: system for system in figures.get("systems", [])}


def _value(systems: dict[str, Any], name: str, key: str) -> str:
    score = systems.get(name, {}).get(key)
    return f"{score['value']:.3f}" if score else "–"


def _calibration_error(figures: dict[str, Any]) -> str:
    found = figures.get("calibration")
    return f"{found['ece']:.3f} ({found['ece_by_chance_high']:.3f})" if found else "–"


def _gain(figures: dict[str, Any], on: str | None) -> str:
    row = _comparison(figures, RETRIEVER, on)
    return _told(row) if row else ""


def _over(figures: dict[str, Any], system: str) -> str:
    """The student's difference from a retriever of its own run, in short."""
    row = _comparison(figures, system, "all")
    return in_short(row["difference"], row["p_value"]) if row else "–"


def _comparison(figures: dict[str, Any], system: str, on: str | None) -> dict[str, Any] | None:
    rows = (r for r in figures.get("comparison", []) if (r["b"], r["on"], r["metric"]) == (TITLES[system], on, "acc_at_1"))
    return next(rows, None)


def _told(difference: dict[str, Any]) -> str:
    return f"{difference['difference']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}], p = {difference['p_value']:.2g}"


if __name__ == "__main__":
    raise SystemExit(main())
