"""The one door for money: the worst case of a request is reserved before it leaves, and settled with what it used after.

Reservations are durable (a journal, fsynced) before they are granted: what was in flight at a crash stays counted at its worst case.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path
from typing import Any

from rpdr.config import Price

JOURNAL = "reservations.jsonl"


class Governor:
    """A hard cap of `budget_usd` over all starts on one ledger folder. Thread-safe; one a cluster."""

    def __init__(self, budget_usd: float, price: Price, folder: Path) -> None:
        self.budget_usd, self.price = budget_usd, price
        self._lock = threading.Lock()
        self._reserved: dict[str, float] = {}
        self._spent = 0.0
        self._refused = self._requests = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / JOURNAL
        self._restore()
        self._journal = self._path.open("a", encoding="utf-8")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars for so many tokens."""
        return (prompt_tokens * self.price.input_usd_per_million + completion_tokens * self.price.output_usd_per_million) / 1e6

    def reserve(self, prompt_tokens: int, max_output_tokens: int) -> str | None:
        """A reservation's id, or None where the worst case does not fit under the cap any more."""
        worst = self.cost(prompt_tokens, max_output_tokens)
        with self._lock:
            if self._spent + sum(self._reserved.values()) + worst > self.budget_usd:
                self._refused += 1
                return None
            reservation = uuid.uuid4().hex
            self._write({"id": reservation, "usd": worst}, durable=True)
            self._reserved[reservation] = worst
            self._requests += 1
            return reservation

    def settle(self, reservation: str, prompt_tokens: int, completion_tokens: int) -> float:
        """Replace a reservation by the price in dollars of what was used, which it returns."""
        price = self.cost(prompt_tokens, completion_tokens)
        with self._lock:
            if self._reserved.pop(reservation, None) is not None:
                self._spent += price
                # not fsynced: if a crash loses this line, the worst case stays counted, which is safe
                self._write({"id": reservation, "settled_usd": price}, durable=False)
        return price

    def release(self, reservation: str) -> None:
        """Give back what was reserved for a request that was certainly not served."""
        with self._lock:
            if self._reserved.pop(reservation, None) is not None:
                self._write({"id": reservation, "settled_usd": 0.0}, durable=False)

    def status(self) -> dict[str, Any]:
        """spent_usd, reserved_usd (in flight, or lost in a crash), budget_usd; how many requests were let through and refused."""
        with self._lock:
            return {
                "spent_usd": self._spent,
                "reserved_usd": sum(self._reserved.values()),
                "budget_usd": self.budget_usd,
                "requests": self._requests,
                "refused": self._refused,
            }

    def _write(self, entry: dict[str, Any], durable: bool) -> None:
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        if durable:
            os.fsync(self._journal.fileno())

    def _restore(self) -> None:
        if not self._path.exists():
            return
        whole = self._path.read_text(encoding="utf-8")
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut short by a crash while it was written: the request had not left
                continue
            if "usd" in entry:
                self._reserved[entry["id"]] = entry["usd"]
            elif self._reserved.pop(entry["id"], None) is not None:
                self._spent += entry["settled_usd"]
        if whole and not whole.endswith("\n"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")
