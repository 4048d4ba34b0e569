"""What each way to train a student changes, alone: the same labels and candidates, one setting away from the run's own.

    python benchmarks/each_alone.py --run-dir runs/askapatient [--labels 1500] [--arms …]

Of a run whose stage `retune` is finished. Each arm trains a student on the labels that come first in the teacher's queue, and ranks all test
mentions; its loss is on the dev mentions whose text nobody has linked, where a student has to know more than who said the same before. No Ray:
the training step is called as it is. results/each_alone.json keeps what other calls have measured of the same run and labels.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from finished import annotated_test, run_in, share_cores, trained
from outcome import against, keep, kept, machine, shown
from rich.console import Console

from rpdr.corpus import load_mentions, normalise
from rpdr.evaluation import evaluate, outcomes, paired_test
from rpdr.evaluation.significance import PairedResult
from rpdr.evaluation.systems import Score
from rpdr.pipeline.details import how_drawn, resampling
from rpdr.reranker import Example, examples, fit_calibration, queries
from rpdr.reranker.reranker import best_device
from rpdr.reranker.targets import prior_of
from rpdr.retriever import similarity_matrix
from rpdr.run import Run
from rpdr.run.found import load_candidates
from rpdr.run.gold import chosen_by_gold, right_among
from rpdr.run.labels import learned_labels

NAME, OWN, RETRIEVER = "each_alone", "the run's own settings", "the retriever alone"
ARMS: dict[str, dict[str, Any]] = {
    OWN: {},
    "all layers of the model": {"layers": 0},
    "all layers, a third of the learning rate": {"layers": 0, "learning_rate": 3e-4},
    "a third of the learning rate": {"learning_rate": 3e-4},
    "all weights tuned, learning rate 1e-4": {"tuning": "full", "learning_rate": 1e-4},
    "base in 4 bits (qlora)": {"tuning": "qlora"},
    "labels believed wholly (soft_labels: false)": {"soft_labels": False},
    "labels of any trust (min_trust: 0)": {"min_trust": 0.0},
    "all ten candidates in training": {"train_candidates": 0},
    "twice the epochs": {"epochs": 4},
}


def main() -> int:
    """The arms that are asked for, side by side, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default="runs/askapatient")
    parser.add_argument("--labels", type=int, default=1500)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=[arm for arm in ARMS if can(arm)])
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="arms side by side, a share of the cores each")
    parser.add_argument("--data", default="Ask A Patient, fold 0")
    options = parser.parse_args()
    run, told = run_in(options.run_dir), _kept(options.labels)
    with ProcessPoolExecutor(options.at_once, get_context("spawn"), share_cores, (options.at_once,)) as processes:
        for arm in processes.map(partial(_arm, options.run_dir, options.labels), options.arms):
            told[arm["name"]] = arm
            Console(stderr=True).print({key: arm[key] for key in ("name", "loss", "acc_at_1")})
            _write(run, told, options)
    return 0


def can(arm: str) -> bool:
    """Whether what the arm needs is installed."""
    return ARMS[arm].get("tuning") != "qlora" or find_spec("bitsandbytes") is not None


def _kept(labels: int) -> dict[str, Any]:
    found = kept(NAME)
    return dict(found["arms"]) if found.get("labels") == labels else {}


def _arm(run_dir: str, count: int, name: str) -> dict[str, Any]:
    run = run_in(run_dir)
    settings = run.config.student.model_copy(update={"workers": 1, "epochs": 2, **ARMS[name]})
    changed = run.config.model_copy(update={"student": settings.model_copy(update={"max_labels": count})})
    rows = learned_labels(Run(changed))
    chosen = [example.narrowed(settings.train_candidates) for example in examples(rows)]
    student = trained(settings, chosen, run.config.seed)
    return {
        "name": name,
        **_measured(run, chosen, lambda rows: student.scores(queries(rows))),
        "labels": len(rows),
        "machine": machine(),
        **ARMS[name],
    }


