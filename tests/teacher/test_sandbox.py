"""The sandbox teacher: how it errs, what it bills, and the protocol it speaks, as a client meets them over HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import openai
import pytest
from doors import PATIENCE, PERFECT, meter, meter_once

from rpdr.config import SandboxConfig, TeacherConfig
from rpdr.schema import NIL
from rpdr.teacher import Question, SandboxTeacher, build_messages, read_answer
from rpdr.teacher.dialect import Dialect
from rpdr.teacher.sandbox import Faults, Terms
from rpdr.teacher.sandbox.meter import count_tokens

NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever", "Pain in limb")
TEXTS = [f"phrase number {n}" for n in range(400)]
ANSWERS = {text: {"Fever"} for text in TEXTS}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}


def asking(text: str, order_seed: int = 1) -> tuple[list[dict[str, str]], list[int]]:
    return build_messages(Question(text, text, None, None, NAMES, NAMES, (None,) * len(NAMES)), [], order_seed)


@pytest.mark.parametrize("structured", [False, True])
def test_asked_for_several_it_names_them_all_but_for_as_many_as_it_errs(structured: bool):
    answers = {text: {"Fever", "Nausea"} for text in TEXTS}
    for accuracy, least, most in ((1.0, 1.0, 1.0), (0.8, 0.5, 0.8)):
        teacher = SandboxTeacher(answers, SandboxConfig(accuracy=accuracy, invalid_rate=0.0, latency_s=0.0), 1)
        found = []
        for text in TEXTS:
            messages, order = asking(text)
            reply = teacher.reply(messages[-1]["content"], structured, several=True)
            assert "".join(token for token, _ in reply.tokens) == reply.text
            found.append(read_answer(reply.text, order, several=True) == [NAMES.index("Nausea"), NAMES.index("Fever")])
        assert least <= sum(found) / len(found) <= most


def chosen(teacher: SandboxTeacher, text: str, order_seed: int) -> int:
    messages, order = asking(text, order_seed)
    named = read_answer(teacher.reply(messages[-1]["content"]).text, order)
    assert named is not None
    return named[0] if named else NIL


def post(url: str, body: Any, key: str = "secret", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """(HTTP status, JSON, headers)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.loads(response.read()), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


def chat(url: str, text: str = TEXTS[0], **arguments: Any) -> tuple[int, Any, dict[str, str]]:
    return post(f"{url}/chat/completions", {"model": "m", "messages": asking(text)[0], **arguments})


@contextmanager
def perfect(faults: Faults = Faults(), terms: Terms = Terms()) -> Iterator[str]:  # noqa: B008 (frozen)
    with SandboxTeacher(ANSWERS, PERFECT, seed=1).serve(faults, terms) as url:
        yield url


# how it errs


@pytest.mark.parametrize("stable", [0.0, 0.6, 1.0])
def test_a_single_answer_is_right_at_the_set_rate_whatever_share_of_the_errors_is_stable(stable: float):
    teacher = SandboxTeacher(ANSWERS, SandboxConfig(accuracy=0.7, invalid_rate=0, stable_errors=stable), seed=1)
    right = [chosen(teacher, text, seed) == NAMES.index("Fever") for text in TEXTS for seed in range(4)]
    assert sum(right) / len(right) == pytest.approx(0.7, abs=0.05)


def test_stable_errors_are_the_same_in_any_order_and_the_others_can_be_outvoted():
    def after_a_vote(stable: float) -> tuple[float, float]:
        """(share that a vote over nine orders gets right, share of the errors in which all nine agree)."""
        teacher = SandboxTeacher(ANSWERS, SandboxConfig(accuracy=0.7, invalid_rate=0, stable_errors=stable), seed=1)
        votes = [Counter(chosen(teacher, text, seed) for seed in range(9)) for text in TEXTS]
        wrong = [v for v in votes if v.most_common(1)[0][0] != NAMES.index("Fever")]
        return 1 - len(wrong) / len(TEXTS), sum(max(v.values()) == 9 for v in wrong) / max(1, len(wrong))

    assert after_a_vote(1.0)[0] == pytest.approx(0.7, abs=0.06)
    assert after_a_vote(1.0)[1] == 1.0
    assert after_a_vote(0.6)[0] == pytest.approx(1 - 0.3 * 0.6, abs=0.06)
    assert after_a_vote(0.0)[0] > 0.95


def test_answers_depend_on_the_seed_and_not_on_when_or_how_often_they_are_asked():
    config = SandboxConfig(accuracy=0.5, invalid_rate=0)
    one, other = SandboxTeacher(ANSWERS, config, seed=1), SandboxTeacher(ANSWERS, config, seed=1)
    first = {text: chosen(one, text, 1) for text in TEXTS}
    assert {text: chosen(other, text, 1) for text in TEXTS[::-1]} == first
    assert {text: chosen(one, text, 1) for text in TEXTS} == first
    assert {text: chosen(SandboxTeacher(ANSWERS, config, seed=2), text, 1) for text in TEXTS} != first


