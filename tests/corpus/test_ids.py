"""Unique ids in little memory."""

from __future__ import annotations

import pytest

from rpdr.corpus import ids
from rpdr.corpus.ids import UniqueIds


def test_ids_are_as_wanted_until_they_repeat():
    unique = UniqueIds()
    assert [unique.unused(wanted, n) for n, wanted in enumerate(["a", "b", "a", "a", "a#2"], start=1)] == ["a", "b", "a#3", "a#4", "a#2"]
    assert unique.unused("a", 2) == "a#2#2"


def test_numbers_of_rows_are_remembered_by_the_last_of_them():
    unique = UniqueIds()
    assert [unique.unused("", n) for n in (1, 2, 5, 9)] == ["1", "2", "5", "9"]
    assert not unique._latest
    wanted = [("5", 10), ("05", 11), ("", 12), ("12", 13), ("20", 14), ("", 20), ("٣", 21), ("9" * 5000, 22), ("", 23)]
    assert [unique.unused(*row) for row in wanted] == ["5#10", "05", "12", "12#13", "20", "20#20", "٣", "9" * 5000, "23"]


def test_what_was_given_out_long_ago_is_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ids, "LATEST", 7)
    unique = UniqueIds()
    wanted = [str(n % 500) for n in range(2_000)]
    given = [unique.unused(w, n) for n, w in enumerate(wanted)]
    assert given[:500] == wanted[:500]
    assert len(set(given)) == 2_000
    assert given[1_703] == "203#1703"
    assert len(unique._older) < 12
