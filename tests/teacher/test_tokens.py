"""How many tokens a request is, before anybody counts them for money."""

from __future__ import annotations

import pytest

from rpdr.teacher.tokens import count_tokens, worst_case_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),  # of o200k_base
    [
        ("<mention>can't keep food down</mention>\n0. none of these\n1. Vomiting — Forceful ejection\n", 26),
        ("<mention>左膝退变</mention>\n0. none of these\n1. 高血压病3级 — 以体循环动脉压，升高。\n", 38),
        ('{"choice":"3"}', 5),
        ("", 0),
    ],
)
def test_tokens_are_counted_about_as_by_a_tokenizer(text: str, tokens: int):
    assert count_tokens(text) == pytest.approx(tokens, rel=0.1, abs=1)


def test_no_tokenizer_makes_more_tokens_of_a_request_than_its_worst_case():
    messages = [{"role": "system", "content": "Choose."}, {"role": "user", "content": "左膝退变"}]
    bare = worst_case_tokens(messages)
    assert bare == 7 + 12 + 2 * 8  # a byte each, and the frames
    schema = {"type": "json_schema"}
    assert worst_case_tokens(messages, {"response_format": schema, "temperature": 0}) == bare + len('{"type": "json_schema"}')
