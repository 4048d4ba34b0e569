"""What a log is told of a stage's progress."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rpdr.pipeline import progress as module
from rpdr.pipeline.progress import say, stage_progress


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=file, highlight=False))
    return file


def test_a_log_has_a_line_at_the_start_at_each_quarter_and_each_minute(clock: Clock, log: io.StringIO):
    with stage_progress("link") as progress:
        for done in range(1, 1001):
            progress.update(done, 1000, "linking")
            clock.now += 0.5  # 500 s in all
    lines = log.getvalue().splitlines()
    assert lines[0] == "link: linking 1 of 1,000"
    assert [line for line in lines if " 250 of" in line or " 500 of" in line] == [
        "link: linking 250 of 1,000, about 0:06:15 left",
        "link: linking 500 of 1,000, about 0:04:10 left",
    ]
    assert lines[-1] == "link: linking 1,000 of 1,000"
    assert 10 <= len(lines) <= 13


def test_time_left_is_that_of_what_is_being_done_now(clock: Clock, log: io.StringIO):
    with stage_progress("retune") as progress:
        for done in (1, 100):
            progress.update(done, 100, "tuning")
            clock.now += 1000
        for done in (40, 60):  # another step of the stage, of which an earlier start has done 40
            progress.update(done, 80, "tuning anew")
            clock.now += 10
    assert log.getvalue().splitlines()[-2:] == ["retune: tuning anew 40 of 80", "retune: tuning anew 60 of 80, about 0:00:10 left"]


def test_what_has_no_end_or_has_not_begun_is_not_told(clock: Clock, log: io.StringIO):
    with stage_progress("prepare") as progress:
        progress.update(0, None, "reading")
        progress.update(5000, None, "reading mentions")
        progress.update(0, 10, "loading")
    assert log.getvalue() == ""


def test_a_log_without_a_line_for_long_is_told_what_goes_on(clock: Clock, log: io.StringIO):
    with stage_progress("link") as progress:
        progress.update(0, None, "waiting for a node")
        progress.remind()
        clock.now += module.SILENCE_S
        progress.remind()
        progress.remind()
        progress.update(10, 100, "linking")
        clock.now += module.SILENCE_S
        progress.remind()
    assert log.getvalue().splitlines() == ["link: still waiting for a node", "link: linking 10 of 100", "link: still linking 10 of 100"]


def test_brackets_in_a_note_are_text(capsys: pytest.CaptureFixture[str]):
    say(["no column [name] in [/tmp/kb.csv]"])
    assert capsys.readouterr().err == "note: no column [name] in [/tmp/kb.csv]\n"
