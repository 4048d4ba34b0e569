"""Rows that could not be read: plain dicts of schema.REJECTS, kept beside what could be read so that nothing vanishes silently."""

from __future__ import annotations

from typing import Any

from rpdr.files import Source

Reject = dict[str, Any]

MAX_ROW_CHARS = 500


def reject(file: Source | str, line: int, reason: str, row: str) -> Reject:
    """A row of schema.REJECTS. `line` is 1-based; of `row` the first 500 characters are kept, those not printable escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in row[:MAX_ROW_CHARS])
    return {"file": str(file), "line": line, "reason": reason, "row": shown}
