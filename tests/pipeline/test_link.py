"""What the link job looks at before it begins. Linking itself is in test_whole_loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rpdr.config import Config
from rpdr.corpus.mention import save_mentions
from rpdr.errors import RunError
from rpdr.files import write_json
from rpdr.pipeline import link as module
from rpdr.pipeline.link import SOURCES, link
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.run import WORK, Run
from rpdr.pipeline.sources import seen


def run_over(folder: Path, corpus: Path, **more: Any) -> Run:
    notes = {"format": "jsonl", "path": str(corpus)}
    told = {"run_dir": str(folder), "kb": {"format": "obo", "path": "x"}, "mentions": [notes], "corpora": {"notes": notes}}
    return Run(Config.model_validate({**told, **more}))


def test_a_store_that_is_not_there_is_told_before_the_corpus_is_read(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.jsonl").write_text('{"text": "fever"}\n')
    monkeypatch.setattr(module, "write_corpus", lambda *_: pytest.fail("it was read"))
    run = run_over(tmp_path / "run", tmp_path / "notes.jsonl", link={"output": bucket.replace("s3://linked", "s3://not-there")})
    with stage_progress("link") as progress, pytest.raises(RunError, match="no bucket of this name"):
        link(run, progress, "notes")


def test_a_corpus_that_was_mended_while_its_job_was_dead_is_not_linked_as_it_was(tmp_path: Path):
    corpus = tmp_path / "notes.jsonl"
    corpus.write_text('{"text": "fever"}\n')
    run = run_over(tmp_path / "run", corpus)
    work = run.path("corpora", "notes", WORK)
    save_mentions(work / "mentions.parquet", [])
    write_json(work / SOURCES, seen([run.config.corpora["notes"]]))
    corpus.write_text('{"text": "high fever"}\n')
    with stage_progress("link") as progress, pytest.raises(RunError, match=r"link-notes: .*notes\.jsonl has changed since .*--redo"):
        link(run, progress, "notes")
