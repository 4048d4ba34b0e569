"""What stands in README.md and docs/measured.md is what was measured, and mention texts stay in the run."""

from __future__ import annotations

import json
from pathlib import Path

import outcome
import pytest

from benchmarks.collect import figures
from benchmarks.tables import rendered, unmeasured
from rpdr.errors import DataError

PAGE = "# x\n\n<!-- results:demo -->\n<!-- /results:demo -->\n\nend\n"


def part(by: str, name: str) -> dict:
    difference = {"difference": 0.1, "p_value": 0.02}
    return {"by": by, "rows": [{"name": name, "mentions": 333, "new": {"value": 0.6}, "old": {"value": 0.5}, "difference": difference}]}


def metrics(acc: float) -> dict:
    score = {"value": acc, "low": acc - 0.02, "high": acc + 0.02}
    return {
        "created_at": "2026-01-01",
        "run_dir": "/home/me/runs/demo",
        "protocol": "100 test mentions.",
        "simulated_teacher": True,
        "machine": {"cpu": "Some CPU", "cores": 2, "gpu": None},
        "kb": {"concepts": 3, "source": "/home/me/kb.csv"},
        "systems": [{"name": "Student", "acc_at_1": score, "acc_at_5": score, "price_usd": 0.5}],
        "comparison": [
            {
                "a": "Student",
                "b": "Retriever",
                "metric": "acc_at_1",
                "on": "all",
                "difference": 0.04,
                "low": 0.01,
                "high": 0.07,
                "p_value": 0.004,
            }
        ],
        "teacher": {"labelled": 1234},
        "errors": [{"text": "a patient's words"}],
        "parts": {"new": "Student", "old": "Retriever", "groups": [part("type", "a patient's words"), part("before", "nobody")]},
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "demo.json").write_text(json.dumps(figures(metrics(0.712), "make demo", "Demo data")))
    return tmp_path


def test_a_results_file_holds_neither_mention_texts_nor_paths():
    text = json.dumps(figures(metrics(0.7), "make demo", "Demo data"))
    assert "patient's words" not in text
    assert "/home/me" not in text


def test_the_table_says_what_the_results_say_and_that_the_teacher_is_simulated(results: Path):
    text = rendered({"page.md": PAGE}, results)["page.md"]
    for words in (
        "0.712 [0.692, 0.732]",
        "$0.50",
        "+0.040 [+0.010, +0.070]",
        "p = 0.004",
        "**simulated**",
        "1,234",
        "nobody (333 mentions): Student 0.600, Retriever 0.500 (+0.100, p = 0.02).",
        "`make demo` on Some CPU, 2 cores",
    ):
        assert words in text
    assert text.startswith("# x\n")
    assert text.endswith("\nend\n")


def test_made_again_it_is_the_same_and_another_number_is_noticed(results: Path):
    pages = {"page.md": PAGE, "other.md": "nothing measured\n"}
    once = rendered(pages, results)
    assert once["other.md"] == pages["other.md"]
    assert rendered(once, results) == once
    assert rendered({name: text.replace("0.712", "0.912") for name, text in once.items()}, results) == once


def test_a_figure_in_the_text_that_no_results_have_is_named(results: Path):
    page = rendered({"page.md": PAGE}, results)["page.md"]
    right = f"Acc@1 0.712, over the retriever by 0.040 [+0.010, 0.070]; 1,000.123, S52.501A and 2.60.100 are none.\n```sh\n--rate 0.555\n```\n{page}"
    assert unmeasured({"page.md": right}, results) == {}
    assert unmeasured({"page.md": right.replace("Acc@1 0.712", "Acc@1 0.721")}, results) == {"page.md": ["0.721"]}


def test_what_was_measured_on_several_machines_says_what_on_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outcome, "RESULTS", tmp_path)
    old, new = ({"cpu": name, "cores": 2, "gpu": None} for name in ("Old CPU", "New CPU"))
    outcome.keep("demo", "make demo", "Demo data", ("A",), [["1"]], machines={"a": new, "b": old, "c": old})
    assert "`make demo` on Old CPU, 2 cores, and on New CPU, 2 cores (a).\n" in rendered({"page.md": PAGE}, tmp_path)["page.md"]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<!-- results:demo -->\n", "partner"),
        ("<!-- results:demo -->\n<!-- /results:other -->\n", "partner"),
        ("nothing\n", "no marker shows demo.json"),
        (PAGE + PAGE.replace("demo", "lost"), "lost.json"),
    ],
)
def test_markers_and_results_must_fit(results: Path, page: str, says: str):
    with pytest.raises(DataError, match=says):
        rendered({"page.md": page}, results)


def test_where_nobody_had_linked_a_text_by_hand_unseen_mentions_are_told_once(tmp_path: Path):
    def page(of_unseen: float) -> str:
        told = metrics(0.712)
        [row] = told["comparison"]
        told["comparison"] = [row, {**row, "on": "unseen", "difference": of_unseen}]
        told["systems"][0]["unseen_acc_at_1"] = {**told["systems"][0]["acc_at_1"], "value": 0.712 if of_unseen == 0.04 else 0.702}
        (tmp_path / "demo.json").write_text(json.dumps(figures(told, "make demo", "Demo data")))
        return rendered({"README.md": PAGE}, tmp_path)["README.md"]

    assert "unseen" not in page(0.04)
    assert "Acc@1, unseen" in page(0.03)
    assert "unseen mentions: +0.030" in page(0.03)
