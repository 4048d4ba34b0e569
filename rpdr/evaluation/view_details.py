"""The report's sections on confidence, causes of errors, label noise and parts, made ready to print. See view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rpdr.evaluation import causes as c
from rpdr.evaluation.drawing import Axis, axis_of, drawn, drawn_difference, or_none, percent, place, reach_of
from rpdr.show import number, signed_points, visible

AROUND = 4  # points of a curve that a running mean takes in on each side
FEW = 30  # mentions under which a row is dimmed

_CAUSES = {
    c.UNKNOWN_GOLD: ("The gold is not in the knowledge base", "No system can name it: see unknown_gold."),
    c.NOT_RETRIEVED: ("The right concept was not among the candidates", "The retriever's miss: no re-ranking can mend it."),
    c.RANKED_BELOW: ("Ranked below another", "The right concept was among the candidates, and another was put first."),
    c.SAID_NIL: ("None of these, though there is one", "The right concept was among the candidates, and NIL was the answer."),
    c.NIL_LINKED: ("A concept, though there is none", "The knowledge base lacks it: NIL was right."),
    c.EXACT_NAME: ("Verbatim the name of another concept", "Decided without the student, by link.exact_match."),
}
_KINDS = {
    None: ("Right", "The right concept, or “none of these” where no right one was offered."),
    c.ANOTHER_THOUGH_OFFERED: ("Another concept", "The right one was offered."),
    c.NONE_THOUGH_OFFERED: ("None of these", "The right one was offered."),
    c.ANOTHER_NONE_OFFERED: (
        "A concept, where none offered was right",
        "The retriever had missed the right one: “none of these” was right.",
    ),
    c.CONCEPT_FOR_NIL: ("A concept, where there is none", "The knowledge base lacks it: “none of these” was right."),
}
_PARTS = {
    "type": "Type of mention",
    "before": "Who has linked the same text before",
    "repeats": "How often its text stands in the mentions but the corpus",
    "taught": "Labels that name its concept, by hand or by the teacher",
    "gold": "What the gold asks for",
    "said": "What the student said",
    "source": "What decided",
}
_NAMES = {
    ("before", "hand"): "somebody, by hand",
    ("before", "teacher"): "the teacher",
    ("before", "nobody"): "nobody",
    ("repeats", "1"): "once",
    ("taught", "0"): "none: never taught",
    ("taught", "1"): "1 label",
    ("gold", "NIL"): "NIL: not in the knowledge base",
    ("gold", "several together"): "several concepts together",
    ("gold", "one of several"): "any of several concepts",
    ("source", "exact"): "an exact name",
    ("source", "retriever"): "the retriever, sure enough",
    ("source", "student"): "the student",
}
_UNITS = {"repeats": " times", "taught": " labels"}


def reliability_plot(calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The reliability diagram, everything in percent of its axes."""
    if not calibration or not calibration.get("bins"):
        return None
    most = max(b["count"] for b in calibration["bins"]) or 1
    bins = [
        {
            "x": round(100 * b["low"], 2),
            "width": round(100 * (b["high"] - b["low"]), 2),
            "count": number(b["count"]),
            "height": round(100 * b["count"] / most, 2),
            "range": f"{b['low']:.1f} – {b['high']:.1f}",
            **{key: _hundred(b.get(key)) for key in ("confidence", "accuracy", "accuracy_low", "accuracy_high")},
        }
        for b in calibration["bins"]
    ]
    ece, chance, high = (calibration.get(key) for key in ("ece", "ece_by_chance", "ece_by_chance_high"))
    return {
        "bins": bins,
        "ece": or_none("{:.3f}".format, ece) or "—",
        "chance": None if chance is None or high is None else {"mean": f"{chance:.3f}", "high": f"{high:.3f}"},
        "beyond_chance": ece is not None and high is not None and ece > high,
        "mentions": number(sum(b["count"] for b in calibration["bins"])),
        "texts": or_none(number, calibration.get("texts")),
    }


