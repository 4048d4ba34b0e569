"""The student's training on Ray: when it is given up, and what is told then."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bare import ONE_ROUND, bare_run
from torch import OutOfMemoryError

from rpdr.errors import ModelError, RunError
from rpdr.pipeline import training_job as module
from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.training_job import Monitor, _lost, fit_student
from rpdr.reranker import Example, Query


def test_starts_are_counted_from_the_last_checkpoint_on():
    monitor = Monitor()
    assert [monitor.begun(checkpoint, 2)[0] for checkpoint in ("", "", "a", "a", "a", "b")] == [1, 2, 1, 2, 3, 1]


def test_a_gang_that_grows_as_nodes_come_has_lost_nobody():
    monitor = Monitor()
    assert [monitor.begun("", workers)[0] for workers in (1, 2, 3, 4, 5, 5)] == [1, 1, 1, 1, 1, 2]
    assert [monitor.begun("", workers)[0] for workers in (1, 2, 1, 2)] == [2, 2, 3, 3]  # but one that comes and goes has


def test_until_a_worker_begins_it_is_told_what_nodes_are_waited_for_and_no_step_of_the_start_before():
    monitor = Monitor()
    assert monitor.now() is None  # which `_watch` tells as waiting
    monitor.begun("", 2)
    monitor.update(40, 100, "training the student")
    monitor.begun("a", 2)
    assert monitor.now() == (0, None, "loading the student")


def test_what_a_worker_failed_by_is_told_where_training_is_given_up():
    monitor = Monitor()
    monitor.note("OSError: No space left on device")
    assert "the last by: OSError: No space left on device" in _lost(monitor.begun("", 1)[1], 50)
    assert "student.micro_batch_tokens" in _lost(Monitor().begun("", 1)[1], 50)


def test_a_gpu_without_memory_ends_training_at_once_with_what_takes_less(monkeypatch: pytest.MonkeyPatch):
    """It would come again with the same batches."""
    monitor = Monitor()

    def full(job: Any) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def told(name: str) -> Any:
        return SimpleNamespace(remote=getattr(monitor, name))

    monkeypatch.setattr(module, "_train", full)
    monkeypatch.setattr(module.ray, "get", lambda value: value)
    job = {"monitor": SimpleNamespace(**{name: told(name) for name in ("failed", "fail", "note")})}
    with pytest.raises(RunError, match=r"CUDA out of memory.*; lower student\.micro_batch_tokens"):
        module._worker(job)
    assert monitor.failed()
    module._worker(job)  # Ray starts it again, and it does nothing


@pytest.mark.slow
def test_an_error_that_would_come_again_ends_training_at_once_and_a_model_in_a_relative_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken").mkdir()
    monkeypatch.chdir(tmp_path)
    read = tmp_path / "read.txt"

    def noted(example: Example) -> Example:
        with read.open("a") as file:
            file.write("x")
        return example

    class Noting:
        """An example that notes each time that a worker begins, and reads it."""

        def __reduce__(self) -> tuple[Any, ...]:
            return noted, (Example(Query("t", ("a", "b"), ("a", "b"), (0.5, 0.4)), 0),)

    connect()
    run = bare_run(tmp_path / "run", retriever=ONE_ROUND, student={"model": "./broken", "use_gpu": False})
    chosen: Any = [Noting()]
    with stage_progress("distill") as progress, pytest.raises(ModelError, match=rf"{tmp_path / 'broken'}: cannot load"):
        fit_student(run, chosen, [], progress)
    assert read.read_text() == "x"
