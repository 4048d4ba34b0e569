"""What it costs in accuracy, and saves in work, to take the retriever's answer where dev shows that the student would say the same; and exact names.

    python benchmarks/shortcut.py RUN_DIR [RUN_DIR …]

Of finished runs. Each test mention is answered twice, by the student and as `link.shortcut` has it; the shortcut is fitted on dev, here. Beside it what
`link.exact_match` costs: the same answers by the student, but where a mention is verbatim the name of one concept. A row a run
in results/shortcut.json, which keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np
from finished import annotated_test, run_in
from outcome import against, keep, kept, machine, shown

from rpdr.answer import answers
from rpdr.config import LinkConfig
from rpdr.evaluation import evaluate, outcomes, paired_test
from rpdr.kb import load_kb
from rpdr.pipeline.details import resampling
from rpdr.pipeline.names import disputed_names
from rpdr.pipeline.on_dev import shortcut_on_dev
from rpdr.reranker import Reranker, queries
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import UNDECIDED
from rpdr.run import Run
from rpdr.run.found import load_candidates
from rpdr.run.gold import chosen_by_gold, right_among
from rpdr.schema import ConceptId

NAME = "shortcut"
COLUMNS = (
    "Set",
    "Decided without the student",
    "The same answer there",
    "Acc@1, all by the student",
    "With the shortcut",
    "Difference",
    "Exact names",
    "Difference by them alone",
    "… by all, disputed ones too",
)
SAVED = "Student's time saved"
ROUNDS = 3


def main() -> int:
    """A row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR")
    parser.add_argument("--share", type=float, default=LinkConfig().shortcut or 0.98, help="link.shortcut")
    options = parser.parse_args()
    found: dict[str, Any] = kept(NAME).get("runs", {})
    found |= {measured["run"]: measured for folder in options.runs for measured in [_measured(run_in(folder), options.share)]}
    columns, rows = table(found)
    keep(
        NAME,
        f"python benchmarks/shortcut.py {' '.join(found)}",
        "Test mentions of finished runs",
        columns,
        rows,
        protocol=f"link.shortcut {options.share:g}, fitted on dev by the run's student and retriever. Decided, the same and time (in turns, the median of "
        f"{ROUNDS}): of distinct test mentions. "
        "Exact names: of distinct test mentions those that are verbatim the name of one concept, and that nobody has linked to others alone. Acc@1: of all test mentions; 95 % percentile bootstrap and exact randomisation test, by document where documents are known, else by text.",
        machines={name: run["machine"] for name, run in found.items()},
        runs=found,
    )
    return 0


def table(found: Mapping[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """(columns, a row a run); with the time saved where some run's was measured in turns, which older ones' was not."""
    saved = {name: _saved(run["seconds"]) for name, run in found.items()}
    if not any(saved.values()):
        return [*COLUMNS], [run["row"] for run in found.values()]
    return [*COLUMNS, SAVED], [[*run["row"], saved[name] or "–"] for name, run in found.items()]


def _saved(seconds: Mapping[str, Any]) -> str:
    """Of rounds in turns; empty where each was timed once, the student first."""
    if not isinstance(seconds["student"], list):
        return ""
    return f"{1 - statistics.median(seconds['shortcut']) / statistics.median(seconds['student']):.0%}"


def _measured(run: Run, share: float) -> dict[str, Any]:
    settings = run.config.link
    student = Reranker.load(run.path("student"), run.config.student, settings.batch_size)
    dev = chosen_by_gold(run, "dev", final=True)
    scores = student.scores(queries(dev))
    right = right_among(dev, scores.shape[1] - 1)
    nil, disputed = np.array([not row["gold"] for row in dev]), disputed_names(run)
    exact = [name is not None for name in _by_exact_names(run, dev, disputed)]
    shortcut = shortcut_on_dev(run, student.calibration, dev, scores, right, nil, exact).at(share, run.config.link.exact_match)
    test, found = annotated_test(run), load_candidates(run, final=True)
    rows = [found[key] for key in dict.fromkeys(m.key for m in test)]
    asked: dict[str, dict[str, Any]] = {}
    seconds: dict[str, list[float]] = {"student": [], "shortcut": []}
    in_turns = [("student", None), ("shortcut", shortcut)]
    for n in range(ROUNDS):
        for name, used in in_turns[:: -1 if n % 2 else 1]:
            student.shortcut = used
            begin = perf_counter()
            asked[name] = {row["key"]: answer for row, answer in zip(rows, answers(student, rows, settings.allow_nil), strict=True)}
            seconds[name].append(perf_counter() - begin)
    taken = {key for key, answer in asked["shortcut"].items() if answer["source"] == "retriever"}
    same = sum(asked["student"][key]["concept_ids"] == asked["shortcut"][key]["concept_ids"] for key in taken)
    named = {"names": _by_exact_names(run, rows, disputed), "all names": _by_exact_names(run, rows, ())}
    for name, by in named.items():
        pairs = zip(rows, by, strict=True)
        asked[name] = {row["key"]: asked["student"][row["key"]] if exact is None else {"concept_id": exact} for row, exact in pairs}
    golds = [m.gold or [] for m in test]
    first = {name: [[by[m.key]["concept_id"]] for m in test] for name, by in asked.items()}
    none, drawn = np.zeros(len(test), dtype=bool), resampling(run, test)
    accuracy = {name: evaluate(name, said, golds, none, resampling=drawn).acc_at_1 for name, said in first.items()}
    hits = {name: outcomes(said, golds, 1) for name, said in first.items()}
    test_of, of_names, of_all = (paired_test(hits[name], hits["student"], drawn) for name in ("shortcut", *named))
    exact_names = sum(name is not None for name in named["names"])
    return {
        "run": run.folder.name,
        "row": [
            run.folder.name,
            f"{len(taken) / len(rows):.1%} of {len(rows):,}",
            f"{same / len(taken):.1%}" if taken else "–",
            shown(accuracy["student"]),
            shown(accuracy["shortcut"]),
            against(test_of),
            f"{exact_names / len(rows):.1%}",
            against(of_names),
            against(of_all),
        ],
        "point": asdict(shortcut.point(share, run.config.link.exact_match)),
        "distinct": len(rows),
        "taken": len(taken),
        "same": same,
        "acc_at_1": {name: asdict(score) for name, score in accuracy.items()},
        "test": asdict(test_of),
        "exact_names": exact_names,
        "test_of_names": asdict(of_names),
        "test_of_all_names": asdict(of_all),
        "seconds": seconds,
        "machine": machine(),
    }


def _by_exact_names(run: Run, rows: Sequence[dict[str, Any]], disputed: Sequence[str]) -> list[ConceptId | None]:
    """The concept that each is the name of; None where it is none's, or several concepts', or disputed."""
    concepts = load_kb(run.concepts_file)
    owners = ExactNames.of(concepts, disputed).find([row["text"] for row in rows])
    return [None if owner == UNDECIDED else concepts[owner].concept_id for owner in owners]


if __name__ == "__main__":
    raise SystemExit(main())
