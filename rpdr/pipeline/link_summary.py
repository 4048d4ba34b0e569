"""What a link job did, for who ran it: how much, and below that repeats, who decided, how fast, for how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from rpdr.show import number

# the `source` of a row of schema.LINKED -> (what a summary calls the questions that it decided, what it is called)
DECIDERS = {"exact": ("exact", "exact names"), "retriever": ("by_retriever", "the retriever"), "student": ("student_scored", "the student")}


def first_line(summary: Mapping[str, Any]) -> str:
    """Counts of the summary of stage `link`, with rich's markup."""
    counts = f"{summary['mentions']:,} mentions ({summary['distinct']:,} distinct) in {summary['shards']:,} shards"
    abstained = f", abstained from {summary['abstained']:,}" if summary["operating_point"] else ""
    refused = f"; {summary['rejects']:,} rows set aside" if summary.get("rejects") else ""
    where = f"; in {escape(summary['output'])}" if summary.get("output") else ""
    return f"{counts}, {summary['nil']:,} not in the knowledge base{abstained}{refused}{where}"


def summary_lines(summary: Mapping[str, Any], usd_per_hour: float | None) -> list[tuple[str, str]]:
    """(title, sentence) of the summary of stage `link`; `usd_per_hour`: of the machine or cluster that linked."""
    mentions, distinct = summary["mentions"], summary["distinct"]
    lines = []
    if distinct:
        lines.append(("repeats", f"{mentions:,} mentions were {distinct:,} questions, {mentions / distinct:.1f} mentions each"))
        shares = (f"{who} {summary[name] / distinct:.1%}" for name, who in DECIDERS.values() if summary.get(name))
        lines.append(("decided by", f"{', '.join(shares)} of the questions"))
    speed = summary.get("mentions_per_s")
    if speed:  # none where nothing was left to do
        parts = (("the retriever", summary.get("retriever_mentions_per_s")), ("the student", summary.get("student_mentions_per_s")))
        told = "".join(f"; a copy of {who} answers {number(own)} questions a second" for who, own in parts if own)
        lines.append(("speed", f"{number(speed)} mentions a second{told}"))
    linked, seconds = summary.get("start_mentions"), summary.get("start_s")
    if linked and seconds and usd_per_hour is not None and not summary.get("shards_resumed"):  # what the others took is not known
        usd = machine_usd(1e6 * seconds / linked, usd_per_hour)
        lines.append(("price", f"${usd:,.2f} for a million mentions, reading and loading included, at ${usd_per_hour:g} an hour"))
    return lines


def machine_usd(seconds: float, usd_per_hour: float) -> float:
    """What a machine or cluster costs for so long."""
    return seconds / 3600 * usd_per_hour
