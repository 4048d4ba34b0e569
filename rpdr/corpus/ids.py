"""Ids of mentions, made unique in little memory: 8 bytes for each that a source gives, where a set of texts takes a hundred; none for numbers of rows."""

from __future__ import annotations

import numpy as np

MOST_DIGITS = 19  # of a row's number
LATEST = 100_000  # ids whose hashes are in a set; older ones are in sorted arrays


class UniqueIds:
    """Gives out ids. It remembers the 64-bit hashes of those that rows have: two of the same hash cost a number behind the later one, and nothing else."""

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._older: list[np.ndarray] = []  # of falling size, each at least half as large again as the next
        self._numbered = 0  # up to this row none had an id of its own

    def unused(self, wanted: str, number: int) -> str:
        """`wanted`, or, of a row that has none, its `number`, which rises from call to call; where that was given out before, with # and the number behind it."""
        if not wanted and not (self._latest or self._older):
            self._numbered = number
            return str(number)
        given = wanted or str(number)
        while self._is_number(given) or not self._add(hash(given)):
            given = f"{given}#{number}"
        return given

    def _is_number(self, given: str) -> bool:
        return len(given) < MOST_DIGITS and given.isdecimal() and str(number := int(given)) == given and 0 < number <= self._numbered

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
