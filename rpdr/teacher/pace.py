"""Requests and tokens a minute, held by a virtual clock a limit (the generic cell rate algorithm) that lives beside the ledger.

So the limits are those of all jobs on the run directory together, and a restart does not begin with a burst.
"""

from __future__ import annotations

import sqlite3

BURST_S = 1.0  # how far a limit may run ahead after a pause: providers measure over about a second
MINUTE_S = 60 + BURST_S  # what a minute lets through if it starts with that second: no minute at all may hold more than a limit
COOLED = "cooled"  # nothing may leave before; set by a 429


class Pace:
    """When the next request may leave. Its methods are called inside a transaction on the ledger; times are epoch seconds."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int) -> None:
        """Raises nothing; 0 is no limit."""
        self.limits = {"requests": requests_per_minute / MINUTE_S, "tokens": tokens_per_minute / MINUTE_S}

    def slot(self, db: sqlite3.Connection, tokens: float, now: float) -> float:
        """The time at which a request of so many tokens may leave; it is taken up in the limits."""
        start = max(now, self._next(db, COOLED))
        costs = {"requests": 1.0, "tokens": tokens}
        clocks = {name: max(self._next(db, name), start - BURST_S) for name, rate in self.limits.items() if rate}
        start = max([start, *clocks.values()])
        for name, at in clocks.items():
            self._set(db, name, max(at, start - BURST_S) + costs[name] / self.limits[name])
        return start

    def correct(self, db: sqlite3.Connection, tokens: float) -> None:
        """Add tokens (or, below 0, give them back) that a request used beyond what its slot was taken for."""
        if self.limits["tokens"]:
            self._set(db, "tokens", self._next(db, "tokens") + tokens / self.limits["tokens"])

    def cool(self, db: sqlite3.Connection, until: float) -> None:
        """Let nothing leave before `until`."""
        if until > self._next(db, COOLED):
            self._set(db, COOLED, until)

    def cooled_until(self, db: sqlite3.Connection) -> float:
        """When what has a slot may leave; 0: it always could."""
        return self._next(db, COOLED)

    def _next(self, db: sqlite3.Connection, name: str) -> float:
        row = db.execute("SELECT next_at FROM pace WHERE name = ?", (name,)).fetchone()
        return float(row[0]) if row else 0.0

    def _set(self, db: sqlite3.Connection, name: str, at: float) -> None:
        db.execute("INSERT INTO pace VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at", (name, at))
