"""How an endpoint does, told from its replies: one odd question ends no job, an outage is waited out, and what answers nothing is stopped."""

from __future__ import annotations

import threading
import time
from itertools import count, pairwise
from pathlib import Path

import pytest
from doors import PERFECT, answers_to, ask, completion, question, serve, serve_status

from rpdr.errors import TeacherError
from rpdr.teacher import Ledger, SandboxTeacher


def test_a_busy_endpoint_is_waited_for_and_no_attempt_is_used_up(tmp_path: Path):
    questions = [question(n) for n in range(3)]
    teacher = SandboxTeacher(answers_to(questions), PERFECT, seed=1, rate_limit_first=5)
    with teacher.serve() as url:
        answers, status = ask(url, tmp_path, questions, max_attempts=1)
    assert [(a.valid, a.attempts) for a in answers] == [(True, 1)] * 3
    assert teacher.meter.requests == 8
    assert status["reserved_usd"] == 0


def test_retry_after_cools_all_questions(tmp_path: Path):
    times: list[float] = []

    def reply(_: str) -> tuple[int, dict, dict]:
        times.append(time.monotonic())
        return (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.6"}) if len(times) == 1 else (200, completion("1"), {})

    with serve(reply) as url:
        ask(url, tmp_path, [question(n) for n in range(4)], concurrency=1)
    assert times[1] - times[0] >= 0.6
    assert min(later - earlier for earlier, later in pairwise(times[1:])) < 0.6  # once, and not before each


def test_an_endpoint_that_only_says_429_is_given_up_in_the_end(tmp_path: Path):
    with (
        serve(lambda _: (429, {"error": {"message": "no"}}, {"Retry-After": "0.05"})) as url,
        pytest.raises(TeacherError, match="requests_per_minute"),
    ):
        ask(url, tmp_path, [question(0)], patience_s=0.3)
    assert Ledger(tmp_path).spent_usd() == 0


def test_an_account_without_money_stops_the_stage_at_once(tmp_path: Path):
    asked: list[str] = []

    def reply(request: str) -> tuple[int, dict]:
        asked.append(request)
        return 429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota", "type": "insufficient_quota"}}

    with serve(reply) as url, pytest.raises(TeacherError, match="no money left"):
        ask(url, tmp_path, [question(n) for n in range(20)], concurrency=2)
    assert len(asked) <= 2


@pytest.mark.parametrize(("status", "says"), [(404, "teacher.model"), (400, "bad field"), (422, "bad field"), (413, "bad field")])
def test_a_refused_request_is_one_error_that_names_the_endpoint(tmp_path: Path, status: int, says: str):
    with serve_status(status, "bad field") as url, pytest.raises(TeacherError, match=says) as caught:
        ask(url, tmp_path, [question(0)])
    assert url in str(caught.value)


def test_an_endpoint_that_only_fails_is_an_error_and_costs_nothing(tmp_path: Path):
    with serve_status(500, "down") as url, pytest.raises(TeacherError, match="does not answer"):
        ask(url, tmp_path, [question(n) for n in range(8)], max_attempts=1)
    assert Ledger(tmp_path).spent_usd() == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_question_that_is_refused_does_not_end_the_others(tmp_path: Path, status: int):
    def reply(request: str) -> tuple[int, dict]:
        return (status, {"detail": "no"}) if "phrase 3" in request else (200, completion("1"))

    with serve(reply) as url:
        answers, _ = ask(url, tmp_path, [question(n) for n in range(12)], concurrency=1)
        again, _ = ask(url, tmp_path, [question(3), question(4)])  # nor does it end another start
    assert [a.source for a in answers] == ["failed" if n == 3 else "asked" for n in range(12)]
    assert f"HTTP {status}" in answers[3].reason
    assert again[0].source == "failed"
    assert {row["state"] for row in Ledger(tmp_path).rows().to_pylist() if row["key"] == "key3"} == {"free"}


def test_a_content_filter_is_of_the_question_even_if_it_is_the_first(tmp_path: Path):
    refusal = {"error": {"message": "The response was filtered", "code": "content_filter"}}
    with serve(lambda request: (400, refusal) if "phrase 0" in request else (200, completion("1"))) as url:
        answers, _ = ask(url, tmp_path, [question(0)])
    assert answers[0].source == "failed"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}], r"HTTP 400: Unknown name\)"),
        ({"error": "model requires more memory"}, r"HTTP 400: model requires more memory\)"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}, r'HTTP 400: \{"detail": \[\{"loc".*Extra inputs'),
        ("no JSON", r"HTTP 400: no JSON\)"),
        ({}, r"HTTP 400\)"),
        (
            [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}],
            r"refused the key in MY_KEY \(HTTP 400\)",
        ),
        ([{"error": {"code": "insufficient_quota", "message": "no"}}], r"no money left \(insufficient_quota\)"),
    ],
)
def test_the_endpoint_s_words_are_told_whatever_the_form_of_its_refusal(tmp_path: Path, body: object, says: str):
    with serve(lambda _: (400, body)) as url, pytest.raises(TeacherError, match=says):
        ask(url, tmp_path, [question(n) for n in range(9)], concurrency=1)


