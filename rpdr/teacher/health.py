"""How an endpoint does, by what its last requests came to: go on, wait, or stop.

Before a first answer few questions are let out: a wrong setting costs as much as these. One odd question must not stop a job, and an outage must
not use up its questions: it is an outage where many different questions, one after another, got nothing from an endpoint that had answered. Then one
at a time asks, until it answers again or patience is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from rpdr.errors import TeacherError

ENOUGH = 8  # different questions without an answer, and none with one: it is not the questions
MANY_REFUSALS = 32  # the same of refusals by an endpoint that has answered: some runs of questions are odd
PAUSE_SHARE = 0.1  # of the time that it has lasted, is waited before the next request
MAX_PAUSE_S = 30.0


class Health:
    """Of one endpoint, for those that ask it within one event loop. `answered`: whether any question ever was, in this start or an earlier one."""

    def __init__(self, where: str, patience_s: float) -> None:
        self.where, self.patience_s = where, patience_s
        self.answered = False
        self.refusals = 0  # in a row
        self._stopped: TeacherError | None = None
        self._unheard: set[str] = set()
        self._unheard_since = 0.0
        self._crowded_since: float | None = None
        self._one = asyncio.Lock()
        self._first = asyncio.Semaphore(ENOUGH)
        self._in_vain: set[str] = set()

    @property
    def silent(self) -> bool:
        """Whether it is an outage."""
        return self.answered and len(self._unheard) >= ENOUGH

    def stop(self, error: TeacherError) -> NoReturn:
        """The endpoint cannot be used, now or later: raises, here and for all that would ask after this."""
        self._stopped = error
        raise error from None

    def require(self) -> None:
        """Raises TeacherError where one has found that the endpoint cannot be used."""
        if self._stopped:
            raise self._stopped

    def replied(self) -> None:
        """With a completion, whatever it says."""
        self._unheard.clear()
        self._crowded_since = None
        self.refusals = 0

    def unheard(self, question: str, why: str) -> None:
        """A request of this question came to nothing, and not for its words. Raises TeacherError at the end of patience."""
        now = time.monotonic()
        if not self._unheard:
            self._unheard_since = now
        self._unheard.add(question)
        if self.silent and now - self._unheard_since > self.patience_s:
            self.stop(
                TeacherError(
                    f"{self.where}: has answered nothing for {self.patience_s:.0f} s (the last: {why}); start again later: what was answered is kept"
                )
            )

    def refused(self) -> bool:
        """A request was refused, perhaps for its words. Whether so many were that it is not the words."""
        self.refusals += 1
        return self.refusals >= (MANY_REFUSALS if self.answered else ENOUGH)

    def crowded(self, after_s: float | None) -> float:
        """It said HTTP 429, and perhaps when to come again: seconds to wait. Raises TeacherError at the end of patience."""
        now = time.monotonic()
        self._crowded_since = now if self._crowded_since is None else self._crowded_since
        if now - self._crowded_since > self.patience_s:
            self.stop(
                TeacherError(
                    f"{self.where}: too many requests (HTTP 429) for {self.patience_s:.0f} s; set teacher.requests_per_minute"
                    " and tokens_per_minute to the limits of your account"
                )
            )
        return max(1.0 if after_s is None else after_s, _pause(now - self._crowded_since))

    def in_vain(self, question: str) -> None:
        """All that may be spent on this question has been, and there is no answer."""
        self._in_vain.add(question)

    @asynccontextmanager
    async def trial(self, question: str) -> AsyncIterator[None]:
        """For a question: at once, or, before any was answered, as one of ENOUGH, where none takes the place of one that was asked in vain."""
        if not self.answered:
            await self._first.acquire()
            if not self.answered:
                try:
                    self.require()
                    yield
                finally:
                    if self.answered or self._stopped or question not in self._in_vain:
                        self._first.release()
                return
            self._first.release()
        yield

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """For a request: at once, or, in an outage, one after another and not too often, as each may be billed."""
        if self.silent:
            async with self._one:
                self.require()
                if self.silent:
                    try:
                        yield
                    finally:
                        if self.silent and not self._stopped:
                            await asyncio.sleep(_pause(time.monotonic() - self._unheard_since))
                    return
        yield


def _pause(lasted_s: float) -> float:
    return min(MAX_PAUSE_S, max(0.05, PAUSE_SHARE * lasted_s))
