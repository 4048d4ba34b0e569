"""The student's training when a worker, or its machine, is lost: Ray, DeepSpeed and two workers, real but for the size of the model."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
from bare import bare_run
from nodes_here import SOON_LOST
from ray.cluster_utils import Cluster

from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.training_job import fit_student
from rpdr.reranker import Example, Query
from rpdr.reranker.student import HEAD_FILE
from rpdr.reranker.training import STATE_FILE
from rpdr.run import Run

pytestmark = pytest.mark.slow
NAMES = ("Vomiting", "Nausea", "Fever")
EPOCHS, STEPS, EVERY = 80, 480, 20  # 48 examples, eight a step


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes, of one CPU each."""
    ray.shutdown()  # what an earlier test has joined
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False, "_system_config": SOON_LOST})
    made.add_node(**small)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    connect()
    yield made
    ray.shutdown()
    made.shutdown()


def noting(example: Example, notes: Path) -> Any:
    """The same, but that each worker that reads it, as it begins, notes who it is and after how many steps it begins. Made here, so that it is sent
    whole: workers do not see this file."""

    def noted() -> Example:
        context, checkpoint = ray.train.get_context(), ray.train.get_checkpoint()
        steps = json.loads(Path(checkpoint.path, STATE_FILE).read_text())["steps"] if checkpoint else 0
        told = {"rank": context.get_world_rank(), "world": context.get_world_size(), "pid": os.getpid(), "steps": steps}
        with notes.open("a") as file:
            file.write(json.dumps(told) + "\n")
        return example

    class Noting:
        def __reduce__(self) -> tuple[Any, ...]:
            return noted, ()

    return Noting()


def in_a_checkpoint(run: Run) -> int:
    """The steps that the newest checkpoint has behind it; 0: there is none."""
    steps = [0]
    with suppress(FileNotFoundError):  # of a folder, or a file in it, that Ray throws away meanwhile
        for file in run.path("student.training").glob(f"*/*/{STATE_FILE}"):
            with suppress(ValueError):  # Ray is copying it
                steps.append(json.loads(file.read_text())["steps"])
    return max(steps)


def starts(notes: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def test_a_killed_worker_is_replaced_a_lost_node_is_done_without_and_either_costs_the_steps_since_a_checkpoint(
    cluster: Cluster, base_model: Path, tmp_path: Path
):
    notes = tmp_path / "notes"
    student = {"model": str(base_model), "precision": "fp32", "workers": [1, 2], "threads_per_worker": 1, "use_gpu": False}
    student |= {"epochs": EPOCHS, "batch_size": 8, "checkpoint_every_steps": EVERY}
    run = bare_run(tmp_path / "run", student=student)
    chosen: list[Any] = [Example(Query(f"{NAMES[n % 3]} all day {n}", NAMES, NAMES, (0.6, 0.5, 0.4)), n % 3) for n in range(48)]
    chosen[0] = noting(chosen[0], notes)
    saved: list[int] = []
    failed: list[Exception] = []

    def lose() -> None:
        for starts_before, what in ((2, kill_a_worker), (4, lose_a_node)):
            while len(starts(notes)) < starts_before:
                time.sleep(0.05)
            begun = starts(notes)[-1]["steps"]
            while (steps := in_a_checkpoint(run)) < begun + 2 * EVERY:  # the newest may not be known to Ray yet
                time.sleep(0.05)
            saved.append(steps)
            what()

    def kill_a_worker() -> None:
        os.kill(next(one["pid"] for one in starts(notes) if one["rank"] == 1), signal.SIGKILL)

    def lose_a_node() -> None:
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)

    def lose_or_tell() -> None:
        try:
            lose()
        except Exception as error:
            failed.append(error)

    threading.Thread(target=lose_or_tell, daemon=True).start()
    with stage_progress("distill") as progress:
        losses = fit_student(run, chosen, [], progress).losses
    if failed:
        raise failed[0]
    assert len(losses) == STEPS  # each once
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert run.path("student", HEAD_FILE).exists()
    begun = starts(notes)
    assert [one["world"] for one in begun] == [2, 2, 2, 2, 1]
    for one, before in zip(begun[2:], (saved[0], saved[0], saved[1]), strict=True):
        assert one["steps"] >= before - EVERY > 0
