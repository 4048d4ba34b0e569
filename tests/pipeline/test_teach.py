"""Stage `teach` on a small run directory: what becomes labels, what is set aside, in which order, and what leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from rpdr.config import SandboxConfig, load
from rpdr.corpus import Mention, load_mentions, mention_key
from rpdr.corpus.mention import save_mentions
from rpdr.errors import ConfigError, ModelError, RunError, TeacherError
from rpdr.files import write_rows
from rpdr.kb.concept import concept_of
from rpdr.kb.reader import save_kb
from rpdr.pipeline.forecast.estimate import estimate_of
from rpdr.pipeline.in_short import in_short
from rpdr.pipeline.pool import examples_of
from rpdr.pipeline.prepare import prepare
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.stages import run_stages
from rpdr.pipeline.teach import ENOUGH_REFUSED
from rpdr.pipeline.trust import write_labels
from rpdr.run import STAGES, Run
from rpdr.run.folder import LABELS_FILE
from rpdr.run.gold import by_gold
from rpdr.run.labels import SET_ASIDE_FILE
from rpdr.schema import CANDIDATES, HIDDEN, LABELS, NIL, SET_ASIDE, ConceptId, Gold, MentionKey
from rpdr.teacher import Ledger, SandboxTeacher, at_random

NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever")
NAUSEA: Gold = [[ConceptId("C1")]]


def prepared(folder: Path, mentions: int, context: str | None = None, gold: Gold = NAUSEA, **settings: Any) -> Path:
    """The config of a run whose stages before `teach` are finished: all mentions mean the same."""
    (folder / "kb.csv").write_text("concept_id,name\n" + "".join(f"C{n},{name}\n" for n, name in enumerate(NAMES)))
    (folder / "m.csv").write_text("text\nx\n")
    teacher = {
        "model": "sandbox",
        "mode": "batch",
        "batch": {"poll_s": 0.05},
        "sandbox": {"accuracy": 1.0, "invalid_rate": 0.0, "latency_s": 0},
    }
    tree = {
        "run_dir": str(folder / "run"),
        "kb": {"format": "table", "path": str(folder / "kb.csv")},
        "mentions": [{"format": "table", "path": str(folder / "m.csv")}],
        "teacher": {**teacher, **settings.pop("teacher", {})},
        **settings,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    run = Run(load(folder / "config.yaml"))
    for name in ("prepare", "retriever", "candidates"):
        run.begin(STAGES[name])
        run.finish(STAGES[name], 0.0, {"content": ""})
    with stage_progress("prepare") as progress:
        run.finish(STAGES["prepare"], 0.0, {**prepare(run, progress), "content": ""})
    made = [
        Mention(f"m{n}", mention_key(f"phrase {n}", None, context), f"phrase {n}", context, None, None, split, gold)
        for n in range(mentions)
        for split in [("labelled" if n < 4 else "unlabelled")]
    ]
    save_mentions(run.mentions_file, made)
    offer = {"candidate_ids": ["C0", "C1", "C2", "C3"], "candidate_names": NAMES, "matched_names": NAMES, "scores": [0.9, 0.8, 0.7, 0.6]}
    rows = sorted(({"key": m.key, "text": m.text, "context": m.context, "type": None, **offer} for m in made), key=lambda r: r["key"])
    write_rows(run.path("candidates", "candidates.parquet"), rows, CANDIDATES)
    return folder / "config.yaml"


def taught(config: Path, **overrides: Any) -> tuple[Run, dict[str, Any]]:
    run = run_stages(load(config, overrides), ["teach"])
    return run, run.summary("teach")


def rows_of(run: Run, file: str) -> Iterator[dict[str, Any]]:
    return iter(pq.read_table(run.path("labels", file)).to_pylist())


def test_every_mention_of_the_pool_is_a_label_in_the_order_of_the_queue(tmp_path: Path):
    run, told = taught(prepared(tmp_path, 600))
    labels = list(rows_of(run, LABELS_FILE))
    assert [row["key"] for row in labels] == at_random([mention_key(f"phrase {n}") for n in range(4, 600)], run.config.seed)
    assert {row["choice"] for row in labels} == {1}
    assert pq.read_schema(run.teacher_labels).equals(LABELS)
    assert pq.read_schema(run.path("labels", SET_ASIDE_FILE)).equals(SET_ASIDE)
    assert (told["pool"], told["labelled"], told["missing"]) == (596, 596, 0)
    assert sorted(path.name for path in run.path("labels").iterdir()) == [run.teacher_labels.name, SET_ASIDE_FILE]


def test_where_nobody_is_to_be_asked_it_takes_neither_endpoint_nor_key_and_makes_no_label(tmp_path: Path, silent: str):
    nobody = {"model": "some-llm", "base_url": f"http://{silent}/v1", "max_mentions": 0}
    config = prepared(tmp_path, 60, teacher=nobody, student={"gold_labels": True})
    with pytest.raises(ConfigError, match="nobody is asked"):
        estimate_of(Run(load(config)))
    run, told = taught(config)
    assert list(rows_of(run, LABELS_FILE)) == list(rows_of(run, SET_ASIDE_FILE)) == []
    assert pq.read_schema(run.teacher_labels).equals(LABELS)
    assert not run.path("ledger").exists()
    assert in_short("teach", told) == "nobody is asked: teacher.max_mentions is 0"
    with pytest.raises(RunError, match=r"teach: .*teacher\.max_mentions was 0.*--redo"):
        taught(config, **{"teacher.max_mentions": 10})
    with pytest.raises(TeacherError, match="does not answer"):
        run_stages(load(config, {"teacher.max_mentions": 10}), ["teach"], redo=True)


def test_labels_that_there_are_are_not_those_of_a_run_that_asks_nobody(tmp_path: Path):
    config = prepared(tmp_path, 60)
    taught(config)
    nobody = load(config, {"teacher.max_mentions": 0, "student.gold_labels": True})
    with pytest.raises(RunError, match=r"teach: .*another config.*teacher\.max_mentions"):
        run_stages(nobody, ["teach"])
    run = run_stages(nobody, ["teach"], redo=True)
    assert list(rows_of(run, LABELS_FILE)) == []
    assert run.path("ledger").exists()
    assert run_stages(load(config, {"teacher.max_mentions": 50}), ["teach"], redo=True).summary("teach")["from_ledger"] == 50


def test_where_nobody_is_asked_and_nothing_is_learned_from_hands_that_is_said_before_anything_is_tuned(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"student\.gold_labels: true"):
        taught(prepared(tmp_path, 10, teacher={"max_mentions": 0}))


def test_a_teacher_that_is_asked_for_several_names_them(tmp_path: Path):
    config = prepared(tmp_path, 60, teacher={"several": True, "max_output_tokens": 32}, gold=[["C1", "C3", "not offered"]])
    run, _ = taught(config)
    assert {(row["choice"], *row["also"]) for row in rows_of(run, LABELS_FILE)} == {(1, 3)}
    assert set(Ledger(run.path("ledger")).rows()["choice_id"].to_pylist()) == {'["C1", "C3"]'}


def test_gold_that_names_several_together_is_an_example_of_all_of_them(tmp_path: Path):
    offer = {"candidate_ids": ["C0", "C1", "C2", "C3"]}
    for gold, choice, also in (
        ([["C3", "C1"]], 1, [3]),
        ([["C3"], ["C1"]], 1, []),
        ([["C2"], ["C3", "C1"]], 1, [3]),
        ([["C9", "C0"]], 0, []),
        ([["C9"]], NIL, []),
        ([], NIL, []),
    ):
        [row] = by_gold([Mention("m", MentionKey("k"), "t", None, None, None, "dev", gold)], {MentionKey("k"): offer})
        assert (row["choice"], row["also"]) == (choice, also)


def test_a_question_that_hands_have_linked_in_several_ways_is_an_example_of_what_any_of_them_chose(tmp_path: Path):
    run = Run(load(prepared(tmp_path, 4)))
    made = load_mentions(run.mentions_file)
    save_mentions(run.mentions_file, [*made, *(replace(m, mention_id=f"{m.mention_id} again", gold=[]) for m in made)])
    assert [example.choice for example in examples_of(run, {})] == [1, 1, 1, 1]


def test_what_it_costs_is_told_before_and_held_against_the_ledger(tmp_path: Path):
    run, told = taught(prepared(tmp_path, 200))
    assert abs(told["deviation"]["off"]) < 0.1
    assert told["deviation"]["usd"] == pytest.approx(Ledger(run.path("ledger")).spent_usd())


def test_what_the_budget_does_not_cover_is_set_aside_and_asked_with_more(tmp_path: Path):
    config = prepared(tmp_path, 300)
    run, told = taught(config, **{"teacher.budget_usd": 0.004})
    labels, aside = list(rows_of(run, LABELS_FILE)), list(rows_of(run, SET_ASIDE_FILE))
    assert 0 < len(labels) < 296
    assert {row["source"] for row in aside} == {"refused_by_budget"}
    assert len({row["key"] for row in [*labels, *aside]}) == 296
    assert told["stopped_by_budget"]
    paid = told["spent_usd"]
    _, again = taught(config, **{"teacher.budget_usd": 5.0})
    assert (again["labelled"], again["from_ledger"]) == (296, len(labels))
    assert paid < again["spent_usd"]


def test_a_top_up_that_is_killed_between_its_labels_and_its_record_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = prepared(tmp_path, 60)
    run, told = taught(config, **{"teacher.max_mentions": 20})

    def killed(*args: Any) -> Any:
        write_labels(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rpdr.pipeline.teach.write_labels", killed)
        with pytest.raises(KeyboardInterrupt):
            run_stages(load(config, {"teacher.max_mentions": 40}), ["teach"])
    assert (told["labelled"], len(list(rows_of(run, LABELS_FILE)))) == (20, 40)
    assert not run.finished(STAGES["teach"])
    with pytest.raises(RunError, match="retune: teach has not been run"):
        run.require_before(STAGES["retune"])
    _, again = taught(config, **{"teacher.max_mentions": 40})
    assert (again["labelled"], again["from_ledger"]) == (40, 40)


def test_an_answer_that_was_paid_for_is_kept_however_many_the_budget_refuses_before_it(tmp_path: Path):
    config = prepared(tmp_path, ENOUGH_REFUSED + 204)
    run = Run(load(config))
    mentions = load_mentions(run.mentions_file)
    last = at_random([m.key for m in mentions if m.split == "unlabelled"], run.config.seed)[-20:]
    often = [replace(m, mention_id=f"{m.mention_id} {n}") for m in mentions if m.key in last for n in range(9)]
    save_mentions(run.mentions_file, [*mentions, *often])
    _, told = taught(config, **{"teacher.choose": "worth", "teacher.max_mentions": 20})
    assert told["labelled"] == 20
    run = run_stages(load(config, {"teacher.budget_usd": told["spent_usd"]}), ["teach"], redo=True)
    again = run.summary("teach")
    assert (again["labelled"], again["from_ledger"], again["missing"]) == (20, 20, ENOUGH_REFUSED + 180)
    assert {row["key"] for row in rows_of(run, LABELS_FILE)} == set(last)


def test_names_and_dates_of_a_deidentified_context_do_not_leave(tmp_path: Path):
    context = "Seen by Dr. Jane Smithson on 12 March 2021 for phrase, tel. +44 20 7946 0958."
    run, told = taught(prepared(tmp_path, 12, context, data_policy="deidentified"))
    sent = " ".join(Ledger(run.path("ledger")).rows()["messages"].to_pylist())
    assert "[DATE]" in sent
    for secret in ("Smithson", "12 March", "7946"):
        assert secret not in sent
    assert told["masked"] == {"NAME": 8, "DATE": 8, "PHONE": 8}
    assert "Smithson" in next(rows_of(run, LABELS_FILE))["context"]  # it is the machine's own


def test_what_only_the_text_around_a_context_tells_does_not_leave_either(tmp_path: Path):
    context = "443322 admitted with phrase, Novakova said"
    config = prepared(tmp_path, 12, context, data_policy="deidentified")
    run = Run(load(config))
    spans = [(0, 6, "RECORD"), (context.index("Novakova"), context.index(" said"), "NAME")]
    told = [{"key": m.key, "start": a, "end": b, "kind": kind} for m in load_mentions(run.mentions_file) for a, b, kind in spans]
    write_rows(run.path("corpus", "hidden.parquet"), told, HIDDEN)
    run, summary = taught(config)
    sent = Ledger(run.path("ledger")).rows()["messages"].to_pylist()
    assert all(message.count("[RECORD] admitted with phrase, [NAME] said") == 5 for message in sent)  # four examples and the question
    assert "443322" not in " ".join(sent)
    assert summary["masked"] == {"NAME": 8, "RECORD": 8}
    assert next(rows_of(run, LABELS_FILE))["context"] == context


def test_contexts_that_were_cut_out_of_texts_under_another_policy_do_not_leave(tmp_path: Path):
    config = prepared(tmp_path, 8, "a phrase", data_policy="deidentified")
    run = Run(load(config))
    run.finish(STAGES["prepare"], 0.0, {**run.summary("prepare"), "cut_contexts": 3, "policy": "public", "masked_by": []})
    with pytest.raises(RunError, match=r"prepared under data_policy public, and 3 have a context that"):
        taught(config)


def test_a_mention_that_masking_leaves_nothing_of_is_neither_asked_about_nor_paid_for_nor_a_label(tmp_path: Path):
    config = prepared(tmp_path, 12, data_policy="deidentified")
    run = Run(load(config))
    drugs = {"phrase 0": "SR141716A", "phrase 9": "R115777"}  # one of the examples, one of the pool
    save_mentions(run.mentions_file, [replace(m, text=drugs.get(m.text, m.text)) for m in load_mentions(run.mentions_file)])
    rows = pq.read_table(run.teacher_candidates).to_pylist()
    write_rows(run.teacher_candidates, [{**row, "text": drugs.get(row["text"], row["text"])} for row in rows], CANDIDATES)
    assert (estimate_of(run).mentions, estimate_of(run).to_ask) == (7, 7)
    run, told = taught(config)
    [aside] = rows_of(run, SET_ASIDE_FILE)
    assert (aside["text"], aside["source"], aside["ledger_ids"]) == ("R115777", "masked", [])
    assert "not asked: all of it has the form of an identifier" in aside["reason"]
    assert (told["pool"], told["labelled"], told["missing"], told["masked_away"]) == (8, 7, 1, 1)
    ledger = Ledger(run.path("ledger")).rows()
    assert ledger.num_rows == 7
    assert "RECORD" not in " ".join(ledger["messages"].to_pylist())
    assert "1 not asked, as masking leaves nothing of them" in in_short("teach", told)


def test_votes_say_how_many_agreed_and_what_they_saved(tmp_path: Path):
    run, told = taught(prepared(tmp_path, 40, teacher={"votes": 3}))
    assert {(row["agreed"], row["asked"], len(row["ledger_ids"])) for row in rows_of(run, LABELS_FILE)} == {(2, 2, 2)}
    assert told["saved_by_early_stop"] == 36


def test_a_stage_that_the_endpoint_stops_leaves_no_half_written_labels(tmp_path: Path):
    config = prepared(tmp_path, 20, teacher={"model": "m", "base_url": "http://127.0.0.1:9/v1", "mode": "sync"})
    with pytest.raises(TeacherError, match="does not answer"):
        taught(config)
    assert not list((tmp_path / "run" / "labels").glob("*"))


def test_a_student_s_model_that_is_not_there_is_told_before_the_teacher_is_paid(tmp_path: Path):
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    with SandboxTeacher({}, SandboxConfig(), seed=1).serve() as url:
        config = prepared(tmp_path, 20, teacher={"model": "m", "base_url": url, "price": price})
        with pytest.raises(ModelError, match=r"^student\.model: \./no-such: .*nothing was paid"):
            taught(config, **{"student.model": "./no-such"})
    assert Ledger(tmp_path / "run" / "ledger").spent_usd() == 0


@pytest.mark.slow
def test_many_actors_label_what_batches_began(tmp_path: Path):
    config = prepared(tmp_path, 400)
    _, told = taught(config, **{"teacher.max_mentions": 100})
    run, more = taught(config, **{"teacher.mode": "sync", "teacher.actors": 4})
    assert (told["labelled"], more["labelled"], more["from_ledger"]) == (100, 396, 100)
    account = {row["mode"]: row["requests"] for row in more["account"]}
    assert account == {"batch": 100, "sync": 296}
    assert json.loads(run.path(".stages", "teach.json").read_text())["summary"]["labelled"] == 396


def test_an_estimate_after_the_fact_asks_what_was_asked_also_where_examples_have_candidates_of_their_own(tmp_path: Path):
    config = prepared(tmp_path, 12)
    folder = tmp_path / "run"
    rare = ["C1", "C9"]  # C9 is among the candidates of the labelled mentions alone
    save_kb(folder / "kb" / "concepts.parquet", [concept_of(f"C{n}", f"name {n}", definition=f"what {n} is") for n in range(10)])
    rows = pq.read_table(folder / "candidates" / "candidates.parquet").to_pylist()
    few = {mention_key(f"phrase {n}") for n in range(4)}
    other = {"candidate_ids": rare, "candidate_names": rare, "matched_names": rare, "scores": [0.9, 0.8]}
    write_rows(folder / "candidates" / "candidates.parquet", [{**row, **(other if row["key"] in few else {})} for row in rows], CANDIDATES)
    run, summary = taught(config)
    assert summary["labelled"] == 8
    sent = json.loads(Ledger(run.path("ledger")).rows()["messages"][0].as_py())
    assert any("what 9 is" in message["content"] for message in sent)
    assert estimate_of(run).to_ask == 0


def test_names_that_were_written_out_under_another_policy_do_not_leave(tmp_path: Path):
    config = prepared(tmp_path, 8)
    path = Run(load(config)).path("corpus", "mentions.parquet")
    save_mentions(path, [replace(m, written="MS") for m in load_mentions(path)])
    run = Run(load(config))
    run.finish(STAGES["prepare"], 0.0, {**run.summary("prepare"), "content": "", "policy": "public", "written_out": 8})
    with pytest.raises(RunError, match=r"prepared under data_policy public, and 8 have .* rpdr prepare --redo"):
        taught(config, data_policy="deidentified")
    masked = {"policy": "deidentified", "written_out": 8, "masked_by": ["", "GB"]}
    run.finish(STAGES["prepare"], 0.0, {**run.summary("prepare"), "content": "", **masked})
    with pytest.raises(RunError, match=r"prepared with another teacher\.names_model or phone_regions, and 8 have"):
        taught(config, data_policy="deidentified")
