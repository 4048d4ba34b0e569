"""The sandbox teacher's Files and Batch API, as the openai SDK meets it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from doors import PATIENCE, meter
from test_sandbox import TEXTS, asking, chat, perfect

from rpdr.teacher.sandbox import Faults, Terms


def lines_of(texts: list[str], **arguments: Any) -> bytes:
    bodies = [{"model": "m", "messages": asking(text)[0], **arguments} for text in texts]
    lines = [{"custom_id": f"q{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n, body in enumerate(bodies)]
    return "\n".join(json.dumps(line) for line in lines).encode()


class Provider:
    """What a test does with the Files and Batch API."""

    def __init__(self, url: str) -> None:
        self.openai = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)

    def submit(self, content: bytes, **more: Any) -> str:
        file = self.openai.files.create(file=("in.jsonl", content), purpose="batch")
        return self.openai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"mark": "x"}, **more
        ).id

    def ended(self, batch: str) -> Any:
        return self.once(batch, lambda found: found.status in ("completed", "failed", "expired", "cancelled"))

    def once(self, batch: str, there: Callable[[Any], bool]) -> Any:
        """A batch when something is true of it: what a busy machine takes its time for, a test waits for."""
        until = time.monotonic() + PATIENCE
        while not there(found := self.openai.batches.retrieve(batch)):
            assert time.monotonic() < until, found
            time.sleep(0.02)
        return found

    def lines(self, file: str | None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.openai.files.content(file).text.splitlines()] if file else []


def test_a_batch_is_answered_line_by_line_at_half_the_price():
    with perfect() as url:
        provider = Provider(url)
        for text in TEXTS[:30]:
            chat(url, text)
        batch = provider.ended(provider.submit(lines_of(TEXTS[:30])))
        out = provider.lines(batch.output_file_id)
        seen = meter(url)
    assert (batch.status, batch.error_file_id, batch.metadata) == ("completed", None, {"mark": "x"})
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (30, 30, 0)
    assert sorted(line["custom_id"] for line in out) == sorted(f"q{n}" for n in range(30))
    assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in out)
    assert seen["batch"]["usd"] == pytest.approx(seen["sync"]["usd"] / 2)


def test_an_expired_batch_is_answered_in_part_and_only_that_is_billed():
    with perfect(Faults(batch_expire=1.0)) as url:
        provider = Provider(url)
        batch = provider.ended(provider.submit(lines_of(TEXTS[:50])))
        out, bad = provider.lines(batch.output_file_id), provider.lines(batch.error_file_id)
        seen = meter(url)
    assert batch.status == "expired"
    assert 0 < len(out) < 50
    assert len(out) + len(bad) == 50
    assert {(line["response"], line["error"]["code"]) for line in bad} == {(None, "batch_expired")}
    assert seen["batch"]["billed"] == len(out)


def test_single_lines_can_fail_and_are_not_billed():
    with perfect(Faults(batch_line_fail=0.3)) as url:
        provider = Provider(url)
        batch = provider.ended(provider.submit(lines_of(TEXTS[:100])))
        bad = provider.lines(batch.error_file_id)
        seen = meter(url)
    assert batch.status == "completed"
    assert len(bad) == batch.request_counts.failed == pytest.approx(30, abs=15)
    assert {line["response"]["status_code"] for line in bad} == {500, 503}
    assert seen["batch"]["billed"] == 100 - len(bad)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b'{"custom_id"', "invalid_json_line"),
        (lines_of(TEXTS[:1]) + b"\n" + lines_of(TEXTS[:1]), "duplicate_custom_id"),
        (lines_of(TEXTS[:1]).replace(b"chat/completions", b"embeddings"), "invalid_url"),
    ],
)
def test_a_file_that_is_no_batch_fails(content: bytes, code: str):
    with perfect() as url:
        provider = Provider(url)
        batch = provider.ended(provider.submit(content))
    assert (batch.status, batch.errors.data[0].code) == ("failed", code)


def test_a_batch_can_fail_as_a_whole_and_one_beyond_the_queue_does():
    with perfect(Faults(batch_fail=1.0)) as url:
        provider = Provider(url)
        assert provider.ended(provider.submit(lines_of(TEXTS[:2]))).errors.data[0].code == "server_error"
    with perfect(terms=Terms(enqueued_token_limit=5_000, batch_seconds=600.0)) as url:
        provider = Provider(url)
        first, second = provider.submit(lines_of(TEXTS[:20])), provider.submit(lines_of(TEXTS[:20]))
        assert provider.ended(second).errors.data[0].code == "token_limit_exceeded"
        provider.openai.batches.cancel(first)
        assert provider.ended(first).status == "cancelled"
        third = provider.submit(lines_of(TEXTS[:20]))  # there is room again
        assert provider.once(third, lambda batch: batch.status != "validating").status == "in_progress"


def test_a_batch_takes_its_time_and_what_is_cancelled_keeps_what_it_has():
    with perfect(terms=Terms(batch_seconds=60.0)) as url:
        provider = Provider(url)
        name = provider.submit(lines_of(TEXTS[:200]))
        assert provider.once(name, lambda batch: batch.request_counts.completed > 0).status == "in_progress"
        assert provider.openai.batches.cancel(name).status == "cancelling"
        batch = provider.ended(name)
        out, bad = provider.lines(batch.output_file_id), provider.lines(batch.error_file_id)
        with pytest.raises(openai.ConflictError):
            provider.openai.batches.cancel(name)
        assert meter(url)["batches"] == {"created": 1, "cancelled": 1}
    assert batch.status == "cancelled"
    assert 0 < len(out) < 200
    assert {line["error"]["code"] for line in bad} == {"batch_cancelled"}
    assert len(out) + len(bad) == 200


def test_batches_are_listed_newest_first_page_by_page():
    with perfect() as url:
        provider = Provider(url)
        names = [provider.submit(lines_of(TEXTS[:1])) for _ in range(5)]
        page = provider.openai.batches.list(limit=2)
        assert [batch.id for batch in page.data] == names[:2:-1]
        assert page.has_more
        assert [batch.id for batch in provider.openai.batches.list(limit=2)] == names[::-1]
        with pytest.raises(openai.NotFoundError):
            provider.openai.batches.retrieve("batch_none")
        with pytest.raises(openai.NotFoundError):
            provider.openai.files.content("file_none")
