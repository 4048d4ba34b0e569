"""Ask the teacher: through the openai SDK, with retries, inside the budget, every answer in the ledger before it is returned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from rpdr.config import TeacherConfig
from rpdr.errors import TeacherError
from rpdr.files import sha256
from rpdr.schema import NIL
from rpdr.teacher.endpoint import Endpoint
from rpdr.teacher.ledger import Ledger
from rpdr.teacher.prompt import Example, Question, build_messages, parse_answer


class MoneyDoor(Protocol):
    """A governor, wherever it lives."""

    async def reserve(self, prompt_tokens: int, max_output_tokens: int) -> str | None:
        """See Governor.reserve."""

    async def settle(self, reservation: str, prompt_tokens: int, completion_tokens: int) -> float:
        """See Governor.settle."""

    async def release(self, reservation: str) -> None:
        """See Governor.release."""


@dataclass(frozen=True)
class Answer:
    """`choice` is an index into the question's candidates or NIL; only a `valid` answer says anything.

    `source`: "asked", "ledger" (paid for earlier), "refused_by_budget", or "failed" (after all attempts).
    """

    key: str
    request_id: str
    valid: bool
    choice: int
    price_usd: float
    attempts: int
    source: str


class _Unreadable(Exception):
    """The answer could not be read: worth another attempt."""


class _Refused(Exception):
    """The governor had no money left."""


RETRIED = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError, _Unreadable)


class TeacherClient:
    """Asks one endpoint. Safe to share within one event loop."""

    def __init__(self, config: TeacherConfig, endpoint: Endpoint, governor: MoneyDoor, ledger: Ledger) -> None:
        self.config, self.endpoint, self.governor, self.ledger = config, endpoint, governor, ledger
        self._openai: openai.AsyncOpenAI | None = None
        self._slots: asyncio.Semaphore | None = None
        self._answered = ledger.answered()
        # what, with the messages, makes two questions the same
        self._asked_of = [config.model, config.temperature, *([config.sandbox.model_dump()] if config.model == "sandbox" else [])]

    async def ask_many(self, questions: Sequence[Question], examples: Sequence[Example], seed: int) -> list[Answer]:
        """Answers in the order of `questions`, all of them in the ledger. Raises TeacherError if the endpoint cannot be used at all."""
        if self._openai is None:  # made in the event loop that uses it
            self._openai = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self.endpoint.api_key,
                max_retries=0,
                timeout=self.config.timeout_s,
                # what is meant for this machine must not leave it through HTTP_PROXY
                http_client=openai.DefaultAsyncHttpxClient(trust_env=not self.endpoint.local),
            )
            self._slots = asyncio.Semaphore(self.config.concurrency)
        rows: list[dict[str, Any]] = []
        # all of them, also where one fails: what the others were paid for must reach the ledger
        results = await asyncio.gather(*(self._ask(question, examples, seed, rows) for question in questions), return_exceptions=True)
        await asyncio.to_thread(self.ledger.append, rows)
        answers = [_raised(result) for result in results]
        self._answered.update({row["request_id"]: row for row in rows if row["valid"]})
        failed = [a for a in answers if a.source == "failed"]
        if len(failed) >= 8 and len(failed) == len(answers) and not rows:
            raise TeacherError(
                f"{self.endpoint.base_url}: does not answer ({len(failed)} questions, {self.config.max_attempts} attempts each)"
            )
        return answers

    async def _ask(self, question: Question, examples: Sequence[Example], seed: int, rows: list[dict[str, Any]]) -> Answer:
        messages, order = build_messages(question, examples, seed)
        request_id = sha256(*self._asked_of, messages)
        known = self._answered.get(request_id)
        # names can be the same and ids not, where another knowledge base was read since
        if known and (known["choice_id"] is None or known["choice_id"] in question.candidate_ids):
            choice = question.candidate_ids.index(known["choice_id"]) if known["choice_id"] is not None else NIL
            return Answer(question.key, request_id, True, choice, 0.0, 0, "ledger")
        spent, attempts = 0.0, 0
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.config.max_attempts), wait=_wait, retry=retry_if_exception_type(RETRIED), reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    attempts += 1
                    row = await self._request(messages, request_id, question, order, attempts)
                    rows.append(row)
                    spent += row["price_usd"]
                    if not row["valid"]:
                        raise _Unreadable
        except _Refused:
            return Answer(question.key, request_id, False, NIL, spent, attempts - 1, "refused_by_budget")
        except _Unreadable:
            return Answer(question.key, request_id, False, NIL, spent, attempts, "asked")
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            # the endpoint's own words may repeat the key: they are not shown
            raise TeacherError(
                f"{self.endpoint.base_url}: refused the key in {self.endpoint.api_key_env} (HTTP {error.status_code})"
            ) from None
        except openai.NotFoundError:
            raise TeacherError(f"{self.endpoint.base_url}: knows no model {self.config.model!r} (HTTP 404); check teacher.model") from None
        except RETRIED:
            return Answer(question.key, request_id, False, NIL, spent, attempts, "failed")
        except openai.APIStatusError as error:
            words = str(error.message).replace(self.endpoint.api_key, "***")[:200]
            raise TeacherError(f"{self.endpoint.base_url}: refused the request (HTTP {error.status_code}: {words})") from None
        choice = question.candidate_ids.index(row["choice_id"]) if row["choice_id"] is not None else NIL
        return Answer(question.key, request_id, True, choice, spent, attempts, "asked")

    async def _request(
        self, messages: list[dict[str, str]], request_id: str, question: Question, order: list[int], attempt: int
    ) -> dict[str, Any]:
        """One request, inside the budget: a row of schema.LEDGER."""
        assert self._openai is not None
        assert self._slots is not None
        arguments: dict[str, Any] = {"model": self.config.model, "messages": messages, "max_tokens": self.config.max_output_tokens}
        async with self._slots:  # the reservation too: what only waits for a slot must not hold money
            reservation = await self.governor.reserve(worst_case_tokens(messages), self.config.max_output_tokens)
            if reservation is None:
                raise _Refused
            try:
                reply = await self._openai.chat.completions.create(temperature=self.config.temperature, **arguments)
            except (openai.APIStatusError, openai.APIConnectionError) as error:
                # a time-out may have been served and billed: its worst case stays counted
                if not isinstance(error, openai.APITimeoutError):
                    await self.governor.release(reservation)
                raise
        used = reply.usage
        prompt, completion = (
            (used.prompt_tokens, used.completion_tokens) if used else (worst_case_tokens(messages), self.config.max_output_tokens)
        )
        price = await self.governor.settle(reservation, prompt, completion)
        text = (reply.choices[0].message.content or "") if reply.choices else ""
        valid, choice = parse_answer(text, order)
        return {
            "request_id": request_id,
            "key": question.key,
            "model": self.config.model,
            "endpoint": self.endpoint.base_url,
            "messages": json.dumps(messages, ensure_ascii=False),
            "answer": text,
            "choice_id": question.candidate_ids[choice] if valid and choice != NIL else None,
            "valid": valid,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "price_usd": price,
            "attempt": attempt,
            "asked_at": datetime.now(UTC),
        }


def _raised(result: Answer | BaseException) -> Answer:
    if isinstance(result, BaseException):
        raise result
    return result


def worst_case_tokens(messages: Sequence[dict[str, str]]) -> int:
    """More tokens than a tokenizer makes of `messages`: one for every byte of UTF-8, and 8 a message for its frame."""
    return sum(len(m["content"].encode()) + 8 for m in messages)


def _wait(state: RetryCallState) -> float:
    """Seconds to wait: what the endpoint asks for (Retry-After), or exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, openai.APIStatusError):
        try:
            return min(60.0, float(error.response.headers.get("retry-after", "")))
        except ValueError:
            pass
    return 0.0 if isinstance(error, _Unreadable) else wait_exponential_jitter(initial=0.5, max=20)(state)
