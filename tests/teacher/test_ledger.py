"""What the ledger keeps, and that nothing in it can be changed afterwards."""

from __future__ import annotations

import json
import resource
import sqlite3
import time
from pathlib import Path

import pytest

from rpdr.errors import RunError
from rpdr.schema import LEDGER
from rpdr.teacher import Ledger, ledger
from rpdr.teacher.ledger import FREE, INVALID, SUBMITTED, VALID, Ended, Sent, append_batch, append_ended, append_sent, connect


def keep(folder: Path, id: str, question: str, state: str | None = VALID, price: float = 0.5, attempt: int = 1, masked: str = "{}") -> None:
    sent = Sent(
        *(id, question, f"key of {question}", attempt, "m", "http://x", "{}"),
        *('[{"role": "system", "content": "s"}]', '{"role": "user", "content": "ü"}', '["C1"]', 100, 16, masked),
    )
    db = connect(folder)
    append_sent(db, sent, 1.0, "owner", time.time())
    if state:
        append_ended(db, Ended(id, state, 10, 1, "1", "C1" if state == VALID else None), price, time.time())
    db.close()


def test_the_ledger_of_an_empty_or_missing_folder_is_empty(tmp_path: Path):
    ledger = Ledger(tmp_path / "none")
    assert ledger.rows().num_rows == 0
    assert ledger.known(["q"]) == {}
    assert ledger.spent_usd() == 0
    assert ledger.account() == []
    assert not (tmp_path / "none").exists()


def test_it_says_what_was_sent_where_and_what_came_back_at_what_price(tmp_path: Path):
    keep(tmp_path, "a", "q")
    table = Ledger(tmp_path).rows()
    assert table.schema == LEDGER
    row = table.to_pylist()[0]
    assert json.loads(row["messages"]) == [{"role": "system", "content": "s"}, {"role": "user", "content": "ü"}]
    assert (row["request_id"], row["endpoint"], row["answer"], row["choice_id"], row["price_usd"]) == ("q", "http://x", "1", "C1", 0.5)
    assert row["asked_at"] <= row["ended_at"]


def test_an_open_request_costs_its_worst_case(tmp_path: Path):
    keep(tmp_path, "a", "q", state=None)
    assert Ledger(tmp_path).rows().to_pylist()[0]["state"] == "open"
    assert Ledger(tmp_path).spent_usd() == 1.0


def test_nothing_can_be_changed_or_taken_out(tmp_path: Path):
    keep(tmp_path, "a", "q")
    db = connect(tmp_path)
    append_batch(db, "owner", "batch_1", SUBMITTED, time.time())
    for table, column in {"prefixes": "messages", "sent": "worst_usd", "ended": "price_usd", "batches": "event"}.items():
        for change in (f"UPDATE {table} SET {column} = 0", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(change)


def test_what_is_no_ledger_is_to_be_restored_or_moved_away(tmp_path: Path):
    (tmp_path / ledger.FILE).write_text("no database, but long enough to be looked at as one\n" * 100)
    with pytest.raises(RunError, match=r"not a database.*restore it, or move it away"):
        connect(tmp_path)


def test_of_a_locked_ledger_nothing_is_lost_and_nobody_is_told_to_pay_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keep(tmp_path, "a", "q")
    monkeypatch.setattr(ledger, "LOCKED_S", 0.1)
    holder = connect(tmp_path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunError, match=r"ledger\.sqlite: cannot be opened \(database is locked\); what it holds is kept"):
        connect(tmp_path)
    holder.close()
    assert Ledger(tmp_path).spent_usd() == 0.5


def test_where_a_disk_is_full_space_is_asked_for(tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # of a file: SQLite's pages do not fit
    try:
        with pytest.raises(RunError, match=r"cannot be opened .*free space"):
            connect(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_in_which_nothing_can_be_opened_is_no_broken_ledger(tmp_path: Path):
    (tmp_path / ledger.FILE).mkdir()
    with pytest.raises(RunError, match="cannot be opened"):
        connect(tmp_path)


def test_a_valid_answer_wins_over_invalid_ones(tmp_path: Path):
    keep(tmp_path, "a", "q", INVALID)
    assert Ledger(tmp_path).known(["q"]) == {}
    keep(tmp_path, "b", "q", VALID, attempt=2)
    assert Ledger(tmp_path).known(["q"])["q"].valid


def test_the_account_adds_up_by_state_and_attempt(tmp_path: Path):
    keep(tmp_path, "a", "q", INVALID, 0.25)
    keep(tmp_path, "b", "q", VALID, 0.5, attempt=2)
    keep(tmp_path, "c", "r", FREE, 0.0)
    keep(tmp_path, "d", "s", None)
    account = {(row["state"], row["attempt"]): row for row in Ledger(tmp_path).account()}
    assert {name: row["usd"] for name, row in account.items()} == {
        ("free", 1): 0.0,
        ("invalid", 1): 0.25,
        ("open", 1): 1.0,
        ("valid", 2): 0.5,
    }
    assert sum(row["usd"] for row in account.values()) == Ledger(tmp_path).spent_usd()
    assert account["valid", 2]["prompt_tokens"] == 10


def test_what_was_masked_of_a_question_that_was_sent_twice_is_counted_once(tmp_path: Path):
    keep(tmp_path, "a", "q", FREE, masked='{"NAME": 2}')
    keep(tmp_path, "b", "q", VALID, attempt=2, masked='{"NAME": 2}')
    keep(tmp_path, "c", "r", masked='{"NAME": 1, "DATE": 1}')
    assert Ledger(tmp_path).masked() == {"NAME": 3, "DATE": 1}
