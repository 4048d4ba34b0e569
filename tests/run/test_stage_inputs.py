"""What of a config shapes which stage: what is another experiment, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bare import TO_STUDENT, bare_run, finish

from rpdr.errors import RunError
from rpdr.run import STAGES, linking


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": {"budget_usd": 50.0, "actors": 4}},
        {"retriever": {"baselines": True}},
        {"link": {"batch_size": 8}},
        {"retriever": {"index_parts": 4}},
        {"student": {"workers": 4, "micro_batch_tokens": 512}},
    ],
    ids=["budget and actors", "baselines asked for later", "batch size", "index in parts", "workers"],
)
def test_what_is_no_other_experiment_costs_nothing_again(tmp_path: Path, change: dict[str, Any]):
    done = (*TO_STUDENT, "link")
    finish(bare_run(tmp_path), *done)
    assert all(bare_run(tmp_path, **change).finished(STAGES[name]) for name in done)


NOTES = {"notes": {"format": "jsonl", "path": "notes.jsonl"}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of which all is finished, a further corpus too."""
    run = bare_run(tmp_path_factory.mktemp("whole"), corpora=NOTES)
    finish(run, *STAGES)
    run.begin(linking("notes"))
    run.finish(linking("notes"), 1.0, {})
    return run.folder


@pytest.mark.parametrize(
    ("change", "refuse"),
    [
        ({"seed": 7}, "prepare retriever teach retune baselines distill"),
        ({"kb": {"format": "obo", "path": "y"}}, "prepare"),
        ({"mentions": [{"format": "jsonl", "path": "y"}]}, "prepare"),
        ({"retriever": {"top_k": 20}}, "retriever candidates retune baselines"),
        ({"retriever": {"rounds": 1}}, "retune"),
        ({"retriever": {"baselines": True}}, "baselines"),
        ({"data_policy": "deidentified"}, "teach"),
        ({"teacher": {"votes": 3}}, "teach"),
        ({"teacher": {"choose": "worth"}}, "teach"),
        ({"teacher": {"parameters": {"reasoning_effort": "low"}}}, "teach"),
        ({"teacher": {"several": True}}, "teach"),
        ({"teacher": {"max_output_tokens": 32}}, "teach"),
        ({"student": {"epochs": 9}}, "distill link link-notes"),
        ({"student": {"gold_labels": True}}, "retune distill link link-notes"),
        ({"link": {"several": True}}, "retune baselines distill link link-notes"),
        ({"link": {"allow_nil": False}}, "distill link link-notes"),  # the student is calibrated by it
        ({"link": {"exact_match": False}}, "distill link link-notes"),
        ({"link": {"top_k": 20}}, "retune link link-notes"),
        ({"link": {"shortcut": None}}, "link link-notes"),
        ({"link": {"target_precision": 0.9}}, "link link-notes"),
        ({"link": {"output": "/elsewhere"}}, "link-notes"),
        ({"corpora": {"notes": {"format": "jsonl", "path": "others.jsonl"}}}, "link-notes"),
        ({"report": {"bootstrap_samples": 500}}, "report"),
    ],
)
def test_what_is_another_experiment_is_one_to_each_stage_that_reads_it(whole: Path, change: dict[str, Any], refuse: str):
    run = bare_run(whole, **{"corpora": NOTES, **change})
    assert [stage.name for stage in (*STAGES.values(), linking("notes")) if run.stale(stage)] == refuse.split()


def test_the_engine_of_a_student_is_no_other_experiment_and_what_none_reads_is(tmp_path: Path):
    done = (*TO_STUDENT, "link")
    alone = {"none_reads": "mention"}
    finish(bare_run(tmp_path, student=alone), *done)
    assert bare_run(tmp_path, student=alone, link={"engine": "vllm"}).finished(STAGES["link"])
    with pytest.raises(RunError, match="distill"):
        bare_run(tmp_path).finished(STAGES["distill"])