@pytest.mark.parametrize("structured", [False, True])
def test_what_cannot_be_read_is_said_at_its_rate_and_once_a_message(structured: bool):
    teacher = SandboxTeacher(ANSWERS, SandboxConfig(accuracy=1, invalid_rate=0.2), seed=1)

    def readable() -> list[bool]:
        asked = (asking(text) for text in TEXTS)
        return [read_answer(teacher.reply(messages[-1]["content"], structured).text, order) is not None for messages, order in asked]

    assert sum(readable()) / len(TEXTS) == pytest.approx(0.8, abs=0.06)
    assert all(readable())


def test_wrong_answers_are_less_sure_on_the_average_but_not_each_of_them():
    teacher = SandboxTeacher(ANSWERS, SandboxConfig(accuracy=0.6, invalid_rate=0), seed=1)
    sure: dict[bool, list[float]] = {True: [], False: []}
    for text in TEXTS:
        messages, order = asking(text)
        reply = teacher.reply(messages[-1]["content"])
        sure[read_answer(reply.text, order) == [NAMES.index("Fever")]].append(reply.tokens[0][1])
    right, wrong = (sum(values) / len(values) for values in (sure[True], sure[False]))
    assert right > wrong + 0.2
    assert max(sure[False]) > sorted(sure[True])[len(sure[True]) // 4]
    assert max(sure[True] + sure[False]) <= 0


def test_a_concept_that_is_not_offered_is_none_of_these():
    messages, order = asking("other words")
    assert read_answer(SandboxTeacher({"other words": {"Cough"}}, PERFECT, 1).reply(messages[-1]["content"]).text, order) == []


# the protocol


def test_an_answer_is_a_bare_number_or_the_json_that_was_asked_for_with_log_probabilities_on_demand():
    with perfect() as url:
        bare, structured = chat(url)[1], chat(url, response_format=SCHEMA, logprobs=True)[1]
    number = bare["choices"][0]["message"]["content"]
    assert number.isdigit()
    assert "logprobs" not in bare["choices"][0]
    assert json.loads(structured["choices"][0]["message"]["content"]) == {"choice": number}
    tokens = structured["choices"][0]["logprobs"]["content"]
    assert "".join(t["token"] for t in tokens) == structured["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", ["response_format", "logprobs", "temperature", "max_tokens"])
def test_a_parameter_that_it_refuses_is_one_that_the_dialect_learns_to_leave_out(name: str):
    dialect = Dialect(TeacherConfig(model="m", logprobs=True))
    with perfect(terms=Terms(refuses=frozenset({name}))) as url:
        status, body, _ = chat(url, **dialect.arguments(5))
        assert status == 400
        assert dialect.learn(body["error"]["message"], dialect.arguments(5))
        assert chat(url, **dialect.arguments(5))[0] == 200
        assert meter(url)["refused"] == {"400": 1}


def test_an_unknown_model_and_a_missing_or_wrong_key_are_refused():
    with perfect(terms=Terms(models=frozenset({"m"}))) as url:
        assert chat(url)[0] == 200
        assert chat(url, model="other")[0] == 404
        assert [post(f"{url}/chat/completions", {}, key)[0] for key in ("", "wrong")] == [401, 401]
        assert post(f"{url}/chat/completions", b"{", "secret")[0] == 400
        assert meter(url)["refused"] == {"404": 1, "401": 2, "400": 1}


def test_azure_is_answered_too():
    with perfect(terms=Terms(models=frozenset({"m"}))) as url:
        client = openai.AzureOpenAI(azure_endpoint=url.removesuffix("/v1"), api_version="2024-10-21", api_key="k", max_retries=0)
        reply = client.chat.completions.create(model="m", messages=asking(TEXTS[0])[0])  # type: ignore[arg-type]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="n", messages=[])
    assert (reply.choices[0].message.content or "").isdigit()


# faults, limits and the meter


@pytest.mark.parametrize(("fault", "statuses"), [("rate_limited", {429}), ("server_error", {500, 503})])
def test_what_is_refused_is_not_billed(fault: str, statuses: set[int]):
    with perfect(Faults(**{fault: 1.0})) as url:
        found = [chat(url) for _ in range(12)]
        seen = meter(url)
    assert {status for status, _, _ in found} == statuses
    assert all(("Retry-After" in headers) == (fault == "rate_limited") for _, _, headers in found)
    assert (seen["requests"], seen["usd"], sum(seen["refused"].values())) == (12, 0, 12)


@pytest.mark.parametrize("fault", ["hang", "cut", "malformed"])
def test_what_is_lost_on_its_way_is_billed(fault: str):
    with ThreadPoolExecutor(1) as client:
        with perfect(Faults(**{fault: 1.0})) as url:
            asked = client.submit(chat, url)
            seen = meter_once(url, lambda seen: seen["lost"])
        with pytest.raises((OSError, ValueError, HTTPException)):  # no answer until the server's end, no JSON, half an answer
            asked.result()
    assert (seen["requests"], seen["sync"]["billed"], seen["lost"]) == (1, 1, {fault: 1})
    assert seen["usd"] > 0


def test_an_option_out_of_range_is_billed():
    with perfect(Faults(out_of_range=1.0)) as url:
        assert chat(url)[1]["choices"][0]["message"]["content"] == "99"
        assert meter(url)["sync"]["billed"] == 1


def test_faults_come_at_their_rates_and_by_the_seed():
    with perfect(Faults(rate_limited=0.3, server_error=0.2)) as url:
        once = [chat(url)[0] for _ in range(300)]
    with perfect(Faults(rate_limited=0.3, server_error=0.2)) as url:
        again = [chat(url)[0] for _ in range(300)]
    assert once == again
    assert once.count(429) / 300 == pytest.approx(0.3, abs=0.08)
    assert (once.count(500) + once.count(503)) / 300 == pytest.approx(0.2, abs=0.08)


def test_the_limit_of_requests_holds_by_the_second():
    with perfect(terms=Terms(requests_per_minute=120)) as url:  # slow enough for any machine to be refused
        begun, served, refused = time.monotonic(), 0, []
        while served < 5:
            assert time.monotonic() - begun < PATIENCE
            status, _, headers = chat(url)
            served += status == 200
            refused += [headers["retry-after-ms"]] if status == 429 else []
        assert served <= 2 + 2 * (time.monotonic() - begun)
        assert set(refused) == {"500"}
        assert meter(url)["refused"] == {"requests_per_minute": len(refused)}


def test_the_meter_bills_what_the_replies_say_at_the_given_prices():
    with perfect(terms=Terms(input_usd_per_million=2.0, output_usd_per_million=8.0)) as url:
        usages = [chat(url, text)[1]["usage"] for text in TEXTS[:5]]
        seen = meter(url)
    tokens = [sum(u[name] for u in usages) for name in ("prompt_tokens", "completion_tokens")]
    assert [seen["sync"]["prompt_tokens"], seen["sync"]["completion_tokens"]] == tokens
    assert seen["usd"] == pytest.approx((tokens[0] * 2 + tokens[1] * 8) / 1e6)


def test_the_meter_tells_what_was_paid_twice():
    with perfect(terms=Terms(count_questions=True)) as url:
        for text in (TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0]):
            chat(url, text)
        seen = meter(url, "?questions=1")["questions"]
    assert (seen["distinct"], seen["paid_again"], seen["paid_again_after_an_answer"]) == (2, 2, 2)
    assert sorted(seen["paid"].values()) == [1, 3]