def selective(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Precision against coverage as a plot (in percent of its axes, the vertical one not from 0), and a row for each target."""
    if not found or not found.get("curve"):
        return None
    curve, targets = found["curve"], found.get("targets") or []
    lowest = min(point["low"] for point in curve)
    step = 0.1 if lowest >= 0.5 else 0.2
    steps = math.ceil((1 - lowest) / step)
    axis = (max(0.0, 1 - step * steps), 1.0)
    wanted = found.get("target")
    rows = [_target(row, row["target"] == wanted, axis) for row in targets]
    precisions = axis_of([row["test"]["precision"] for row in targets if row["test"]["precision"]])
    for row, source in zip(rows, targets, strict=True):
        test = source["test"]
        row["coverage"] = drawn(test["coverage"], (0.0, 1.0))
        row["precision"] = drawn(test["precision"], precisions) if test["precision"] else None
    ticks = [1 - step * n for n in range(steps + 1)]
    return {
        "line": [(place(point["coverage"], (0.0, 1.0)), place(point["precision"], axis)) for point in curve],
        "band": [(place(point["coverage"], (0.0, 1.0)), place(point[key], axis)) for point, key in _around(curve)],
        "ticks": [{"y": place(tick, axis), "label": f"{tick:.1f}"} for tick in ticks],
        "all": f"{curve[-1]['precision']:.3f}",
        "rows": rows,
        "axis": precisions,
        "target": None if wanted is None else {"y": place(wanted, axis), "label": _as_percent(wanted)},
        "warning": visible(found.get("warning") or ""),
    }


def learning(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The loss curve, in percent of its axes; the vertical one from 0."""
    curve = [point for point in (found or {}).get("curve") or [] if point["loss"] is not None]  # null: it was no number
    if not found or len(curve) < 2:
        return None
    steps, held_out = curve[-1]["step"], found.get("held_out") or []
    losses, tenth = [point["loss"] for point in curve], max(1, len(curve) // 10)
    ends = [steps * n / len(held_out) for n in range(1, len(held_out) + 1)]  # an early stop ends with an epoch
    exams = [(at, loss) for at, loss in zip(ends, held_out, strict=True) if loss is not None]
    alone = found.get("retriever")
    highest = max([point["loss"] for point in curve] + [loss for _, loss in exams] + [alone or 0.0]) or 1.0
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 1e9) if highest / s <= 6)
    axis = (0.0, step * math.ceil(highest / step))
    return {
        "raw": [(place(point["step"], (0.0, steps)), place(point["loss"], axis)) for point in curve],
        "line": [(place(point["step"], (0.0, steps)), place(loss, axis)) for point, loss in zip(curve, _running_mean(losses), strict=True)],
        "exams": [{"x": place(at, (0.0, steps)), "y": place(loss, axis), "loss": f"{loss:.3f}"} for at, loss in exams],
        "ticks": [{"y": place(step * n, axis), "label": f"{step * n:g}"} for n in range(round(axis[1] / step) + 1)],
        "alone": None if alone is None else {"y": place(alone, axis), "loss": f"{alone:.3f}"},
        "steps": number(steps),
        "first": f"{fmean(losses[:tenth]):.3f}",
        "last": f"{fmean(losses[-tenth:]):.3f}",
        "weight": or_none("{:.2f}".format, found.get("weight")),
        "best": f"{min(loss for _, loss in exams):.3f}" if exams else None,
        "stopped": 0 < len(held_out) < found.get("epochs", 0),
    }


def _running_mean(values: Sequence[float]) -> list[float]:
    """Each with its AROUND neighbours on both sides: the losses of single batches differ more than training changes them."""
    return [fmean(values[max(0, n - AROUND) : n + AROUND + 1]) for n in range(len(values))]


