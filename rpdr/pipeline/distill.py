"""Stage `distill`: the teacher's labels -> student/, trained by Ray Train and DeepSpeed, then calibrated on the dev mentions."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rpdr.config import Needs, actors_between
from rpdr.corpus import mention_key
from rpdr.errors import ConfigError, RpdrError, RunError
from rpdr.files import sha256_tree, write_atomically, write_json
from rpdr.models import chosen_precision, from_anywhere
from rpdr.pipeline.cluster import (
    at_most_gpus,
    beside_the_driver,
    check_here,
    connect,
    cpus,
    has_gpu,
    interrupts_as_before,
    joins,
    raised_by_worker,
    share_threads,
)
from rpdr.pipeline.elsewhere import Board, run_elsewhere
from rpdr.pipeline.names import by_exact_names, disputed_names
from rpdr.pipeline.progress import StageProgress, Stopwatch
from rpdr.pipeline.several import with_threshold
from rpdr.reranker import Calibration, Example, Reranker, examples, fit_calibration, queries
from rpdr.reranker.balance import ENOUGH, fit_balance
from rpdr.reranker.calibration import FEW, different
from rpdr.reranker.card import Facts, write_card
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.shortcut import Shortcut, fit_shortcut
from rpdr.reranker.student import HEAD_FILE
from rpdr.reranker.targets import prior_loss, prior_of
from rpdr.reranker.training import Hooks, train
from rpdr.retriever import similarity_matrix
from rpdr.retriever.exact import DISPUTED_FILE
from rpdr.run import STAGES, Run
from rpdr.run.gold import chosen_by_gold, questions_by_gold, right_among
from rpdr.run.labels import learned_labels
from rpdr.schema import NIL

IN_PLACE = 4  # starts at one checkpoint
CURVE = 50  # points of the loss curve that is kept


def distill(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Train (or go on from the last checkpoint of a killed start), calibrate, write the model card."""
    settings = run.config.student
    labels = learned_labels(run)
    if not labels:
        raise RunError(
            f"distill: no labels in {run.path('labels')}; the teacher answered nothing (see its budget), or none is trusted as far as "
            f"student.min_trust ({settings.min_trust})"
        )
    held_out = gold_examples(run, "dev") if settings.early_stop else []
    if settings.early_stop and not held_out:
        raise ConfigError(
            "student.early_stop: true, but there are no dev mentions with gold to measure on; give a source `split: dev`, or leave it out"
        )
    connect()
    watch = Stopwatch()
    gold = gold_examples(run, "labelled") if settings.gold_labels else []
    chosen = [example.narrowed(settings.train_candidates) for example in [*examples(labels), *gold]]
    losses, exams, precision = _fit(run, chosen, held_out, progress)
    seconds = watch.seconds
    disputed = disputed_names(run)
    write_json(run.path("student", DISPUTED_FILE), disputed)
    progress.update(0, None, "calibrating")
    needs = run.config.resources.reranking
    if needs:
        calibration, balance, shortcut = run_elsewhere(needs, run, __name__, calibrate.__name__, progress)
    else:
        calibration, balance, shortcut = calibrate(run, progress)
    calibration.save(run.path("student", CALIBRATION_FILE))
    if shortcut:
        shortcut.save(run.path("student"))
    link = run.config.link
    summary = {
        "labels": len(labels),
        "gold_labels": len(gold),
        "none_labels": sum(row["choice"] == NIL for row in labels),
        "steps": len(losses),  # an early stop makes fewer than were planned
        "precision": precision,
        "final_loss": float(np.mean(losses[-max(1, len(losses) // 10) :])) if losses else None,
        "held_out_losses": exams,
        "retriever_loss": prior_loss(chosen, prior_of(chosen), settings.soft_labels),
        "loss_curve": _curve(losses),
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


def _curve(losses: list[float]) -> list[dict[str, float]]:
    """The mean loss of each of at most CURVE equal parts of the steps, and the step that ends it."""
    parts = np.array_split(np.arange(len(losses)), min(CURVE, len(losses)) or 1)
    return [{"step": int(part[-1]) + 1, "loss": float(np.mean([losses[n] for n in part]))} for part in parts if len(part)]


def gold_examples(run: Run, split: str) -> list[Example]:
    """The distinct mentions of a split, as examples that are certainly right. Of gold with alternatives all are chosen, as each is as right, unless an
    answer may have several concepts (`link.several`): then those of one alternative."""
    rows = [{**row, "trust": 1.0} for row in questions_by_gold(run, split, final=True)]
    if not run.config.link.several:
        for row in rows:
            right = np.flatnonzero(right_among([row], len(row["candidate_ids"]))[0, :-1]).tolist()
            row["also"] = [n for n in right if n != row["choice"]]
    return examples(rows)


def _fit(run: Run, chosen: list[Example], held_out: list[Example], progress: StageProgress) -> tuple[list[float], list[float], str]:
    """(loss of each step in nats, mean loss on dev after each epoch, the precision of the workers)."""
    settings = run.config.student
    _as_trained(run).unlink(missing_ok=True)  # what is trained from here on has not been balanced
    device = _device(run)
    gpu, needs = device == "cuda", run.config.resources.training
    if needs:
        check_here(needs, actors_between(settings.workers)[0])
    elif gpu and not has_gpu() and not joins():
        raise ConfigError("student.use_gpu: true, but Ray sees no GPU on this machine; leave it out, or submit to a cluster that has one")
    least, most = (at_most_gpus(workers) if gpu and not needs else workers for workers in actors_between(settings.workers))
    threads = settings.threads_per_worker or max(1, int(needs.cpus) if needs else cpus() // most)
    monitor = ray.remote(Monitor).options(num_cpus=0, scheduling_strategy=beside_the_driver()).remote()
    scaling = ScalingConfig(
        num_workers=most if least == most else (least, most),
        use_gpu=gpu,
        resources_per_worker=_of_each(needs) if needs else {"CPU": min(1, cpus() / most), **({"GPU": 1} if gpu else {})},
        label_selector=dict(needs.labels) if needs and needs.labels else None,
    )
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            # Ray Train's workers are in a folder of its own
            "settings": settings.model_copy(update={"model": from_anywhere(settings.model)}),
            "examples": ray.put((chosen, held_out)),
            "seed": run.config.seed,
            "several": run.config.link.several,
            "out": run.path("student"),
            "monitor": monitor,
            "device": device,
            "threads": threads,
        },
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=scaling,
        # a fixed name: a start after a kill finds the last one's checkpoints, which the stage's record keeps apart from another config's
        run_config=RunConfig(
            name="distill",
            storage_path=str(run.path("student.training")),
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            worker_runtime_env={"env_vars": {"DS_ACCELERATOR": device, "OMP_NUM_THREADS": str(threads), "DS_LOG_LEVEL": "error"}},
        ),
    )
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(monitor, progress, done), daemon=True)
    watcher.start()
    try:
        with interrupts_as_before():
            trainer.fit()
        losses, exams, precision = ray.get(monitor.told.remote())
    except Exception as error:
        raise raised_by_worker(error) or RunError(f"distill: training failed: {' '.join(str(error).split())[-400:]}") from error
    finally:
        done.set()
        watcher.join()
    return losses, exams, precision


def _of_each(needs: Needs) -> dict[str, float]:
    """A training worker's, as Ray Train wants them."""
    return {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gib * 2**30}


def _device(run: Run) -> str:
    """What the student is trained on."""
    use_gpu, needs = run.config.student.use_gpu, run.config.resources.training
    if use_gpu is None and needs:
        return "cuda" if needs.gpus else "cpu"
    return "cuda" if (has_gpu() if use_gpu is None else use_gpu) else "cpu"


def _worker(job: dict[str, Any]) -> None:
    """One training worker. An RpdrError would come again, so the monitor is told, and the start that Ray makes after it does nothing. It is raised all
    the same: other workers may be waiting for this one, and Ray ends them. Of any other error the monitor keeps what it says."""
    if ray.get(job["monitor"].failed.remote()):
        return
    try:
        _train(job)
    except RpdrError as error:
        ray.get(job["monitor"].fail.remote(error))
        raise
    except Exception as error:
        ray.get(job["monitor"].note.remote(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
        raise


def _train(job: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(job["threads"])
    monitor = job["monitor"]
    context = ray.train.get_context()
    rank = context.get_world_rank()

    def on_step(done: int, total: int, loss: float) -> None:
        if rank == 0:
            monitor.update.remote(done, total, "training the student")

    def on_checkpoint(folder: Path, done: int, total: int) -> None:
        ray.train.report({"steps": done}, checkpoint=ray.train.Checkpoint.from_directory(str(folder)))
        shutil.rmtree(folder, ignore_errors=True)

    def on_end(losses: list[float], exams: list[float]) -> None:
        if rank == 0:
            ray.get(monitor.end.remote(losses, exams, chosen_precision(job["settings"].precision, device)))

    device = str(ray.train.torch.get_device()) if job["device"] == "cuda" else "cpu"
    hooks = Hooks(on_step, lambda: Path(tempfile.mkdtemp(prefix="rpdr-checkpoint-")), on_checkpoint, on_end)
    checkpoint = ray.train.get_checkpoint()
    if rank == 0:
        starts, noted = ray.get(monitor.begun.remote(str(checkpoint.path) if checkpoint else "", context.get_world_size()))
        if starts > IN_PLACE:
            raise RunError(_lost(noted, job["settings"].checkpoint_every_steps))
    chosen, held_out = ray.get(job["examples"])
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        resume_from = Path(folder) if folder else None
        where = {"resume_from": resume_from, "device": device, "save_to": job["out"]}
        train(job["settings"], chosen, job["seed"], hooks, held_out=held_out, several=job["several"], **where)


def _lost(noted: str, steps: int) -> str:
    """Why training does not begin once more; `noted`: what the last worker that could said of it."""
    often = f"distill: training has lost its workers {IN_PLACE} times since its last checkpoint"
    if noted:
        return f"{often}, the last by: {noted}"
    return (
        f"{often}. They may have run out of memory (lower student.micro_batch_tokens), or not live as long as {steps} steps take (lower "
        "student.checkpoint_every_steps)"
    )


class Monitor(Board):
    """Where the first training worker tells how far it is, and at the end what came of it."""

    def __init__(self) -> None:
        super().__init__()
        self._told: tuple[list[float], list[float], str] = ([], [], "")
        self._error: RpdrError | None = None
        self._begun: Counter[tuple[str, int]] = Counter()
        self._noted = ""

    def begun(self, checkpoint: str, workers: int) -> tuple[int, str]:
        """How often training has begun at this checkpoint with so many workers, now too (with another number it is no failure: nodes have come or gone);
        and what was noted last."""
        self._begun[checkpoint, workers] += 1
        return self._begun[checkpoint, workers], self._noted

    def note(self, reason: str) -> None:
        """A worker has failed by this, which may not come again."""
        self._noted = reason

    def end(self, losses: list[float], exams: list[float], precision: str) -> None:
        """Training is over; its loss at each step, the mean loss on dev after each epoch, and the worker's precision."""
        self._told = (losses, exams, precision)

    def fail(self, error: RpdrError) -> None:
        """Training has ended by this error, which would come again."""
        self._error = self._error or error

    def failed(self) -> bool:
        """Whether it has."""
        return self._error is not None

    def told(self) -> tuple[list[float], list[float], str]:
        """What `end` was told. Raises what `fail` was told."""
        if self._error:
            raise self._error
        return self._told


def _watch(monitor: Any, progress: StageProgress, done: threading.Event) -> None:
    while not done.wait(1.0):
        try:
            now = ray.get(monitor.now.remote(), timeout=5)
        except Exception:
            continue
        progress.update(*(now or (0, None, "loading the student")))


def calibrate(run: Run, _: StageProgress) -> tuple[Calibration, dict[str, float] | None, Shortcut | None]:
    """On dev gold; by how much the balance of the student was changed; and what need not be asked. With fewer than 20 different dev mentions, on nothing:
    probabilities are then the plain softmax. A start after one that was cut off begins from the head as it was trained."""
    rows = chosen_by_gold(run, "dev", final=True)
    if not rows:
        return Calibration(), None, None
    trained = _as_trained(run)
    if not trained.exists():
        write_atomically(trained, lambda file: file.write(run.path("student", HEAD_FILE).read_bytes()))
    reranker = _reranker(run)
    scores = reranker.scores(queries(rows))
    right = right_among(rows, scores.shape[1] - 1)
    exact = by_exact_names(run, rows)
    asked = np.array([not run.config.link.exact_match or by_name is None for by_name in exact], dtype=bool)
    scores, balance = _balanced(run, reranker, rows, scores, right, asked)
    nil = np.array([not row["gold"] for row in rows])
    questions = _asked_of(run, rows)
    fitted = fit_calibration(scores, right, "dev mentions", run.config.link.allow_nil, nil, exact, asked, questions)
    if run.config.link.several and fitted.dev_right and different(questions, asked) >= FEW:
        fitted = with_threshold(
            fitted, scores[asked], [row for row, one in zip(rows, asked, strict=True) if one], run.config.link.allow_nil
        )
    return fitted, balance, shortcut_on_dev(run, fitted, rows, scores, right, nil, [by_name is not None for by_name in exact])


def _as_trained(run: Run) -> Path:
    """A copy of the student's head before it was balanced, while the stage is not finished; what a start that was cut off has balanced is as it was again."""
    kept = run.path("student.training", HEAD_FILE)
    if kept.exists():
        write_atomically(run.path("student", HEAD_FILE), lambda file: file.write(kept.read_bytes()))
    return kept


def shortcut_on_dev(
    run: Run,
    calibration: Calibration,
    rows: list[dict[str, Any]],
    scores: np.ndarray,
    right: np.ndarray,
    nil: np.ndarray,
    exact: Sequence[bool],
) -> Shortcut:
    """What dev tells of the retriever's answers, by rows of `gold.chosen_by_gold`, the student's `scores` (n, k + 1) of them, its calibration,
    which candidates are `right` (n, k + 1) bool, "none" last, whether the gold is NIL (n,) bool, and whether an exact name decides it."""
    allow_nil = run.config.link.allow_nil
    probabilities = calibration.probabilities(scores)
    best, said_nil, _ = calibration.decide(probabilities, allow_nil)
    alone = ~said_nil & ((probabilities[:, :-1] > calibration.also_above).sum(axis=1) <= 1)
    student = [place if one else None for place, one in zip(best.tolist(), alone, strict=True)]
    questions = _asked_of(run, rows)
    return fit_shortcut(_similarities(rows, scores), right, student, allow_nil, nil, exact, run.config.link.exact_match, questions)


def _asked_of(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each the key of what the student is asked: the same for those that are answered alike."""
    return [mention_key(row["text"], None, row["context"] if run.config.student.use_context else None) for row in rows]


def _similarities(rows: list[dict[str, Any]], scores: np.ndarray) -> np.ndarray:
    return similarity_matrix([row["scores"] for row in rows], scores.shape[1] - 1)


def _balanced(
    run: Run, reranker: Reranker, rows: list[dict[str, Any]], scores: np.ndarray, right: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, dict[str, float] | None]:
    """(the scores, and how much is believed of the retriever and of what was learned) at the balance that suits those of dev that the student is `asked`
    about, (n,) bool, which it is told. (the scores as they are, None) where those are too few to tell."""
    if different(_asked_of(run, rows), asked) < ENOUGH:
        return scores, None
    head = reranker.student.head
    before = head.scale().item()
    similarities = _similarities(rows, scores)
    learned = np.subtract(scores[:, :-1], before * similarities, out=np.zeros_like(similarities), where=np.isfinite(similarities))
    balance = fit_balance(similarities[asked], learned[asked], scores[asked, -1], right[asked], before)
    head.rebalance(balance)
    head.save(run.path("student", HEAD_FILE))
    return balance.scores(similarities, learned, scores[:, -1]), {"similarity": balance.similarity / before, "learned": balance.learned}


def _reranker(run: Run) -> Reranker:
    share_threads(1, run.config.resources.reranking)
    return Reranker.load(run.path("student"), run.config.student, run.config.link.batch_size)
