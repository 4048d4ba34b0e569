"""The governor and the ledger over starts, crashes and half-written files."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rpdr.config import Price
from rpdr.teacher import Governor, Ledger
from rpdr.teacher.governor import JOURNAL

DOLLAR_A_TOKEN = Price(input_usd_per_million=1e6, output_usd_per_million=1e6)


def governor(folder: Path, budget: float = 10.0) -> Governor:
    return Governor(budget, DOLLAR_A_TOKEN, folder)


def row(request: str, attempt: int = 1, valid: bool = True, price: float = 0.5) -> dict[str, Any]:
    return {
        "request_id": request,
        "key": f"key of {request}",
        "model": "m",
        "endpoint": "http://x",
        "messages": "[]",
        "answer": "1",
        "choice_id": "C1" if valid else None,
        "valid": valid,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "price_usd": price,
        "attempt": attempt,
        "asked_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def test_a_reservation_is_granted_up_to_the_budget_and_not_over(tmp_path: Path):
    door = governor(tmp_path)
    assert door.reserve(6, 4) is not None
    assert door.reserve(1, 0) is None
    assert door.status()["refused"] == 1


def test_settling_replaces_the_worst_case_by_what_was_used(tmp_path: Path):
    door = governor(tmp_path)
    reservation = door.reserve(6, 4) or ""
    assert door.settle(reservation, 2, 1) == 3
    assert door.status()["spent_usd"] == 3
    assert door.status()["reserved_usd"] == 0
    assert door.reserve(7, 0) is not None


def test_a_release_gives_the_whole_reservation_back(tmp_path: Path):
    door = governor(tmp_path)
    door.release(door.reserve(10, 0) or "")
    assert door.reserve(10, 0) is not None


def test_settling_or_releasing_twice_counts_once(tmp_path: Path):
    door = governor(tmp_path)
    reservation = door.reserve(5, 0) or ""
    door.settle(reservation, 4, 0)
    door.settle(reservation, 4, 0)
    door.release(reservation)
    assert door.status()["spent_usd"] == 4


def test_what_was_in_flight_at_a_crash_stays_counted_at_its_worst_case(tmp_path: Path):
    before = governor(tmp_path)
    before.settle(before.reserve(5, 0) or "", 2, 0)
    before.reserve(4, 2)
    after = governor(tmp_path)
    assert after.status()["spent_usd"] == 2
    assert after.status()["reserved_usd"] == 6
    assert after.reserve(3, 0) is None
    assert after.reserve(2, 0) is not None


def test_a_line_cut_short_in_the_journal_is_passed_over_and_the_next_ones_are_read(tmp_path: Path):
    before = governor(tmp_path)
    before.settle(before.reserve(5, 0) or "", 2, 0)
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"id": "abc", "us')
    during = governor(tmp_path)
    during.settle(during.reserve(5, 0) or "", 3, 0)
    assert governor(tmp_path).status()["spent_usd"] == 5


def test_threads_together_cannot_reserve_more_than_the_budget(tmp_path: Path):
    door = governor(tmp_path, budget=20)
    granted: list[str] = []

    def reserve_many() -> None:
        granted.extend(r for _ in range(10) if (r := door.reserve(1, 0)))

    threads = [threading.Thread(target=reserve_many) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == len(set(granted)) == 20


def test_the_ledger_of_an_empty_or_missing_folder_is_empty(tmp_path: Path):
    assert Ledger(tmp_path / "none").rows().num_rows == 0
    assert Ledger(tmp_path / "none").answered() == {}
    assert Ledger(tmp_path / "none").spent_usd() == 0


def test_what_is_appended_is_read_back_by_another_ledger(tmp_path: Path):
    Ledger(tmp_path).append([row("a"), row("b")])
    Ledger(tmp_path).append([row("c")])
    Ledger(tmp_path).append([])
    assert sorted(Ledger(tmp_path).answered()) == ["a", "b", "c"]


def test_half_written_files_and_foreign_files_are_not_read(tmp_path: Path):
    Ledger(tmp_path).append([row("a")])
    (tmp_path / ".0123.parquet.tmpabc").write_bytes(b"PAR1 half")
    (tmp_path / ".4567.parquet").write_bytes(b"PAR1 half")
    (tmp_path / JOURNAL).write_text("{}")
    assert Ledger(tmp_path).rows().num_rows == 1


def test_a_row_that_stands_twice_counts_once(tmp_path: Path):
    Ledger(tmp_path).append([row("a"), row("a"), row("a", attempt=2)])
    Ledger(tmp_path).append([row("a")])
    assert Ledger(tmp_path).rows().num_rows == 2
    assert Ledger(tmp_path).spent_usd() == pytest.approx(1.0)


def test_only_answers_that_could_be_read_count_as_answered(tmp_path: Path):
    Ledger(tmp_path).append([row("a", 1, valid=False), row("a", 2), row("b", 1, valid=False)])
    assert sorted(Ledger(tmp_path).answered()) == ["a"]
