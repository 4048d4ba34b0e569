"""Ids of mentions, made unique in little memory: 8 bytes for each that was given out, where a set of texts takes a hundred."""

from __future__ import annotations

import numpy as np

LATEST = 100_000  # ids whose hashes are in a set; older ones are in sorted arrays


class UniqueIds:
    """Gives out ids. It remembers their 64-bit hashes: two of the same hash cost a number behind the later one, and nothing else."""

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._older: list[np.ndarray] = []  # of falling size, each at least half as large again as the next

    def unused(self, wanted: str, number: int) -> str:
        """`wanted`, or where that was given out before, with # and the `number` of its row behind it."""
        given = wanted
        while not self._add(hash(given)):
            given = f"{given}#{number}"
        return given

    def _add(self, key: int) -> bool:
        if key in self._latest or any(_holds(older, key) for older in self._older):
            return False
        self._latest.add(key)
        if len(self._latest) >= LATEST:
            merged = np.sort(np.fromiter(self._latest, np.int64, len(self._latest)))
            while self._older and len(self._older[-1]) < 2 * len(merged):
                merged = np.sort(np.concatenate([self._older.pop(), merged]), kind="stable")
            self._older.append(merged)
            self._latest = set()
        return True


def _holds(ascending: np.ndarray, key: int) -> bool:
    place = int(np.searchsorted(ascending, key))
    return place < len(ascending) and int(ascending[place]) == key
