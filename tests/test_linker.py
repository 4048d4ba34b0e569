"""The linker in a notebook. Loading a whole run is in test_whole_loop."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare import TO_STUDENT, bare_run, finish

from rpdr import linker as module
from rpdr.config import StudentConfig
from rpdr.files import write_json
from rpdr.kb import Concept, save_kb
from rpdr.kb.concept import concept_of
from rpdr.linker import Link, Linker
from rpdr.reranker import Calibration
from rpdr.retriever.exact import DISPUTED_FILE
from rpdr.retriever.retriever import Candidates
from rpdr.schema import ConceptId
from tests.scored import CAUTIOUS, NONE, ROW, SHOWS, SURE, UNSURE, VOMITING, Scored, said


def linker_over(folder: Path, *concepts: Concept, **source: Any) -> Linker:
    """A linker of a run whose mentions are read so: these concepts are known by their names alone."""

    class Known:
        def __init__(self) -> None:
            self.concepts = concepts

    mentions = [{"format": "jsonl", "path": "x", **source}]
    return Linker(bare_run(folder, mentions=mentions).config, Known(), Scored(SURE))  # type: ignore[arg-type]  # all that it asks of a retriever here


def test_a_link_that_abstained_has_a_guess_which_may_be_nil():
    names = dict(zip(ROW["candidate_ids"], ROW["candidate_names"], strict=True))
    links = [
        Link("x", row["concept_id"], row["name"], row["confidence"], ranked, "student", row["abstained"], nil=row["nil"])
        for row in [*said(SURE, UNSURE, NONE, point=CAUTIOUS), *said(SURE, NONE)]
        for ranked in [tuple((i, names[i], p) for i, p in zip(row["ranked_ids"], row["ranked_scores"], strict=True))]
    ]
    assert [link.guess for link in links] == ["Vomiting", "Nausea", None, "Vomiting", None]
    assert Link("", None, None, 1.0, (), "empty").guess is None


def test_a_linker_warns_where_its_target_cannot_be_shown(tmp_path: Path):
    class Nothing:
        concepts = ()

    config = bare_run(tmp_path, link={"target_precision": 0.9}).config
    with pytest.warns(UserWarning, match=r"dev cannot show link\.target_precision 0\.9: there are none to show it"):
        Linker(config, Nothing(), Scored(SURE))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Linker(config, Nothing(), Scored(SURE, calibration=SHOWS))  # type: ignore[arg-type]


@pytest.mark.parametrize(("on", "concept"), [(True, "C1"), (False, "C2")])
def test_an_abbreviation_is_linked_as_its_context_defines_it_where_the_run_writes_them_out(tmp_path: Path, on: bool, concept: str):
    linker = linker_over(tmp_path, concept_of("C1", "Gaucher disease"), concept_of("C2", "GD"), abbreviations=on)
    defines = "twins with Gaucher disease (GD)"
    defined, again, plain = linker.link(["GD", "GD", "GD"], [defines, defines, None])
    assert (defined.concept_id, plain.concept_id) == (concept, "C2")
    assert defined.text == ("Gaucher disease" if on else "GD")
    assert again == defined


class _Found:
    """A retriever that finds one concept whatever it is asked."""

    concepts = (VOMITING,)

    def retrieve(self, texts: list[str], top_k: int, as_new: bool) -> list[Candidates]:
        return [Candidates([0], ["throwing up"], [0.6]) for _ in texts]


FOUND: Any = _Found()  # all that a linker asks of a retriever here
WRONG_NAME = Calibration(dev_confidence=(0.9,), dev_right=(True,), dev_exact=(False,))  # an exact name was wrong on dev


def test_a_linker_abstains_by_its_student_and_by_exact_names_where_dev_cannot_show_the_target(tmp_path: Path):
    asked = ["sick", "throwing up"]
    config = bare_run(tmp_path, link={"target_precision": 0.9}).config
    with pytest.warns(UserWarning, match="dev cannot show"):
        withheld = Linker(config, FOUND, Scored([9.0, 0.0], calibration=WRONG_NAME)).link(asked)
    told = [(link.source, link.abstained, link.concept_id, link.guess) for link in withheld]
    assert told == [("student", True, None, "Vomiting"), ("exact", True, None, "Vomiting")]
    given = Linker(bare_run(tmp_path).config, FOUND, Scored([9.0, 0.0], calibration=WRONG_NAME)).link(asked)
    assert [link.concept_id for link in given] == ["C1", "C1"]


@pytest.mark.parametrize(("target", "linked"), [(None, "C1"), (0.99, None)])
def test_a_linker_is_loaded_with_the_target_of_its_run_or_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: float | None, linked: str | None
):
    run = bare_run(tmp_path, link={"target_precision": 0.6})
    finish(run, *TO_STUDENT)
    save_kb(run.concepts_file, [VOMITING])
    monkeypatch.setattr(module, "load_retriever", lambda *_: FOUND)
    monkeypatch.setattr(module, "load_reranker", lambda *_: Scored([9.0, 0.0], calibration=SHOWS))
    with nullcontext() if target is None else pytest.warns(UserWarning, match=r"dev cannot show link\.target_precision 0\.99"):
        linker = Linker.load(tmp_path, target_precision=target)
    assert [link.concept_id for link in linker.link(["sick"])] == [linked]


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


def test_columns_of_a_table_are_linked_as_they_come_and_what_is_no_text_is_named(tmp_path: Path):
    linker = linker_over(tmp_path, concept_of("C1", "htn"), abbreviations=True)
    assert [link.concept_id for link in linker.link(iter(["htn", "HTN"]), iter([float("nan"), "known htn"]))] == ["C1", "C1"]  # type: ignore[list-item]
    for empty in (None, float("nan"), 12):
        with pytest.raises(TypeError, match=f"the one at 1 is {empty}"):
            linker.link(["htn", empty])  # type: ignore[list-item]


def test_a_link_names_all_concepts_of_its_answer():
    ranked = ((ConceptId("C1"), "Vomiting", 0.5), (ConceptId("C2"), "Nausea", 0.4))
    assert Link("x", ConceptId("C1"), "Vomiting", 0.5, ranked, "student", False, (ConceptId("C1"), ConceptId("C2"))).names == (
        "Vomiting",
        "Nausea",
    )