def test_what_was_lost_may_be_paid_for_again():
    with perfect(Faults(malformed=1.0), Terms(count_questions=True)) as url:
        for _ in range(2):
            with pytest.raises(json.JSONDecodeError):
                chat(url)
        seen = meter(url)["questions"]
    assert (seen["paid_again"], seen["paid_again_after_an_answer"]) == (1, 0)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("Pain in limb", 3), ("1234567", 3), ("0. none of these", 5), ("gastroesophageal", 4), ("左膝退变", 5), ("C1; C2", 5)],
)
def test_tokens_are_counted_about_as_a_tokenizer_does(text: str, tokens: int):
    assert count_tokens(text) == tokens


def test_there_are_never_more_tokens_than_bytes():
    rng = random.Random(1)
    texts = ["".join(rng.choices("ab1 \n-é左_<>.", k=rng.randrange(40))) for _ in range(500)]
    assert all(count_tokens(text) <= len(text.encode()) for text in texts)


# alone


def test_alone_it_serves_until_it_is_told_to_stop(tmp_path: Path):
    (tmp_path / "answers.json").write_text(json.dumps({TEXTS[0].upper(): ["Fever"]}), encoding="utf-8")
    command = [sys.executable, "-m", "rpdr.teacher.sandbox", "--answers", str(tmp_path / "answers.json"), "--seconds", "60"]
    flags = ["--port-file", str(tmp_path / "port"), "--rpm", "600", "--latency", "0", "--accuracy", "1", "--invalid-rate", "0"]
    more = ["--input-usd-per-million", "3", "--refuses", "logprobs", "--malformed", "0", "--count-questions"]
    with subprocess.Popen([*command, *flags, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert f":{(tmp_path / 'port').read_text(encoding='utf-8')}/" in url
        messages, order = asking(TEXTS[0])
        reply = post(f"{url}/chat/completions", {"model": "m", "messages": messages})[1]
        assert order[int(reply["choices"][0]["message"]["content"]) - 1] == NAMES.index("Fever")
        assert chat(url, logprobs=True)[0] == 400
        assert meter(url)["usd"] > 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert server.stdout.read() == ""


def test_it_stops_though_a_request_hangs():
    async def ask(url: str) -> None:
        client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=600)
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="m", messages=asking(TEXTS[0])[0])  # type: ignore[arg-type]

    with perfect(Faults(hang=1.0)) as url:
        client = threading.Thread(target=lambda: asyncio.run(ask(url)))
        client.start()
        meter_once(url, lambda seen: seen["lost"])
    client.join(PATIENCE)
    assert not client.is_alive()


def test_where_others_reach_it_its_path_is_a_secret():
    with SandboxTeacher(ANSWERS, PERFECT, seed=1).serve(host="127.0.0.2") as url:
        root = url.removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/meter") as found:
            assert json.loads(found.read())["requests"] == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{root.rpartition('/')[0]}/meter")
