"""Student accuracy against dollars on Ask A Patient: mentions at random or chosen by worth, one answer each or votes.

    RPDR_DATA=… python benchmarks/label_economy.py [--budgets 0.03 0.09]

Each arm asks the sandbox teacher (simulated: it knows the pool's answers and errs at a set rate) in its own order until its budget is
spent, and trains the same student on what it got. Retriever, candidates, test and dev mentions are the same for all. No Ray: client,
governor, ledger, training step and scorer are called as they are. Writes results/label_economy.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from finished import annotated_test, share_cores, trained
from outcome import keep
from rich.console import Console

from rpdr.config import Config, load
from rpdr.corpus import load_mentions
from rpdr.evaluation import evaluate, noise_kind, outcomes, paired_test
from rpdr.kb import load_kb
from rpdr.pipeline.details import how_drawn, resampling
from rpdr.pipeline.pool import examples_of, mentions_of, queue_of
from rpdr.pipeline.questions import question_of
from rpdr.pipeline.stages import run_stages
from rpdr.pipeline.teach import sandbox
from rpdr.reranker import examples, queries
from rpdr.reranker.reranker import best_device
from rpdr.run import Run
from rpdr.run.found import load_candidates
from rpdr.schema import ConceptId, MentionKey, chosen_id
from rpdr.teacher import Governor, Ledger, Vote, resolve_endpoint, vote
from rpdr.teacher.client import TeacherClient

CONFIG = Path(__file__).parents[1] / "jobs" / "configs" / "askapatient.yaml"
AT_A_TIME = 32  # mentions asked about side by side: no more than these are past the end of a budget
ARMS = (("random", 1), ("random", 3), ("worth", 1), ("worth", 3))


def main() -> int:
    """Every arm at every budget, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.03, 0.09])
    parser.add_argument("--layers", type=int, default=0, help="of the student's 30: half of them take half the time; 0: all")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="arms side by side, a share of the cores each")
    parser.add_argument("--run-dir", default="runs/label_economy", help="whose retriever and candidates are used, or made")
    options = parser.parse_args()
    student = {"layers": options.layers, "epochs": options.epochs, "workers": 1, "train_candidates": 6}
    base = load(
        CONFIG, {"run_dir": options.run_dir, "retriever.baselines": False, **{f"student.{name}": value for name, value in student.items()}}
    )
    run = run_stages(base, ("prepare", "retriever", "candidates"))
    test = annotated_test(run)
    found, golds = load_candidates(run), [m.gold or [] for m in test]
    settings = [{"budget_usd": budget, "choose": choose, "votes": votes} for budget in options.budgets for choose, votes in ARMS]
    with ProcessPoolExecutor(options.at_once, get_context("spawn"), share_cores, (options.at_once,)) as processes:
        arms = []
        for arm in processes.map(_arm, repeat(base), settings):
            arms.append(arm)
            Console(stderr=True).print(arm)
    start = evaluate("retriever", [found[m.key]["candidate_ids"] for m in test], golds, _all(test), resampling=resampling(run, test))
    layers = f"its first {options.layers} layers" if options.layers else "all its layers"
    keep(
        "label_economy",
        f"python benchmarks/label_economy.py --budgets {' '.join(map(str, options.budgets))} --layers {options.layers} --epochs {options.epochs}",
        "Ask A Patient, fold 0",
        ("Budget", "Mentions", "Answers a mention", "Labels", "… right", "Student's Acc@1", "against the retriever alone"),
        [["$0", "", "", "", "", f"{start.acc_at_1.value:.3f}", "(it)"], *map(_row, arms)],
        protocol="A tenth of the train rows labelled for the retriever; the sandbox teacher at 0.90 holds the rest; all test mentions. "
        f"Student: SmolLM2-135M, {layers}, {options.epochs} epochs, 6 candidates a training mention. {how_drawn(test)}.",
        retriever=asdict(start.acc_at_1),
        arms=arms,
    )
    return 0


