"""The estimate: against the ledger of what was then paid, and by hand."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from doors import PRICE, ask
from rich.console import Console

from rpdr.cli import main
from rpdr.config import Config, SandboxConfig, TeacherConfig
from rpdr.errors import ConfigError, RunError
from rpdr.files import RELATIVE
from rpdr.pipeline.forecast.estimate import ENOUGH, estimate_of, estimate_table, in_words, measured
from rpdr.run import Run
from rpdr.teacher import Ledger, Question, SandboxTeacher, build_messages
from rpdr.teacher.estimate import Estimate, Sampled, deviation, estimate, questions_left, reasons
from rpdr.teacher.ledger import Known
from rpdr.teacher.prices import Quote, quote

PHRASES = (
    "abdominal acute aching ankle anxiety arm back bad bleeding blurred bowel breath brain burning can't chest chronic cramps day "
    "depressed diarrhea difficulty dizzy dry extreme eyes fatigue feeling feet felt fever foggy food gain hair hand head heart high "
    "insomnia irritable itching joint knee left leg legs loss memory mood muscle my nausea neck night no numbness of out pain painful "
    "palpitations pressure rash right severe shortness shoulder skin sleep stiff stomach swollen taste terrible the throat tired "
    "tremor upset very vision walking weak weight"
)
NAMES = (
    "Abdominal pain|Abnormal gait|Alopecia|Amnesia|Anxiety|Arthralgia|Asthenia|Atrial fibrillation|Backache|Blurring of visual image|"
    "Chest pain|Constipation|Cramp in lower limb|Depressive disorder|Diarrhea|Dizziness|Dyspnea|Edema of lower extremity|Excessive "
    "weight gain|Fatigue|Gastroesophageal reflux disease|Headache|Hot flush|Hypertensive disorder|Insomnia|Irritability|Loss of "
    "appetite|Memory impairment|Muscle weakness|Myalgia|Nausea|Palpitations|Paresthesia|Peripheral neuropathy|Pruritus|Rhabdomyolysis|"
    "Sleep disorder|Swollen ankle|Tremor|Unable to concentrate|Urticaria|Vomiting"
)
WORDS, CONCEPTS = PHRASES.split(), NAMES.split("|")
DEFINITION = "An unpleasant sensation that is characterized by physical discomfort and perceived to originate in the part named."
BY_CONFIG = Quote("m", PRICE, "teacher.price in the config")


def questions(number: int, definitions: bool = True) -> list[Question]:
    """As patients write, each with ten concepts, every third of which is defined."""
    rng = random.Random(5)
    made = []
    for n in range(number):
        names = tuple(rng.sample(CONCEPTS, 10))
        text = f"{' '.join(rng.sample(WORDS, rng.randint(2, 6)))} {n}"
        about = tuple(DEFINITION if definitions and rng.random() < 0.33 else None for _ in names)
        made.append(Question(f"key{n}", text, None, None, tuple(f"C{CONCEPTS.index(name)}" for name in names), names, about))
    return made


def sampled(some: list[Question], **more: Any) -> list[Sampled]:
    return [Sampled(build_messages(q, [], 1)[0], len(q.candidate_ids), **more) for q in some]


def made_of(sample: list[Sampled], mentions: int | None = None, endpoint: str = "", **settings: Any) -> Estimate:
    more = {name: settings.pop(name) for name in ("made_at", "spent_usd", "measured") if name in settings}
    config = TeacherConfig.model_validate({"model": "m", "price": PRICE, **settings})
    return estimate(config, endpoint, BY_CONFIG, sample, mentions or len(sample), **{"made_at": time.time(), **more})


@pytest.mark.parametrize("settings", [{"structured": True}, {"structured": False}, {"structured": True, "definitions": False}])
def test_the_expected_dollars_are_within_a_tenth_of_the_ledgers(tmp_path: Path, settings: dict[str, bool]):
    asked = questions(300, settings.pop("definitions", True))
    teacher = {**settings, "model": "sandbox", "sandbox": {"invalid_rate": 0.02, "latency_s": 0.0}}
    made = made_of(sampled(asked[:100]), len(asked), **teacher)
    config = SandboxConfig(invalid_rate=0.02, latency_s=0.0)
    with SandboxTeacher({q.text: {q.candidate_names[0]} for q in asked}, config, seed=1).serve() as url:
        ask(url, tmp_path, asked, budget_usd=100, **teacher)
    spent = Ledger(tmp_path).spent_since(made.made_at)
    found = deviation(made, spent)
    assert (found.mentions, found.requests) == (300, spent.requests)
    assert found.off == pytest.approx(0, abs=0.1)
    assert made.usd.low <= spent.usd <= made.usd.high
    assert made.requests.low <= spent.requests <= made.requests.high


def test_what_the_ledger_has_of_a_model_says_more_than_any_assumption(tmp_path: Path):
    asked = questions(200)
    teacher: dict[str, Any] = {"model": "sandbox", "sandbox": {"invalid_rate": 0.0, "latency_s": 0.0}}
    config = TeacherConfig.model_validate({**teacher, "price": PRICE})
    assert measured(tmp_path, config, "") is None
    with SandboxTeacher({}, SandboxConfig(invalid_rate=0.0, latency_s=0.0), seed=1).serve() as url:
        ask(url, tmp_path, asked[:ENOUGH], budget_usd=100, **teacher)
        known = measured(tmp_path, config, "")
        assert known
        assert known.answers == ENOUGH
        made = made_of(sampled(asked[ENOUGH:]), measured=known, **teacher)
        ask(url, tmp_path, asked[ENOUGH:], budget_usd=100, **teacher)
    found = deviation(made, Ledger(tmp_path).spent_since(made.made_at))
    assert found.mentions == 200 - ENOUGH  # what was asked before does not count
    assert found.off == pytest.approx(0, abs=0.03)
    assert "this ledger" in made.counted_by


def test_what_a_model_took_at_one_endpoint_says_nothing_of_another(tmp_path: Path):
    with SandboxTeacher({}, SandboxConfig(invalid_rate=0.0, latency_s=0.0), seed=1).serve() as url:
        ask(url, tmp_path, questions(ENOUGH), budget_usd=100)
    config = TeacherConfig(model="m", price=PRICE)
    here = measured(tmp_path, config, url)
    assert here
    assert here.answers == ENOUGH
    assert measured(tmp_path, config, "https://elsewhere.example/v1") is None


def test_a_stage_that_the_budget_ended_is_compared_over_what_it_asked(tmp_path: Path):
    asked = questions(100)
    teacher: dict[str, Any] = {"model": "sandbox", "sandbox": {"invalid_rate": 0.0, "latency_s": 0.0}}
    made = made_of(sampled(asked), budget_usd=0.2, **teacher)
    with SandboxTeacher({}, SandboxConfig(invalid_rate=0.0, latency_s=0.0), seed=1).serve() as url:
        ask(url, tmp_path, asked, budget_usd=0.2, concurrency=1, **teacher)
    found = deviation(made, Ledger(tmp_path).spent_since(made.made_at))
    assert 0 < found.mentions < 100
    assert found.mentions == pytest.approx(made.covered, rel=0.15)
    assert found.off == pytest.approx(0, abs=0.1)


def test_a_sample_stands_for_the_whole_pool():
    whole, part = made_of(sampled(questions(400))), made_of(sampled(questions(100)), 400)
    assert part.usd.expected == pytest.approx(whole.usd.expected, rel=0.03)
    assert part.usd.high / part.usd.expected > whole.usd.high / whole.usd.expected


def test_what_the_ledger_has_answered_is_not_paid_for_again():
    answered = Known(True, "C1", None, "")
    some = questions(10)
    half = [*sampled(some[:5]), *sampled(some[5:], known=[answered])]
    assert made_of(half).to_ask == 5
    assert made_of(half).requests.low == 5
    assert made_of(sampled(some, known=[answered])).usd.high == 0


def test_where_nearly_all_is_answered_the_few_that_are_left_cost_no_less_than_nothing():
    answered, some = Known(True, "C1", None, ""), questions(100)
    nearly_all = [*sampled(some[:99], known=[answered], weight=10.0), *sampled(some[99:], weight=10.0)]
    made = made_of(nearly_all, 1000)
    assert made.prompt_tokens.low == 0 < made.usd.low < made.usd.expected < made.usd.high
    Console(quiet=True).print(estimate_table(made))


def test_a_part_of_the_pool_that_is_wholly_drawn_errs_in_nothing():
    answered, some = Known(True, "C1", None, ""), questions(100)
    few_left = [*sampled(some[:50], known=[answered], weight=10.0), *sampled(some[50:])]
    alone = made_of(sampled(some[50:]))
    assert vars(made_of(few_left, 550).prompt_tokens) == pytest.approx(vars(alone.prompt_tokens))


def test_votes_are_asked_until_two_agree():
    one, other, none = Known(True, "C1", None, ""), Known(True, "C2", None, ""), Known(False, None, None, "unreadable")
    assert vars(questions_left([], 1)) == {"low": 1, "expected": 1, "high": 1}
    assert vars(questions_left([], 2)) == {"low": 2, "expected": 2, "high": 2}
    left = questions_left([], 5)
    assert (left.low, left.high) == (2, 5)
    assert 2 < left.expected < 2.5
    assert questions_left([one], 5).low == 1
    assert questions_left([one, one], 5).high == 0
    assert questions_left([one, other], 5).low == 1
    assert questions_left([none], 5).low == 2
    assert questions_left([one, other, none], 3).high == 0
    assert questions_left([none], 1).high == 0


def test_a_batch_is_estimated_at_its_own_price():
    some = sampled(questions(5))
    sync, batch = made_of(some), made_of(some, mode="batch")
    assert sync.batch_usd
    assert sync.usd == sync.sync_usd
    assert batch.usd == sync.batch_usd
    assert batch.usd.expected == pytest.approx(sync.usd.expected / 2)


def test_the_time_is_that_of_the_tightest_limit():
    some = sampled(questions(60))
    assert made_of(some, requests_per_minute=60).hours.low == pytest.approx(1 / 60, rel=0.02)
    tokens = made_of(some)
    by_tokens = made_of(some, requests_per_minute=60, tokens_per_minute=1000).hours.expected
    assert by_tokens == pytest.approx((tokens.prompt_tokens.expected + tokens.completion_tokens.expected) / 1000 / 60)
    assert made_of(some, concurrency=1).hours.expected > made_of(some, concurrency=32).hours.expected


def test_the_budget_covers_its_share():
    some = sampled(questions(100))
    all_of_it = made_of(some).usd.expected
    assert made_of(some, budget_usd=2 * all_of_it).covered == 100
    assert made_of(some, budget_usd=all_of_it / 4).covered == pytest.approx(25, abs=1)
    assert made_of(some, budget_usd=all_of_it / 2, spent_usd=all_of_it / 4).covered == pytest.approx(25, abs=1)
    assert made_of(some, budget_usd=0).covered == 0


def test_what_a_free_endpoint_takes_is_told_in_seconds_by_what_assumption_and_without_a_budget(capsys: pytest.CaptureFixture[str]):
    config = TeacherConfig.model_validate({"model": "qwen", "base_url": "http://localhost:8000/v1"})
    free = quote(config, config.base_url, True)
    made = estimate(config, config.base_url, free, sampled(questions(320)), 320, made_at=time.time())
    Console().print(estimate_table(made))
    assert "11 s" in capsys.readouterr().out  # 320 answers of a second, 32 at a time, and 1 % asked for again
    told = in_words(made)
    assert "time: 1 s an answer is assumed (0.5 to 3 s), 32 at once" in told
    assert "tokens: estimated from characters, as the tokenizer of qwen is not at hand" in told
    assert not any("budget_usd" in line for line in told)


def test_a_small_budget_is_not_shown_as_nothing():
    assert in_words(made_of(sampled(questions(5)), budget_usd=0.00002))[0].startswith("budget_usd $0.000020 covers about")


def test_a_model_that_thinks_may_take_all_its_output_tokens():
    some = sampled(questions(5))
    thinking = made_of(some, model="gpt-5-mini", max_output_tokens=2000)
    assert thinking.completion_tokens.high / thinking.requests.high == 2000
    assert any("max_output_tokens" in note for note in thinking.notes)
    told_not_to = made_of(some, model="gpt-5-mini", max_output_tokens=2000, parameters={"reasoning_effort": "none"})
    assert told_not_to.completion_tokens == made_of(some).completion_tokens
    assert made_of(some, max_output_tokens=3).completion_tokens.high / made_of(some).requests.high == 3


@pytest.mark.parametrize("model", ["azure-o3", "google/gemini-3.5-flash", "Qwen3-32B", "glm-4.7", "grok-4", "kimi-k2.5", "o4-mini"])
def test_models_that_think_are_known_by_their_names(model: str):
    assert reasons(TeacherConfig(model=model))
    assert not reasons(TeacherConfig(model=model, parameters={"reasoning_effort": "none"}))


@pytest.mark.parametrize(
    "model", ["gpt-4o", "Qwen3-30B-A3B-Instruct-2507", "grok-4-fast-non-reasoning", "mistral-large", "foo-3", "gemini-2.0-flash"]
)
def test_models_that_do_not_are_not_taken_for_them(model: str):
    assert not reasons(TeacherConfig(model=model))


def test_a_model_that_is_given_room_to_think_may_use_it():
    roomy = made_of(sampled(questions(5)), model="my-deployment", max_output_tokens=2000)
    assert roomy.completion_tokens.high / roomy.requests.high == 2000
    assert roomy.completion_tokens.expected == made_of(sampled(questions(5))).completion_tokens.expected
    assert any("my-deployment thinks before it answers" in note for note in roomy.notes)


def test_a_schema_is_counted_where_it_is_paid_for():
    some = sampled(questions(5))
    local, far = "http://127.0.0.1:8000/v1", "https://api.openai.com/v1"
    plain = made_of(some, endpoint=far, structured=False).prompt_tokens.expected
    assert made_of(some, endpoint=local).prompt_tokens.expected == plain
    assert made_of(some, endpoint=far).prompt_tokens.expected > plain


def test_a_response_format_of_ones_own_is_counted_as_it_stands():
    some = sampled(questions(5))
    far = {"endpoint": "https://api.openai.com/v1"}
    plain = made_of(some, structured=False, **far).prompt_tokens.expected
    made = made_of(some, parameters={"response_format": {"type": "json_object"}}, **far)
    assert plain < made.prompt_tokens.expected < made_of(some, **far).prompt_tokens.expected


def run_of(folder: Path, **teacher: Any) -> Run:
    phrases = {"format": "table", "path": "m.csv", "split": "unlabelled"}
    config = {"run_dir": str(folder / "run"), "kb": {"format": "table", "path": "kb.csv"}, "mentions": [phrases], "teacher": teacher}
    return Run(Config.model_validate(config))


KB = "concept_id,name,synonyms,definition\n" + "".join(f"C{n},{name},,{DEFINITION}\n" for n, name in enumerate(CONCEPTS))


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch, mentions: int) -> None:
    monkeypatch.chdir(folder)
    Path("kb.csv").write_text(KB)
    Path("m.csv").write_text("text,gold\n" + "".join(f"{q.text},\n" for q in questions(mentions)))
    Path("c.yaml").write_text(
        "run_dir: run\nkb: {format: table, path: kb.csv}\nmentions: [{format: table, path: m.csv, split: unlabelled}]\n"
    )
    assert main(["prepare", "--config", "c.yaml"]) == 0


def test_before_there_are_candidates_concepts_stand_in_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    prepared(tmp_path, monkeypatch, 40)
    capsys.readouterr()
    assert main(["estimate", "--config", "c.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mentions"] == found["to_ask"] == 40
    assert 0 < found["usd"]["low"] < found["usd"]["expected"] < found["usd"]["high"]
    assert any("at random" in note for note in found["notes"])
    assert main(["estimate", "--config", "c.yaml", "--set", "teacher.max_mentions=10", "--set", "teacher.budget_usd=0.0005"]) == 0
    shown = capsys.readouterr().out
    assert "covers about" in shown
    assert "of 10 mentions" in shown
    assert not (tmp_path / "run" / "ledger").exists()


def test_an_estimate_needs_no_key_and_names_the_source_of_the_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    prepared(tmp_path, monkeypatch, 5)
    capsys.readouterr()
    arguments = ["estimate", "--config", "c.yaml", "--set", "teacher.model=gpt-4.1-mini", "--set", "data_policy=public"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "dollars, batch" in shown
    assert "https://" in shown


def test_an_estimate_notes_that_the_student_s_model_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    prepared(tmp_path, monkeypatch, 5)
    capsys.readouterr()
    assert main(["estimate", "--config", "c.yaml", "--set", "student.model=./no-such"]) == 0
    assert "student.model: ./no-such: no such file or folder" in capsys.readouterr().out


def test_where_nothing_is_prepared_the_stage_to_run_first_is_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"has no mentions yet; run first .*rpdr prepare"):
        estimate_of(run_of(tmp_path))


def test_a_run_that_lies_elsewhere_is_told_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = Run(run_of(tmp_path).config.model_copy(update={"run_dir": "runs/mine"}))
    with pytest.raises(RunError, match=rf"{tmp_path}/runs/mine has no mentions yet \({RELATIVE}\)"):
        estimate_of(run)


def test_what_teach_would_refuse_is_refused_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="restricted"):
        estimate_of(run_of(tmp_path, model="gpt-4.1-mini"))
    with pytest.raises(ConfigError, match=r"teacher\.price"):
        estimate_of(Run(run_of(tmp_path, model="gpt-x").config.model_copy(update={"data_policy": "public"})))
