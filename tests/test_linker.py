"""How probabilities become an answer, and when nothing is said. Loading a whole run is in test_whole_loop."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rpdr.config import Config, LinkConfig, StudentConfig
from rpdr.files import write_json
from rpdr.kb import Concept
from rpdr.kb.concept import concept_of
from rpdr.linker import Link, Linker, answers, calibrated, exact_answer, guess, guesses, operating_point
from rpdr.reranker import Calibration, OperatingPoint, Reranker
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.shortcut import Shortcut
from rpdr.retriever.exact import DISPUTED_FILE
from rpdr.retriever.retriever import Candidates
from rpdr.schema import LINKED, ConceptId

VOMITING = Concept(ConceptId("C1"), "Vomiting", ("Vomiting", "throwing up"), None, ())
ROW = {
    "text": "keeps nothing down",
    "context": None,
    "candidate_ids": ["C1", "C2", "C3"],
    "candidate_names": ["Vomiting", "Nausea", "Dysphagia"],
    "matched_names": ["throwing up", "Nausea", "Dysphagia"],
    "scores": [0.6, 0.5, 0.4],
}
SURE, UNSURE, NONE = [9.0, 0.0, 1.0, 0.0], [0.0, 0.4, 0.1, 0.0], [0.0, 0.0, 0.0, 9.0]
FROM_80 = OperatingPoint(0.8, True, 0.8, 100, 50, 48, 0.9)
UNREACHABLE = OperatingPoint(0.99, False, 1.0, 100, 0, 0, None, 0.9)
SHOWS = Calibration(
    dev_confidence=tuple(np.linspace(0.3, 1, 300).tolist()), dev_right=tuple(n >= 150 for n in range(300)), dev_exact=(None,) * 300
)


class Scored(Reranker):
    """A reranker whose student always scores so."""

    def __init__(self, *scores: list[float], calibration: Calibration | None = None) -> None:
        self.calibration = calibration or Calibration()
        self._scores = np.array(scores, dtype=np.float32)

    def scores(self, queries: Any) -> np.ndarray:
        return self._scores[: len(queries)]


def linker_over(folder: Path, *concepts: Concept, **source: Any) -> Linker:
    """A linker of a run whose mentions are read so: these concepts are known by their names alone."""

    class Known:
        def __init__(self) -> None:
            self.concepts = concepts

    mentions = [{"format": "jsonl", "path": "x", **source}]
    config = Config.model_validate({"run_dir": str(folder), "kb": {"format": "obo", "path": "x"}, "mentions": mentions})
    return Linker(config, Known(), Scored(SURE))  # type: ignore[arg-type]  # all that it asks of a retriever here


def said(*scores: list[float], allow_nil: bool = True, point: OperatingPoint | None = None) -> list[dict[str, Any]]:
    return answers(Scored(*scores), [ROW] * len(scores), allow_nil, point)


def test_without_a_target_everything_is_answered():
    sure, unsure, none = said(SURE, UNSURE, NONE)
    assert [row["concept_id"] for row in (sure, unsure, none)] == ["C1", "C2", None]
    assert not any(row["abstained"] for row in (sure, unsure, none))
    assert none["confidence"] > 0.99
    assert unsure["ranked_ids"] == ["C2", "C3", "C1"]
    assert unsure["confidence"] == unsure["ranked_scores"][0]


def test_what_is_not_sure_enough_is_neither_a_concept_nor_nil_but_keeps_its_candidates():
    sure, unsure, none = said(SURE, UNSURE, NONE, point=FROM_80)
    assert [row["abstained"] for row in (sure, unsure, none)] == [False, True, False]
    assert (sure["concept_id"], none["concept_id"]) == ("C1", None)
    assert (unsure["concept_id"], unsure["name"]) == (None, None)
    [plain] = said(UNSURE)
    assert [unsure[name] for name in ("confidence", "ranked_ids", "ranked_scores")] == [
        plain[name] for name in ("confidence", "ranked_ids", "ranked_scores")
    ]


def test_the_student_is_not_asked_about_what_the_retriever_is_sure_enough_of():
    class Counting(Scored):
        asked = 0

        def scores(self, queries: Any) -> np.ndarray:
            queries = list(queries)
            self.asked += len(queries)
            return super().scores(queries)

    student = Counting(NONE)
    student.shortcut = Shortcut(Calibration(temperature=0.1), (), (), (), (), above=0.95)
    clear = {**ROW, "scores": [0.9, 0.5, 0.4]}
    short = {**ROW, "candidate_ids": ["C2"], "candidate_names": ["Nausea"], "matched_names": ["Nausea"], "scores": [0.9]}
    unsure, sure, alone = answers(student, [ROW, clear, short], allow_nil=True)
    assert (unsure["source"], sure["source"], alone["source"]) == ("student", "retriever", "retriever")
    assert student.asked == 1
    assert (unsure["concept_id"], sure["concept_id"], alone["concept_id"]) == (None, "C1", "C2")
    assert sure["confidence"] == sure["ranked_scores"][0] > 0.95
    assert sure["ranked_ids"] == ["C1", "C2", "C3"]
    assert answers(student, [clear], True, FROM_80)[0]["abstained"] is False
    assert student.asked == 1


def test_what_the_student_is_not_asked_about_is_set_when_it_links(tmp_path: Path):
    dev = {"dev_confidence": tuple(np.linspace(0.3, 1, 300).tolist()), "dev_right": (True,) * 300}
    Calibration(**{**dev, "dev_right": (False,) * 300}, dev_exact=(None,) * 300).save(tmp_path / CALIBRATION_FILE)
    assert calibrated(tmp_path, LinkConfig())[1] is None  # an older student's
    Shortcut(Calibration(), **dev, dev_same=(True,) * 300, dev_exact=(False,) * 300).save(tmp_path)
    plain, none = calibrated(tmp_path, LinkConfig(shortcut=None))
    assert none is None
    assert not any(plain.dev_right)
    seen, shortcut = calibrated(tmp_path, LinkConfig(shortcut=0.98))
    assert shortcut is not None
    assert shortcut.above < 1
    assert 200 < sum(seen.dev_right) <= 300
    stricter = calibrated(tmp_path, LinkConfig(shortcut=0.999))[1]
    assert stricter is not None
    assert stricter.above == 1  # 300 mentions do not show that


def test_nothing_is_answered_where_dev_cannot_show_the_target():
    assert all(row["abstained"] for row in said(SURE, UNSURE, NONE, point=UNREACHABLE))


def test_a_guess_that_was_withheld_is_still_known_after_it_was_written():
    cautious = OperatingPoint(0.99, True, 0.9999, 100, 50, 50, 0.95)
    rows = [{**row, "mention_id": "1", "key": "k", "text": "x", "split": "test"} for row in said(SURE, UNSURE, NONE, point=cautious)]
    assert all(row["abstained"] for row in rows)
    read = pa.Table.from_pylist(rows, schema=LINKED).to_pylist()
    assert [guess(row) for row in read] == ["C1", "C2", None]
    assert [guess(row) for row in said(SURE, NONE)] == ["C1", None]


def test_of_an_answer_of_several_that_was_withheld_all_are_known():
    several = Calibration(also_above=0.2)
    two, nil = [3.0, 2.5, 0.0, 0.0], NONE
    given = answers(Scored(two, nil, calibration=several), [ROW, ROW], True)
    withheld = answers(Scored(two, nil, calibration=several), [ROW, ROW], True, UNREACHABLE)
    assert [row["concept_ids"] for row in withheld] == [[], []]
    assert [guesses(row, several) for row in withheld] == [guesses(row, several) for row in given] == [["C1", "C2"], []]


def test_a_link_that_abstained_has_a_guess_which_may_be_nil():
    cautious = OperatingPoint(0.99, True, 0.9999, 100, 50, 50, 0.95)
    names = dict(zip(ROW["candidate_ids"], ROW["candidate_names"], strict=True))
    links = [
        Link("x", row["concept_id"], row["name"], row["confidence"], ranked, "student", row["abstained"], nil=row["nil"])
        for row in [*said(SURE, UNSURE, NONE, point=cautious), *said(SURE, NONE)]
        for ranked in [tuple((i, names[i], p) for i, p in zip(row["ranked_ids"], row["ranked_scores"], strict=True))]
    ]
    assert [link.guess for link in links] == ["Vomiting", "Nausea", None, "Vomiting", None]
    assert Link("", None, None, 1.0, (), "empty").guess is None


def test_where_nil_is_not_allowed_none_of_these_lowers_the_confidence_and_is_never_said():
    [row] = said([2.0, 0.0, 0.0, 4.0], allow_nil=False)
    assert row["concept_id"] == "C1"
    assert row["confidence"] < 0.5
    assert sum(row["ranked_scores"]) < 0.5


def test_an_exact_name_is_given_where_dev_has_not_found_such_names_wrong():
    trusted, doubted = Calibration(), Calibration(dev_exact=(True, False, True))
    assert exact_answer(VOMITING.concept_id, VOMITING.name, trusted, None)["confidence"] == 1.0
    assert exact_answer(VOMITING.concept_id, VOMITING.name, doubted, None)["confidence"] == 0.75
    for point in (FROM_80, UNREACHABLE):
        assert exact_answer(VOMITING.concept_id, VOMITING.name, trusted, point)["concept_id"] == "C1"
        withheld = exact_answer(VOMITING.concept_id, VOMITING.name, doubted, replace(point, exact=0.75))
        assert (withheld["concept_id"], withheld["abstained"], guess(withheld)) == (None, True, "C1")


def test_the_target_can_be_changed_without_the_student():
    assert operating_point(SHOWS, LinkConfig()) is None
    low, high = (operating_point(SHOWS, LinkConfig(target_precision=target)) for target in (0.6, 0.95))
    assert low is not None
    assert high is not None
    assert low.above < high.above


def test_a_linker_warns_where_its_target_cannot_be_shown(tmp_path: Path):
    class Nothing:
        concepts = ()

    sections = {"run_dir": str(tmp_path), "kb": {"format": "obo", "path": "x"}, "mentions": [{"format": "jsonl", "path": "x"}]}
    config = Config.model_validate({**sections, "link": {"target_precision": 0.9}})
    with pytest.warns(UserWarning, match=r"dev cannot show link\.target_precision 0\.9: there are none to show it"):
        Linker(config, Nothing(), Scored(SURE))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Linker(config, Nothing(), Scored(SURE, calibration=SHOWS))  # type: ignore[arg-type]


@pytest.mark.parametrize(("on", "concept"), [(True, "C1"), (False, "C2")])
def test_an_abbreviation_is_linked_as_its_context_defines_it_where_the_run_writes_them_out(tmp_path: Path, on: bool, concept: str):
    linker = linker_over(tmp_path, concept_of("C1", "Gaucher disease"), concept_of("C2", "GD"), abbreviations=on)
    defined, plain, again = linker.link(["GD", "GD", "GD"], ["twins with Gaucher disease (GD)", None, "twins with Gaucher disease (GD)"])
    assert (defined.concept_id, plain.concept_id) == (concept, "C2")
    assert defined.text == ("Gaucher disease" if on else "GD")
    assert again == defined


class _Found:
    """A retriever that finds one concept whatever it is asked."""

    concepts = (VOMITING,)

    def retrieve(self, texts: list[str], top_k: int, as_new: bool) -> list[Candidates]:
        return [Candidates([0], ["throwing up"], [0.6]) for _ in texts]


FOUND: Any = _Found()  # all that a linker asks of a retriever here


@pytest.mark.parametrize(("disputed", "source"), [([], "exact"), (["throwing up"], "student")])
def test_a_disputed_name_is_left_to_the_student(tmp_path: Path, disputed: list[str], source: str):
    write_json(tmp_path / "student" / DISPUTED_FILE, disputed)
    linker = Linker(linker_over(tmp_path).config, FOUND, Scored([9.0, 0.0]))
    [link] = linker.link(["Throwing up"])
    assert (link.concept_id, link.source) == ("C1", source)


@pytest.mark.parametrize(("use_context", "questions"), [(False, 1), (True, 2)])
def test_a_phrase_in_other_sentences_is_asked_about_again_only_where_they_are_read(tmp_path: Path, use_context: bool, questions: int):
    class Counting(Scored):
        asked = 0

        def scores(self, queries: Any) -> np.ndarray:
            self.asked += len(queries)
            return np.array([[9.0, 0.0]] * len(queries), dtype=np.float32)

    config = linker_over(tmp_path).config.model_copy(update={"student": StudentConfig(use_context=use_context)})
    reranker = Counting(SURE)
    links = Linker(config, FOUND, reranker).link(["sick", "Sick", "sick"], ["sick again", "not sick", "sick again"])
    assert [link.concept_id for link in links] == ["C1"] * 3
    assert reranker.asked == questions


def test_one_text_that_is_in_no_list_is_refused(tmp_path: Path):
    linker = linker_over(tmp_path, concept_of("C1", "htn"))
    with pytest.raises(TypeError, match=r"link\(\[text\]\)"):
        linker.link("htn")
    with pytest.raises(TypeError, match="of contexts"):
        linker.link(["htn"], "known htn")


def test_an_answer_of_several_has_the_best_and_what_is_probable_enough_beside_it():
    scores = [[2.0, 1.8, 0.0, -9.0], SURE, NONE]
    one, several = (answers(Scored(*scores, calibration=Calibration(also_above=above)), [ROW] * 3, True) for above in (1.0, 0.3))
    assert [row["concept_ids"] for row in one] == [["C1"], ["C1"], []]
    assert [row["concept_ids"] for row in several] == [["C1", "C2"], ["C1"], []]
    assert [row["concept_id"] for row in several] == ["C1", "C1", None]
    withheld = answers(Scored(*scores, calibration=Calibration(also_above=0.3)), [ROW] * 3, True, UNREACHABLE)
    assert [row["concept_ids"] for row in withheld] == [[], [], []]


def test_a_link_names_all_concepts_of_its_answer():
    ranked = ((ConceptId("C1"), "Vomiting", 0.5), (ConceptId("C2"), "Nausea", 0.4))
    assert Link("x", ConceptId("C1"), "Vomiting", 0.5, ranked, "student", False, (ConceptId("C1"), ConceptId("C2"))).names == (
        "Vomiting",
        "Nausea",
    )


def test_where_exact_names_leave_nothing_the_student_is_not_asked():
    class Silent(Scored):
        def scores(self, queries: Any) -> np.ndarray:
            raise AssertionError("it is asked about nothing")

    assert answers(Silent(), [], allow_nil=True) == []
