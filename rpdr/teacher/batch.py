"""Ask the teacher by its Batch API, at the provider's lower price: reserve, submit, wait, merge into the same ledger under the same cap.

What a killed start had submitted is merged by the next one before it asks anything.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import openai
from openai.types import Batch

from rpdr.config import SANDBOX
from rpdr.errors import TeacherError
from rpdr.teacher.batch_api import NO_BATCHES, BatchApi, NotTaken
from rpdr.teacher.client import (
    MAY_BE_SERVED,
    NO_MONEY_THERE,
    OF_ONE,
    Answer,
    Prepared,
    TeacherClient,
    no_money_there,
)
from rpdr.teacher.health import ENOUGH
from rpdr.teacher.ledger import INVALID, MERGED, SUBMITTED, VALID, Sent, Submission
from rpdr.teacher.prompt import Example, Question
from rpdr.teacher.reply import as_completion, complaint, read_reply, worked_for
from rpdr.teacher.tokens import worst_case_tokens

NOT_RUN = {"batch_expired", "batch_cancelled"}  # what is said of a line whose turn never came
TIMED_OUT = "request_timeout"  # of a line: the model may have worked
ACTED_ON = {*NOT_RUN, TIMED_OUT, *NO_MONEY_THERE}
TOO_MUCH = "token_limit_exceeded"  # of what may be enqueued at a time: it passes as other batches end
MAX_BYTES = 100 * 2**20  # of a file; providers take 200 MB
AT_A_TIME = 256  # requests that are reserved, or merged, in one transaction


@dataclass(frozen=True)
class _Again:
    """Why a question must be asked again. `counts`: whether that has used up one of its attempts, or, `never`, all of them."""

    why: str
    counts: bool = True
    never: bool = False


class BatchClient:
    """Asks as TeacherClient does, in batches. One a run directory at a time."""

    def __init__(self, client: TeacherClient, tell: Callable[[int, int, str], None] = lambda *_: None) -> None:
        """`tell(done, total, doing)` hears of progress, in requests of the batches at the provider's."""
        self.client, self.config, self.governor = client, client.config, client.governor
        self.api = BatchApi(client, tell)
        self._crowded_since = 0.0  # when the provider began to take nothing at all; 0: it does

    async def ask_many(
        self, questions: Sequence[Question], examples: Sequence[Example], seed: int, masked: Sequence[dict[str, int]] = ()
    ) -> list[Answer]:
        """Answers in the order of `questions`, all of them in the ledger. Raises TeacherError if the endpoint takes no batches."""
        asked = self.client.prepare(questions, examples, seed, masked)
        await self.resume()
        async with self._cancelling():
            known_before = await self.governor.known([a.request_id for a in asked])
            self.client.health.answered |= any(one.valid for one in known_before.values())
            refused, failed = await self._ask_all([a for a in asked if a.request_id not in known_before])
        known = await self.governor.known([a.request_id for a in asked])
        answers = [self._answer(a, known, known_before, refused, failed) for a in asked]
        self.client.check(answers)
        return answers

    async def resume(self) -> None:
        """Merge what a start that was killed left at the provider's. Raises as ask_many."""
        async with self._cancelling():  # all at once, so that all are cancelled if this one is stopped
            await _all(self._resume(submission) for submission in await self.governor.open_batches())

    @asynccontextmanager
    async def _cancelling(self) -> AsyncIterator[None]:
        """Cancel what is at the provider's where the block is stopped."""
        try:
            yield
        except BaseException as error:
            await asyncio.shield(self.api.cancel_all())
            if isinstance(error, openai.APIError | json.JSONDecodeError):
                raise self.api.stopped(error) from None
            raise

    def _answer(self, asked: Prepared, known: Any, before: Any, refused: Iterable[str], failed: dict[str, str]) -> Answer:
        request_id = asked.request_id
        if request_id in known:
            answer = asked.answered(known[request_id])
            return answer if request_id in before else replace(answer, attempts=1, source="asked" if answer.valid else answer.source)
        if request_id in refused:
            return asked.unanswered("refused_by_budget", "the budget was spent")
        return asked.unanswered("failed", failed.get(request_id, "no answer"), attempts=self.config.max_attempts)

    async def _ask_all(self, asked: Iterable[Prepared]) -> tuple[dict[str, None], dict[str, str]]:
        """(questions that the budget could not cover, questions without an answer after all attempts -> why)."""
        by_id = {a.request_id: a for a in asked}
        queue, refused, failed = deque(by_id), dict[str, None](), dict[str, str]()
        attempts: Counter[str] = Counter()
        at_work: set[asyncio.Task[dict[str, _Again]]] = set()
        size, at_once = self.config.batch.requests, self.config.batch.at_once
        first: list[
            Prepared
        ] = []  # what was asked before there was an answer: in one small batch at a time, as a wrong setting may cost all of it
        try:
            while queue or at_work:
                trial = not self.client.health.answered
                while queue and len(at_work) < (1 if trial else at_once):
                    chunk = self._chunk(queue, by_id, min(size, ENOUGH) if trial else size)
                    first += chunk if trial else []
                    owner = uuid.uuid4().hex
                    granted, without_money = await self._reserve(chunk, attempts, owner)
                    refused.update(dict.fromkeys(without_money))
                    if granted:
                        at_work.add(asyncio.create_task(self._submit(owner, granted)))
                if not at_work:
                    break
                done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                results = [task.result() for task in done]
                at_work -= done
                for request_id, again in (pair for result in results for pair in result.items()):
                    attempts[request_id] += self.config.max_attempts if again.never else again.counts
                    if attempts[request_id] >= self.config.max_attempts:
                        failed[request_id] = again.why
                    else:
                        (queue.appendleft if trial else queue.append)(request_id)
                if trial:
                    await self._check(first, failed)
                too_much = [result for result in results if any(again.why == TOO_MUCH for again in result.values())]
                if at_work or len(too_much) < len(results):
                    self._crowded_since = 0.0
                    at_once -= min(at_once - 1, len(too_much))
                elif too_much:
                    size = await self._make_room(min(size, max(map(len, too_much))))
                queue.extend(refused)  # what has been settled may have left money
                refused.clear()
        finally:
            for task in at_work:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)
        return refused, failed

    async def _check(self, asked: Sequence[Prepared], failed: dict[str, str]) -> None:
        """Raises TeacherError where these have had their attempts, and none has an answer."""
        known = await self.governor.known([a.request_id for a in asked])
        ended = {a.request_id: a for a in asked if a.request_id in known or a.request_id in failed}
        self.client.check([self._answer(a, known, (), (), failed) for a in ended.values()])

    async def _make_room(self, size: int) -> int:
        """The provider's queue is full, and not with ours: wait a little, and make batches smaller, lest one alone is too large for it."""
        now = time.monotonic()
        self._crowded_since = self._crowded_since or now
        if size == 1 and now - self._crowded_since > self.config.patience_s:
            raise TeacherError(
                f"{self.client.endpoint.base_url}: the account's limit of enqueued tokens leaves no room for a batch of one request; "
                "wait for its other batches, or see teacher.mode: sync"
            )
        await asyncio.sleep(self.config.batch.poll_s)
        return max(1, size // 2)

    def _chunk(self, queue: deque[str], by_id: dict[str, Prepared], requests: int) -> list[Prepared]:
        """The next questions that go into one file."""
        chunk: list[Prepared] = []
        size = 0
        while queue and len(chunk) < requests and size < MAX_BYTES:
            chunk.append(by_id[queue.popleft()])
            size += worst_case_tokens(chunk[-1].messages)
        return chunk

    async def _reserve(
        self, chunk: Sequence[Prepared], attempts: Counter[str], owner: str
    ) -> tuple[list[tuple[Sent, list[dict[str, str]]]], list[str]]:
        """(requests that may leave with their messages, questions that the budget cannot cover); of what is known, neither."""
        granted: list[tuple[Sent, list[dict[str, str]]]] = []
        without_money: list[str] = []
        for start in range(0, len(chunk), AT_A_TIME):
            part = chunk[start : start + AT_A_TIME]
            if without_money:  # what comes after would hardly find any
                without_money += [a.request_id for a in part]
                continue
            requests = []
            for a in part:
                arguments = self.client.dialect.arguments(len(a.options))
                attempt = attempts[a.request_id] + 1
                requests.append(self.client.sent(a, attempt, arguments, "batch"))
            grants = await asyncio.gather(*(self.governor.reserve(sent, owner) for sent in requests))
            for sent, grant, a in zip(requests, grants, part, strict=True):
                if grant.verdict == "go":
                    granted.append((sent, a.messages))
                elif grant.verdict == "no_money":
                    without_money.append(a.request_id)
        return granted, without_money

    async def _submit(self, owner: str, requests: list[tuple[Sent, list[dict[str, str]]]]) -> dict[str, _Again]:
        """Send reserved requests as one batch and merge what comes back: question -> why it must be asked again."""
        lines = []
        for sent, messages in requests:
            body = {"model": sent.model, "messages": messages, **json.loads(sent.parameters)}
            lines.append(
                json.dumps({"custom_id": sent.id, "method": "POST", "url": "/v1/chat/completions", "body": body}, ensure_ascii=False)
            )
        submission = Submission(owner, None, [sent for sent, _ in requests])
        try:
            file = await self.api.upload(owner, "\n".join(lines).encode())
        except (NotTaken, asyncio.CancelledError):  # cancelled where another batch was not taken
            await self._release(submission.requests, "the batch was not taken")
            raise
        try:
            batch = await self.api.submit(owner, file)
        except NotTaken:
            await self._release(submission.requests, "the batch was not taken")
            raise
        await self.governor.note_batch(owner, batch, SUBMITTED)
        return await self._finish(submission, batch)

    async def _resume(self, submission: Submission) -> None:
        """Merge what a start before this one submitted; give its money back where it never arrived."""
        first, model, endpoint = submission.requests[0], self.config.model, self.client.endpoint.base_url
        if first.model == SANDBOX and not self.config.simulated:  # a rehearsal that was stopped: its sandbox ended with it
            await self._give_up(submission, "the sandbox teacher has ended")
            return
        elsewhere = first.endpoint != endpoint and not self.config.simulated  # the sandbox's place is another one every time
        if first.model != model or elsewhere:
            raise TeacherError(
                f"{endpoint}: batches of this run are still at {first.endpoint}, asked of {first.model!r}; "
                "name these in teacher.base_url and teacher.model until they end"
            )
        batch = submission.batch
        if batch is None:
            try:
                found = await self.api.find(submission.owner)
            except openai.APIStatusError as error:
                if error.status_code not in NO_BATCHES:
                    raise
                found = None
            if found is None:
                await self._release(submission.requests, "never arrived")
                return
            batch = found.id
            await self.governor.note_batch(submission.owner, batch, SUBMITTED)
        try:
            await self._finish(submission, batch)
        except openai.NotFoundError:
            self.api.forget(batch)
            await self._give_up(replace(submission, batch=batch), "the provider knows no such batch")

    async def _give_up(self, submission: Submission, why: str) -> None:
        """End a submission that no answer will come from."""
        await asyncio.gather(*(self.governor.write_off(sent.id, why) for sent in submission.requests))
        if submission.batch is not None:
            await self.governor.note_batch(submission.owner, submission.batch, MERGED)

    async def _finish(self, submission: Submission, batch_id: str) -> dict[str, _Again]:
        """Wait for a batch and merge it: question -> why it must be asked again."""
        batch = await self.api.ended(batch_id, len(submission.requests))
        ends, without_line, unreadable = await self._merge_results(batch, submission.requests)
        codes, why = self._why(batch)
        if batch.status == "completed" or unreadable:  # a request without a line was worked for all the same, or may have been
            lost = "no line of the batch that can be read" if unreadable else "no answer in a completed batch"
            await asyncio.gather(*(self.governor.write_off(sent.id, lost) for sent in without_line))
        else:
            await self._release(without_line, why)
        await self.governor.note_batch(submission.owner, batch_id, MERGED)
        await self.api.done_with(batch)
        if no_money := no_money_there(self.client.endpoint.base_url, {*codes, *(end.why for end in ends.values() if end is not None)}):
            raise no_money
        # a batch that got on has only had too little time: what it did not come to has used up nothing
        got_on = any(end is None or end.why not in NOT_RUN for end in ends.values())
        for_nothing = NOT_RUN if batch.status == "completed" else {*NOT_RUN, why}
        again = {question: end for question, end in ends.items() if end is not None}
        again.update({sent.question: _Again(why, why != TOO_MUCH) for sent in without_line})
        return {question: _Again(end.why, False) if got_on and end.why in for_nothing else end for question, end in again.items()}

    async def _merge_results(self, batch: Batch, requests: Iterable[Sent]) -> tuple[dict[str, _Again | None], list[Sent], bool]:
        """(question -> see `_merge`, requests that no line is of, whether a line could not be read)."""
        without_line = {sent.id: sent for sent in requests}
        ends: dict[str, _Again | None] = {}
        unreadable = False
        for file in (batch.output_file_id, batch.error_file_id):
            lines = await self.api.results(file)
            unreadable |= None in lines
            found = [(without_line.pop(line["custom_id"], None), line) for line in lines if line is not None]
            for start in range(0, len(found), AT_A_TIME):
                merging = {sent.question: self._merge(sent, line) for sent, line in found[start : start + AT_A_TIME] if sent is not None}
                ends.update(zip(merging, await asyncio.gather(*merging.values()), strict=True))
        return ends, [*without_line.values()], unreadable

    def _why(self, batch: Batch) -> tuple[list[str], str]:
        """(the codes of what the provider says of the whole batch, why a request that it did not come to must be asked again)."""
        told = (batch.errors.data if batch.errors else None) or []
        codes = [error.code or "" for error in told]
        if batch.status != "failed" or not told:
            return codes, f"the batch {batch.status}"
        if TOO_MUCH in codes:
            return codes, TOO_MUCH
        words = self.client.without_key(f"{codes[0]}: {told[0].message or ''}")
        return codes, f"the batch failed ({words})"

    async def _merge(self, sent: Sent, line: dict[str, Any]) -> _Again | None:
        """Keep one line of a batch's result; why the question must be asked again, if it must."""
        response = _dict(line.get("response"))
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            self.client.dialect.understood(json.loads(sent.parameters))
        ended = read_reply(sent, as_completion(body), self.client.config.several) if status == 200 else worked_for(sent, body)
        if ended is not None:
            await self.governor.settle(sent, ended)
            self.client.health.answered |= ended.state == VALID
            return _Again(ended.reason) if ended.state == INVALID else None
        told = line.get("error") or body
        words, codes = complaint(told)
        why = min(codes & ACTED_ON, default="") or self.client.without_key(words) or f"HTTP {status}"
        if status in MAY_BE_SERVED or why == TIMED_OUT:
            await self.governor.write_off(sent.id, why)
            return _Again(why)
        await self.governor.release(sent.id, why)
        if no_money := codes & NO_MONEY_THERE:
            return _Again(no_money.pop(), False)
        learned = self.client.learns(status, codes, json.dumps(told), json.loads(sent.parameters))
        return _Again(why, not learned, never=status in OF_ONE and not learned)

    async def _release(self, requests: Iterable[Sent], why: str) -> None:
        await asyncio.gather(*(self.governor.release(sent.id, why) for sent in requests))


def _dict(value: Any) -> dict[str, Any]:
    """Of a line, which may hold anything."""
    return value if isinstance(value, dict) else {}


async def _all(work: Iterable[Any]) -> None:
    """Run side by side; if one fails, the others end before that is heard of."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
