"""What the report's template shows: a run's metrics in, words and drawing positions out. No HTML here, no arithmetic there.

Tolerant by design: a part that is missing or empty becomes None, and the template leaves its section out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpdr.evaluation.drawing import Axis, axis_of, drawn, drawn_difference, or_none, percent, reach_of, worded
from rpdr.evaluation.systems import METRICS
from rpdr.evaluation.view_details import errors, label_noise, learning, parts, reliability_plot, selective
from rpdr.show import duration, memory, number, p_value, signed_points, usd, visible

_CORPUS = (
    ("mentions", "mentions", ""),
    ("distinct", "distinct", "asked once, answers joined back"),
    ("exact", "by exact name", "no model needed"),
    ("by_retriever", "by the retriever", "so sure that the student would say the same"),
    ("student_scored", "by the student", "one forward pass each"),
    ("linked", "linked", "to a concept"),
    ("nil", "none of these", "not in the knowledge base"),
    ("abstained", "abstained", "not sure enough for the target precision"),
    ("rejects", "rejected rows", "kept, with the reason"),
    ("unknown_gold_ids", "unknown gold ids", "not in this knowledge base"),
)
_TEACHER = (
    ("asked", "asked"),
    ("labelled", "labelled"),
    ("none", "answered “none of these”"),
    ("invalid", "unreadable answers"),
    ("missing", "without a label"),
    ("retries", "retries"),
    ("from_ledger", "paid for earlier, not asked again"),
    ("saved_by_early_stop", "questions saved, as two answers agreed"),
    ("prompt_tokens", "prompt tokens"),
    ("completion_tokens", "completion tokens"),
)


_ENDS = {  # how a request ended: what to call it, and what its price was
    "valid": ("answered", "paid"),
    "invalid": ("answered, unreadable", "paid, wasted"),
    "lost": ("lost: timed out or cut", "counted at its worst case"),
    "open": ("lost in a crash", "counted at its worst case"),
    "free": ("refused or failed", "free"),
}


def build(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template needs, by section; None for a section that is not shown."""
    systems = metrics.get("systems") or []
    comparison = metrics.get("comparison") or []
    return {
        "title": visible(metrics.get("title") or "rpdr run"),
        "run_dir": visible(metrics.get("run_dir") or ""),
        "created_at": visible(metrics.get("created_at") or ""),
        "protocol": visible(metrics.get("protocol") or ""),
        "meters_url": metrics.get("meters_url"),
        "simulated": bool(metrics.get("simulated_teacher")),
        "headline": _headline(systems, comparison),
        "systems": _systems(systems, metrics.get("unseen_taught")),
        "comparison": _comparison(comparison),
        "corpus": _corpus(metrics.get("corpus")),
        "teacher": _teacher(metrics.get("teacher")),
        "bill": _bill(metrics.get("teacher")),
        "calibration": reliability_plot(metrics.get("calibration")),
        "selective": selective(metrics.get("selective")),
        "learning": learning(metrics.get("learning")),
        "stages": _stages(metrics.get("stages")),
        "errors": errors(metrics.get("errors")),
        "label_noise": label_noise(metrics.get("label_noise")),
        "parts": parts(metrics.get("parts")),
        "kb": _kb(metrics.get("kb")),
        "machine": _machine(metrics.get("machine")),
    }


