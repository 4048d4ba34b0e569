"""The limits of a minute, on a clock that need not be waited for."""

import sqlite3
from pathlib import Path

import pytest

from rpdr.teacher.ledger import connect
from rpdr.teacher.pace import Pace


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path)


def _in_the_worst_minute(times: list[float]) -> int:
    return max(sum(start <= at < start + 60 for at in times) for start in times)


@pytest.mark.parametrize("pause_s", [0.0, 30.0])
def test_no_minute_holds_more_requests_than_the_limit(db: sqlite3.Connection, pause_s: float):
    pace, times, now = Pace(600, 0), [], 1000.0
    for n in range(2000):
        times.append(pace.slot(db, 0, now))
        now = times[-1] + (pause_s if n == 700 else 0.0)  # what waited starts with a burst again
    assert 590 <= _in_the_worst_minute(times) <= 600


def test_no_minute_holds_more_tokens_than_the_limit(db: sqlite3.Connection):
    pace, times, now = Pace(0, 6000), [], 1000.0
    for _ in range(1000):
        times.append(pace.slot(db, 10, now))
        now = times[-1]
    assert 590 <= _in_the_worst_minute(times) <= 600