def _measured(run: Run, chosen: list[Example], scores: Any) -> dict[str, Any]:
    """Acc@1 on test with its outcomes, and the loss on dev mentions that nobody has linked; of the retriever alone, too."""
    prior = prior_of(chosen)

    def alone(rows: list[dict[str, Any]]) -> np.ndarray:
        return prior.scores(similarity_matrix([row["scores"] for row in rows]))

    test, found, dev = annotated_test(run), load_candidates(run, final=True), _nobodys(run)
    golds, none, drawn = [m.gold or [] for m in test], np.zeros(len(test), dtype=bool), resampling(run, test)
    keys = list(dict.fromkeys(m.key for m in test))
    out = {}
    for who, score in (("student", scores), ("retriever", alone)):
        best = dict(zip(keys, score([found[key] for key in keys])[:, :-1], strict=True))
        ranked = [[found[m.key]["candidate_ids"][n] for n in np.argsort(-best[m.key], kind="stable")] for m in test]
        out[who] = {
            "acc_at_1": asdict(evaluate(who, ranked, golds, none, resampling=drawn).acc_at_1),
            "outcomes": outcomes(ranked, golds, 1).astype(int).tolist(),
            "loss": _loss(score(dev), dev),
        }
    base = np.array(out["retriever"]["outcomes"], dtype=bool)
    test_of = paired_test(np.array(out["student"]["outcomes"], dtype=bool), base, drawn)
    return {**out["student"], "retriever": out["retriever"], "against_retriever": asdict(test_of), "dev": len(dev)}


def _nobodys(run: Run) -> list[dict[str, Any]]:
    """The dev mentions with gold whose text nobody has linked."""
    linked = {normalise(row["text"]) for row in learned_labels(run, ["text", "trust"])}
    linked |= {normalise(m.text) for m in load_mentions(run.mentions_file, "labelled")}
    return [row for row in chosen_by_gold(run, "dev", final=True) if normalise(row["text"]) not in linked]


def _loss(scores: np.ndarray, rows: list[dict[str, Any]]) -> float:
    """Nats, at the temperature and shift that suit these mentions best: how well they are ordered, not how sure it is."""
    right = right_among(rows, scores.shape[1] - 1)
    believed = fit_calibration(scores, right, "dev mentions").probabilities(scores)
    return float(-np.log(np.maximum((believed * right).sum(axis=1), 1e-12)).mean())


def _write(run: Run, told: dict[str, Any], options: argparse.Namespace) -> None:
    arms = {name: told[name] for name in ARMS if name in told}
    first = next(iter(arms.values()))
    rows = [[RETRIEVER, f"{first['retriever']['loss']:.3f}", shown(Score(**first["retriever"]["acc_at_1"])), "(it)"]]
    for name, arm in arms.items():
        rows.append([name, f"{arm['loss']:.3f}", shown(Score(**arm["acc_at_1"])), against(PairedResult(**arm["against_retriever"]))])
    student = run.config.student
    keep(
        NAME,
        command(Path(options.run_dir).name, options.labels, arms),
        options.data,
        ("Trained with", "Loss on dev, nats", "Acc@1", "against the retriever whose candidates it re-ranks"),
        rows,
        protocol=f"`{student.model}`, {student.layers or 'all'} layers, learning rate {student.learning_rate:g}, {options.labels:,} labels of the "
        f"sandbox teacher ({run.config.teacher.sandbox.accuracy:.2f}), 2 epochs, but for what the row says; one run each. Loss: on the {first['dev']} dev "
        f"mentions whose text nobody had linked, at the temperature that suits them best. Acc@1: all test mentions; {how_drawn(annotated_test(run))}.",
        machines={name: arm["machine"] for name, arm in arms.items()},
        labels=options.labels,
        arms=told,
    )


def command(run: str, labels: int, arms: Iterable[str]) -> str:
    """What makes these arms again."""
    return " ".join(["python benchmarks/each_alone.py", "--run-dir", run, "--labels", str(labels), "--arms", *map(json.dumps, arms)])


if __name__ == "__main__":
    os.environ.setdefault("DS_ACCELERATOR", best_device())
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    raise SystemExit(main())