def errors(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The causes of wrong answers, with examples."""
    if not found or not found.get("causes"):
        return None
    wrong = found["wrong"]
    rows = []
    for row in sorted(found["causes"], key=lambda row: -row["mentions"]):
        title, meaning = _CAUSES[row["cause"]]
        asides = []
        if row["cause"] in (c.UNKNOWN_GOLD, c.NOT_RETRIEVED) and row["said_nil"]:
            asides.append(f"NIL was the answer to {number(row['said_nil'])} of them")
        if row["cause"] == c.RANKED_BELOW and row["second"]:
            asides.append(f"the right one stood second in {number(row['second'])} ({percent(row['second'] / row['mentions'])})")
        asides += _namesakes(row)
        if found["abstaining"]:
            asides.append(f"abstained from: {number(row['abstained'])}")
        rows.append(_counted(row, "mentions", title, meaning, wrong) | {"aside": _sentence(asides)})
    return {"rows": rows, "wrong": number(wrong), "mentions": number(found["mentions"]), "share": percent(wrong / found["mentions"])}


def label_noise(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The kinds of wrong labels, with examples, right ones first."""
    if not found or not found.get("labels"):
        return None
    wrong, believed = found["wrong"], found.get("believed")
    rows = []
    for row in sorted(found["kinds"], key=lambda row: (row["kind"] is not None, -row["labels"])):
        title, meaning = _KINDS[row["kind"]]
        more = {"aside": _sentence(_namesakes(row)), "trust": f"{row['trust']:.2f}", "learned": or_none(number, row.get("learned"))}
        rows.append(_counted(row, "labels", title, meaning, wrong if row["kind"] else None) | more)
    share_wrong = wrong / found["labels"]
    learned = [row.get("learned") for row in found["kinds"]]
    return {
        "rows": rows,
        "wrong": number(wrong),
        "labels": number(found["labels"]),
        "share": f"{share_wrong:.1%}",
        "believed": or_none("{:.1%}".format, believed),
        "off": None if believed is None else signed_points(believed - (1 - share_wrong)),
        "learned": None if None in learned else number(sum(learned)),
    }


def parts(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Accuracy by part, on one axis for all."""
    if not found or not found.get("groups"):
        return None
    rows = [row for group in found["groups"] for row in group["rows"]]
    axis = axis_of([row[key] for row in rows for key in ("new", "old")])
    reach = reach_of([row["difference"] for row in rows if row["mentions"] >= FEW] or [row["difference"] for row in rows])
    return {
        "new": visible(found["new"]),
        "old": visible(found["old"]),
        "axis": axis,
        "reach": f"{reach * 100:.0f}",
        "groups": [
            {"heading": _PARTS[group["by"]], "rows": [_part(row, group["by"], axis, (-reach, reach)) for row in group["rows"]]}
            for group in found["groups"]
        ],
    }


def _part(row: Mapping[str, Any], by: str, axis: Axis, differences: Axis) -> dict[str, Any]:
    return {
        "name": _NAMES.get((by, row["name"])) or visible(row["name"], 60) + _UNITS.get(by, ""),
        "mentions": number(row["mentions"]),
        "few": row["mentions"] < FEW,
        "new": drawn(row["new"], axis),
        "old": drawn(row["old"], axis),
        **drawn_difference(row["difference"], differences),
    }


def _target(row: Mapping[str, Any], wanted: bool, axis: Axis) -> dict[str, Any]:
    test = row["test"]
    precision = test["precision"]
    return {
        "target": _as_percent(row["target"]),
        "wanted": wanted,
        "reachable": row["reachable"],
        "above": f"{row['above']:.3f}",
        "dev": f"{number(row['right'])} of {number(row['answered'])} right",
        "dev_share": percent(row["answered"] / row["mentions"]) if row["mentions"] else "",
        "shown": or_none("{:.3f}".format, row["shown"]),
        "most": or_none(_as_percent, row["most"]),
        "answered": number(test["answered"]),
        "exact": number(test["answered"]) if not row["reachable"] and test["answered"] else None,
        "dot": None if precision is None else {"x": place(test["coverage"]["value"], (0.0, 1.0)), "y": place(precision["value"], axis)},
    }


def _counted(row: Mapping[str, Any], of: str, title: str, meaning: str, whole: int | None) -> dict[str, Any]:
    """A cause or kind: how many, their share of all (with its interval) and, where `whole` is given, of so many wrong ones."""
    share = row["share"]
    return {
        "title": title,
        "meaning": meaning,
        "count": number(row[of]),
        "of_wrong": percent(row[of] / whole) if whole else "",
        "bar": round(100 * row[of] / whole, 2) if whole else 0,
        "share": f"{share['value']:.1%}",
        "interval": f"{share['low']:.1%} – {share['high']:.1%}",
        "examples": [_example(example) for example in row["examples"]],
    }


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    gold = example["gold_names"]
    answer, text = example["answer_name"], example["text"]
    return {
        "text": visible(text, 120),
        "written": visible(example.get("written") or "", 80),
        "context": visible(example.get("context") or "", 240),
        "alike": number(example["alike"]) if example.get("alike", 1) > 1 else "",
        "full": visible(text, 2000) if len(text) > 120 else "",
        "gold": [visible(name, 80) for name in gold],
        "answer": None if answer is None else visible(answer, 80),
        "abstained": example["abstained"],
        "confidence": "—" if example["confidence"] is None else f"{example['confidence']:.2f}",
        "candidates": [{"name": visible(name, 80), "right": name in gold} for name in example["candidates"]],
        "rank": example["rank"],
    }


def _namesakes(row: Mapping[str, Any]) -> list[str]:
    return [f"{number(row['namesake'])} named a concept of the very name that the right one has"] if row["namesake"] else []


def _around(curve: Sequence[Mapping[str, float]]) -> list[tuple[Mapping[str, float], str]]:
    """The outline of the band: its upper edge forwards, its lower edge back."""
    return [*((point, "high") for point in curve), *((point, "low") for point in reversed(curve))]


def _hundred(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _as_percent(share: float) -> str:
    return f"{round(100 * share, 3):g}%"


def _sentence(words: Sequence[str]) -> str:
    joined = "; ".join(words)
    return f"{joined[0].upper()}{joined[1:]}." if joined else ""
