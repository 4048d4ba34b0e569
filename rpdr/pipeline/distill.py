"""Stage `distill`: the teacher's labels -> student/, trained by Ray Train and DeepSpeed, then calibrated on the dev mentions."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import numpy as np

from rpdr.errors import ConfigError, RunError
from rpdr.files import sha256_tree, write_json
from rpdr.pipeline import on_dev
from rpdr.pipeline.names import disputed_names
from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.on_ray.elsewhere import run_elsewhere
from rpdr.pipeline.progress import StageProgress, Stopwatch, say
from rpdr.pipeline.training_job import fit_student
from rpdr.reranker import Example, examples
from rpdr.reranker.card import Facts, write_card
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.targets import prior_loss, prior_of
from rpdr.reranker.training import REMEDY
from rpdr.retriever.exact import DISPUTED_FILE
from rpdr.run import STAGES, Run
from rpdr.run.gold import questions_by_gold, right_among
from rpdr.run.labels import learned_labels
from rpdr.schema import NIL

CURVE = 50  # points of the loss curve that is kept


def distill(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Train (or go on from the last checkpoint of a killed start), calibrate, write the model card."""
    settings = run.config.student
    labels = learned_labels(run)
    gold = gold_examples(run, "labelled") if settings.gold_labels else []
    if not labels and not gold:
        of_teacher = (
            f"no labels in {run.path('labels')}: the teacher answered nothing (see its budget), or none is trusted as far as student.min_trust "
            f"({settings.min_trust})"
        )
        by_hand = (
            "no mention in the split labelled has gold"
            if settings.gold_labels
            else "student.gold_labels: true learns from labelled mentions"
        )
        raise RunError(f"distill: {of_teacher}; {by_hand}")
    held_out = gold_examples(run, "dev") if settings.early_stop else []
    if settings.early_stop and not held_out:
        raise ConfigError(
            "student.early_stop: true, but there are no dev mentions with gold to measure on; give a source `split: dev`, or leave it out"
        )
    connect()
    watch = Stopwatch()
    chosen = [example.narrowed(settings.train_candidates) for example in [*examples(labels), *gold]]
    on_dev.as_trained(run).unlink(missing_ok=True)  # what is trained from here on has not been balanced
    trained = fit_student(run, chosen, held_out, progress)
    seconds = watch.seconds
    if trained.skipped:
        say([f"{trained.skipped:,} of {len(trained.losses):,} steps changed nothing, as their gradients were no numbers; {REMEDY}"])
    disputed = disputed_names(run)
    write_json(run.path("student", DISPUTED_FILE), disputed)
    progress.update(0, None, "calibrating")
    if run.config.resources.reranking:
        calibration, balance, shortcut = run_elsewhere("reranking", run, on_dev.__name__, on_dev.calibrate.__name__, progress)
    else:
        calibration, balance, shortcut = on_dev.calibrate(run, progress)
    calibration.save(run.path("student", CALIBRATION_FILE))
    if shortcut:
        shortcut.save(run.path("student"))
    link = run.config.link
    summary = {
        "labels": len(labels),
        "gold_labels": len(gold),
        "none_labels": sum(row["choice"] == NIL for row in labels),
        "steps": len(trained.losses),  # an early stop makes fewer than were planned
        "steps_skipped": trained.skipped,
        "precision": trained.precision,
        "final_loss": float(np.mean(trained.losses[-max(1, len(trained.losses) // 10) :])) if trained.losses else None,
        "held_out_losses": trained.held_out_losses,
        "retriever_loss": prior_loss(chosen, prior_of(chosen), settings.soft_labels),
        "loss_curve": _curve(trained.losses),
        "training_s": round(seconds, 1),
        "calibrated_on": calibration.fitted_on,
        "balance": balance,
        "disputed_names": len(disputed),
        "shortcut": asdict(shortcut.point(link.shortcut, link.exact_match)) if shortcut and link.shortcut else None,
    }
    write_card(run.path("student"), Facts(run.config, {**{name: run.summary(name) for name in STAGES}, "distill": summary}, calibration))
    content = sha256_tree(run.path("student"))
    # not before: a start after a kill would find no checkpoint, and train anew only to calibrate
    shutil.rmtree(run.path("student.training"), ignore_errors=True)
    return {"content": content, **summary}


def gold_examples(run: Run, split: str) -> list[Example]:
    """The distinct mentions of a split, as examples that are certainly right. Of gold with alternatives all are chosen, as each is as right, unless an
    answer may have several concepts (`link.several`): then those of one alternative."""
    rows = [{**row, "trust": 1.0} for row in questions_by_gold(run, split, final=True)]
    if not run.config.link.several:
        for row in rows:
            right = np.flatnonzero(right_among([row], len(row["candidate_ids"]))[0, :-1]).tolist()
            row["also"] = [n for n in right if n != row["choice"]]
    return examples(rows)


def _curve(losses: list[float]) -> list[dict[str, float]]:
    """The mean loss of each of at most CURVE equal parts of the steps, and the step that ends it."""
    parts = np.array_split(np.arange(len(losses)), min(CURVE, len(losses)) or 1)
    return [{"step": int(part[-1]) + 1, "loss": float(np.mean([losses[n] for n in part]))} for part in parts if len(part)]
