"""Ask the teacher: through the openai SDK, past the governor, every answer in the ledger before it is returned."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from rpdr.config import TeacherConfig
from rpdr.errors import TeacherError
from rpdr.files import sha256
from rpdr.schema import NIL
from rpdr.teacher.dialect import Dialect
from rpdr.teacher.endpoint import Endpoint
from rpdr.teacher.governor import Governor
from rpdr.teacher.health import ENOUGH, Health
from rpdr.teacher.ledger import VALID, Ended, Known, Sent
from rpdr.teacher.prompt import Example, Question, build_messages
from rpdr.teacher.reply import complaint, read_reply, trouble, worked_for
from rpdr.teacher.tokens import worst_case_tokens

ANSWERS_READ = 2  # an answer that cannot be read is asked for once more, then the question is set aside
NEVER_LEFT = {
    "ConnectError",
    "ConnectTimeout",
    "LocalProtocolError",
    "PoolTimeout",
    "UnsupportedProtocol",
    "ProxyError",
}  # of httpx: nothing was served
MAY_BE_SERVED = {408, 504, 524}  # a gateway lost patience, not the model
OF_ONE = {400, 413, 422}  # a refusal that may be of this one question, not of all
ITS_OWN_FAULT = {"content_filter", "context_length_exceeded", "invalid_prompt", "string_above_max_length"}  # … and surely is
NO_MONEY_THERE = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}  # a refusal that no waiting mends
LATE_S = 5.0  # after its time, an answer that comes in drops is given up


@dataclass(frozen=True)
class Answer:
    """`choice` is an index into the question's candidates or NIL, `also` others that it names, all ascending; only a `valid` answer says anything.

    `source`: "asked", "ledger" (paid for earlier), "set_aside" (no answer could be read, now or earlier), "refused_by_budget", or
    "failed" (no answer after all attempts); `reason` says why it is not valid. `confidence`: the endpoint's own, where it gives one.
    """

    key: str
    request_id: str
    valid: bool
    choice: int
    price_usd: float
    attempts: int
    source: str
    reason: str = ""
    confidence: float | None = None
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A question as it will leave. `request_id` is its id in the ledger; `options[n - 1]` the concept of option n."""

    question: Question
    request_id: str
    messages: list[dict[str, str]]
    options: list[str]
    masked: dict[str, int]

    def unanswered(self, source: str, reason: str, price_usd: float = 0.0, attempts: int = 0) -> Answer:
        """The answer that there is none."""
        return Answer(self.question.key, self.request_id, False, NIL, price_usd, attempts, source, reason)

    def answered(self, known: Known) -> Answer:
        """What the ledger knows of it, as an answer that cost nothing."""
        if not known.valid:
            return self.unanswered("set_aside", known.reason)
        ids, named = self.question.candidate_ids, known.choice_id
        several = [] if named is None else [named] if named in ids else json.loads(named)
        choices = sorted(ids.index(one) for one in several)
        choice, *also = choices or [NIL]
        return Answer(self.question.key, self.request_id, True, choice, 0.0, 0, "ledger", confidence=known.confidence, also=tuple(also))