def _headline(systems: Sequence[Mapping[str, Any]], comparison: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    by_name = {s["name"]: s for s in systems}
    usable = [c for c in comparison if c["metric"] == "acc_at_1" and {c["a"], c["b"]} <= by_name.keys()]
    first = next((c for c in usable if c["on"] == "all"), None)
    if first is None:
        return None
    unseen = next((c for c in usable if c["on"] == "unseen" and (c["a"], c["b"]) == (first["a"], first["b"])), None)
    others = [c for c in usable if c["on"] == "all" and c is not first]
    untaught = next((c for c in others if c.get("untaught")), None)
    base = next((c for c in others if c.get("reranked") and not c.get("untaught")), None)  # what saw no label shares none of their gain
    new, old = by_name[first["a"]], by_name[first["b"]]
    axis = axis_of([s["acc_at_1"] for s in (new, old)])
    if unseen and new["unseen_mentions"] == new["mentions"]:  # which says nothing more
        unseen = None
    return {
        "new": {"name": visible(new["name"])} | drawn(new["acc_at_1"], axis),
        "old": {"name": visible(old["name"])} | drawn(old["acc_at_1"], axis),
        "axis": axis,
        "mentions": number(new["mentions"]),
        "all": _paired(first),
        "unseen": {**_paired(unseen), "mentions": number(new["unseen_mentions"])} if unseen else None,
        # how much of it needs no teacher, how much the system has that a re-ranks, and what a adds to that
        "untaught": _beside(first, untaught),
        "base": _beside(first, base),
    }


def _beside(first: Mapping[str, Any], other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Another comparison of the same system, and how much `of` the first's difference the other system has."""
    return {**_paired(other), "of": signed_points(first["difference"] - other["difference"])} if other else None


def _paired(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "a": visible(result["a"]),
        "b": visible(result["b"]),
        "metric": METRICS.get(result["metric"], visible(result["metric"])),
        "on": {"all": "all mentions", "unseen": "unseen only"}.get(result["on"], visible(result["on"])),
        **worded(result),
        "p": p_value(result["p_value"]),
        "a_only": number(result["a_only"]),
        "b_only": number(result["b_only"]),
    }


def _comparison(results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not results:
        return None
    reach = reach_of(results)
    rows = [{**_paired(r), **drawn_difference(r, (-reach, reach))} for r in results]
    return {"rows": rows, "reach": f"{reach * 100:.1f}"}


def _systems(systems: Sequence[Mapping[str, Any]], unseen_taught: int | None) -> dict[str, Any] | None:
    if not systems:
        return None
    axes = {}
    shown = [(key, label) for key, label in METRICS.items() if key != "micro_f1" or any(s.get(key) for s in systems)]
    for key, _ in shown:
        scores = [s.get(prefix + key) for s in systems for prefix in ("", "unseen_")]
        axes[key] = axis_of([score for score in scores if score])
    groups = []
    too = f"; the teacher had labelled the same text of {number(unseen_taught)}" if unseen_taught else ""
    for prefix, heading, count_key, on_pool in (
        ("", "All test mentions", "mentions", False),
        ("unseen_", "Unseen: nobody had linked the text by hand", "unseen_mentions", False),
        ("", "The teacher’s pool: other mentions, not to be compared with those above", "mentions", True),
    ):
        members = [s for s in systems if s.get(prefix + "acc_at_1") and bool(s.get("on_pool")) == on_pool]
        if not members:
            continue
        counts = {s[count_key] for s in members}
        rows = [
            {
                "name": visible(s["name"]),
                "note": visible(s.get("note") or "") if not prefix else "",
                "cells": [_cell(s.get(prefix + key), axes[key]) for key, _ in shown],
                "price": _or_dash(usd, s.get("price_usd")),
                "rate": _or_dash(number, s.get("mentions_per_s")),
                "count": number(s[count_key]) if len(counts) > 1 else "",
            }
            for s in members
        ]
        groups.append(
            {
                "heading": heading,
                "count": number(next(iter(counts))) + (too if prefix else "") if len(counts) == 1 else "",
                "rows": rows,
                "costs": not prefix,
            }
        )
    return {"groups": groups, "columns": [{"label": label, "axis": axes[key]} for key, label in shown]}


def _cell(score: Mapping[str, float] | None, axis: Axis) -> dict[str, Any] | None:
    return drawn(score, axis) if score else None


def _corpus(corpus: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not corpus:
        return None
    figures = [{"label": label, "value": number(corpus[key]), "note": note} for key, label, note in _CORPUS if corpus.get(key) is not None]
    return {"figures": figures, "rate": or_none(number, corpus.get("mentions_per_s")), "time": or_none(duration, corpus.get("seconds"))}


def _teacher(teacher: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not teacher or teacher.get("model") is None:  # nobody was asked
        return None
    spent, budget = teacher.get("spent_usd"), teacher.get("budget_usd")
    share = spent / budget if spent is not None and budget else None
    million = teacher.get("usd_per_million_mentions")
    return {
        "model": visible(teacher.get("model") or ""),
        "spent": or_none(usd, spent),
        "budget": or_none(usd, budget),
        "share": or_none(percent, share),
        "bar": None if share is None else round(100 * min(share, 1), 2),
        "over": share is not None and share > 1,
        "per_thousand": usd(million / 1000) if million else None,
        "stopped": bool(teacher.get("stopped_by_budget")),
        "believed": or_none("{:.1%}".format, teacher.get("believed_accuracy")),
        "agreement": or_none("{:.1%}".format, teacher.get("agreement_with_gold")),
        "figures": [{"label": label, "value": number(teacher[key])} for key, label in _TEACHER if teacher.get(key) is not None],
    }


def _bill(teacher: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Where the money went, by how requests ended and by attempt; and what a million mentions cost with and without a student."""
    if not teacher or not teacher.get("account"):
        return None
    rows = sorted(teacher["account"], key=lambda row: (row["mode"], list(_ENDS).index(row["state"]), row["attempt"]))
    wasted = sum(row["usd"] for row in rows if row["state"] != "valid")
    guess = teacher.get("estimate") or {}
    masked = teacher.get("masked") or {}
    return {
        "rows": [
            {
                "end": _ENDS[row["state"]][0] + (" (batch)" if row["mode"] == "batch" else ""),
                "attempt": number(row["attempt"]),
                "requests": number(row["requests"]),
                "tokens": number(row["prompt_tokens"] + row["completion_tokens"]),
                "usd": usd(row["usd"]),
                "note": _ENDS[row["state"]][1],
            }
            for row in rows
        ],
        "total": usd(sum(row["usd"] for row in rows)),
        "wasted": usd(wasted),
        "saved": usd(teacher["saved_usd"]) if teacher.get("saved_usd") else None,
        "million": or_none(usd, teacher.get("usd_per_million_mentions")),
        "hours": or_none("{:,.1f}".format, teacher.get("student_hours_per_million_mentions")),
        "student_million": or_none(usd, teacher.get("student_usd_per_million_mentions")),
        "expected": usd(guess["expected_usd"]) if guess.get("off") is not None else None,
        "off": f"{round(guess['off'], 3) + 0.0:+.1%}" if guess.get("off") is not None else None,
        "masked": [{"kind": visible(kind), "count": number(count)} for kind, count in sorted(masked.items())],
    }


def _stages(stages: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    if not stages:
        return None
    total = sum(s.get("seconds") or 0 for s in stages)
    longest = max(s.get("seconds") or 0 for s in stages) or 1
    rows = [
        {
            "name": visible(s["name"]),
            "time": duration(seconds),
            "bar": round(100 * seconds / longest, 2),
            "share": percent(seconds / total) if total else "",
            "memory": or_none(memory, s.get("peak_memory_mib")),
        }
        for s in stages
        for seconds in [s.get("seconds") or 0]
    ]
    return {"rows": rows, "total": duration(total), "memory": any(r["memory"] for r in rows)}


def _kb(kb: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not kb:
        return None
    counts = [f"{number(kb[key])} {key}" for key in ("concepts", "names") if kb.get(key) is not None]
    return {"counts": counts, "source": visible(kb.get("source") or "")}


def _machine(machine: Mapping[str, Any] | None) -> list[tuple[str, str]] | None:
    if not machine:
        return None
    rows = [
        (label, visible(str(machine[key])))
        for key, label in (("cpu", "CPU"), ("cores", "cores"), ("gpu", "GPU"), ("python", "Python"))
        if machine.get(key)
    ]
    return rows + [(visible(name), visible(str(version))) for name, version in (machine.get("versions") or {}).items()]


def _or_dash(write: Callable[[float], str], value: float | None) -> str:
    return or_none(write, value) or "—"
