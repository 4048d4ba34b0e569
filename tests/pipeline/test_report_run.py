"""Stage `report`: each figure of the results table is of the system beside which it stands, of a small run that is laid out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bare import bare_run

from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.files import write_rows
from rpdr.kb import Concept, save_kb
from rpdr.pipeline.baselines import FROM_TEACHER, ZERO_SHOT
from rpdr.pipeline.progress import stage_progress
from rpdr.pipeline.report import report
from rpdr.pipeline.systems import LABELLED_NAMES, RETRIEVER, SECOND, STUDENT, TITLES
from rpdr.reranker import Calibration
from rpdr.reranker.calibration import UNFITTED
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.run import STAGES
from rpdr.schema import CANDIDATES, LABELS, LINKED, NIL, ConceptId, Gold, MentionKey

# ten test mentions: the gold of n is Cn, that of the last two NIL; which of them each system has right, and where its candidates lie
NILS, SEEN = {8, 9}, {0, 1, 9}
RIGHT = {
    ZERO_SHOT: {0, 8},
    RETRIEVER: {0, 1, 8},
    LABELLED_NAMES: {0, 1, 2, 8},
    FROM_TEACHER: {0, 1, 2, 3, 8},
    SECOND: {0, 1, 2, 3, 4, 8},
    STUDENT: {1, 2, 3, 4, 5, 6, 7, 9},
}
FILES = {
    ZERO_SHOT: "baselines/zero_shot.parquet",
    RETRIEVER: "index/tuned_alone.parquet",
    LABELLED_NAMES: "candidates/candidates.parquet",
    FROM_TEACHER: "baselines/from_teacher.parquet",
    SECOND: "retuned/candidates.parquet",
}
WRONG = "C9"
SPENT, DEVIATION = 2.1, {"expected_usd": 2.0, "off": 0.05}


def text_of(n: int) -> str:
    return f"text {n}"


def mention(split: str, n: int, gold: Gold | None, text: str | None = None) -> Mention:
    return Mention(f"0:{split}{n}", MentionKey(f"{split}{n}"), text or text_of(n), None, None, None, split, gold)


def gold_of(n: int) -> Gold:
    return [] if n in NILS else [[ConceptId(f"C{n}")]]


def offer(key: str, ids: list[str], score: float) -> dict[str, Any]:
    names = [f"name of {i}" for i in ids]
    told = {"candidate_ids": ids, "candidate_names": names, "matched_names": names, "scores": [score, score - 0.01]}
    return {"key": key, "text": "a text", "context": None, "type": None, **told}


def found(right: set[int], nil: float) -> list[dict[str, Any]]:
    """What a retriever finds for test and dev mentions: `nil` is the similarity of what is NIL, others lie close above it; so one's threshold is no other's."""
    test = [
        offer(f"test{n}", [WRONG, "C0"], nil + 0.06 if n in right else nil + 0.1)
        if n in NILS
        else offer(f"test{n}", [f"C{n}", WRONG] if n in right else [WRONG, f"C{n}"], nil + 0.1)
        for n in range(10)
    ]
    missed = offer("dev2", [WRONG, "C0"], nil + 0.05)  # better NIL than a wrong concept, but no reason to say it
    return [
        *test,
        *(offer(f"dev{n}", ["C0", WRONG], nil) for n in (0, 1)),
        missed,
        *(offer(f"dev{n}", ["C0", WRONG], nil + 0.1) for n in (3, 4)),
    ]


def answered(n: int) -> dict[str, Any]:
    right = n in RIGHT[STUDENT]
    nil, abstained = n in NILS and right, n == 7  # what it would have said counts
    ids = [WRONG, "C0"] if n in NILS else [f"C{n}", WRONG] if right else [WRONG, f"C{n}"]
    silent = nil or abstained
    sure = 0.55 if n < 5 else 0.95
    return {
        **{
            "mention_id": f"0:test{n}",
            "key": f"test{n}",
            "text": text_of(n),
            "written": None,
            "split": "test",
            "abstained": abstained,
            "nil": nil,
        },
        **{"concept_id": None if silent else ids[0], "name": None, "concept_ids": [] if silent else ids[:1]},
        **{"confidence": sure, "ranked_ids": ids, "ranked_scores": [sure, 0.01], "source": "student"},
    }


def label(key: str, choice: int, ids: list[str], text: str = "taught", asked: int = 1) -> dict[str, Any]:
    more = {
        "choice": choice,
        "also": [],
        "source": "teacher",
        "ledger_ids": [],
        "agreed": 1,
        "asked": asked,
        "confidence": None,
        "trust": 0.9,
    }
    return {**offer(key, ids, 0.5), "text": text, **more}


def row(state: str, attempt: int, requests: int, usd: float) -> dict[str, Any]:
    return {
        "mode": "sync",
        "state": state,
        "attempt": attempt,
        "requests": requests,
        "usd": usd,
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }


TAUGHT = {
    **{"model": "an LLM", "spent_usd": SPENT, "labelled": 7, "from_ledger": 4, "saved_by_early_stop": 6, "mentions_per_s": 3.0},
    "account": [row("valid", 1, 10, 1.0), row("valid", 2, 2, 0.2), row("lost", 1, 3, 0.9)],
    "deviation": DEVIATION,
}
FITTED = Calibration(dev_confidence=(0.9,) * 20, dev_right=(True,) * 20, dev_exact=(None,) * 20)
SUMMARIES: dict[str, dict[str, Any]] = {
    "prepare": {"concepts": 10, "names": 10, "rejects": 3, "unknown_gold_ids": 2, "splits": {"test": 10}},
    "candidates": {"mentions_per_s": 20.0},
    "teach": TAUGHT,
    "distill": {"held_out_losses": []},
    "link": {
        **{"mentions": 10, "nil": 1, "abstained": 1, "operating_point": {"above": 0.6}},
        **{"mentions_per_s": 100.0, "student_mentions_per_s": 50.0},
    },
}


def measured(
    folder: Path, files: dict[str, str], retriever: dict[str, Any], taught: dict[str, Any] = TAUGHT, fitted: Calibration = FITTED
) -> dict[str, Any]:
    """metrics.json of a run whose retrievers' candidates lie in these files."""
    run = bare_run(folder, retriever=retriever, report={"bootstrap_samples": 100, "machine_usd_per_hour": 0.36})
    for stage in STAGES.values():
        run.begin(stage)
        if stage.name != "report":
            run.finish(stage, 1.0, {**SUMMARIES, "teach": taught}.get(stage.name, {}))
    save_kb(run.concepts_file, [Concept(ConceptId(f"C{n}"), f"name of C{n}", (f"name of C{n}",), None) for n in range(10)])
    pool = [gold_of(0), gold_of(1), gold_of(2), gold_of(3), gold_of(8)]
    mentions = [
        *(mention("test", n, gold_of(n)) for n in range(10)),
        *(mention("dev", n, [] if n < 2 else gold_of(0), "a dev text") for n in range(5)),
        *(mention("labelled", n, gold_of(n)) for n in SEEN),
        replace(mention("labelled", 3, [[ConceptId(WRONG)]], "taught 3"), key=MentionKey("unlabelled3")),  # no gold of the pool's
        *(mention("unlabelled", n, gold, f"taught {n}") for n, gold in enumerate([*pool, None])),
    ]
    save_mentions(run.mentions_file, mentions)
    for n, (name, file) in enumerate(files.items()):
        write_rows(run.path(file), found(RIGHT[name], n / 5), CANDIDATES)
    labels = [
        label("unlabelled0", 0, ["C0", WRONG]),
        label("unlabelled1", 0, ["C1", WRONG], asked=3),
        label("unlabelled2", NIL, ["C0", WRONG]),  # the right one was not offered
        label("unlabelled3", 1, ["C3", WRONG]),
        label("unlabelled4", NIL, ["C0", WRONG]),
        label("unlabelled5", 0, ["C0", WRONG], text_of(2)),  # of which no gold is known
    ]
    for file in {run.teacher_labels, run.path("retuned", "labels.parquet")}:
        write_rows(file, labels, LABELS)
    write_rows(run.path("linked", "shard-000000.parquet"), [answered(n) for n in range(10)], LINKED)
    fitted.save(run.path("student", CALIBRATION_FILE))
    with stage_progress("report") as progress:
        report(run, progress)
    return json.loads(run.path("report", "metrics.json").read_text())


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("run"), FILES, {"rounds": 2, "aliases": True, "baselines": True})


