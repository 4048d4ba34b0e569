"""Kills that the benchmark of linking counts, and the command that it names."""

from __future__ import annotations

import argparse
from pathlib import Path

import link_faults
import pytest
from job import Job


def test_a_kill_that_found_nothing_is_no_run(tmp_path: Path):
    job = Job(["-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        for second in (None, job):
            with pytest.raises(SystemExit, match="no retriever was found"):
                link_faults.must_kill("retriever", job, second)
        link_faults.must_kill("driver", job, None)
        with pytest.raises(SystemExit, match="the job had ended"):
            link_faults.must_kill("driver", job, None)
    finally:
        job.sweep()


def test_the_command_names_the_run_and_all_that_was_chosen():
    options = argparse.Namespace(run_dir=Path("runs/mine"), mentions=4, runs=1, shard_mentions=50, seed=7, kinds=["driver"], unasked=True)
    told = link_faults.command(options)
    assert told == "python benchmarks/link_faults.py mine --mentions 4 --runs 1 --shard-mentions 50 --seed 7 --kinds driver --unasked"
    assert "--kinds" not in link_faults.command(argparse.Namespace(**{**vars(options), "kinds": link_faults.KINDS}))


def test_the_runs_own_exact_names_are_left_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link_faults, "spans", lambda most: ["fever"])
    (tmp_path / "mine").mkdir()
    options = argparse.Namespace(run_dir=tmp_path / "mine", mentions=1, shard_mentions=50, unasked=False)
    assert not [told for told in link_faults.Bench(tmp_path, options).jobs.sets if "exact_match" in told]
