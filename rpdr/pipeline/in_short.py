"""What each stage tells of itself in one line at its end: its summary in, words with rich's markup out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.markup import escape

from rpdr.pipeline.link_summary import first_line
from rpdr.schema import SPLITS
from rpdr.show import usd

Summary = Mapping[str, Any]


def in_short(stage: str, summary: Summary) -> str:
    """Nothing where the stage has nothing to tell."""
    return _LINES[stage](summary) if stage in _LINES else ""


def _prepare(s: Summary) -> str:
    splits = ", ".join(f"{s['splits'][split]:,} {split}" for split in SPLITS if s["splits"].get(split))
    written = f", {s['written_out']:,} with abbreviations written out" if s["written_out"] else ""
    read = f"{s['concepts']:,} concepts, {s['names']:,} names; {s['mentions']:,} mentions ({splits}){written}{_unknown_gold(s)}"
    return f"{read}; {_set_aside(s)}"


def _unknown_gold(s: Summary) -> str:
    if not s["unknown_gold_mentions"]:
        return ""
    like = ", ".join(escape(repr(i[:40])) for i in s["unknown_gold_examples"][:3])
    distinct = f"{s['unknown_gold_distinct']:,} distinct, such as {like}"
    return f", {s['unknown_gold_mentions']:,} with gold that the knowledge base lacks ({distinct})"


def _set_aside(s: Summary) -> str:
    of = {"the knowledge base": s["kb_rejects"], "mentions": s["rejects"] - s["kb_rejects"]}
    where = f" ({', '.join(f'{n:,} of {what}' for what, n in of.items() if n)}: corpus/rejects.parquet)" if s["rejects"] else ""
    reasons = ", ".join(f"{escape(reason)} ({count:,})" for reason, count in s["reject_reasons"].items())
    return f"{s['rejects']:,} rows set aside{where}{f'; of mentions most often: {reasons}' if reasons else ''}"


def _retriever(s: Summary) -> str:
    cut = s.get("names_read_in_part")
    in_part = f"; {cut:,} of them are longer than retriever.max_tokens, and count by what they begin with" if cut else ""
    return f"tuned on {s['labelled_pairs']:,} labelled mentions and synonyms; {s['names']:,} names indexed{in_part}"


def _candidates(s: Summary) -> str:
    return f"{s['distinct']:,} distinct mentions"


def _teach(s: Summary) -> str:
    if s["model"] is None:
        return "nobody is asked: teacher.max_mentions is 0"
    spent = f"{usd(s['spent_usd'])} of {usd(s['budget_usd'])}"
    stopped = "; [yellow]stopped by the budget[/yellow]" if s["stopped_by_budget"] else ""
    failed = f"; {s['failed']:,} got no answer (--redo asks those again, and pays for nothing twice)" if s["failed"] else ""
    masked = f"; {s['masked_away']:,} not asked, as masking leaves nothing of them" if s["masked_away"] else ""
    return f"{s['labelled']:,} of {s['pool']:,} labelled by {escape(s['model'])} for {spent}{stopped}{failed}{masked}"


def _retune(s: Summary) -> str:
    on = f"tuned on {s['teacher_pairs']:,} of the teacher's labels too" if s.get("teacher_pairs") else "tuned again on labelled mentions"
    tuned = [on] if s["tuned"] else []
    aliases = [f"{s['aliases']:,} linked mentions are names too, at a discount of {s['alias_discount']:g}"] if s["aliases"] else []
    common = ["commonness counts"] if s.get("commonness") else []
    return "; ".join([*tuned, *aliases, *common]) or "nothing learned from the teacher's labels"


def _baselines(s: Summary) -> str:
    return "measured" if s["measured"] else "skipped: retriever.baselines is not set"


def _distill(s: Summary) -> str:
    disputed = f"; {s['disputed_names']:,} names were linked to other concepts, and decide nothing alone" if s.get("disputed_names") else ""
    learned = [f"{s[name]:,} {of}" for name, of in (("labels", "labels"), ("gold_labels", "labelled mentions")) if s.get(name)]
    return f"{' and '.join(learned)}, {s['steps']:,} steps; calibrated on {s['calibrated_on']}{disputed}"


_LINES: dict[str, Callable[[Summary], str]] = {
    "prepare": _prepare,
    "retriever": _retriever,
    "candidates": _candidates,
    "teach": _teach,
    "retune": _retune,
    "baselines": _baselines,
    "distill": _distill,
    "link": first_line,
}
