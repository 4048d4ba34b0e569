"""How many copies of a student link, in what portions, and what one withholds. Linking itself is in test_whole_loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from bare import bare_run

from rpdr.corpus import Mention, mention_key
from rpdr.corpus.mention import save_mentions
from rpdr.errors import RunError
from rpdr.pipeline import link as module
from rpdr.pipeline.candidates import SECONDS
from rpdr.pipeline.link import QUESTIONS, Rerank, _rows_at_once, _students, link
from rpdr.pipeline.progress import stage_progress
from rpdr.reranker import Calibration, OperatingPoint
from tests.scored import ROW, SURE, UNREACHABLE, Scored


def test_beside_a_gpu_the_student_leaves_all_cpus_to_those_who_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    monkeypatch.setattr(module, "at_most_gpus", lambda wanted, each: wanted)
    run = bare_run(tmp_path / "run", link={"student_actors": 4, "student_gpus": 0.25})
    assert _students(run) == (4, 4, {"num_gpus": 0.25, "num_cpus": 0})


@pytest.mark.parametrize(("mentions", "rows"), [(1, 16), (321, 21), (561, 36), (2_048, 128), (10**7, 256)])
def test_of_a_small_corpus_each_copy_of_the_student_gets_some_at_once(mentions: int, rows: int):
    assert _rows_at_once(mentions, copies=2) == rows


@pytest.mark.parametrize(("point", "said"), [(None, "C1"), (replace(UNREACHABLE, exact=0.5), None)])
def test_a_copy_of_the_student_withholds_what_it_and_exact_names_are_not_sure_enough_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: OperatingPoint | None, said: str | None
):
    monkeypatch.setattr(module, "share_threads", lambda *_: None)  # of a node of Ray's
    monkeypatch.setattr(module, "load_reranker", lambda *_, **__: Scored(SURE, calibration=Calibration(dev_exact=(False,))))
    place = {"type": None, "shard": 0, "of": 2, SECONDS: 0.0}
    rows = [{**ROW, **place, "key": key, "exact": exact} for key, exact in (("k1", False), ("k2", True))]
    answered = Rerank(tmp_path, bare_run(tmp_path).config, 1, point, tmp_path)(pa.Table.from_pylist(rows, QUESTIONS)).to_pylist()
    told = [(row["key"], row["source"], row["concept_id"], row["abstained"]) for row in answered]
    assert told == [("k1", "student", said, said is None), ("k2", "exact", said, said is None)]


def test_shards_that_are_not_whole_though_all_was_asked_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = bare_run(tmp_path)
    save_mentions(run.mentions_file, [Mention("0:1", mention_key("sick", None, None), "sick", None, None, None, "test", None)])
    monkeypatch.setattr(module, "_link", lambda *_: {})
    with stage_progress("link") as progress, pytest.raises(RunError, match=r"linked: 1 shards are not whole \(shard-000000\.parquet, …\)"):
        link(run, progress)