def _arm(base: Config, settings: dict[str, Any]) -> dict[str, Any]:
    """Labels for one budget by one way, a student of them, and what it is worth."""
    config = base.model_copy(update={"teacher": base.teacher.model_copy(update=settings)})
    run = Run(base)
    test, found = annotated_test(run), load_candidates(run)
    golds = [m.gold or [] for m in test]
    with tempfile.TemporaryDirectory() as folder:
        labels, told = _labels(config, run, found, Path(folder))
    ranked = _ranked(config, labels, found, [m.key for m in test])
    scored = evaluate("student", ranked, golds, _all(test), resampling=resampling(run, test))
    retriever = outcomes([found[m.key]["candidate_ids"] for m in test], golds, 1)
    return {
        **settings,
        **told,
        "acc_at_1": asdict(scored.acc_at_1),
        "acc_at_5": asdict(scored.acc_at_5),
        "against_retriever": asdict(paired_test(outcomes(ranked, golds, 1), retriever, resampling(run, test))),
    }


def _labels(
    config: Config, run: Run, found: Mapping[MentionKey, dict[str, Any]], folder: Path
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows of candidates with a `choice`, what they cost and how many are right), asked for until the budget is spent."""
    arm = Run(config)
    definitions = {c.concept_id: c.definition for c in load_kb(run.concepts_file)}
    pool = {m.key: m for m in load_mentions(run.mentions_file, "unlabelled")}
    queue = queue_of(arm, mentions_of(arm))
    examples = examples_of(arm, definitions)

    async def ask(url: str) -> list[Vote]:
        endpoint = resolve_endpoint(config.teacher, config.data_policy, url)
        governor = Governor(config.teacher.budget_usd, endpoint.price, folder / "ledger")
        client = TeacherClient(config.teacher, endpoint, governor)
        votes: list[Vote] = []
        for start in range(0, len(queue), AT_A_TIME):
            questions = [question_of(found[key], definitions) for key in queue[start : start + AT_A_TIME]]
            votes += await vote(client, questions, examples, config.seed, config.teacher.votes)
            if any(v.source == "refused_by_budget" for v in votes[-AT_A_TIME:]):
                break
        await governor.close()
        return votes

    with sandbox(arm, load_kb(run.concepts_file)) as url:
        votes = [v for v in asyncio.run(ask(str(url))) if v.valid]
    labels = [{**found[MentionKey(v.key)], "choice": v.choice, "also": [], "trust": 1.0} for v in votes]
    right = sum(noise_kind(chosen_id(row), pool[row["key"]].gold or [], row["candidate_ids"]) is None for row in labels)
    ledger = Ledger(folder / "ledger")
    asked = sum(row["requests"] for row in ledger.account() if row["state"] == "valid")
    told = {"labels": len(labels), "answers": asked, "spent_usd": ledger.spent_usd(), "labels_right": right / max(1, len(labels))}
    return labels, told


def _ranked(
    config: Config, labels: list[dict[str, Any]], found: Mapping[MentionKey, dict[str, Any]], keys: list[MentionKey]
) -> list[list[ConceptId | None]]:
    """The test mentions' candidates as the trained student ranks them."""
    chosen = [example.narrowed(config.student.train_candidates) for example in examples(labels)]
    student = trained(config.student, chosen, config.seed)
    distinct = list(dict.fromkeys(keys))
    probabilities = student.probabilities(queries(found[key] for key in distinct))
    order = {key: row[:-1].argsort()[::-1] for key, row in zip(distinct, probabilities, strict=True)}
    return [[found[key]["candidate_ids"][n] for n in order[key] if n < len(found[key]["candidate_ids"])] for key in keys]


def _all(test: list[Any]) -> Any:

    return np.zeros(len(test), dtype=bool)


def _row(arm: dict[str, Any]) -> list[str]:
    score, test = arm["acc_at_1"], arm["against_retriever"]
    return [
        f"${arm['budget_usd']:.2f}",
        {"random": "at random", "worth": "by worth"}[arm["choose"]],
        "1" if arm["votes"] == 1 else f"until 2 agree, at most {arm['votes']}",
        f"{arm['labels']:,}",
        f"{arm['labels_right']:.1%}",
        f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]",
        f"{test['difference']:+.3f} (p = {test['p_value']:.2g})",
    ]


if __name__ == "__main__":
    os.environ.setdefault("DS_ACCELERATOR", best_device())
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    raise SystemExit(main())