def test_each_system_has_its_own_accuracy_price_and_rate(metrics: dict[str, Any]):
    told = {s["name"]: s for s in metrics["systems"]}
    assert list(told) == [*(TITLES[name] for name in FILES), "Teacher, on its pool", TITLES[STUDENT]]
    unseen = set(range(10)) - SEEN
    for name, right in RIGHT.items():
        system = told[TITLES[name]]
        assert system["acc_at_1"]["value"] == pytest.approx(len(right) / 10), name
        assert system["unseen_acc_at_1"]["value"] == pytest.approx(len(right & unseen) / len(unseen)), name
        assert (system["mentions"], system["unseen_mentions"], system["on_pool"]) == (10, 7, False)
    assert {name: told[TITLES[name]]["price_usd"] for name in RIGHT} == {
        **dict.fromkeys((ZERO_SHOT, RETRIEVER, LABELLED_NAMES), 0),
        **dict.fromkeys((FROM_TEACHER, SECOND, STUDENT), SPENT),
    }
    assert {name: told[TITLES[name]]["mentions_per_s"] for name in RIGHT} == {
        **dict.fromkeys((ZERO_SHOT, RETRIEVER, FROM_TEACHER, SECOND)),
        LABELLED_NAMES: 20.0,
        STUDENT: 50.0,
    }