def test_codes_are_found_in_a_list_too(tmp_path: Path):
    refusal = [{"error": {"message": "filtered", "code": "content_filter"}}]
    with serve(lambda request: (400, refusal) if "phrase 0" in request else (200, completion("1"))) as url:
        answers, _ = ask(url, tmp_path, [question(0)])
    assert (answers[0].source, answers[0].reason) == ("failed", "HTTP 400: filtered")


def test_where_all_are_refused_it_is_not_the_questions(tmp_path: Path):
    asked: list[str] = []

    def reply(request: str) -> tuple[int, dict]:
        asked.append(request)
        return 400, {"error": "no such parameter"}

    with serve(reply) as url, pytest.raises(TeacherError, match="refused the request"):
        ask(url, tmp_path, [question(n) for n in range(100)], concurrency=1)
    assert len(asked) == 8


@pytest.mark.parametrize("trouble", [(503, {"error": {"message": "starting"}}), (200, {"error": {"code": 502}}), None])
def test_an_outage_is_waited_out_and_uses_up_no_question(tmp_path: Path, trouble: tuple | None):
    lock, there, most = threading.Lock(), set[int](), list[int]()

    def reply(_: str) -> tuple | None:
        with lock:
            number = len(most)
            there.add(number)
            most.append(len(there))
        time.sleep(0.01)
        with lock:
            there.remove(number)
        return trouble if 5 <= number < 30 else (200, completion("1"))

    with serve(reply) as url:
        ask(url, tmp_path, [question(n) for n in range(5)])  # it answers, and nothing of that is on its way any more
        known_and_new, _ = ask(url, tmp_path, [question(n) for n in range(45)], concurrency=4, max_attempts=2, patience_s=60)
    answers = known_and_new[5:]
    assert [(a.valid, a.source) for a in answers] == [(True, "asked")] * 40
    assert set(most[5 + 8 + 4 : 30]) == {1}  # eight showed it, four were on their way; each may be billed


def test_an_outage_longer_than_patience_ends_the_stage_and_keeps_what_was_answered(tmp_path: Path):
    numbers = count()  # each thread of the server draws another

    def reply(_: str) -> tuple:
        return (200, completion("1")) if next(numbers) < 3 else (500, {})

    with serve(reply) as url, pytest.raises(TeacherError, match=r"has answered nothing for 1 s \(the last: .*\); start again later"):
        ask(url, tmp_path, [question(n) for n in range(300)], patience_s=1, max_attempts=2, concurrency=8)
    assert next(numbers) < 100
    assert sum(row["state"] == "valid" for row in Ledger(tmp_path).rows().to_pylist()) == 3


def test_one_question_that_breaks_the_endpoint_is_no_outage(tmp_path: Path):
    with serve(lambda request: (500, {}) if "phrase 3" in request else (200, completion("1"))) as url:
        answers, _ = ask(url, tmp_path, [question(n) for n in range(12)], concurrency=1, max_attempts=2)
    assert [a.source for a in answers] == ["failed" if n == 3 else "asked" for n in range(12)]


def test_a_403_is_of_its_question_once_others_were_answered(tmp_path: Path):
    flagged = (403, {"error": {"message": "your input was flagged"}})
    with serve(lambda request: flagged if "phrase 3" in request else (200, completion("1"))) as url:
        answers, _ = ask(url, tmp_path, [question(n) for n in range(6)], concurrency=1)
        again, _ = ask(url, tmp_path, [question(3), question(4)])
    assert [a.source for a in answers] == ["failed" if n == 3 else "asked" for n in range(6)]
    assert again[0].source == "failed"
    assert "your input was flagged" in again[0].reason


