"""What the link job looks at before it begins on a corpus, and where its shards may lie."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from bare import bare_run

from rpdr.config import MentionsConfig
from rpdr.corpus.mention import load_mentions, save_mentions
from rpdr.errors import DataError, RunError
from rpdr.files import write_json, write_rows
from rpdr.pipeline import corpora as module
from rpdr.pipeline import link as job
from rpdr.pipeline.corpora import SOURCES, _sources_at, corpus_store
from rpdr.pipeline.link import link
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.shards import BOUNDS
from rpdr.pipeline.store import REJECTED, shard_file
from rpdr.run import WORK, Run, Stage, linking
from rpdr.run.sources import seen
from rpdr.schema import REJECTS


def run_over(folder: Path, corpus: Path, **more: Any) -> Run:
    return bare_run(folder, **{"corpora": {"notes": {"format": "jsonl", "path": str(corpus)}}, **more})


def test_a_store_that_is_not_there_is_told_before_the_corpus_is_read(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.jsonl").write_text('{"text": "fever"}\n')
    monkeypatch.setattr(module, "write_corpus", lambda *_: pytest.fail("it was read"))
    run = run_over(tmp_path / "run", tmp_path / "notes.jsonl", link={"output": bucket.replace("s3://linked", "s3://not-there")})
    with stage_progress("link") as progress, pytest.raises(RunError, match="no bucket of this name"):
        link(run, progress, "notes")


@pytest.mark.parametrize("begun", [True, False])
def test_a_corpus_that_was_mended_while_its_job_was_dead_is_not_linked_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
):
    corpus = tmp_path / "notes.jsonl"
    corpus.write_text('{"text": "fever"}\n')
    run = run_over(tmp_path / "run", corpus)
    work = run.path("corpora", "notes", WORK)
    save_mentions(work / "mentions.parquet", [])
    write_json(work / SOURCES, seen([run.config.corpora["notes"]]))
    corpus.write_text('{"text": "high fever"}\n')
    (work / BOUNDS).write_bytes(b"of the old one")
    write_rows(work.parent / REJECTED, [], REJECTS)
    if begun:
        (work.parent / shard_file(0)).write_bytes(b"")
        with stage_progress("link") as progress, pytest.raises(RunError, match=r"link-notes: .*notes\.jsonl has changed since .*--redo"):
            link(run, progress, "notes")
        assert (work / BOUNDS).exists()
        return
    asked: list[list[str]] = []

    def linked(run: Run, stage: Stage, mentions: Path, work: Path, *_: Any) -> dict[str, Any]:
        assert not (work / BOUNDS).exists()
        asked.append([mention.text for mention in load_mentions(mentions)])
        return {}

    monkeypatch.setattr(job, "_link_file", linked)
    with stage_progress("link") as progress:
        assert link(run, progress, "notes")["sources"] == seen([run.config.corpora["notes"]])
    assert asked == [["high fever"]]


def test_a_corpus_that_no_row_could_be_read_of_is_linked_by_its_mended_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.csv").write_text("phrase\nfever\n")
    monkeypatch.setattr(job, "_link_file", lambda *_: {})
    for column in ("frase", "phrase"):
        notes = {"notes": {"format": "table", "path": str(tmp_path / "notes.csv"), "columns": {"text": column}}}
        run, stage = run_over(tmp_path / "run", tmp_path / "x.jsonl", corpora=notes), linking("notes")
        assert run.stale(stage) is None
        run.begin(stage)
        with stage_progress("link") as progress, pytest.raises(DataError, match="frase") if column == "frase" else nullcontext():
            link(run, progress, "notes")


@pytest.mark.parametrize(
    ("source", "output"),
    [("{0}/notes", "{0}"), ("{0}/notes/*.csv", "{0}/"), ("{0}", "{0}/linked"), ("s3://ours/notes/", "s3://ours?region=x")],
)
def test_shards_are_not_written_among_what_is_read(tmp_path: Path, source: str, output: str):
    notes = {"notes": {"format": "table", "path": source.format(tmp_path)}}
    more = {"corpora": notes, "link": {"output": output.format(tmp_path)}, "data_policy": "deidentified"}
    run = run_over(tmp_path / "run", tmp_path / "else" / "x.jsonl", **more)
    with pytest.raises(RunError, match=r"^link\.output: .*notes, where the shards would lie, is a place of the source"):
        corpus_store(run, "notes")


@pytest.mark.parametrize(
    ("source", "output"),
    [("{0}/notes/notes.csv", "{0}"), ("{0}/notes/raw/*.csv", "{0}"), ("{0}/notes.csv", "{0}"), ("s3://ours/notes/2026.csv", "s3://ours")],
)
def test_shards_may_lie_beside_a_file_or_above_a_folder_that_is_read(tmp_path: Path, source: str, output: str):
    notes = {"notes": {"format": "table", "path": source.format(tmp_path)}}
    run = run_over(tmp_path / "run", tmp_path / "else" / "x.jsonl", corpora=notes)
    assert _sources_at(run, f"{output.format(tmp_path)}/notes") is None


def test_restricted_text_is_linked_into_no_store_but_those_that_the_config_allows(tmp_path: Path):
    output = {"output": "s3://theirs/x?region=eu-west-1"}
    more = {"data_policy": "restricted", "link": output}
    with pytest.raises(RunError, match=r"^link\.output: s3://theirs/x.*: data_policy restricted .* link\.allowed_stores: \[theirs\]$"):
        corpus_store(run_over(tmp_path / "run", tmp_path / "x.jsonl", **more), "notes")
    for let in ({"link": {**output, "allowed_stores": ["theirs"]}}, {"data_policy": "public"}):
        store = corpus_store(run_over(tmp_path / "run", tmp_path / "x.jsonl", **{**more, **let}), "notes")
        assert str(store).startswith("s3://theirs/x/notes")


def test_gold_that_cannot_be_read_costs_no_row_of_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.jsonl").write_text('{"text": "fever", "gold": 0.5}\n{"text": "cough", "gold": "C1"}\n')
    asked: list[list[str]] = []

    def linked(run: Run, stage: Stage, mentions: Path, *_: Any) -> dict[str, Any]:
        asked.append([mention.text for mention in load_mentions(mentions)])
        return {}

    monkeypatch.setattr(job, "_link_file", linked)
    with stage_progress("link") as progress:
        link(run_over(tmp_path / "run", tmp_path / "notes.jsonl"), progress, "notes")
    assert asked == [["fever", "cough"]]


def test_a_corpus_whose_columns_are_named_in_part_is_told_what_of_it_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notes.csv").write_text("id,phrase,gold\n7,fever,C1\n")
    run = run_over(tmp_path / "run", tmp_path / "x.jsonl")
    notes = MentionsConfig.model_validate({"format": "table", "path": str(tmp_path / "notes.csv"), "columns": {"text": "phrase"}})
    run.config.corpora["notes"] = notes
    said: list[str] = []
    monkeypatch.setattr(module, "say", said.extend)
    monkeypatch.setattr(job, "_link_file", lambda *_: {})
    with stage_progress("link") as progress:
        link(run, progress, "notes")
    [note] = said
    assert "its column id is not read; name it under `columns`" in note  # without it answers are joined by the row's number