class _Again(Exception):
    """What can succeed later: worth another attempt. `after_s`: what the endpoint asks to wait for."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Refused(Exception):
    """The endpoint will not answer this question, however often it is asked."""


class _NoMoney(Exception):
    """The governor could not cover it."""


class TeacherClient:
    """Asks one endpoint. Safe to share within one event loop."""

    def __init__(self, config: TeacherConfig, endpoint: Endpoint, governor: Governor) -> None:
        self.config, self.endpoint, self.governor = config, endpoint, governor
        self.dialect = Dialect(config)
        self._openai: openai.AsyncOpenAI | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._unanswered: list[Answer] = []  # the first that were asked in vain
        self.health = Health(endpoint.base_url, config.patience_s)

    async def ask_many(
        self, questions: Sequence[Question], examples: Sequence[Example], seed: int, masked: Sequence[dict[str, int]] = ()
    ) -> list[Answer]:
        """Answers in the order of `questions`, all of them in the ledger. `masked`: what was masked in each before, by kind.

        Raises TeacherError if the endpoint cannot be used at all; what others were paid for meanwhile is kept.
        """
        prepared = self.prepare(questions, examples, seed, masked)
        known = await self.governor.known([asked.request_id for asked in prepared])
        self.health.answered |= any(one.valid for one in known.values())
        tasks = [_now(a.answered(known[a.request_id])) if a.request_id in known else self._ask(a) for a in prepared]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        answers = [_raised(result) for result in results]
        self.check(answers)
        return answers

    def check(self, answers: Sequence[Answer]) -> None:
        """Raise TeacherError where so many were asked, and none has ever been answered, that it is not the questions."""
        self.health.answered |= any(a.valid for a in answers)
        failed = [a for a in answers if a.source in ("failed", "set_aside") and a.attempts]
        if not self.health.answered and (len(failed) >= ENOUGH or (failed and self.health.refusals)):
            how = "gives no answer that can be read" if failed[-1].source == "set_aside" else "does not answer"
            self.health.stop(
                TeacherError(
                    f"{self.endpoint.base_url}: {how} ({len(failed)} questions, {self.config.max_attempts} attempts each at most; the last: "
                    f"{failed[-1].reason})"
                )
            )

    def prepare(
        self, questions: Sequence[Question], examples: Sequence[Example], seed: int, masked: Sequence[dict[str, int]] = ()
    ) -> list[Prepared]:
        """The questions as they will leave; arguments as of ask_many."""
        prepared = []
        for n, question in enumerate(questions):
            messages, order = build_messages(question, examples, seed, self.config.several)
            # the ids too: names can be the same and ids not, where another knowledge base was read since
            request_id = sha256(self.dialect.identity, messages, question.candidate_ids)
            options: list[str] = [question.candidate_ids[n] for n in order]
            prepared.append(Prepared(question, request_id, messages, options, masked[n] if masked else {}))
        return prepared

    async def _ask(self, asked: Prepared) -> Answer:
        async with self.health.trial(asked.request_id):
            return await self._answer_to(asked)

    async def _answer_to(self, asked: Prepared) -> Answer:
        spent, attempts, reason = 0.0, 0, ""
        for _ in range(ANSWERS_READ):
            retrying = AsyncRetrying(stop=self._enough(), wait=self._wait, retry=retry_if_exception_type(_Again), reraise=True)
            try:
                async for attempt in retrying:
                    with attempt:
                        attempts += 1
                        async with self._slots, self.health.turn():
                            got = await self._request(asked, attempts)
            except _NoMoney:
                return asked.unanswered("refused_by_budget", "the budget was spent", spent, attempts - 1)
            except _Refused as error:
                return asked.unanswered("failed", str(error), spent, attempts)
            except _Again as error:
                return self._in_vain(asked.unanswered("failed", str(error), spent, attempts))
            if isinstance(got, Known):  # another job asked meanwhile
                self.health.answered |= got.valid
                return asked.answered(got)
            ended, price = got
            spent += price
            if ended.state == VALID:
                self.health.answered = True
                found = Known(True, ended.choice_id, ended.confidence, "")
                return replace(asked.answered(found), price_usd=spent, attempts=attempts, source="asked")
            reason = ended.reason
        return self._in_vain(asked.unanswered("set_aside", reason, spent, attempts))

    def _in_vain(self, answer: Answer) -> Answer:
        """Raises as `check` where it is the last of those that come before a first answer."""
        self.health.in_vain(answer.request_id)
        if len(self._unanswered) < ENOUGH:
            self._unanswered.append(answer)
            if len(self._unanswered) == ENOUGH:
                self.check(self._unanswered)
        return answer

    def _enough(self) -> Callable[[RetryCallState], bool]:
        """Of one question, after each failure, whether it has had its attempts; an outage uses up none."""
        used = 0

        def enough(_: RetryCallState) -> bool:
            nonlocal used
            used += not self.health.silent
            return used >= self.config.max_attempts

        return enough

    def _wait(self, state: RetryCallState) -> float:
        """Seconds to wait: what the endpoint asks for, or exponential with jitter; in an outage none, as there each waits for its turn."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.after_s if isinstance(error, _Again) else None
        if asked is None:
            return 0.0 if self.health.silent else wait_exponential_jitter(initial=0.5, max=20)(state)
        return asked

    async def _request(self, asked: Prepared, attempt: int) -> tuple[Ended, float] | Known:
        """One request, past the governor: (how it ended, dollars). A 429 and a refused parameter use up no attempt."""
        while True:
            self.health.require()
            arguments = self.dialect.arguments(len(asked.options))
            sent = self.sent(asked, attempt, arguments)
            grant = await self.governor.reserve(sent)
            if grant.known:
                return grant.known
            if grant.verdict != "go":
                raise _NoMoney
            try:
                # what chat.completions.create does, but for a walk through the types of all messages: two fifths of a request's CPU
                body = {"model": self.config.model, "messages": asked.messages, **arguments}
                async with asyncio.timeout(self.config.timeout_s + LATE_S):  # the SDK's own is of each read
                    reply = await self.openai().post("/chat/completions", cast_to=ChatCompletion, body=body)
            except openai.RateLimitError as error:
                await self._cooled(sent, complaint(error.body)[1], _retry_after(error))
                continue
            except openai.APIConnectionError as error:
                await self._went_wrong(sent, error)
            except openai.APIStatusError as error:
                # a gateway says 403, too, where it does not like the words; before the first answer, it is the key
                if error.status_code not in OF_ONE and not (error.status_code == 403 and self.health.answered):
                    await self._went_wrong(sent, error)
                ended = worked_for(sent, error.body)
                if ended is None:
                    await self._not_like_this(sent, error, arguments)
                    continue
                self.health.replied()
                return ended, await self.governor.settle(sent, ended)
            except TimeoutError:
                await self.governor.write_off(sent.id, "timed out")
                raise self._unheard(sent, "timed out") from None
            except (ValueError, RecursionError, openai.APIResponseValidationError):  # no JSON; it may have been worked for all the same
                reply = None
            if not getattr(reply, "choices", None):  # a gateway's HTTP 200 that is none
                code, words = trouble(reply)
                words = self.without_key(words)
                if code == "429":
                    await self._cooled(sent, {code}, None)
                    continue
                await self.governor.write_off(sent.id, words)
                raise self._unheard(sent, words)
            self.health.replied()
            self.dialect.understood(arguments)
            ended = read_reply(sent, reply, self.config.several)
            return ended, await self.governor.settle(sent, ended)

    def sent(self, asked: Prepared, attempt: int, arguments: dict[str, Any], mode: str = "sync") -> Sent:
        """A request of a prepared question, with an id of its own."""
        return Sent(
            id=uuid.uuid4().hex,
            question=asked.request_id,
            key=asked.question.key,
            attempt=attempt,
            model=self.config.model,
            endpoint=self.endpoint.base_url,
            parameters=json.dumps(arguments, sort_keys=True),
            prefix=json.dumps(asked.messages[:-1], ensure_ascii=False),
            message=json.dumps(asked.messages[-1], ensure_ascii=False),
            options=json.dumps(asked.options),
            worst_tokens=worst_case_tokens(asked.messages, arguments),
            max_output_tokens=self.config.max_output_tokens,
            masked=json.dumps(asked.masked, sort_keys=True),
            mode=mode,
        )

    async def _cooled(self, sent: Sent, codes: set[str], after_s: float | None) -> None:
        """After a 429: the whole pool waits, for as long as the endpoint asks."""
        await self.governor.release(sent.id, "HTTP 429")
        self._require_money(codes)
        await self.governor.cool(self.health.crowded(after_s))

    def _require_money(self, codes: set[str]) -> None:
        """Raises TeacherError where these say that the account has none."""
        if error := no_money_there(self.endpoint.base_url, codes):
            self.health.stop(error)

    async def _not_like_this(self, sent: Sent, error: openai.APIStatusError, arguments: dict[str, Any]) -> None:
        """After a 400, 413 or 422: returns where it says how to ask again. Raises _Refused where it may be this one question, TeacherError where
        nothing is answered."""
        codes, words = complaint(error.body)[1], self.words_of(error)
        if codes & NO_MONEY_THERE:
            await self.governor.release(sent.id, words)
            self._require_money(codes)
        said = json.dumps(error.body, default=str)  # wherever in it the words stand
        learned = self.learns(error.status_code, codes, said, arguments)
        if _of_key(error) or (not learned and not codes & ITS_OWN_FAULT and self.health.refused()):
            await self._stop(sent, error)
        await self.governor.release(sent.id, words)
        if not learned:
            raise _Refused(words) from None

    async def _went_wrong(self, sent: Sent, error: openai.APIStatusError | openai.APIConnectionError) -> NoReturn:
        """Raise _Again for what can succeed later, TeacherError for what cannot; money goes back only where surely nothing was served."""
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__
            timed_out = isinstance(error, openai.APITimeoutError)
            if cause in NEVER_LEFT:
                await self.governor.release(sent.id, cause)
            else:
                await self.governor.write_off(sent.id, "timed out" if timed_out else "connection cut")
            raise self._unheard(sent, "timed out" if timed_out else "connection failed") from None
        if error.status_code in MAY_BE_SERVED:
            await self.governor.write_off(sent.id, f"HTTP {error.status_code}")
            raise self._unheard(sent, f"HTTP {error.status_code}") from None
        if error.status_code >= 500 or error.status_code == 409:
            await self.governor.release(sent.id, f"HTTP {error.status_code}")
            raise self._unheard(sent, f"HTTP {error.status_code}", _retry_after(error)) from None
        await self._stop(sent, error)

    def _unheard(self, sent: Sent, why: str, after_s: float | None = None) -> _Again:
        """What to raise where a request came to nothing. Raises TeacherError where too many have, for too long."""
        self.health.unheard(sent.question, why)
        return _Again(why, after_s)

    async def _stop(self, sent: Sent, error: openai.APIStatusError) -> NoReturn:
        """The endpoint cannot be used like this, now or later: raise TeacherError, for all questions."""
        await self.governor.release(sent.id, f"HTTP {error.status_code}")
        where, status = self.endpoint.base_url, error.status_code
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError) or _of_key(error):
            # the endpoint's own words may repeat the key: they are not shown
            words = f"refused the key in {self.endpoint.api_key_env} (HTTP {status})"
        elif isinstance(error, openai.NotFoundError):
            words = f"knows no model {self.config.model!r} (HTTP {status}); check teacher.model"
        elif 300 <= status < 400:
            words = f"redirects (HTTP {status}), which is not followed; write its final address in teacher.base_url"
        else:
            words = f"refused the request ({self.words_of(error)})"
        self.health.stop(TeacherError(f"{where}: {words}"))

    def words_of(self, error: openai.APIStatusError) -> str:
        """The status, and what the endpoint says to it, see `without_key`."""
        words, status = self.without_key(complaint(error.body)[0]), f"HTTP {error.status_code}"
        return f"{status}: {words}" if words else status

    def without_key(self, words: str) -> str:
        """What an endpoint says, 200 characters of it at most, without the key, which it may repeat. Half a character, which JSON can hold and no
        file or terminal, becomes a question mark."""
        key = self.endpoint.api_key.get_secret_value()
        return (words.replace(key, "***") if self.endpoint.has_key else words)[:200].encode("utf-8", "replace").decode()

    def learns(self, status: int | None, codes: set[str], said: str, arguments: dict[str, Any]) -> bool:
        """Whether a refusal of these arguments says how to ask again, and not what is wrong with its question."""
        return status in OF_ONE and not codes & ITS_OWN_FAULT and self.dialect.learn(said, arguments)

    def openai(self) -> openai.AsyncOpenAI:
        """The SDK's client."""
        if self._openai is None:  # made in the event loop that uses it
            self._openai = self.endpoint.client(self.config.timeout_s)
        return self._openai


def no_money_there(where: str, codes: Set[str | None]) -> TeacherError | None:
    """What is to be told where these codes of an endpoint say that the account has none left."""
    found = codes & NO_MONEY_THERE
    return TeacherError(f"{where}: the account has no money left ({min(map(str, found))}); top it up, and start again") if found else None


def _of_key(error: openai.APIStatusError) -> bool:
    """Whether an HTTP 400 is, as Gemini's, of the key."""
    return "api key not valid" in complaint(error.body)[0].casefold()


async def _now(answer: Answer) -> Answer:
    return answer


def _raised(result: Answer | BaseException) -> Answer:
    if isinstance(result, BaseException):
        raise result
    return result


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that the endpoint asks to wait for, at most a minute; None if it does not say."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return min(60.0, max(0.0, float(headers[name]) / unit))
        except (KeyError, ValueError):
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"])  # the header's other form
        return min(60.0, max(0.0, (at - datetime.now(at.tzinfo)).total_seconds()))
    except (KeyError, ValueError):
        return None
