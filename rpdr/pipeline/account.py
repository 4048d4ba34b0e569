"""What a link job did, for who ran it: repeats, who decided, how fast, for how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# the `source` of a row of schema.LINKED -> (what a summary calls the questions that it decided, what it is called)
DECIDERS = {"exact": ("exact", "exact names"), "retriever": ("by_retriever", "the retriever"), "student": ("student_scored", "the student")}


def account(summary: Mapping[str, Any], usd_per_hour: float | None) -> list[tuple[str, str]]:
    """(title, sentence) of the summary of stage `link`; `usd_per_hour`: of the machine or cluster that linked."""
    mentions, distinct = summary["mentions"], summary["distinct"]
    lines = []
    if distinct:
        lines.append(("repeats", f"{mentions:,} mentions were {distinct:,} questions, {mentions / distinct:.1f} mentions each"))
        shares = (f"{who} {summary[name] / distinct:.1%}" for name, who in DECIDERS.values() if summary.get(name))
        lines.append(("decided by", f"{', '.join(shares)} of the questions"))
    rate = summary.get("mentions_per_s")
    if rate:  # none where nothing was left to do
        parts = (("the retriever", summary.get("retriever_mentions_per_s")), ("the student", summary.get("student_mentions_per_s")))
        told = "".join(f"; a copy of {who} answers {number(speed)} questions a second" for who, speed in parts if speed)
        lines.append(("speed", f"{number(rate)} mentions a second{told}"))
    linked, seconds = summary.get("start_mentions"), summary.get("start_s")
    if linked and seconds and usd_per_hour is not None and not summary.get("shards_resumed"):  # what the others took is not known
        usd = spent(1e6 * seconds / linked, usd_per_hour)
        lines.append(("price", f"${usd:,.2f} for a million mentions, reading and loading included, at ${usd_per_hour:g} an hour"))
    return lines


def spent(seconds: float, usd_per_hour: float) -> float:
    """Dollars."""
    return seconds / 3600 * usd_per_hour


def dollars(value: float) -> str:
    """An amount, small ones too: two digits that are not 0 at least."""
    if value >= 1 or not value:
        return f"${value:,.2f}"
    return f"${value:.{max(4, 1 - math.floor(math.log10(value)))}f}"


def number(rate: float) -> str:
    """A rate, as exactly as anyone needs it."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
