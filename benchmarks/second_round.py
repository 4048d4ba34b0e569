"""What a second round of the retriever finds that the first did not, and what each part of it brings: the same run without that part.

    RPDR_DATA=… RPDR_MODELS=… python benchmarks/second_round.py --root runs/six_sets --sets askapatient cadec

Takes over what six_sets.py has made in the same --root, for a teacher of 0.90, and runs each arm to the stage `retune`; but for the arm of the
student's negatives no student is needed. An arm takes 1 to 25 minutes on two CPU cores. results/second_round.json keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from finished import annotated_test
from outcome import against, keep, kept, machine, shown
from six_sets import BEFORE, MAIN, SETS, run_until, settings

from rpdr.config import Config
from rpdr.evaluation import evaluate, outcomes, paired_test, recall_outcomes
from rpdr.evaluation.significance import PairedResult
from rpdr.evaluation.systems import Score
from rpdr.pipeline.details import how_drawn, resampling
from rpdr.reranker import Reranker, queries
from rpdr.run import Run
from rpdr.run import labels as taught
from rpdr.run.found import load_candidates
from rpdr.run.labels import learned_labels
from rpdr.schema import ConceptId

NAME, OWN = "second_round", "as its config has it"
STUDENTS = "hard negatives are what a student takes for right, not what is most similar"
NAMES_LATER = "labelled mentions are no names when the teacher is asked (labelled_names: false)"
ARMS: dict[str, dict[str, Any]] = {
    OWN: {},
    "not tuned again (rounds: 1)": {"retriever.rounds": 1},
    "linked mentions are no names (aliases: false)": {"retriever.aliases": False},
    "what is commonly meant does not count (commonness: false)": {"retriever.commonness": False},
    "synonyms of the knowledge base are no pairs (max_synonym_pairs: 0)": {"retriever.max_synonym_pairs": 0},
    NAMES_LATER: {"retriever.labelled_names": False},
    STUDENTS: {},
}
ROUNDS = ("first", "second")


def main() -> int:
    """Every arm of every set; the results file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs") / "six_sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["askapatient", "cadec"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    options = parser.parse_args()
    for name in options.sets:
        for arm in (OWN, *(arm for arm in options.arms if arm != OWN)):
            _write(_kept(name, arm, _run(name, arm, options.root)))
    return 0


def _run(name: str, arm: str, root: Path) -> Run:
    """The set's run with this arm's setting, whose second round is finished."""
    own = settings(name, MAIN, root, no_baselines=True)
    if arm == OWN:
        run_until("retune", own, sorted(root.glob(f"{name}-*")))
        return Run(own)
    if arm == STUDENTS:
        return _by_the_students_negatives(name, own, root)
    key = next(iter(ARMS[arm]))
    config = settings(name, MAIN, root, no_baselines=True, **{"run_dir": str(root / f"{name}-without-{key.split('.')[1]}"), **ARMS[arm]})
    # the others change the second round alone
    same = ("prepare",) if key in ("retriever.max_synonym_pairs", "retriever.labelled_names") else (*BEFORE, "teach")
    run_until("retune", config, [Path(own.run_dir)], same)
    return Run(config)


def _by_the_students_negatives(name: str, own: Config, root: Path) -> Run:
    """The second round once more, whose pairs have as negatives the candidates that the run's finished student has first of those that the teacher passed over."""
    run_until("distill", own, [])
    run = Run(own)
    labels = learned_labels(run)
    student = Reranker.load(run.path("student"), own.student, own.link.batch_size)
    found = zip(labels, student.scores(queries(labels)), strict=True)
    scores = {row["key"]: dict(zip(row["candidate_ids"], of_one.tolist(), strict=False)) for row, of_one in found}  # "none" is last
    most_similar = taught.hardest

    def hardest(label: dict[str, Any], named: Collection[ConceptId]) -> ConceptId | None:
        mine = scores.get(label["key"], {})  # of a label that is too little trusted to be learned from there are none
        by_student = sorted(label["candidate_ids"], key=lambda candidate: -mine.get(candidate, 0.0))
        return most_similar({"candidate_ids": by_student}, named)

    config = settings(name, MAIN, root, no_baselines=True, run_dir=str(root / f"{name}-by-students-negatives"))
    with patch.object(taught, "hardest", hardest):
        run_until("retune", config, [run.folder], (*BEFORE, "teach"))
    return Run(config)


def _kept(name: str, arm: str, run: Run) -> dict[str, Any]:
    """The arms so far, with this one."""
    found: dict[str, Any] = kept(NAME).get("arms", {})
    test = annotated_test(run)
    golds, drawn = [m.gold or [] for m in test], resampling(run, test)
    of_concepts = drawn.of(np.array([bool(gold) for gold in golds]))  # NIL has no recall
    told: dict[str, Any] = {"summary": run.summary("retune"), "changed": ARMS[arm], "protocol": how_drawn(test), "machine": machine()}
    first_right: dict[str, np.ndarray] = {}
    among: dict[str, np.ndarray] = {}
    for which, final in zip(ROUNDS, (False, True), strict=True):
        candidates = load_candidates(run, final=final)
        ranked = [candidates[m.key]["candidate_ids"] for m in test]
        first_right[which], among[which] = outcomes(ranked, golds, 1), recall_outcomes(ranked, golds, 10)
        told[which] = asdict(evaluate(which, ranked, golds, np.zeros(len(test), bool), resampling=drawn))
        told[which]["outcomes"] = first_right[which].astype(int).tolist()
    told["second_against_first"] = {
        "1": asdict(paired_test(first_right["second"], first_right["first"], drawn)),
        "10": asdict(paired_test(among["second"], among["first"], of_concepts)),
    }
    if arm != OWN:
        for which in ROUNDS:
            own = np.array(found[name][OWN][which]["outcomes"], dtype=first_right[which].dtype)
            told[which]["against_own"] = asdict(paired_test(first_right[which], own, drawn))
    found.setdefault(name, {})[arm] = told
    return found


def _write(found: dict[str, Any]) -> None:
    def against_own(arm: dict[str, Any], which: str) -> str:
        test = arm[which].get("against_own")
        return against(PairedResult(**test)) if test else "(it)"

    cells: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("First round, Acc@1", lambda arm: shown(Score(**arm["first"]["acc_at_1"]))),
        ("… recall@10", lambda arm: f"{arm['first']['recall_at_10']['value']:.3f}"),
        ("Second round, Acc@1", lambda arm: shown(Score(**arm["second"]["acc_at_1"]))),
        ("… recall@10", lambda arm: f"{arm['second']['recall_at_10']['value']:.3f}"),
        ("Second − first, Acc@1", lambda arm: against(PairedResult(**arm["second_against_first"]["1"]))),
        ("… recall@10", lambda arm: against(PairedResult(**arm["second_against_first"]["10"]))),
        ("First round, against as configured", lambda arm: against_own(arm, "first")),
        ("Second round, against as configured", lambda arm: against_own(arm, "second")),
    ]
    rows = [
        [SETS[name], arm, *(cell(found[name][arm]) for _, cell in cells)]
        for name in SETS
        if name in found
        for arm in ARMS
        if arm in found[name]
    ]
    keep(
        NAME,
        "RPDR_DATA=… RPDR_MODELS=… python benchmarks/second_round.py",
        "Each set by its config in jobs/configs, but for what the row says",
        ("Set", "Retriever", *(title for title, _ in cells)),
        rows,
        protocol=f"The first round learned from labelled mentions, the second from the labels of a teacher of {MAIN:.2f} too. All test mentions, one run "
        "each; 95 % percentile bootstrap and paired randomisation test, by document where documents are known, else by text. "
        "Recall: of the mentions that have a concept.",
        machines={f"{SETS[name]}, {arm}": told["machine"] for name, arms in found.items() for arm, told in arms.items()},
        arms=found,
    )


if __name__ == "__main__":
    raise SystemExit(main())
