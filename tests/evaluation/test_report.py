"""The report: honest words, escaped text, no outside assets, no section without data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rpdr.evaluation import (
    PairedResult,
    Resampling,
    calibration_report,
    evaluate,
    precision_coverage,
    score,
    selected,
    slices,
    write_report,
)
from rpdr.evaluation.report import render
from rpdr.evaluation.view import build
from rpdr.evaluation.view_details import learning

SECTIONS = {
    "comparison": "Paired comparisons",
    "systems": "Systems",
    "teacher": "The teacher and its price",
    "calibration": "Is the confidence honest?",
    "selective": "Precision against coverage",
    "learning": "How the student learned",
    "corpus": "What was linked",
    "stages": "Where the time went",
    "errors": "Where it went wrong",
    "parts": "Accuracy by kind of mention",
    "label_noise": "How good are the teacher’s labels?",
}
VOID = {"meta", "br", "link", "img"}


def full() -> dict[str, Any]:
    golds = [[["C1"]]] * 60
    unseen = np.arange(60) % 2 == 0
    weak, strong = [[["C1"] if n % 10 < share else ["C2"] for n in range(60)] for share in (5, 9)]
    systems = [
        evaluate(name, ranked, golds, unseen, resampling=Resampling(200, 1)) for name, ranked in (("retriever", weak), ("student", strong))
    ]
    confidences, right = np.linspace(0.3, 1, 60), np.arange(60) % 3 > 0
    share = score(right, Resampling(200, 1))
    escaped = {
        "text": "<script>alert(1)</script>\x1b[31m\u202e",
        "gold_names": ["<b>A"],
        "answer_name": None,
        "abstained": True,
        "confidence": 0.5,
        "candidates": ["<i>B"],
        "rank": 7,
        "written": "<b>SA",
    }
    long = {**escaped, "text": "x" * 5000, "gold_names": [], "answer_name": "B", "abstained": False, "candidates": [], "rank": None}
    point = {"target": 0.8, "reachable": True, "above": 0.75, "mentions": 40, "answered": 30, "right": 27, "shown": 0.78, "most": None}
    out_of_reach = point | {"target": 0.95, "reachable": False, "above": 1.0, "answered": 0, "right": 0, "shown": None, "most": 0.85}
    cause = {"cause": "ranked_below", "mentions": 20, "share": share, "abstained": 9, "said_nil": 0, "second": 12, "namesake": 0}
    kind = {"kind": "none_though_offered", "labels": 9, "share": share, "trust": 0.61, "namesake": 0}
    return plain(
        {
            "title": "Ask A Patient",
            "run_dir": "runs/x",
            "created_at": "2026-08-21",
            "protocol": "fold 0",
            "simulated_teacher": True,
            "systems": [asdict(system) for system in systems],
            "comparison": [
                {"a": "student", "b": "retriever", "metric": "acc_at_1", "on": "all", **asdict(PairedResult(0.4, 0.3, 0.5, 1e-7, 24, 0))}
            ],
            "corpus": {"mentions": 1_250_000, "rejects": 17, "mentions_per_s": None, "seconds": 75.0},
            "teacher": {"model": "sandbox", "asked": 100, "labelled": 99, "spent_usd": 0.25, "budget_usd": 1.0, "stopped_by_budget": True},
            "calibration": calibration_report(confidences, right, [str(n) for n in range(60)], Resampling(200, 1)),
            "selective": {
                "target": 0.8,
                "warning": None,
                "curve": precision_coverage(confidences, right, Resampling(200, 1)),
                "targets": [
                    point | {"test": selected(confidences > 0.75, right, Resampling(200, 1))},
                    out_of_reach | {"test": selected(confidences > 1, right, Resampling(200, 1))},
                ],
            },
            "learning": {
                "curve": [{"step": 10, "loss": 1.5}, {"step": 20, "loss": 0.9}, {"step": 30, "loss": 0.7}],
                "retriever": 1.2,
                "held_out": [1.1, 0.8, 0.85],
                "epochs": 5,
            },
            "stages": [
                {"name": "student", "seconds": 2411.5, "peak_memory_mib": 3620},
                {"name": "kb", "seconds": 0.4, "peak_memory_mib": None},
            ],
            "errors": {"mentions": 60, "wrong": 20, "abstaining": True, "causes": [cause | {"examples": [escaped]}]},
            "label_noise": {"labels": 90, "wrong": 9, "kinds": [kind | {"examples": [long]}]},
            "parts": {
                "new": "student",
                "old": "retriever",
                "groups": [
                    {"by": "type", "rows": slices(["<u>"] * 40 + ["Drug"] * 20, right, ~right, Resampling(200, 1), ["<u>", "Drug"])},
                    {"by": "taught", "rows": slices(["0"] * 10 + ["2–4"] * 50, right, ~right, Resampling(200, 1), ["0", "2–4"])},
                ],
            },
            "kb": {"concepts": 1036, "names": 6412, "source": "a table"},
            "machine": {"cpu": "a CPU", "cores": 2, "gpu": None, "python": "3.11", "versions": {"ray": "2.60.0"}},
        }
    )


def plain(value: Any) -> Any:
    """As it comes out of metrics.json."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Balance(HTMLParser):
    """Fails where a tag is closed that is not the one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_sections_are_there_and_the_html_is_balanced() -> None:
    page = render(full())
    for heading in SECTIONS.values():
        assert f"<h2>{heading}" in page
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    assert "1,250,000" in page
    assert "stopped by the budget" in page
    assert "25% of the budget" in page
    assert "+40.0" in page


@pytest.mark.parametrize("missing", SECTIONS)
def test_a_missing_part_leaves_out_its_section_only(missing: str) -> None:
    metrics = full()
    del metrics[missing]
    page = render(metrics)
    for part, heading in SECTIONS.items():
        assert (f"<h2>{heading}" in page) is (part != missing)


def test_an_empty_run_still_renders() -> None:
    page = render({})
    assert "<h2>" not in page
    assert "simulated" not in page.split("</style>")[1]


def test_text_from_data_is_escaped_visible_and_cut() -> None:
    page = render(full())
    assert "<script" not in page
    assert "written <bdi>&lt;b&gt;SA</bdi>" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>A" not in page
    assert "<i>B" not in page
    assert "<u>" not in page
    assert "\x1b" not in page
    assert "\\x1b[31m" in page
    assert "\u202e" not in page
    assert "\\u202e" in page
    assert "x" * 119 + "…" in page
    assert "x" * 2000 not in page


def test_errors_and_labels_are_counted_by_cause_with_their_shares():
    body = " ".join(render(full()).split("</style>")[1].split())
    assert "20 of 60 (33%)" in body
    assert "The right one stood second in 12 (60%); abstained from: 9." in body
    assert "the right one is number 7" in body
    assert "9 of them are wrong (10.0%)" in body
    metrics = full()
    metrics["teacher"]["believed_accuracy"] = 0.7  # of all labels
    metrics["label_noise"]["believed"] = 0.95  # of those that have gold
    body = " ".join(render(metrics).split())
    assert "95.0% of these labels were taken to be right: +5.0 points off." in body
    assert body.lower().count("without gold of the pool") == 2  # that of dev is used
    metrics["errors"]["abstaining"] = False
    assert "abstained from: 9" not in render(metrics)


def test_the_operating_point_is_marked_and_what_dev_cannot_show_is_told():
    body = render(full())
    assert "target 80%" in body
    assert body.count('<span class="tag">link.target_precision</span>') == 1
    assert "27 of 30 right" in body
    assert "cannot be shown" in body
    assert "at most 85%" in body
    assert "This target could not be shown" not in body
    metrics = full()
    metrics["selective"] |= {"warning": "dev cannot show <it>"}
    assert "This target could not be shown:</b> dev cannot show &lt;it&gt;." in render(metrics)


def test_a_run_without_a_dev_curve_has_no_table_of_targets():
    metrics = full()
    metrics["selective"] |= {"target": None, "targets": []}
    page = render(metrics)
    assert "<h2>Precision against coverage" in page
    assert "What a target precision costs" not in page


def test_the_loss_curve_is_drawn_with_what_dev_said_of_each_epoch():
    page = render(full())
    assert "1.500 nats over the first tenth of 30 steps, 0.700 over the last" in page
    assert "0.800 at its best, where it stopped learning more" in page
    assert "alone have on the same labels, 1.200" in page
    told = full()
    told["learning"] |= {"held_out": [], "curve": told["learning"]["curve"][:2]}
    drawn = learning(told["learning"])
    assert drawn is not None
    assert drawn["raw"] == [(50.0, 100.0), (100.0, 60.0)]  # of 20 steps, and of an axis to 1.5
    assert drawn["line"] == [(50.0, 80.0), (100.0, 80.0)]  # the running mean
    assert drawn["weight"] is None
    assert drawn["alone"] == {"y": 80.0, "loss": "1.200"}
    assert not drawn["exams"]
    assert learning({"curve": [], "held_out": [], "epochs": 1}) is None


def test_a_loss_that_is_no_number_is_left_out_of_the_curve():
    told = full()["learning"]
    told["curve"].insert(1, {"step": 15, "loss": None})
    drawn = learning({**told, "held_out": [1.1, None]})
    assert drawn is not None
    assert [x for x, _ in drawn["line"]] == [33.33, 66.67, 100.0]
    assert [e["x"] for e in drawn["exams"]] == [50.0]
    assert drawn["best"] == "1.100"


def test_calibration_is_judged_by_what_chance_makes():
    metrics = full()
    metrics["calibration"] |= {"ece": 0.02, "ece_by_chance": 0.03, "ece_by_chance_high": 0.05}
    assert "this one is not shown to be off" in render(metrics)
    metrics["calibration"]["ece"] = 0.06
    assert "this one is off" in render(metrics)


def test_parts_of_few_mentions_are_dimmed():
    body = render(full())
    assert body.count('<tr class="few">') == 3  # 20 and 10 mentions, and the target out of reach
    assert "none: never taught" in body
    assert "2–4 labels" in body


def test_page_is_self_contained() -> None:
    page = render(full())
    parser = Balance()
    parser.feed(page)
    assert not parser.seen & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?://|url\(|@import|src=|href=", page)
    assert "default-src 'none'" in page


def test_the_bill_says_what_bought_labels_and_what_was_wasted() -> None:
    metrics = full()
    row = {"mode": "sync", "prompt_tokens": 900, "completion_tokens": 100}
    metrics["teacher"] |= {
        "account": [
            {**row, "state": "valid", "attempt": 1, "requests": 99, "usd": 2.0},
            {**row, "state": "lost", "attempt": 1, "requests": 3, "usd": 0.5},
            {**row, "state": "invalid", "attempt": 2, "requests": 1, "usd": 0.25},
        ],
        "usd_per_million_mentions": 20_202.0,
        "student_hours_per_million_mentions": 13.9,
        "student_usd_per_million_mentions": 5.56,
        "saved_usd": 1.5,
        "masked": {"DATE": 12, "<b>": 1},
        "estimate": {"mentions": 99, "requests": 103, "expected_usd": 2.5, "usd": 2.75, "off": 0.1},
    }
    body = render(metrics)
    assert "bought no label. Not asking twice saved about $1.50. Expected beforehand" in body
    assert "$2.50; the ledger came out +10.0%" in body
    assert "13.9 hours of one of its actors, and linking them as this job did $5.56" in body
    assert "1 &lt;b&gt;, 12 DATE" in body
    assert "$2.75 in all, of which $0.750 bought no label" in body
    assert "$20,202.00" in body
    assert "$20.20 a thousand labels" in body
    assert "13.9 hours" in body
    assert body.index("answered</td>") < body.index("answered, unreadable") < body.index("lost: timed out")


def test_a_simulated_teacher_is_named_and_a_real_one_is_not() -> None:
    metrics = full()
    body = render(metrics).split("</style>")[1]
    assert "knows the answers of its unlabelled pool" in body.replace("\n", " ")
    assert body.count("simulated teacher") >= 3
    metrics["simulated_teacher"] = False
    assert "simulated" not in render(metrics).split("</style>")[1]


@pytest.mark.parametrize(
    ("low", "high", "difference", "p", "words"),
    [
        (0.3, 0.5, 0.4, 1e-7, "<b>student</b> is better than retriever"),
        (-0.5, -0.3, -0.4, 1e-7, "<b>student</b> is worse than retriever"),
        (-0.1, 0.2, 0.05, 0.4, "No clear difference between <b>student</b> and retriever"),
    ],
)
def test_headline_says_only_what_the_test_allows(low: float, high: float, difference: float, p: float, words: str) -> None:
    metrics = full()
    metrics["comparison"][0] |= {"low": low, "high": high, "difference": difference, "p_value": p}
    assert words in " ".join(render(metrics).split())
    headline = build(metrics)["headline"]
    assert (headline["new"]["value"], headline["old"]["value"]) == ("0.900", "0.500")  # the student's is the new one


def test_the_headline_tells_of_unseen_mentions_only_where_some_were_seen() -> None:
    metrics = full()
    metrics["comparison"].append({**metrics["comparison"][0], "on": "unseen"})
    said = "mentions whose text nobody had linked by hand:"
    assert said in " ".join(render(metrics).split())
    for system in metrics["systems"]:
        system["unseen_mentions"] = system["mentions"]
    assert said not in " ".join(render(metrics).split())


def test_files_are_written_as_plain_json(tmp_path: Path) -> None:
    metrics = full() | {
        "systems": [],
        "title": "a\ud800",
        "extra": {"n": np.int64(3), "share": np.float32(0.5), "bad": float("nan"), "ok": np.bool_(True)},
    }
    index = write_report(tmp_path / "report", metrics)
    assert index == tmp_path / "report" / "index.html"
    assert index.read_text(encoding="utf-8").startswith("<!doctype html>")
    saved = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert saved["extra"] == {"n": 3, "share": 0.5, "bad": None, "ok": True}
    assert saved["corpus"]["mentions"] == 1_250_000


def test_the_dashboard_is_linked_where_there_is_one():
    metrics = full()
    assert "Grafana" not in render(metrics)
    metrics["meters_url"] = "http://grafana/d/rpdr?var-run=a&from=1&to=2"
    assert '<a href="http://grafana/d/rpdr?var-run=a&amp;from=1&amp;to=2">' in render(metrics)


def test_what_the_student_adds_to_its_own_candidates_is_told_apart():
    told = full()
    [first] = [c for c in told["comparison"] if c["metric"] == "acc_at_1" and c["on"] == "all"][:1]
    second = {**told["systems"][0], "name": "Second round"}
    told["systems"].insert(0, second)
    own = {"b": "Second round", "reranked": True, "difference": 0.0, "low": -0.01, "high": 0.01, "p_value": 1.0}
    told["comparison"].append({**first, **own})
    headline = build(told)["headline"]
    assert headline is not None
    assert headline["base"]["of"] == headline["all"]["points"]  # all of it is the second round's
    assert headline["base"]["verdict"] == "same"
    page = " ".join(render(told).split())
    assert "already <b>Second round</b>’s" in page
    assert "are its own: no clear difference" in page


def test_what_needs_no_teacher_is_told_apart():
    told = full()
    first = next(c for c in told["comparison"] if c["metric"] == "acc_at_1" and c["on"] == "all")
    told["systems"].insert(0, {**told["systems"][0], "name": "Labels as names"})
    told["comparison"].append({**first, "b": "Labels as names", "untaught": True, "difference": first["difference"] - 0.01})
    assert build(told)["headline"]["untaught"]["of"] == "+1.0"
    page = " ".join(render(told).split())
    assert "No teacher was paid for +1.0 of these, which <b>Labels as names</b> has too;" in page
    told["comparison"][-1]["reranked"] = True  # without a second round the student re-ranks what has learned from no label
    assert " ".join(render(told).split()) == page


def test_the_teachers_row_stands_apart_from_the_test_mentions():
    told = full()
    told["systems"].append({**told["systems"][0], "name": "Teacher", "on_pool": True, "mentions": 12345})
    told["unseen_taught"] = 7
    found = build(told)["systems"]
    assert [row["name"] for row in found["groups"][-1]["rows"]] == ["Teacher"]
    assert found["groups"][-1]["count"] == "12,345"
    assert all(row["name"] != "Teacher" for group in found["groups"][:-1] for row in group["rows"])
    assert any("same text of 7" in group["count"] for group in found["groups"])