@pytest.mark.parametrize(
    ("status", "refusal", "says", "at_most"),
    [
        (400, {"message": "limit", "code": "billing_hard_limit_reached"}, "no money left", 1),
        (400, {"message": "no"}, "refused the request .*HTTP 400", 32),
        (403, {"message": "no"}, "refused the key in MY_KEY", 32),
    ],
)
def test_what_refuses_all_after_some_answers_ends_the_stage(tmp_path: Path, status: int, refusal: dict, says: str, at_most: int):
    asked: list[str] = []

    def reply(request: str) -> tuple:
        asked.append(request)
        return (200, completion("1")) if len(asked) <= 3 else (status, {"error": refusal})

    with serve(reply) as url, pytest.raises(TeacherError, match=says):
        ask(url, tmp_path, [question(n) for n in range(100)], concurrency=1)
    assert len(asked) == 3 + at_most


def test_a_busy_endpoint_that_says_to_come_at_once_is_not_asked_all_the_time(tmp_path: Path):
    asked: list[float] = []

    def reply(_: str) -> tuple:
        asked.append(time.monotonic())
        return 429, {"error": {"message": "no"}}, {"Retry-After": "0"}

    with serve(reply) as url, pytest.raises(TeacherError, match="too many requests"):
        ask(url, tmp_path, [question(0)], patience_s=2)
    assert len(asked) < 50


def test_a_model_whose_answers_can_never_be_read_does_not_get_the_whole_budget(tmp_path: Path):
    thinking = completion("")
    thinking["choices"][0]["finish_reason"] = "length"
    with serve(lambda _: (200, thinking)) as url, pytest.raises(TeacherError, match=r"can be read.*cut at 16 tokens \(teacher.max_output"):
        ask(url, tmp_path, [question(n) for n in range(8)])


@pytest.mark.parametrize("served", [None, "length"])
def test_before_a_first_answer_few_questions_are_let_out(tmp_path: Path, served: str | None):
    asked: set[str] = set()
    cut = completion("")
    cut["choices"][0]["finish_reason"] = "length"

    def reply(request: str) -> tuple | None:
        asked.add(request)
        return served and (200, cut)

    with serve(reply) as url, pytest.raises(TeacherError, match=r"\(8 questions"):
        ask(url, tmp_path, [question(n) for n in range(64)], max_attempts=2)
    assert len(asked) == 8
    rows = Ledger(tmp_path).rows().to_pylist()
    assert {row["state"] for row in rows} == {"lost" if served is None else "invalid"}
    assert len(rows) == 16


def test_questions_that_are_refused_or_not_paid_for_keep_no_others_waiting(tmp_path: Path):
    filtered = (400, {"error": {"message": "filtered", "code": "content_filter"}})
    with serve(lambda request: (200, completion("1")) if "phrase 19" in request else filtered) as url:
        answers, _ = ask(url, tmp_path / "filtered", [question(n) for n in range(20)])
        assert [a.source for a in answers] == ["failed"] * 19 + ["asked"]
        answers, _ = ask(url, tmp_path / "poor", [question(n) for n in range(20)], budget_usd=1e-6)
    assert {a.source for a in answers} == {"refused_by_budget"}


def test_after_a_first_answer_as_many_questions_are_out_as_configured(tmp_path: Path):
    lock, there, most = threading.Lock(), set[str](), list[int]()

    def reply(request: str) -> tuple:
        with lock:
            there.add(request)
            most.append(len(there))
        time.sleep(0.5)
        with lock:
            there.remove(request)
        return 200, completion("1")

    with serve(reply) as url:
        ask(url, tmp_path, [question(n) for n in range(64)], concurrency=32)
    assert max(most[:8]) <= 8
    assert max(most) > 16


CUT = {"message": "Could not finish the message because max_tokens or model output limit was reached.", "type": "invalid_request_error"}
NO_JSON = {"message": "Failed to generate JSON.", "type": "invalid_request_error", "code": "json_validate_failed", "failed_generation": "{"}


@pytest.mark.parametrize("refusal", [CUT, NO_JSON])
def test_a_refusal_of_what_a_model_has_worked_for_is_paid_for_as_an_answer_that_was_cut(tmp_path: Path, refusal: dict):
    with serve(lambda request: (400, {"error": refusal}) if "phrase 3" in request else (200, completion("1"))) as url:
        answers, status = ask(url, tmp_path, [question(n) for n in range(5)])
        again, _ = ask(url, tmp_path, [question(3)])
    assert [a.source for a in (answers[3], again[0])] == ["set_aside"] * 2
    assert "teacher.max_output_tokens" in answers[3].reason
    rows = [row for row in Ledger(tmp_path).rows().to_pylist() if row["key"] == "key3"]
    assert [(row["state"], row["completion_tokens"]) for row in rows] == [("invalid", 16)] * 2
    assert answers[3].price_usd == pytest.approx(sum(row["price_usd"] for row in rows))
    assert status["spent_usd"] > answers[3].price_usd > 0
