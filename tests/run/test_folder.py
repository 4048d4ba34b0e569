"""What the records of a run directory let a stage skip, and what they refuse to mix."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bare import TO_STUDENT, bare_run, finish

from rpdr.config import Config
from rpdr.errors import RunError
from rpdr.pipeline.corpora import throw_away
from rpdr.pipeline.stages import link_corpus, run_stages
from rpdr.pipeline.store import Folder
from rpdr.run import STAGES, Run, linking, resolve_run_dir
from rpdr.run import folder as module
from rpdr.run.sources import seen


def test_a_finished_stage_is_finished_for_the_same_config_alone(tmp_path: Path):
    finish(bare_run(tmp_path), "prepare", "retriever")
    assert bare_run(tmp_path).finished(STAGES["retriever"])
    with pytest.raises(RunError, match="--redo"):
        bare_run(tmp_path, retriever={"epochs": 9}).finished(STAGES["retriever"])


def test_a_stage_refuses_a_config_that_an_earlier_stage_was_not_made_from(tmp_path: Path):
    finish(bare_run(tmp_path), *TO_STUDENT)
    with pytest.raises(RunError, match=r"retriever: .*another config"):
        bare_run(tmp_path, retriever={"top_k": 5}).finished(STAGES["link"])


def test_a_stage_names_the_first_one_that_is_missing(tmp_path: Path):
    with pytest.raises(RunError, match="rpdr prepare"):
        bare_run(tmp_path).finished(STAGES["link"])


def test_what_an_earlier_rpdr_made_is_not_mixed_with_anew_but_links_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    finish(bare_run(tmp_path), *TO_STUDENT)
    monkeypatch.setitem(STAGES, "distill", replace(STAGES["distill"], revision=STAGES["distill"].revision + 1))
    run = bare_run(tmp_path)
    for stage in ("distill", "link"):
        with pytest.raises(RunError, match=r"^distill: .*results of an earlier rpdr.*--redo"):
            run.finished(STAGES[stage])
    assert run.stale(STAGES["distill"])
    assert not run.stale(STAGES["retune"])
    run.require("distill")  # as a notebook's linker does
    run.require_before(linking("notes"))
    run.forget(STAGES["distill"])
    finish(run, "distill")
    assert run.finished(STAGES["distill"])


def made_by_another_default(folder: Path) -> None:
    """A student as an rpdr leaves it by whose default a candidate has 24 tokens, and which does not know how long it is trained."""
    finish(bare_run(folder), *TO_STUDENT)
    record = folder / ".stages" / "distill.json"
    told = json.loads(record.read_text())
    told["made_from"]["settings"]["student"]["max_tokens_candidate"] = 24
    del told["made_from"]["settings"]["student"]["epochs"]
    record.write_text(json.dumps(told))


def test_a_student_of_before_is_not_read_by_a_default_of_today(tmp_path: Path):
    made_by_another_default(tmp_path)
    run = bare_run(tmp_path, corpora={"notes": {"format": "jsonl", "path": "x"}})
    for read in (lambda: link_corpus(run.config, "notes"), lambda: run.require("distill")):  # as `rpdr export` does
        with pytest.raises(RunError, match=r"student\.max_tokens_candidate was 24, and is 48 by default now; set it to what it was"):
            read()
    assert not (tmp_path / ".stages" / "link-notes.json").exists()


def test_a_student_of_before_links_on_where_the_config_says_what_was_the_default(tmp_path: Path):
    made_by_another_default(tmp_path)
    bare_run(tmp_path, student={"max_tokens_candidate": 24}).require("distill")
    bare_run(tmp_path, student={"max_tokens_candidate": 24}).require_before(linking("notes"))
    with pytest.raises(RunError, match=r"\(student\.epochs was not set, and is 9\)"):
        bare_run(tmp_path, student={"max_tokens_candidate": 24, "epochs": 9}).require("distill")


def test_what_is_linked_later_by_other_settings_leaves_those_of_the_run_which_a_linker_goes_by(tmp_path: Path):
    finish(bare_run(tmp_path), *TO_STUDENT)
    before = (tmp_path / "config.yaml").read_text()
    bare_run(tmp_path, corpora={"notes": {"format": "jsonl", "path": "x"}}, link={"target_precision": 0.9}).begin(linking("notes"))
    assert (tmp_path / "config.yaml").read_text() == before


def test_a_setting_that_is_another_is_named_and_what_is_to_be_done(tmp_path: Path):
    finish(bare_run(tmp_path), *TO_STUDENT, "link")
    for changed, told in (
        (
            bare_run(tmp_path, student={"epochs": 9}),
            r"^distill: .*\(student\.epochs was 2, and is 9\); .*: rpdr distill --redo --config … \(rpdr run_all --redo",
        ),
        (bare_run(tmp_path, mentions=[{"format": "jsonl", "path": "y"}]), r'^prepare: .*\(mentions\[0\]\.path was "x", and is "y"\)'),
    ):
        with pytest.raises(RunError, match=told):
            changed.finished(STAGES["link"])


def test_where_another_revision_finds_the_same_what_is_made_from_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    finish(bare_run(tmp_path), "prepare", "retriever", "candidates", "teach")
    for stage, same in (("retriever", True), ("candidates", False)):  # the one's record holds what it found, the other's does not
        monkeypatch.setitem(STAGES, stage, replace(STAGES[stage], revision=STAGES[stage].revision + 1))
        run = bare_run(tmp_path)
        run.forget(STAGES[stage])
        run.begin(STAGES[stage])
        run.finish(STAGES[stage], 1.0, {"content": stage} if same else {})
        assert run.stale(STAGES["candidates" if same else "teach"]) is not same


def test_a_killed_stage_is_not_finished_and_is_gone_on_with(tmp_path: Path):
    run = bare_run(tmp_path)
    run.begin(STAGES["prepare"])
    assert not bare_run(tmp_path).finished(STAGES["prepare"])


def test_a_url_is_no_run_dir():
    with pytest.raises(RunError, match="s3://bucket/run"):
        resolve_run_dir("s3://bucket/run")


def test_a_stage_that_the_budget_ended_goes_on_when_there_is_more(tmp_path: Path):
    finish(bare_run(tmp_path), "prepare", "retriever", "candidates")
    run = bare_run(tmp_path, teacher={"budget_usd": 1.0})
    finish(run, "teach", teach={"content": "some labels", "ended_by": {"teacher.budget_usd": 1.0}})
    assert run.finished(STAGES["teach"])
    assert bare_run(tmp_path, teacher={"budget_usd": 0.5}).finished(STAGES["teach"])
    assert not bare_run(tmp_path, teacher={"budget_usd": 2.0}).finished(STAGES["teach"])


def test_what_was_made_of_a_stage_that_could_go_further_now_stays_of_use(tmp_path: Path):
    finish(bare_run(tmp_path), "prepare", "retriever", "candidates")
    run = bare_run(tmp_path, teacher={"budget_usd": 1.0})
    finish(run, "teach", teach={"content": "some labels", "ended_by": {"teacher.budget_usd": 1.0}})
    finish(run, "retune", "distill")
    richer = bare_run(tmp_path, teacher={"budget_usd": 2.0})
    assert richer.finished(STAGES["distill"])
    assert not richer.finished(STAGES["link"])


def test_a_run_dir_may_hold_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHARED", str(tmp_path))
    assert resolve_run_dir("${SHARED}/runs/x") == tmp_path / "runs" / "x"


def test_the_config_for_another_node_names_the_folder_that_was_found_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = bare_run(Path("runs/mine"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert Run(run.portable).folder == run.folder == tmp_path / "runs" / "mine"


def test_files_that_are_others_now_are_another_experiment(tmp_path: Path):
    (tmp_path / "kb.obo").write_text("[Term]")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "june.csv").write_text("text\na\n")
    tree = {"run_dir": str(tmp_path / "run"), "kb": {"format": "obo", "path": str(tmp_path / "kb.obo")}}
    corpus = {"format": "table", "path": str(tmp_path / "notes" / "*.csv")}
    run = Run(Config.model_validate({**tree, "mentions": [corpus]}))
    run.begin(STAGES["prepare"])
    run.finish(STAGES["prepare"], 1.0, {"sources": seen([run.config.kb, *run.config.mentions])})
    os.utime(tmp_path / "kb.obo", (1, 1))  # as a copy may have it
    assert run.finished(STAGES["prepare"])
    (tmp_path / "notes" / "july.csv").write_text("text\nb\n")
    with pytest.raises(RunError, match=r"prepare: .*: july\.csv is new since .* read it; name a new run_dir, or .*: rpdr prepare --redo"):
        run.finished(STAGES["prepare"])
    (tmp_path / "notes" / "july.csv").unlink()
    (tmp_path / "kb.obo").write_text("[Tern]")
    with pytest.raises(RunError, match=r"kb\.obo has changed since"):
        run.finished(STAGES["prepare"])
    assert run.stale(STAGES["prepare"])
    (tmp_path / "kb.obo").unlink()
    assert run.finished(STAGES["prepare"])  # what was read is in the run


def test_a_further_corpus_asks_for_no_file_that_taught_its_student(tmp_path: Path):
    (tmp_path / "kb.obo").write_text("[Term]")
    (tmp_path / "m.csv").write_text("text\na\n")
    corpus = {"format": "table", "path": str(tmp_path / "m.csv")}
    tree = {"run_dir": str(tmp_path / "run"), "kb": {"format": "obo", "path": str(tmp_path / "kb.obo")}, "mentions": [corpus]}
    run = Run(Config.model_validate({**tree, "corpora": {"prepare": corpus}}))
    run.begin(STAGES["prepare"])
    run.finish(STAGES["prepare"], 1.0, {"sources": seen([run.config.kb, *run.config.mentions])})
    finish(run, "retriever", "candidates", "teach", "retune", "distill")
    (tmp_path / "kb.obo").write_text("[Tern]")
    assert not run.finished(linking("prepare"))
    with pytest.raises(RunError, match=r"prepare: .*kb\.obo has changed"):
        run.finished(STAGES["link"])


def test_where_further_corpora_go_is_nothing_to_the_runs_own(tmp_path: Path):
    done = (*TO_STUDENT, "link")
    finish(bare_run(tmp_path), *done)
    assert bare_run(tmp_path, link={"output": "/elsewhere"}).finished(STAGES["link"])


def test_what_was_half_thrown_away_is_of_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = bare_run(tmp_path)
    finish(run, "prepare", "retriever")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "names.faiss").write_bytes(b"half")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        run.forget(STAGES["retriever"])
    with pytest.raises(RunError, match="--redo"):
        run.finished(STAGES["retriever"])


def test_a_stage_that_was_begun_from_a_wrong_config_and_made_nothing_is_begun_from_another(tmp_path: Path):
    bare_run(tmp_path).begin(STAGES["prepare"])
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / "concepts.parquet").write_bytes(b"of the wrong column")  # prepare begins at its beginning
    mended = bare_run(tmp_path, seed=7)
    assert not mended.finished(STAGES["prepare"])
    finish(mended, "prepare")
    bare_run(tmp_path, seed=7, retriever={"model": "misspelled"}).begin(STAGES["retriever"])
    (tmp_path / "retriever").mkdir()
    other = bare_run(tmp_path, seed=7, retriever={"model": "right"})
    assert not other.finished(STAGES["retriever"])
    (tmp_path / "retriever" / "checkpoint").write_bytes(b"of the misspelled one")
    with pytest.raises(RunError, match="another config"):
        other.finished(STAGES["retriever"])


def test_a_key_that_is_as_it_is_by_default_is_no_change(tmp_path: Path):
    finish(bare_run(tmp_path), "prepare", "retriever")
    same = Config.model_validate(bare_run(tmp_path).config.model_dump(mode="json"))  # written out, as config.yaml is
    assert Run(same).finished(STAGES["retriever"])


def test_what_was_made_before_a_key_shaped_a_stage_is_the_same_where_that_is_as_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as before:
        before.setitem(STAGES, "retune", replace(STAGES["retune"], where_given=()))
        finish(bare_run(tmp_path), *TO_STUDENT)
    assert bare_run(tmp_path).finished(STAGES["distill"])
    with pytest.raises(RunError, match=r"retune: .*student\.gold_labels was not set, and is true"):
        bare_run(tmp_path, student={"gold_labels": True}).finished(STAGES["retune"])


@pytest.mark.parametrize("where", ["kb/kb.obo", "corpus/deep/notes.jsonl"])
def test_sources_in_a_folder_that_the_run_writes_are_refused_and_stay(tmp_path: Path, where: str):
    source = tmp_path / where
    source.parent.mkdir(parents=True)
    source.write_text("mine")
    setting = (
        {"kb": {"format": "obo", "path": str(source)}}
        if where.startswith("kb")
        else {"mentions": [{"format": "jsonl", "path": str(source)}]}
    )
    run = bare_run(tmp_path, **setting)
    for act in (run.begin, run.forget):
        with pytest.raises(RunError, match=r"is a source of the run.*name another run_dir"):
            act(STAGES["prepare"])
    assert source.read_text() == "mine"


def test_a_stage_that_reads_no_source_wants_no_variable_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MY_DATA", raising=False)
    bare_run(tmp_path, kb={"format": "obo", "path": "${MY_DATA}/kb.obo"}).begin(STAGES["report"])


def test_files_of_others_in_a_folder_that_the_run_would_write_are_refused_and_stay(tmp_path: Path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "annual.docx").write_text("mine")
    run = bare_run(tmp_path)
    for act in (run.begin, run.forget):
        with pytest.raises(RunError, match=r"holds files that this run has not made.*name another run_dir"):
            act(STAGES["report"])
    assert (tmp_path / "report" / "annual.docx").exists()


def test_shards_that_were_half_thrown_away_are_of_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notes = {"format": "table", "path": "notes.csv"}
    run = bare_run(tmp_path / "run", corpora={"notes": notes}, link={"output": str(tmp_path / "out")})
    finish(run, *TO_STUDENT)
    run.begin(linking("notes"))
    run.finish(linking("notes"), 1.0, {})
    Folder(tmp_path / "out" / "notes").write_json("_manifest.json", {"made_from": {"inputs": run.inputs(linking("notes"))}})
    for number in range(2):
        (tmp_path / "out" / "notes" / f"shard-{number:06d}.parquet").write_bytes(b"")

    def killed(store: Folder, name: str) -> None:
        (store.path / name).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        link_corpus(run.config, "notes", redo=True)
    left = [file.name for file in (tmp_path / "out" / "notes").iterdir()]
    assert len(left) == 2
    assert "_manifest.json" in left  # or nothing would tell whose the others are
    with pytest.raises(RunError, match="--redo"):
        run.finished(linking("notes"))


def test_what_is_called_as_shards_are_and_has_no_manifest_is_not_thrown_away(tmp_path: Path):
    notes, place = {"format": "table", "path": "notes.csv"}, tmp_path / "out" / "notes"
    run = bare_run(tmp_path / "run", corpora={"notes": notes}, link={"output": str(tmp_path / "out")})
    finish(run, *TO_STUDENT)
    place.mkdir(parents=True)
    (place / "shard-000000.parquet").write_bytes(b"of a training set")
    with pytest.raises(RunError, match=r"did not make; link into another place"):
        throw_away(run, "notes")
    assert (place / "shard-000000.parquet").exists()


def test_shards_of_another_run_are_not_thrown_away(tmp_path: Path):
    notes, place = {"format": "table", "path": "notes.csv"}, tmp_path / "out" / "notes"
    runs = [
        bare_run(tmp_path / name, corpora={"notes": notes}, link={"output": str(tmp_path / "out"), "top_k": k})
        for name, k in (("a", 5), ("b", 6))
    ]
    for run in runs:
        finish(run, *TO_STUDENT)
    mine, other = runs
    mine.begin(linking("notes"))
    Folder(place).write_json("_manifest.json", {"made_from": {"inputs": mine.began(linking("notes"))}})
    for name in ("shard-000000.parquet", "shard-notes.parquet"):
        (place / name).write_bytes(b"")

    def refused() -> None:
        with pytest.raises(RunError, match=r"did not make; link into another place"):
            throw_away(other, "notes")
        assert len(list(place.iterdir())) == 3

    refused()  # it has begun nothing
    other.begin(linking("notes"))
    refused()
    other.spoil(linking("notes"))
    refused()
    mine.spoil(linking("notes"))  # as where throwing away was cut off
    throw_away(mine, "notes")
    assert [file.name for file in place.iterdir()] == ["shard-notes.parquet"]  # which is not rpdr's


def test_a_corpus_whose_output_was_wrong_is_begun_with_another(tmp_path: Path):
    told: dict[str, Any] = {"corpora": {"notes": {"format": "table", "path": "notes.csv"}}}
    wrong = bare_run(tmp_path, **told, link={"output": "s3://mistyped"})
    finish(wrong, *TO_STUDENT)
    wrong.begin(linking("notes"))
    mended = bare_run(tmp_path, **told, link={"output": "s3://right"})
    assert not mended.finished(linking("notes"))
    mended.begin(linking("notes"))
    assert mended.began(linking("notes")) == mended.inputs(linking("notes")) != wrong.inputs(linking("notes"))


def test_what_was_made_while_a_stage_before_it_was_made_again_is_of_no_config(tmp_path: Path):
    run = bare_run(tmp_path)
    finish(run, *TO_STUDENT)
    run.begin(STAGES["link"])
    run.forget(STAGES["distill"])  # in another terminal
    run.begin(STAGES["distill"])
    run.finish(STAGES["distill"], 1.0, {"content": "another student"})
    with pytest.raises(RunError, match=r"link: a stage before it was made again .*--redo"):
        run.finish(STAGES["link"], 1.0, {})
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "0.parquet").write_bytes(b"by another student")
    with pytest.raises(RunError, match=r"link: .*--redo"):
        run.finished(STAGES["link"])


def test_a_stage_that_begins_sweeps_what_killed_ones_left_in_its_folders(tmp_path: Path):
    bare_run(tmp_path).begin(STAGES["prepare"])
    left, other = tmp_path / "corpus" / ".mentions.parquet.x1_abcde", tmp_path / "ledger" / ".mine.x1_abcde"
    for path in (left, other):
        path.parent.mkdir()
        path.write_bytes(b"half")
    bare_run(tmp_path).begin(STAGES["prepare"])
    assert not left.exists()
    assert other.exists()


def test_what_a_finished_stage_had_laid_out_is_cleared_by_the_next_start_if_it_was_killed_before(tmp_path: Path):
    run = bare_run(tmp_path)
    finish(run, *TO_STUDENT, "link")
    (tmp_path / "linked" / "_work").mkdir(parents=True)
    (tmp_path / "linked" / "shard-000000.parquet").write_bytes(b"stays")
    run_stages(run.config, ["link"])
    assert [path.name for path in (tmp_path / "linked").iterdir()] == ["shard-000000.parquet"]


@pytest.mark.parametrize("output", ["s3://AKIA:topsecret@bucket/x", "abfs://c@account/x?sv=1&sig=topsecret"])
def test_a_secret_in_a_url_is_refused_before_it_is_written(tmp_path: Path, output: str):
    run = bare_run(tmp_path / "run", link={"output": output})
    with pytest.raises(RunError, match=r"link\.output: .*has a secret in it") as refused:
        run.begin(STAGES["prepare"])
    assert "topsecret" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "section",
    [
        {"teacher": {"base_url": "https://me:topsecret@gw.example/v1"}},
        {"teacher": {"base_url": "https://gw.example/v1?key=topsecret"}},
        {"teacher": {"base_url": "https://gw.example/v1#topsecret"}},
        {"teacher": {"base_url": "https://topsecret@[gw.example/v1"}},
        {"report": {"grafana_url": "https://topsecret@x"}},
        {"report": {"grafana_url": "https://x/?auth_token=topsecret"}},
    ],
)
def test_a_secret_in_an_address_is_refused_before_it_is_written(tmp_path: Path, section: dict[str, Any]):
    run = bare_run(tmp_path / "run", **section)
    with pytest.raises(RunError, match=r"(base|grafana)_url: .*(secret|no URL)") as refused:
        run.begin(STAGES["prepare"])
    assert "topsecret" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_two_jobs_do_not_work_on_one_stage(tmp_path: Path):
    run = bare_run(tmp_path)
    with run.alone(STAGES["teach"]):
        with bare_run(tmp_path).alone(STAGES["link"]):  # another stage
            pass
        with pytest.raises(RunError, match=r"teach: another job is at work on it"), bare_run(tmp_path).alone(STAGES["teach"]):
            pass
    with bare_run(tmp_path).alone(STAGES["teach"]):
        pass


def test_what_is_refused_before_it_begins_leaves_nothing(tmp_path: Path):
    run = bare_run(tmp_path / "new")
    with pytest.raises(RunError, match="rpdr prepare"), run.alone(STAGES["link"]):
        run.finished(STAGES["link"])
    assert not run.folder.exists()
    finish(run, "prepare")
    with run.alone(STAGES["retriever"]):
        pass
    assert run.summary("prepare")


def test_a_folder_that_cannot_be_written_is_told_of_by_the_stage(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with bare_run(tmp_path / "file" / "run").alone(STAGES["teach"]):
        pass
