"""A stage's record, and which setting is another than it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rpdr.run.record import Record, difference, read_record


def test_a_record_is_read_as_it_was_written_and_what_a_later_rpdr_keeps_is_passed_over(tmp_path: Path):
    path = tmp_path / "distill.json"
    assert read_record(path) is None
    record = Record(
        "of these", 3, {"settings": {"seed": 1}, "stages": {}}, id="this", finished_at="today", seconds=1.5, summary={"steps": 7}
    )
    record.write(path)
    assert read_record(path) == record
    path.write_text('{"inputs": "of these", "weather": "fine"}')
    assert read_record(path) == Record("of these")


@pytest.mark.parametrize(
    ("before", "now", "given", "found"),
    [
        ({"a": 1}, {"a": 1}, {}, None),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}, ("a.c", 2, 3)),
        ({"a": 1}, {"a": 1, "later": 5}, {}, None),  # by default, in a version that has it
        ({"a": 1}, {"a": 1, "later": 5}, {"later": 5}, ("later", None, 5)),
        ({"a": {"b": 1}}, {"a": {"b": 1, "later": {"c": 0}}}, {"a": {}}, None),
        ({"columns": {"text": "t", "gold": "g"}}, {"columns": {"text": "t"}}, {"columns": {"text": "t"}}, ("columns.gold", "g", None)),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3, "later": 0}], [{"a": 1}, {"a": 3}], ("[1].a", 2, 3)),
        ([1], [1, 2], [1, 2], ("", [1], [1, 2])),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}, ("a", None, {"b": 1})),
    ],
)
def test_the_first_setting_that_is_another_is_named(before: Any, now: Any, given: Any, found: Any):
    assert difference(before, now, given) == found


def test_a_setting_that_a_later_version_dropped_is_no_difference_where_that_does_not_count():
    before, now = [{"a": {"b": 1, "gone": 2}}], [{"a": {"b": 1}}]
    assert difference(before, now, now) == ("[0].a.gone", 2, None)
    assert difference(before, now, now, dropped=False) is None
