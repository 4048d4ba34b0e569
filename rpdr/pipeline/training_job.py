"""The student's training by Ray Train and DeepSpeed: how many workers, what each does, and the monitor that they tell.

A worker that is lost begins anew at the last checkpoint, as does a start after one that was killed; one that fails by what would come again ends all.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rpdr.config import actors_between
from rpdr.errors import ConfigError, RpdrError, RunError
from rpdr.models import chosen_precision, from_anywhere
from rpdr.pipeline.on_ray.cluster import (
    at_most_gpus,
    beside_the_driver,
    check_here,
    cpus,
    has_gpu,
    interrupts_as_before,
    joins,
    raised_by_worker,
    waiting_for,
)
from rpdr.pipeline.on_ray.elsewhere import Board
from rpdr.pipeline.progress import StageProgress
from rpdr.reranker import Example
from rpdr.reranker.training import Hooks, train
from rpdr.run import Run
from rpdr.show import in_one_line

IN_PLACE = 4  # starts at one checkpoint


class Trained(NamedTuple):
    """What came of it: the loss of each step in nats, the mean loss on dev after each epoch, the precision of the workers, and how many steps changed
    nothing, as their gradients were no numbers."""

    losses: list[float]
    held_out_losses: list[float]
    precision: str
    skipped: int = 0


def fit_student(run: Run, chosen: list[Example], held_out: list[Example], progress: StageProgress) -> Trained:
    """Train the student in student/ on `chosen`, from the last checkpoint on. Raises ConfigError where there are no machines for it, RunError where it
    cannot go on."""
    settings = run.config.student
    device, scaling, threads = _workers(run)
    monitor = ray.remote(Monitor).options(num_cpus=0, scheduling_strategy=beside_the_driver()).remote()
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
        torch_config=TorchConfig(backend="nccl" if device == "cuda" else "gloo"),
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
    watcher = threading.Thread(target=_watch, args=(monitor, progress, done, waiting_for(run.config.resources, "training")), daemon=True)
    watcher.start()
    try:
        with interrupts_as_before():
            trainer.fit()
        trained: Trained = ray.get(monitor.told.remote())
    except Exception as error:
        raise raised_by_worker(error) or RunError(f"distill: training failed: {in_one_line(error)}") from error
    finally:
        done.set()
        watcher.join()
    return trained


def _workers(run: Run) -> tuple[str, ScalingConfig, int]:
    """(the device they train on, how many there are and what each takes, the threads of each). Raises ConfigError where there is none."""
    settings, needs = run.config.student, run.config.resources.training
    device = _device(run)
    gpu = device == "cuda"
    if needs:
        check_here(needs, actors_between(settings.workers)[0])
    elif gpu and not has_gpu() and not joins():
        raise ConfigError("student.use_gpu: true, but Ray sees no GPU on this machine; leave it out, or submit to a cluster that has one")
    least, most = (at_most_gpus(workers) if gpu and not needs else workers for workers in actors_between(settings.workers))
    if needs:
        of_each = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gib * 2**30}
    else:
        of_each = {"CPU": min(1, cpus() / most), **({"GPU": 1} if gpu else {})}
    scaling = ScalingConfig(
        num_workers=most if least == most else (least, most),
        use_gpu=gpu,
        resources_per_worker=of_each,
        label_selector=dict(needs.labels) if needs and needs.labels else None,
    )
    return device, scaling, settings.threads_per_worker or max(1, int(needs.cpus) if needs else cpus() // most)


def _device(run: Run) -> str:
    """What the student is trained on."""
    use_gpu, needs = run.config.student.use_gpu, run.config.resources.training
    if use_gpu is None and needs:
        return "cuda" if needs.gpus else "cpu"
    return "cuda" if (has_gpu() if use_gpu is None else use_gpu) else "cpu"


def _worker(job: dict[str, Any]) -> None:
    """One training worker. An RpdrError would come again, and so would a GPU without memory: the monitor is told, and the start that Ray makes after it
    does nothing. It is raised all the same: other workers may be waiting for this one, and Ray ends them. Of any other error the monitor keeps what it
    says."""
    from torch import OutOfMemoryError

    if ray.get(job["monitor"].failed.remote()):
        return
    try:
        _train(job)
    except RpdrError as error:
        ray.get(job["monitor"].fail.remote(error))
        raise
    except OutOfMemoryError as error:
        full = RunError(
            f"distill: {in_one_line(error)}; lower student.micro_batch_tokens, or set student.tuning: qlora or fewer student.layers"
        )
        ray.get(job["monitor"].fail.remote(full))
        raise full from error
    except Exception as error:
        ray.get(job["monitor"].note.remote(f"{type(error).__name__}: {in_one_line(error)}"))
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

    def on_end(losses: list[float], exams: list[float], skipped: int) -> None:
        if rank == 0:
            ray.get(monitor.end.remote(Trained(losses, exams, chosen_precision(job["settings"].precision, device), skipped)))

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
        self._told = Trained([], [], "")
        self._error: RpdrError | None = None
        self._begun: Counter[tuple[str, int]] = Counter()
        self._noted = ""

    def begun(self, checkpoint: str, workers: int) -> tuple[int, str]:
        """How often training has begun at this checkpoint with so many workers, now too (with another number it is no failure: nodes have come or gone);
        and what was noted last."""
        self._begun[checkpoint, workers] += 1
        self._now = (0, None, "loading the student")
        return self._begun[checkpoint, workers], self._noted

    def note(self, reason: str) -> None:
        """A worker has failed by this, which may not come again."""
        self._noted = reason

    def end(self, trained: Trained) -> None:
        """Training is over."""
        self._told = trained

    def fail(self, error: RpdrError) -> None:
        """Training has ended by this error, which would come again."""
        self._error = self._error or error

    def failed(self) -> bool:
        """Whether it has."""
        return self._error is not None

    def told(self) -> Trained:
        """What `end` was told. Raises what `fail` was told."""
        if self._error:
            raise self._error
        return self._told


def _watch(monitor: Any, progress: StageProgress, done: threading.Event, waiting: str) -> None:
    while not done.wait(1.0):
        try:
            now = ray.get(monitor.now.remote(), timeout=5)
        except Exception:
            continue
        progress.update(*(now or (0, None, waiting)))
