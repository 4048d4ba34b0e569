"""What is read of a reply, whatever it holds: the answer, what it used, how sure the model was."""

from __future__ import annotations

from pathlib import Path

import pytest
from doors import PRICE, ask, completion, question, serve

from rpdr.teacher import Ledger
from rpdr.teacher.prices import cost_usd
from rpdr.teacher.reply import as_completion


def test_token_log_probabilities_become_the_confidence(tmp_path: Path):
    with_logprobs = completion("1")
    with_logprobs["choices"][0]["logprobs"] = {"content": [{"token": "1", "logprob": -0.5, "top_logprobs": []}]}
    with serve(lambda _: (200, with_logprobs)) as url:
        answers, _ = ask(url, tmp_path, [question(0)], logprobs=True)
        again, _ = ask(url, tmp_path, [question(0)], logprobs=True)
    assert answers[0].confidence == again[0].confidence == pytest.approx(0.6065, abs=1e-3)


def test_thoughts_that_do_not_end_are_an_answer_that_was_cut_and_those_that_do_leave_no_confidence(tmp_path: Path):
    answers = []
    for n, text in enumerate(("<think>\n1 or", "<think>1?</think>1")):
        thinking = completion(text)
        thinking["choices"][0]["logprobs"] = {"content": [{"token": "1", "logprob": -0.5, "top_logprobs": []}]}
        with serve(lambda _, thinking=thinking: (200, thinking)) as url:
            answers += ask(url, tmp_path / str(n), [question(0)], logprobs=True)[0]
    assert [a.valid for a in answers] == [False, True]
    assert "teacher.max_output_tokens" in answers[0].reason
    assert answers[1].confidence is None


@pytest.mark.parametrize(
    ("change", "choice"),
    [
        ({"content": [{"type": "thinking", "thinking": "2?"}, {"type": "text", "text": "1"}]}, True),
        ({"content": [{"type": "text", "text": '{"choice": "1"}'}]}, True),
        ({"content": [1, 2]}, False),
        ({"content": {"a": 1}}, False),
        (None, False),
    ],
)
def test_whatever_the_form_of_a_message_its_request_ends(tmp_path: Path, change: dict | None, choice: bool):
    odd = completion("1")
    odd["choices"][0]["message"] = None if change is None else {"role": "assistant", **change}
    with serve(lambda _: (200, odd)) as url:
        answers, status = ask(url, tmp_path, [question(0)])
    assert answers[0].valid == choice
    assert status["reserved_usd"] == 0


def test_tokens_that_are_not_counted_are_the_worst_case_and_thoughts_in_the_total_are_paid_for(tmp_path: Path):
    without, thinking = completion("1"), completion("1")
    without["usage"] = {"prompt_tokens": 10}
    thinking["usage"] = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 411}
    for name, reply in (("without", without), ("thinking", thinking)):
        with serve(lambda _, reply=reply: (200, reply)) as url:
            answers, _ = ask(url, tmp_path / name, [question(0)])
        [row] = Ledger(tmp_path / name).rows().to_pylist()
        assert answers[0].valid
        assert row["completion_tokens"] == {"without": 16, "thinking": 401}[name]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_tokens": 2**63},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": -5},
    ],
)
def test_tokens_that_cannot_be_are_the_worst_case(tmp_path: Path, change: dict):
    odd = completion("1")
    odd["usage"] |= change
    with serve(lambda _: (200, odd)) as url:
        answers, status = ask(url, tmp_path, [question(0)])
    assert answers[0].valid
    assert status["spent_usd"] > cost_usd(PRICE, 100, 1)


def test_half_a_character_spoils_neither_its_answer_nor_another(tmp_path: Path):
    with serve(lambda request: (200, completion("1 \ud83d" if "phrase 3" in request else "1"))) as url:
        answers, _ = ask(url, tmp_path, [question(n) for n in range(20)], concurrency=20)
    assert all(a.valid for a in answers)
    assert {row["answer"] for row in Ledger(tmp_path).rows().to_pylist() if row["key"] == "key3"} == {"1 ?"}


def test_nesting_that_no_parser_follows_is_a_reply_that_is_none(tmp_path: Path):
    replies = iter([(200, "[" * 100_000), (200, completion("1"))])
    with serve(lambda _: next(replies)) as url:
        answers, _ = ask(url, tmp_path, [question(0)])
    assert [(a.valid, a.attempts) for a in answers] == [(True, 2)]


@pytest.mark.parametrize("logprob", [None, float("nan"), "high"])
def test_probabilities_that_are_none_cost_no_answer(tmp_path: Path, logprob: object):
    odd = completion("1")
    odd["choices"][0]["logprobs"] = {"content": [{"token": "1", "logprob": logprob}]}
    with serve(lambda _: (200, odd)) as url:
        answers, _ = ask(url, tmp_path, [question(0)], logprobs=True)
    assert (answers[0].valid, answers[0].confidence) == (True, None)


@pytest.mark.parametrize(
    "response_format", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "mine", "schema": {}}}]
)
def test_with_a_response_format_of_ones_own_several_are_read_as_asked_for(tmp_path: Path, response_format: dict):
    with serve(lambda _: (200, completion('{"choices":["1","3"]}'))) as url:
        [answer], _ = ask(url, tmp_path, [question(0)], several=True, parameters={"response_format": response_format})
    assert answer.valid
    assert len({answer.choice, *answer.also}) == 2


def test_a_reply_with_words_that_the_sdk_does_not_know_is_read_all_the_same():
    choice = {"index": 0, "finish_reason": "eos", "message": {"role": "assistant", "content": "1"}}
    found = as_completion(
        {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "service_tier": "x"}
    )
    assert found is not None
    assert found.choices[0].message.content == "1"
    assert [as_completion(body) for body in ({}, {"choices": []}, {"choices": None}, [], {"choices": ["x"]}, None)] == [None] * 6


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 6}}, 6),
        ({"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4}, 6),
        ({"prompt_tokens_details": {"cached_tokens": -6}}, 0),
        ({"prompt_tokens_details": None}, 0),
        ({"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": 6}}, None),
    ],
    ids=["OpenAI", "DeepSeek", "no count", "none told", "of a prompt that was not counted"],
)
def test_cached_tokens_cost_what_the_config_says(tmp_path: Path, usage: dict, cached: int | None):
    reply = completion("1")
    reply["usage"] |= usage
    price = PRICE.model_copy(update={"cached_input_usd_per_million": 0.0})
    with serve(lambda _: (200, reply)) as url:
        ask(url, tmp_path, [question(0)], price=price)
    [row] = Ledger(tmp_path).rows().to_pylist()
    prompt = row["prompt_tokens"] - (cached or 0)
    assert (row["prompt_tokens"] == 10) == (cached is not None)
    assert row["price_usd"] == pytest.approx(cost_usd(PRICE, prompt, row["completion_tokens"]))
