"""What a trial counts, and what it reads."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from rpdr.config import Config, MentionsConfig
from rpdr.files import writing_rows
from rpdr.pipeline.forecast.trials import WARM, _as_corpora, _some_rows, _Steps
from rpdr.run import Run

STEP_S = 0.05


@pytest.mark.parametrize("done", [1, WARM, WARM + 1])
def test_a_step_takes_its_time_however_few_there_are(done: int):
    steps = _Steps(60.0)
    for _ in range(done):
        time.sleep(STEP_S)
        steps.told()
    assert steps.seconds >= 0.9 * STEP_S
    assert steps.begin < STEP_S * WARM


def test_reading_is_measured_as_a_corpus_is_read_each_row_once(tmp_path: Path):
    source = {
        "format": "table",
        "path": "m.csv",
        "split": {"modulo": 4, "unlabelled": [0]},
        "keep_every": 20,
        "types": ["a"],
        "columns": {"text": "t"},
    }
    tree = {"run_dir": str(tmp_path), "kb": {"format": "obo", "path": "x"}, "mentions": [{**source, "repeat": 100}]}
    plain = MentionsConfig(format="table", path="m.csv", split="corpus", gold="unknown", columns={"text": "t"})
    assert _as_corpora(Run(Config.model_validate(tree))) == [plain]
    corpora = {"notes": {"format": "jsonl", "path": "n.jsonl", "keep_every": 2}}
    [notes] = _as_corpora(Run(Config.model_validate({**tree, "corpora": corpora})))
    assert (notes.path, notes.keep_every, notes.gold) == ("n.jsonl", 2, "unknown")


def test_some_rows_are_read_from_no_more_of_a_file_than_holds_them(tmp_path: Path):
    file = tmp_path / "rows.parquet"
    with writing_rows(file, pa.schema([("n", pa.int64()), ("names", pa.list_(pa.string()))]), rows_at_once=10) as add:
        for n in range(95):
            add({"n": n, "names": ["a", str(n)]})
    some = [row["n"] for row in _some_rows(file, 8, seed=1)]
    assert len(set(some)) == 8
    assert len({n // 10 for n in some}) == 1
    assert some != sorted(some)
    assert len({n // 10 for n in (row["n"] for row in _some_rows(file, 15, seed=1))}) == 2
    everything = _some_rows(file, 1_000, seed=1)
    assert sorted(row["n"] for row in everything) == [*range(95)]
    assert all(row["names"] == ["a", str(row["n"])] for row in everything)


def test_of_a_file_without_rows_none_are_read(tmp_path: Path):
    with writing_rows(tmp_path / "rows.parquet", pa.schema([("n", pa.int64())])):
        pass
    assert _some_rows(tmp_path / "rows.parquet", 8, seed=1) == []
