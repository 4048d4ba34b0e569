"""Errors, label noise, parts and abstaining, from the files of a small run; and no mention text where none is wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare import ONE_ROUND, bare_run

from rpdr.corpus import Mention
from rpdr.evaluation import Resampling
from rpdr.files import write_rows
from rpdr.kb import Concept
from rpdr.pipeline import details, systems
from rpdr.run import Run
from rpdr.run.labels import learned_labels
from rpdr.schema import LABELS, ConceptId, Gold, MentionKey
from tests.scored import SHOWS

NAMES = {"C1": "Vomiting", "C2": "Nausea", "C3": "Dysphagia", "C4": "Nausea"}
CONCEPTS = [Concept(ConceptId(i), name, (name,), None) for i, name in NAMES.items()]
ALL = list(NAMES)


def run_in(folder: Path, **sections: dict[str, Any]) -> Run:
    return bare_run(folder, **{"retriever": ONE_ROUND, "report": {"bootstrap_samples": 100}, **sections})


def mention(n: int, text: str, gold: Gold | None, split: str = "test", kind: str | None = None) -> Mention:
    return Mention(str(n), MentionKey(f"{split}{n}"), text, None, kind, None, split, gold)


def linked(answer: str | None, confidence: float, source: str = "student", abstained: bool = False) -> dict[str, Any]:
    ranked = [i for i in (answer, *ALL) if i][: len(ALL)]
    ranked = list(dict.fromkeys(ranked))
    scores = [confidence if answer else 0.01, *[0.01] * (len(ranked) - 1)]
    return {
        "key": f"{answer}{confidence}",
        "concept_id": None if abstained else answer,
        "abstained": abstained,
        "nil": answer is None,
        "confidence": confidence,
        "ranked_ids": ranked,
        "ranked_scores": scores,
        "source": source,
    }


def told_in(folder: Path, **sections: dict[str, Any]) -> details.Answered:
    """Six test mentions: two right, and one of each kind of error but a wrong exact name."""
    cases = [
        (mention(0, "throwing up", [["C1"]]), linked("C1", 0.9)),
        (mention(1, "sick", [["C2"]]), linked("C4", 0.8)),  # its namesake
        (mention(2, "can't swallow", [["C3"]]), linked(None, 0.7)),
        (mention(3, "martian flu", []), linked("C2", 0.6, abstained=True)),
        (mention(4, "left knee", [["C9"]]), linked("C3", 0.5, abstained=True)),
        (mention(5, "venusian flu", []), linked(None, 0.95)),
    ]
    mentions, rows = zip(*cases, strict=True)
    return details.Answered(run_in(folder, **sections), mentions, rows, [[ConceptId(i) for i in ALL]] * len(mentions))


def label(n: int, choice: int, trust: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(LABELS.names),
        **{"key": f"unlabelled{n}", "text": f"secret {n}", "candidate_ids": ALL, "candidate_names": list(NAMES.values())},
        **{"matched_names": list(NAMES.values()), "scores": [0.5] * 4, "choice": choice, "also": [], "source": "teacher", "ledger_ids": []},
        **{"agreed": 1, "asked": 1, "trust": trust},
    }


DRAWN = Resampling(100, 0)


def plain(value: Any) -> str:
    return json.dumps(value, default=lambda o: asdict(o) if is_dataclass(o) and not isinstance(o, type) else str(o))


def test_every_wrong_answer_has_a_cause_with_its_example(tmp_path: Path):
    found = details.errors(told_in(tmp_path), CONCEPTS)
    assert (found["mentions"], found["wrong"], found["abstaining"]) == (6, 4, True)
    causes = {row["cause"]: row for row in found["causes"]}
    assert {cause: row["mentions"] for cause, row in causes.items()} == {
        "unknown_gold": 1,
        "ranked_below": 1,
        "said_nil": 1,
        "nil_linked": 1,
    }
    below = causes["ranked_below"]
    assert (below["namesake"], below["second"], below["abstained"]) == (1, 0, 0)
    [example] = below["examples"]
    assert (example["text"], example["gold_names"], example["answer_name"]) == ("sick", ["Nausea (C2)"], "Nausea (C4)")
    assert example["rank"] == 3
    assert causes["nil_linked"]["examples"][0]["abstained"] is True
    assert causes["nil_linked"]["examples"][0]["answer_name"] == "Nausea (C2)"  # what would have been said
    assert below["share"].value == pytest.approx(1 / 6)


def test_labels_are_counted_by_what_was_right(tmp_path: Path):
    golds: list[Gold] = [[[ConceptId("C1")]], [[ConceptId("C1")]], [[ConceptId("C2")]], [], [[ConceptId("C9")]], [[ConceptId("C9")]]]
    labels = [label(n, choice, 0.9 - n / 10) for n, choice in enumerate([0, 1, -1, 2, 0, -1])]
    thought_again = [{**row, "trust": row["trust"] - 0.1} for row in labels]
    write_rows(tmp_path / "labels" / "labels.parquet", thought_again, LABELS)  # what the student was told
    found = details.label_noise(run_in(tmp_path), labels, golds, CONCEPTS, DRAWN)
    assert (found["labels"], found["wrong"]) == (6, 4)
    assert [row["learned"] for row in found["kinds"]] == [1, 1, 1, 0, 1]  # trusted by half or more
    assert {row["kind"]: row["labels"] for row in found["kinds"]} == {
        None: 2,
        "another_though_offered": 1,
        "none_though_offered": 1,
        "another_none_offered": 1,
        "concept_for_nil": 1,
    }
    assert found["believed"] == pytest.approx(0.65)  # as the teacher's labels were trusted, not as the student was told
    right = found["kinds"][0]
    assert right["examples"] == []
    assert right["trust"] == pytest.approx((0.8 + 0.3) / 2)
    assert found["kinds"][1]["examples"][0]["text"] == "secret 1"


def test_without_examples_no_mention_text_is_told(tmp_path: Path):
    told = told_in(tmp_path, report={"bootstrap_samples": 100, "examples": 0})
    write_rows(tmp_path / "labels" / "labels.parquet", [label(0, 0, 0.9)], LABELS)
    golds: list[Gold] = [[[ConceptId("C2")]]]
    all_of_it = plain(
        [
            details.errors(told, CONCEPTS),
            details.label_noise(told.run, [label(0, 0, 0.9)], golds, CONCEPTS, DRAWN),
            details.parts(told, np.zeros(6, dtype=bool), told.mentions, ("a", "b")),
            details.selective(told, {}),
            details.calibration(told),
        ]
    )
    assert '"wrong": 4' in all_of_it
    assert "secret" not in all_of_it
    for m in told.mentions:
        assert m.text not in all_of_it


def test_examples_are_the_surest_ones_and_a_text_once(tmp_path: Path):
    rows = [linked("C2", 0.5 + n / 100) for n in range(8)]
    texts = [f"text {n}" for n in range(6)] + ["text 7", "Text 7"]  # in two sentences, say
    mentions = [mention(n, text, [["C1"]]) for n, text in enumerate(texts)]
    told = details.Answered(run_in(tmp_path), mentions, rows, [[ConceptId("C1"), ConceptId("C2")]] * 8)
    [row] = details.errors(told, CONCEPTS)["causes"]
    assert [(example["text"], example["alike"]) for example in row["examples"]] == [
        ("Text 7", 2),
        ("text 5", 1),
        ("text 4", 1),
        ("text 3", 1),
    ]
    assert row["examples"][0]["context"] is None  # the student does not read it


def test_parts_by_how_often_a_text_stands_and_how_often_its_concept_was_taught(tmp_path: Path):
    told = told_in(tmp_path)
    write_rows(tmp_path / "labels" / "labels.parquet", [label(n, 0, 0.9) for n in range(4)] + [label(9, -1, 0.9)], LABELS)
    others = [mention(n, "Throwing up", None, "corpus") for n in range(5)]
    by_hand = [mention(0, "nauseous", [["C2"]], "labelled"), mention(1, "queasy", [["C2"], ["C1"]], "labelled")]
    found = details.parts(told, np.ones(6, dtype=bool), [*told.mentions, *others, *by_hand], ("new", "old"))
    groups = {group["by"]: {row["name"]: row["mentions"] for row in group["rows"]} for group in found["groups"]}
    assert groups == {  # type and source are the same for all
        "repeats": {"1": 5, "2–9": 1},
        "taught": {"0": 2, "2–4": 1, "5–19": 1},  # C3 and C9; C2 by hand; C1 by four labels and by hand; NIL nowhere
        "gold": {"one concept": 4, "NIL": 2},
        "said": {"a concept": 4, "NIL": 2},
    }


def test_parts_by_who_has_linked_the_same_text_before(tmp_path: Path):
    told = told_in(tmp_path)
    asked = [{**label(n, -1, 0.9), "text": text} for n, text in enumerate(("Throwing  UP", "sick", "something else"))]
    write_rows(tmp_path / "labels" / "labels.parquet", asked, LABELS)
    by_hand = [mention(0, "Sick", [["C2"]], "labelled"), mention(1, "left knee", None, "labelled")]  # the second without an answer
    found = details.parts(told, np.ones(6, dtype=bool), [*told.mentions, *by_hand], ("new", "old"))
    rows = next(group["rows"] for group in found["groups"] if group["by"] == "before")
    assert [(row["name"], row["mentions"]) for row in rows] == [("hand", 1), ("teacher", 1), ("nobody", 4)]


def test_a_label_of_several_taught_each(tmp_path: Path):
    told = told_in(tmp_path)
    write_rows(tmp_path / "labels" / "labels.parquet", [{**label(n, 0, 0.9), "also": [2]} for n in range(4)], LABELS)
    found = details.parts(told, np.ones(6, dtype=bool), told.mentions, ("new", "old"))
    taught = next(group["rows"] for group in found["groups"] if group["by"] == "taught")
    assert {row["name"]: row["mentions"] for row in taught} == {"0": 2, "2–4": 2}  # C2 and C9; C1 and C3


def test_a_question_that_two_hands_linked_in_two_ways_taught_both(tmp_path: Path):
    told = told_in(tmp_path)
    write_rows(tmp_path / "labels" / "labels.parquet", [], LABELS)
    by_hand = [
        replace(mention(n, "queasy", gold, "labelled"), key=MentionKey("k")) for n, gold in enumerate([[["C1"]], [["C2"]], [["C2"]]])
    ]
    found = details.parts(told, np.ones(6, dtype=bool), [*told.mentions, *by_hand], ("new", "old"))
    taught = next(group["rows"] for group in found["groups"] if group["by"] == "taught")
    assert {row["name"]: row["mentions"] for row in taught} == {"0": 2, "1": 2}  # C3 and C9; C1 and C2


def test_labels_that_the_student_did_not_learn_from_taught_nothing(tmp_path: Path):
    write_rows(tmp_path / "labels" / "labels.parquet", [label(n, 0, 0.5 + n / 10) for n in range(4)], LABELS)
    assert len(learned_labels(run_in(tmp_path))) == 4
    told = told_in(tmp_path, student={"min_trust": 0.65, "max_labels": 1})
    assert [row["key"] for row in learned_labels(told.run)] == ["unlabelled2"]
    found = details.parts(told, np.ones(6, dtype=bool), told.mentions, ("new", "old"))
    taught = next(group["rows"] for group in found["groups"] if group["by"] == "taught")
    assert {row["name"]: row["mentions"] for row in taught} == {"0": 3, "1": 1}  # C2, C3 and C9; C1


def test_each_target_is_set_on_dev_and_measured_on_test(tmp_path: Path):
    told = told_in(tmp_path, link={"target_precision": 0.85})
    assert details.selective(told, {})["targets"] == []  # no dev curve
    SHOWS.save(tmp_path / "student" / "calibration.json")
    found = details.selective(told, {"warning": "a warning"})
    assert [row["target"] for row in found["targets"]] == [0.8, 0.85, 0.9, 0.95, 0.99]
    assert found["warning"] == "a warning"
    configured = next(row for row in found["targets"] if row["target"] == found["target"])
    assert configured["reachable"] is True
    assert configured["test"]["answered"] == 4  # as it was linked
    loosest = found["targets"][0]
    assert loosest["test"]["answered"] == sum(sure > loosest["above"] for sure in told.confidences)
    last = found["targets"][-1]
    assert (last["reachable"], last["test"]["answered"], last["test"]["precision"]) == (False, 0, None)
    assert found["curve"][-1]["precision"] == pytest.approx(2 / 6)


def test_how_it_was_drawn_counts_mentions_that_are_of_no_document():
    of_documents = [replace(mention(n, "sick", []), mention_id=f"0:{n}", doc_id=f"post {n % 5}") for n in range(25)]
    alone = [mention(n, f"sick {n % 450}", []) for n in range(25, 925)]
    assert "over the 5 documents of the test mentions (fewer than 20" in details.how_drawn(of_documents)
    told = details.how_drawn(of_documents + alone)
    assert "over the 5 documents of the test mentions, and 450 texts that are of none; exact randomisation test by document" in told
    assert "over the 450 texts of the test mentions; exact randomisation test by text" in details.how_drawn(alone)
    assert "over mentions; exact McNemar test" in details.how_drawn(alone[:1])


def test_mentions_of_no_document_are_drawn_by_text(tmp_path: Path):
    mentions = [mention(n, text, []) for n, text in enumerate(["sick", "Sick ", "fever"])]
    drawn = details.resampling(run_in(tmp_path), mentions)
    assert drawn.documents is not None
    assert len(set(drawn.documents[:2])) == 1
    assert len(set(drawn.documents)) == 2


def test_documents_of_two_sources_that_are_called_alike_are_two(tmp_path: Path):
    mentions = [replace(mention(n, "sick", []), mention_id=id, doc_id="post 1") for n, id in enumerate(("0:a", "0:b", "1:a"))]
    documents = details.resampling(run_in(tmp_path), mentions).documents
    assert documents is not None
    assert documents.tolist() == [0, 0, 1]


def test_behind_an_exact_name_stand_the_candidates_and_behind_a_ranking_nothing():
    row = {"ranked_ids": ["C2"], "nil": False, "source": "exact"}
    assert systems._by_student(row, ["C1", "C2", "C3"]) == ["C2", "C1", "C3"]
    assert systems._by_student({**row, "source": "student", "ranked_ids": ["C3", "C1"]}, ["C1", "C2", "C3"]) == ["C3", "C1"]
    assert systems._by_student({**row, "source": "student", "nil": True}, ["C1"]) == [None, "C2"]


def test_none_of_these_stands_before_a_retriever_s_candidates_or_nowhere():
    row = {"candidate_ids": ["C1", "C2"], "scores": [0.6, 0.2]}
    assert systems._by_threshold(row, 0.5) == ["C1", "C2"]
    assert systems._by_threshold(row, 0.7) == [None, "C1", "C2"]


def test_what_stands_among_the_labelled_mentions_without_a_link_has_not_been_seen():
    labelled = [mention(0, "Sick", [["C2"]], "labelled"), mention(1, "left knee", None, "labelled"), mention(2, "flu", [], "labelled")]
    test = [mention(n, text, []) for n, text in enumerate(("sick", "Left  knee", "flu", "fever"))]
    assert systems.unseen_of(test, [*labelled, *test]).tolist() == [False, True, False, True]
