"""The one door for money, rate and repeats: a request's worst case is reserved before it leaves, and settled with what it used after.

All state is in the ledger, so that the cap, the limits and "asked once" hold over parallel actors, restarts and several jobs.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from rpdr.config import Price
from rpdr.errors import RunError
from rpdr.teacher.ledger import (
    FREE,
    LOST,
    Ended,
    Known,
    Sent,
    Submission,
    append_batch,
    append_ended,
    append_sent,
    connect,
    ended_since,
    known,
    open_batches,
    sent_since,
    spent_and_open,
)
from rpdr.teacher.pace import Pace
from rpdr.teacher.prices import cost_usd

TOKENS_A_BYTE = 0.3  # of English; what the endpoint counts corrects it
POLL_S = 0.2


@dataclass(frozen=True)
class Grant:
    """`verdict`: "go" (reserved: send it now), "known" (see `known`: not asked again) or "no_money" (the cap cannot cover it)."""

    verdict: str
    known: Known | None = None


@dataclass(frozen=True)
class _Wait:
    """Not yet: ask again after so many seconds."""

    seconds: float


class Governor:
    """A hard cap of `budget_usd` over the life of a ledger. One a job; use it within one event loop."""

    def __init__(
        self,
        budget_usd: float,
        price: Price,
        folder: Path,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        patience_s: float = 60.0,
        simulated: bool | None = None,
    ) -> None:
        """`patience_s`: after so long without an end, a request is taken for lost (its asker died) and the question may be asked again. `simulated`: the
        teacher is, or is not. A rehearsal's dollars are none of a paid run's cap, nor the other way round; where it is not said, all count."""
        self.budget_usd, self.price, self.patience_s, self.simulated = budget_usd, price, patience_s, simulated
        self.pace = Pace(requests_per_minute, tokens_per_minute)
        self.owner = uuid.uuid4().hex
        self._folder = folder
        self._db = connect(folder)
        # held until this process ends, however it ends: others see by it that our requests may still come back
        self._alive = _lock(folder / f".owner-{self.owner}")
        self._tokens_a_byte = TOKENS_A_BYTE
        self._beyond = 1.0  # the most that an answer has cost, in worst cases: an endpoint may count what no limit holds
        self._requests = self._refused = 0
        self._spent, self._open = 0.0, dict[str, sqlite3.Row]()
        self._seen = (-1, -1)
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, mode: str = "sync", cached_tokens: int = 0) -> float:
        """Dollars for so many tokens, by the mode's price."""
        return cost_usd(self.price, prompt_tokens, completion_tokens, mode, cached_tokens)

    async def known(self, questions: Sequence[str]) -> dict[str, Known]:
        """Which of these questions need not be asked. See Ledger.known."""
        return await self._transact(lambda: known(self._db, questions))

    async def reserve(self, sent: Sent, owner: str = "") -> Grant:
        """Returns when the request may leave, its worst case on disk; or at once, when it must not. Again with the same id: the same.

        `owner`: the submission that a batch's request belongs to.
        """
        slot: float | None = None
        while True:
            step = await self._transact(partial(self._step, sent, slot, owner or self.owner))
            if isinstance(step, Grant):
                return step
            if isinstance(step, _Wait):
                await asyncio.sleep(step.seconds)
            else:
                slot = step
                await asyncio.sleep(max(0.0, slot - time.time()))

    async def settle(self, sent: Sent, ended: Ended) -> float:
        """Keep an answer, and replace its reservation by the price of the tokens used; dollars. On disk when this returns."""
        price = self.cost(ended.prompt_tokens, ended.completion_tokens, sent.mode, ended.cached_tokens)
        self._beyond = max(self._beyond, price / (self._worst_usd(sent) or math.inf))
        beyond = ended.prompt_tokens + ended.completion_tokens - self._expected_tokens(sent)
        self._tokens_a_byte += 0.05 * (ended.prompt_tokens / max(1, sent.worst_tokens) - self._tokens_a_byte)

        def write() -> None:
            append_ended(self._db, ended, price, time.time())
            if sent.mode == "sync":
                self.pace.correct(self._db, beyond)

        await self._transact(write)
        return price

    async def release(self, reservation: str, reason: str) -> None:
        """Give back what was reserved for a request that was certainly not served."""
        await self._transact(lambda: append_ended(self._db, Ended(reservation, FREE, reason=reason), 0.0, time.time()))

    async def write_off(self, reservation: str, reason: str) -> None:
        """A request that may have been served, and billed, without an answer: its worst case stays counted."""
        await self._transact(lambda: self._lost(reservation, reason))

    async def cool(self, seconds: float) -> None:
        """After a 429: let nothing leave for so long."""
        await self._transact(lambda: self.pace.cool(self._db, time.time() + seconds))

    async def note_batch(self, owner: str, batch: str, event: str) -> None:
        """Keep that a submission is the provider's batch (SUBMITTED), or that its answers are in the ledger (MERGED)."""
        await self._transact(lambda: append_batch(self._db, owner, batch, event, time.time()))

    async def open_batches(self) -> list[Submission]:
        """What was sent in batches and has not ended."""
        return await self._transact(lambda: open_batches(self._db))

    async def status(self) -> dict[str, Any]:
        """spent_usd, reserved_usd (in flight, or lost in a crash), budget_usd; how many requests were let through and refused."""
        await self._transact(self._catch_up)
        return {
            "spent_usd": self._spent,
            "reserved_usd": self._reserved(),
            "budget_usd": self.budget_usd,
            "requests": self._requests,
            "refused": self._refused,
        }

    async def close(self) -> None:
        """Let go of the ledger; what is still open counts as lost from now on."""
        if self._writer is not None:
            await self._writer
        self._thread.shutdown()
        self._db.close()
        self._alive.close()
        (self._folder / f".owner-{self.owner}").unlink(missing_ok=True)

    def _worst_usd(self, sent: Sent) -> float:
        """What a request should cost at most."""
        return self.cost(sent.worst_tokens, sent.max_output_tokens, sent.mode)

    def _expected_tokens(self, sent: Sent) -> float:
        """What the rate limit is charged beforehand."""
        return sent.worst_tokens * self._tokens_a_byte + sent.max_output_tokens / 2

    def _step(self, sent: Sent, slot: float | None, owner: str) -> Grant | _Wait | float:
        """Inside a transaction: what may be done about a request now. `slot`: the time that it was given, which has come."""
        found = known(self._db, [sent.question]).get(sent.question)
        if found:
            return Grant("known", found)
        for other in self._open_requests(sent):
            if other["id"] == sent.id:  # granted, but its asker did not hear of it
                return Grant("go")
            if self._may_come_back(other, sent):
                return _Wait(POLL_S)
            if other["owner"] == self.owner:
                self._lost(other["id"], "the actor that asked has died")
        worst = self._beyond * self._worst_usd(sent)
        self._catch_up()
        if self._spent + self._reserved() + worst > self.budget_usd:
            if self._spent + worst <= self.budget_usd and self._some_come_back():
                return _Wait(POLL_S)  # others hold more than they will use
            self._refused += 1
            return Grant("no_money")
        now = time.time()
        if sent.mode == "sync":
            if slot is None:
                slot = self.pace.slot(self._db, self._expected_tokens(sent), now)
            elif slot < self.pace.cooled_until(self._db):
                slot = self.pace.slot(self._db, self._expected_tokens(sent), now)  # its time was slept through by all
            if slot > now:
                return slot
        append_sent(self._db, sent, worst, owner, now)
        self._requests += 1
        return Grant("go")

    def _open_requests(self, sent: Sent) -> list[sqlite3.Row]:
        return self._db.execute(
            "SELECT s.id, s.key, s.owner, s.at, s.mode FROM sent s LEFT JOIN ended e ON e.id = s.id WHERE s.question = ? AND e.id IS NULL",
            (sent.question,),
        ).fetchall()

    def _may_come_back(self, other: sqlite3.Row, sent: Sent) -> bool:
        if other["mode"] == "batch":
            return True  # it is at the provider's, whoever sent it
        if time.time() - other["at"] > self.patience_s:
            return False
        if other["owner"] == self.owner:
            return other["key"] != sent.key  # one mention is asked about once at a time: who asks again has died and was replaced
        return self._lives(other["owner"])

    def _reserved(self) -> float:
        return sum(row["worst_usd"] for row in self._open.values())

    def _some_come_back(self) -> bool:
        since = time.time() - self.patience_s
        return any(row["mode"] == "sync" and row["at"] > since and self._lives(row["owner"]) for row in self._open.values())

    def _lives(self, owner: str) -> bool:
        if owner == self.owner:
            return True
        path = self._folder / f".owner-{owner}"
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        path.unlink(missing_ok=True)
        return False

    def _lost(self, reservation: str, reason: str) -> None:
        row = self._db.execute("SELECT worst_usd FROM sent WHERE id = ?", (reservation,)).fetchone()
        if row:
            append_ended(self._db, Ended(reservation, LOST, reason=reason), row["worst_usd"], time.time())

    def _catch_up(self) -> None:
        """Take up what this and other processes have written since: only what is new is read."""
        sent_seen, ended_seen = self._seen
        if sent_seen < 0:
            self._spent, rows = spent_and_open(self._db, self.simulated)
            self._open = {row["id"]: row for row in rows}
        else:
            self._open.update((row["id"], row) for row in sent_since(self._db, sent_seen, self.simulated))
            for request, price_usd in ended_since(self._db, ended_seen, self.simulated):
                self._open.pop(request, None)
                self._spent += price_usd
        self._seen = (_last(self._db, "sent"), _last(self._db, "ended"))

    async def _transact(self, work: Callable[[], Any]) -> Any:
        """Run `work` in a transaction, durable when this returns. What waits meanwhile shares the next one: one fsync for all of it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((work, future))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit_each, [work for work, _ in batch])
            except sqlite3.Error as error:
                results = [RunError(f"{self._folder}: the ledger cannot be written ({error})")] * len(batch)
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)

    def _commit_each(self, works: list[Callable[[], Any]]) -> list[Any]:
        """What each comes to: where one cannot be done, what shares its transaction is done without it. Raises sqlite3.Error where none can."""
        try:
            return self._commit(works)
        except sqlite3.Error:
            raise
        except Exception as error:
            return [error] if len(works) == 1 else [result for work in works for result in self._commit_each([work])]

    def _commit(self, works: list[Callable[[], Any]]) -> list[Any]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [work() for work in works]
            self._db.execute("COMMIT")
        except BaseException:
            self._seen = (-1, -1)  # what was taken up may have been undone
            if self._db.in_transaction:  # on a full disk SQLite rolls back by itself
                self._db.execute("ROLLBACK")
            raise
        return results


def _last(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchone()[0])


def _lock(path: Path) -> IO[bytes]:
    file = path.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    os.fsync(file.fileno())
    return file
