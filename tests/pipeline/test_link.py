"""How many copies of a student link, and in what portions. Linking itself is in test_whole_loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from bare import bare_run

from rpdr.pipeline import link as module
from rpdr.pipeline.link import _rows_at_once, _students


def test_beside_a_gpu_the_student_leaves_all_cpus_to_those_who_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    monkeypatch.setattr(module, "at_most_gpus", lambda wanted, each: wanted)
    run = bare_run(tmp_path / "run", link={"student_actors": 4, "student_gpus": 0.25})
    assert _students(run) == (4, 4, {"num_gpus": 0.25, "num_cpus": 0})


@pytest.mark.parametrize(("mentions", "rows"), [(1, 16), (321, 21), (561, 36), (2_048, 128), (10**7, 256)])
def test_of_a_small_corpus_each_copy_of_the_student_gets_some_at_once(mentions: int, rows: int):
    assert _rows_at_once(mentions, copies=2) == rows
