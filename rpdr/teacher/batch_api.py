"""A provider's Batch API: a file of requests goes up as a batch, is waited for, and what came of each request is read.

The API has no idempotency. Each batch carries a mark, kept by the provider, by which it is found after any doubt: nothing is submitted twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai
from openai.types import Batch
from tenacity import retry, retry_if_exception, stop_after_delay, wait_exponential_jitter

from rpdr.errors import TeacherError
from rpdr.teacher.client import NO_MONEY_THERE, TeacherClient, no_money_there
from rpdr.teacher.reply import complaint

MARK = "rpdr"  # the metadata key of a submission
ENDED = {"completed", "failed", "expired", "cancelled"}
NO_BATCHES = {404, 405, 501}  # of a look at all batches: the endpoint has no Batch API
NOT_YET = {"pending", "running"}  # of a file, which no batch is made of before
PASSING = {408, 409}  # of a request about files or batches: as 5xx, asked again
FILE_TIMEOUT_S = 600.0


class NotTaken(TeacherError):
    """A submission came to no batch, and will not: what was reserved for it is free."""


class BatchApi:
    """Patient for `teacher.patience_s`. What it raises in the end is openai's or a ValueError; `stopped` puts it in words."""

    def __init__(self, client: TeacherClient, tell: Callable[[int, int, str], None]) -> None:
        """`tell(done, total, doing)` hears of progress, in requests of the batches at the provider's."""
        self.client, self.config, self.tell = client, client.config, tell
        self._counts: dict[str, tuple[int, int]] = {}  # batch -> requests answered, requests
        self._at_work: set[str] = set()
        self._patiently = retry(
            stop=stop_after_delay(self.config.patience_s),
            wait=wait_exponential_jitter(initial=min(0.5, self.config.batch.poll_s), max=30, jitter=min(1.0, self.config.batch.poll_s)),
            retry=retry_if_exception(_passes),
            reraise=True,
        )

    async def upload(self, owner: str, requests: bytes) -> str:
        """The id of the file that holds these lines, once the provider has looked through it. Raises NotTaken."""
        files = self.client.openai().files
        try:
            file = await self._patiently(files.create)(file=(f"{owner}.jsonl", requests), purpose="batch", timeout=FILE_TIMEOUT_S)
            since = time.monotonic()
            while (status := str(file.status).casefold()) in NOT_YET and time.monotonic() - since < self.config.patience_s:
                await asyncio.sleep(min(1.0, self.config.batch.poll_s))
                file = await self._patiently(files.retrieve)(file.id)
        except (openai.APIError, ValueError) as error:
            raise NotTaken(str(self.stopped(error))) from None
        if status in {*NOT_YET, "error"}:
            await self._delete(file.id)
            why = self.client.without_key(file.status_details or "") or f"it is {status}"
            raise NotTaken(f"{self.client.endpoint.base_url}: takes no file of requests ({why}); see teacher.mode: sync")
        return str(file.id)

    async def submit(self, owner: str, file: str) -> str:
        """The id of the batch that this file, marked with `owner`, has become. Raises NotTaken, or, where it may be there all the same, another
        TeacherError: the next start looks for it."""
        try:
            batch = await self._patiently(self._create)(owner, file)
        except (openai.APIError, ValueError) as error:
            if _may_have_arrived(error):
                raise self.stopped(error) from None
            await self._delete(file)
            raise NotTaken(str(self.stopped(error))) from None
        self._at_work.add(batch.id)
        return str(batch.id)

    async def _create(self, owner: str, file: str) -> Batch:
        try:
            return await self.client.openai().batches.create(
                input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h", metadata={MARK: owner}
            )
        except (openai.APIError, ValueError) as error:
            if not _may_have_arrived(error):
                raise
            await asyncio.sleep(min(5.0, self.config.batch.poll_s))  # what has just arrived may not be listed yet
            try:
                found = await self.find(owner)  # to create it anew while that is open would be to pay twice
            except (openai.APIError, ValueError):  # whatever this one says: that the batch may be there is said by the first
                raise self.stopped(error) from None
            if found is None:
                raise
            return found

    async def find(self, owner: str) -> Batch | None:
        """The batch that carries this mark, if there is one."""
        found = await self._patiently(self._find)(owner)
        if found is not None:
            self._at_work.add(found.id)
        return found

    async def _find(self, owner: str) -> Batch | None:
        async for batch in self.client.openai().batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == owner:
                return batch
        return None

    async def ended(self, batch_id: str, requests: int) -> Batch:
        """Wait until the batch, of so many requests, has ended."""
        self._at_work.add(batch_id)
        wait = min(1.0, self.config.batch.poll_s)
        while True:
            batch = await self._patiently(self.client.openai().batches.retrieve)(batch_id)
            counts = batch.request_counts
            self._counts[batch_id] = (counts.completed + counts.failed if counts else 0, requests)
            done, total = (sum(count[n] for count in self._counts.values()) for n in (0, 1))
            self.tell(done, total, f"waiting for batches ({batch.status})")
            if batch.status in ENDED:
                return batch
            await asyncio.sleep(wait)
            wait = min(self.config.batch.poll_s, wait * 1.5)

    async def results(self, file: str | None) -> list[dict[str, Any] | None]:
        """What each line of a file holds; None of one that cannot be read, which no request can be found by."""
        if not file:
            return []
        content = await self._patiently(self.client.openai().files.content)(file, timeout=FILE_TIMEOUT_S)
        # an answer may hold what else ends a line in Unicode
        return [_line(text) for text in content.content.split(b"\n") if text.strip()]

    async def done_with(self, batch: Batch) -> None:
        """Its results are kept: its files may go."""
        self.forget(batch.id)
        await self._delete(batch.input_file_id, batch.output_file_id, batch.error_file_id)

    def forget(self, batch_id: str) -> None:
        """Nothing of it is at the provider's."""
        self._at_work.discard(batch_id)

    async def cancel_all(self) -> None:
        """Stop what is at the provider's: what it answered until then is merged by the next start."""
        results = (self.client.openai().batches.cancel(batch) for batch in self._at_work)
        await asyncio.gather(*results, return_exceptions=True)

    async def _delete(self, *files: str | None) -> None:
        """Providers keep files until they are told; some cannot be told."""
        for file in files:
            if file:
                with suppress(openai.APIError, ValueError):
                    await self.client.openai().files.delete(file)

    def stopped(self, error: Exception) -> TeacherError:
        """What to tell a user of what ended the asking."""
        where = self.client.endpoint.base_url
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return TeacherError(f"{where}: refused the key in {self.client.endpoint.api_key_env} (HTTP {error.status_code})")
        if no_money := no_money_there(where, complaint(getattr(error, "body", None))[1]):
            return no_money
        words = self.client.words_of(error) if isinstance(error, openai.APIStatusError) else type(error).__name__
        if _passes(error):
            return TeacherError(f"{where}: does not answer ({words}); start again later: what has been submitted is found then, and kept")
        return TeacherError(f"{where}: takes no batch ({words}); see teacher.mode: sync")


def _line(text: bytes) -> dict[str, Any] | None:
    """See BatchApi.results."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and isinstance(line.get("custom_id"), str) else None


def _passes(error: BaseException) -> bool:
    """Whether what went wrong can go right later."""
    if isinstance(error, openai.RateLimitError):
        return not complaint(error.body)[1] & NO_MONEY_THERE
    if isinstance(error, openai.APIStatusError) and error.status_code in PASSING | NO_BATCHES:
        return error.status_code in PASSING
    # ValueError: a body that is no JSON
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | openai.APIResponseValidationError | ValueError)


def _may_have_arrived(error: Exception) -> bool:
    return _passes(error) and not isinstance(error, openai.RateLimitError)