def test_the_student_is_compared_with_each_retriever_that_has_learned(metrics: dict[str, Any]):
    expected = []
    for other in (RETRIEVER, LABELLED_NAMES, FROM_TEACHER, SECOND):
        for on, among in (("all", set(range(10))), ("unseen", set(range(10)) - SEEN)):
            a, b = RIGHT[STUDENT] & among, RIGHT[other] & among
            told = {"a": "Student", "b": TITLES[other], "reranked": other == SECOND, "untaught": other == LABELLED_NAMES, "on": on}
            expected.append(
                {**told, "difference": pytest.approx((len(a) - len(b)) / len(among)), "a_only": len(a - b), "b_only": len(b - a)}
            )
    assert [{key: one[key] for key in expected[0]} for one in metrics["comparison"]] == expected


def test_the_teacher_is_measured_on_its_pool_and_agrees_where_none_was_offered(metrics: dict[str, Any]):
    teacher = metrics["systems"][-2]
    assert (teacher["on_pool"], teacher["mentions"], teacher["price_usd"], teacher["mentions_per_s"]) == (True, 5, SPENT, 3.0)
    assert teacher["acc_at_1"]["value"] == pytest.approx(3 / 5)
    assert metrics["teacher"]["agreement_with_gold"] == pytest.approx(4 / 5)
    assert (metrics["label_noise"]["labels"], metrics["label_noise"]["wrong"]) == (5, 1)
    assert metrics["unseen_taught"] == 1


