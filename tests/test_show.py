"""How values, and text that nobody vouches for, are written for people."""

from __future__ import annotations

from rpdr.show import duration, in_one_line, number, p_value, signed_points, usd, visible


def test_values_are_written_for_people() -> None:
    assert [usd(v) for v in (0, 0.00001234, 0.002, 0.0142, 0.5, 1234.5)] == ["$0", "$0.000012", "$0.0020", "$0.014", "$0.500", "$1,234.50"]
    assert [number(v) for v in (0, 3, 3.25, 34.5, 1234.5, 1234)] == ["0", "3", "3.2", "34", "1,234", "1,234"]
    assert [duration(v) for v in (0.42, 12.34, 59.97, 245, 7800)] == ["0.42 s", "12.3 s", "1 min 00 s", "4 min 05 s", "2 h 10 min"]
    assert [signed_points(v) for v in (0.024, -0.008, 0.0, -0.0001)] == ["+2.4", "−0.8", "0.0", "0.0"]
    assert [p_value(v) for v in (0.0004, 0.012, 1.0)] == ["p < 0.001", "p = 0.012", "p = 1.000"]
    assert visible("a\tb\u200b\U000e0001", 0) == "a\\tb\\u200b\\U000e0001"


def test_an_error_is_one_line_of_which_the_ends_are_kept() -> None:
    assert in_one_line(ValueError("no\n  such   file\n")) == "no such file"
    assert in_one_line(ValueError()) == "ValueError"
    long = ValueError(f"beginning {'x' * 500} end")
    assert in_one_line(long, 40).startswith("beginning ")
    assert in_one_line(long, 40).endswith("x end")
    assert len(in_one_line(long, 40)) == 43
    assert len(in_one_line(long, 0)) == 514