def test_the_bill_is_of_the_whole_ledger_and_a_label_costs_what_the_answers_of_these_do(metrics: dict[str, Any]):
    bill = metrics["teacher"]
    assert (bill["asked"], bill["retries"], bill["estimate"]) == (15, 2, DEVIATION)
    assert bill["saved_usd"] == pytest.approx(1.0)  # ten questions, at a tenth of a dollar an answer
    assert bill["usd_per_million_mentions"] == pytest.approx(
        1e6 * SPENT / 12 * 8 / 6
    )  # twelve answers, waste included; eight are those of six labels
    assert bill["student_hours_per_million_mentions"] == pytest.approx(1e6 / 50 / 3600)  # by one actor
    assert bill["student_usd_per_million_mentions"] == pytest.approx(1.0)  # 10,000 seconds of all of them


def test_what_was_linked_and_what_is_told_apart_of_the_student_is_set_beside_the_tuned_retriever(metrics: dict[str, Any]):
    assert [metrics["corpus"][name] for name in ("linked", "abstained", "rejects", "unknown_gold_ids")] == [8, 1, 3, 2]
    assert metrics["calibration"]["ece"] == pytest.approx((0.8 - 0.55 + 0.95 - 0.8) / 2)  # in either half four of five are right
    assert metrics["errors"]["wrong"] == 2
    assert (metrics["parts"]["new"], metrics["parts"]["old"]) == (TITLES[STUDENT], TITLES[RETRIEVER])
    [gold] = [group["rows"] for group in metrics["parts"]["groups"] if group["by"] == "gold"]
    assert {part["name"]: (part["new"]["value"], part["old"]["value"]) for part in gold} == {
        "one concept": (7 / 8, 2 / 8),
        "NIL": (1 / 2, 1 / 2),
    }


def test_without_a_second_round_the_student_re_ranks_the_first_and_a_simulated_teachers_speed_is_not_told(tmp_path: Path):
    files = {RETRIEVER: "candidates/candidates.parquet"}
    metrics = measured(tmp_path, files, {"rounds": 1, "aliases": False, "commonness": False}, {**TAUGHT, "simulated": True})
    told = [(s["name"], s["acc_at_1"]["value"], s["price_usd"], s["mentions_per_s"]) for s in metrics["systems"]]
    assert told == [
        (TITLES[RETRIEVER], 0.3, 0, 20.0),
        ("Teacher, on its pool (simulated)", 0.6, SPENT, None),
        ("Student", 0.8, SPENT, 50.0),
    ]
    assert [(one["b"], one["reranked"], one["untaught"]) for one in metrics["comparison"]] == [(TITLES[RETRIEVER], True, False)] * 2


def test_where_no_teacher_was_asked_nothing_is_said_to_be_its_labels_and_no_price_is_told(tmp_path: Path, metrics: dict[str, Any]):
    files = {name: FILES[name] for name in (RETRIEVER, LABELLED_NAMES, SECOND)}
    nobody = {"model": None, "simulated": False, "labelled": 0, "spent_usd": 0.0, "account": []}
    told = measured(tmp_path, files, {"rounds": 2, "aliases": True}, nobody)
    assert {one["untaught"] for one in told["comparison"]} == {False}
    assert {s["price_usd"] for s in told["systems"] if not s["on_pool"]} == {0}
    assert "the teacher chose from its candidates" in metrics["systems"][2]["note"]
    assert not [s["note"] for s in told["systems"] if not s["on_pool"] and "teacher" in s["note"]]
    assert "teacher" in metrics["protocol"]
    assert "teacher" not in told["protocol"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "The teacher and its price" not in page
    assert "No teacher was paid for" not in page


def test_of_too_few_dev_mentions_neither_student_nor_retrievers_learn_when_to_say_nil(tmp_path: Path, metrics: dict[str, Any]):
    files = {RETRIEVER: "candidates/candidates.parquet"}
    told = measured(tmp_path, files, {"rounds": 1, "aliases": False, "commonness": False}, fitted=UNFITTED)
    assert told["systems"][0]["acc_at_1"]["value"] == pytest.approx(len(RIGHT[RETRIEVER] - NILS) / 10)
    assert "No system says NIL: dev has too few different mentions" in told["protocol"]
    assert "When a system says NIL is set on dev." in metrics["protocol"]
