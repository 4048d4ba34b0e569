"""Who answered what of the test mentions: the retrievers that were measured, and the student."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rpdr.answer import guess, guesses
from rpdr.corpus import Mention, normalise
from rpdr.evaluation import Resampling, compare_sets, firsts, is_hit, names_several, outcomes, paired_test
from rpdr.pipeline.baselines import FROM_TEACHER, ZERO_SHOT
from rpdr.pipeline.retriever import TUNED_ALONE
from rpdr.pipeline.several import retrievers_sets
from rpdr.reranker import Calibration, nil_threshold
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.run import Run
from rpdr.run.loaded import calibrated
from rpdr.schema import ConceptId, Gold, MentionKey

Ranking = list[ConceptId | None]
RETRIEVER, LABELLED_NAMES, SECOND, STUDENT = "retriever", "labelled_names", "second_round", "student"
Found = Mapping[MentionKey, dict[str, Any]]  # rows of schema.CANDIDATES
Sets = list[list[ConceptId]]
TITLES = {
    ZERO_SHOT: "Retriever, zero-shot",
    RETRIEVER: "Retriever, few labels",
    LABELLED_NAMES: "Retriever, few labels as names too",
    FROM_TEACHER: "Retriever, few + teacher's labels",
    SECOND: "Retriever, second round",
    STUDENT: "Student",
}


def retrieved_by(run: Run, candidates: Found, reranked: Found) -> dict[str, Found]:
    """Rows of schema.CANDIDATES of each retriever that was measured, in the order of the results table."""
    alone = run.path("index", TUNED_ALONE)
    found = {
        LABELLED_NAMES if alone.exists() else RETRIEVER: candidates,
        **({SECOND: reranked} if run.config.retriever.second_round else {}),
    }
    for name, path in ((RETRIEVER, alone), *((name, run.path("baselines", f"{name}.parquet")) for name in (ZERO_SHOT, FROM_TEACHER))):
        if path.exists():
            found[name] = {row["key"]: row for row in pq.read_table(path).to_pylist()}
    return {name: found[name] for name in (ZERO_SHOT, RETRIEVER, LABELLED_NAMES, FROM_TEACHER, SECOND) if name in found}


def reranked_of(run: Run, found: Collection[str]) -> str:
    """Whose candidates the student re-ranks, of those that were measured."""
    return SECOND if run.config.retriever.second_round else first_round(found)


def first_round(found: Collection[str]) -> str:
    """Whose candidates the teacher chose from."""
    return LABELLED_NAMES if LABELLED_NAMES in found else RETRIEVER


def rankings_of(
    run: Run, dev: Sequence[Mention], test: Sequence[Mention], answered: Sequence[dict[str, Any]], found: Mapping[str, Found]
) -> dict[str, list[Ranking]]:
    """Each system's answers for the test mentions, best first, the retrievers' by what they `found`; the student's are in `answered`."""
    says_nil = run.config.link.allow_nil and dev_sets_nil(run)
    rankings = {name: by_similarity(dev, test, rows, says_nil) for name, rows in found.items()}
    offered = found[reranked_of(run, found)]
    rankings[STUDENT] = [_by_student(row, offered[m.key]["candidate_ids"]) for row, m in zip(answered, test, strict=True)]
    return rankings


def by_similarity(dev: Sequence[Mention], test: Sequence[Mention], found: Found, says_nil: bool) -> list[Ranking]:
    """Candidates by their similarity alone; NIL where not even the first has as much as dev shows to be best, if it is to be said at all."""
    threshold = _nil_threshold(dev, found) if says_nil else -1.0
    return [_by_threshold(found[m.key], threshold) for m in test]


def dev_sets_nil(run: Run) -> bool:
    """Whether dev has enough different mentions to set when NIL is said. Where it has not, the student never says it, and so no retriever does."""
    return bool(Calibration.load(run.path("student", CALIBRATION_FILE)).dev_right)


def _by_student(row: Mapping[str, Any], candidates: Sequence[ConceptId]) -> Ranking:
    """Of a row of schema.LINKED; behind what an exact name decided, which has no ranking, the candidates in the retriever's order."""
    if guess(row) is None:
        return [None, *row["ranked_ids"]]
    return [*row["ranked_ids"], *(i for i in candidates if row["source"] == "exact" and i not in row["ranked_ids"])]


def _by_threshold(row: dict[str, Any], threshold: float) -> Ranking:
    """A retriever's ranking; "none" stands before it where not even the first candidate is as similar as the threshold. Behind others it stands in
    no ranking: it is mostly the retriever's miss, and systems differ in where they would put it."""
    return [None, *row["candidate_ids"]] if row["scores"][0] < threshold else list(row["candidate_ids"])


def _nil_threshold(dev: Sequence[Mention], found: Found) -> float:
    """The similarity under which the retriever alone should say NIL: the best on dev; never where dev has no NIL."""
    nil = np.array([m.gold == [] for m in dev], dtype=bool)
    if not nil.any():
        return -1.0
    right = np.array([is_hit(found[m.key]["candidate_ids"], m.gold or [], 1) if m.gold else False for m in dev])
    return nil_threshold(np.array([found[m.key]["scores"][0] for m in dev]), right, nil)


def sets_of(
    run: Run,
    dev: Sequence[Mention],
    test: Sequence[Mention],
    answered: Sequence[dict[str, Any]],
    rankings: Mapping[str, list[Ranking]],
    found: Mapping[str, Found],
) -> dict[str, Sets]:
    """All concepts of each answer of each system: the student's as it gave them; of retrievers the first alone, but, where its answers have several, as many
    as a threshold from dev lets in."""
    sets = {name: firsts(ranked) for name, ranked in rankings.items()}
    for name in found if run.config.link.several else ():
        sets[name] = retrievers_sets(dev, test, found[name], sets[name], run.config.link.allow_nil)
    fitted, _ = calibrated(run.path("student"), run.config.link)
    return {**sets, STUDENT: [guesses(row, fitted) for row in answered]}


def comparisons(
    run: Run, resampling: Resampling, rankings: dict[str, list[Ranking]], sets: dict[str, Sets], golds: list[Gold], unseen: np.ndarray
) -> list[dict[str, Any]]:
    """The student against each retriever, on all test mentions and on unseen ones; where a gold has several concepts by all concepts of the answers too.
    The first one is the headline. `reranked`: the student re-ranks its candidates, so what it has learned is the difference; `untaught`: it has all that
    no teacher is needed for, where one was asked, so what the labels bring is."""
    found = []
    reranked, anybody_asked = reranked_of(run, rankings), bool(run.summary("teach").get("labelled"))
    for other in (RETRIEVER, LABELLED_NAMES, FROM_TEACHER, SECOND):
        if other not in rankings:
            continue
        told = {
            "a": TITLES[STUDENT],
            "b": TITLES[other],
            "reranked": other == reranked,
            "untaught": other == LABELLED_NAMES and anybody_asked,
        }
        a, b = outcomes(rankings[STUDENT], golds, 1), outcomes(rankings[other], golds, 1)
        for on, rows in (("all", np.ones(len(golds), dtype=bool)), ("unseen", unseen)):
            if rows.any():
                result = paired_test(a[rows], b[rows], resampling.of(rows))
                found.append({**told, "metric": "acc_at_1", "on": on, **asdict(result)})
        if names_several(golds):
            result = compare_sets(sets[STUDENT], sets[other], golds, resampling)
            found.append({**told, "metric": "micro_f1", "on": "all", **asdict(result)})
    return found


def note_of(run: Run, name: str) -> str:
    """What a system is, in a few words."""
    settings = run.config.retriever
    few, taught = "tuned on the labelled mentions and synonyms", "tuned on the labelled mentions, synonyms and the teacher's labels"
    chose = "; the teacher chose from its candidates" if run.summary("teach").get("labelled") else ""
    discount = run.summary("retune").get("alias_discount")
    common = "; what is commonly meant counts" if run.summary("retune").get("commonness") else ""
    aliases = f"; linked mentions are names too, whose similarity counts {1 - discount:g} times" if discount is not None else ""
    reranked = "the second round" if settings.second_round else "the few-label retriever"
    unheard = "; dev gave what it learned no weight: it says what that says" if weight_of(run.summary("distill")) == 0 else ""
    return {
        ZERO_SHOT: "the encoder as it comes",
        RETRIEVER: few,
        LABELLED_NAMES: few + ", which are names too and tell what is common" + chose,
        FROM_TEACHER: taught,
        SECOND: (taught if run.summary("retune").get("teacher_pairs") else few) + aliases + common,
        STUDENT: f"re-ranks the candidates of {reranked}{unheard}",
    }[name]


def weight_of(trained: Mapping[str, Any]) -> float | None:
    """How much of what the student learned dev believes, by the summary of `distill`."""
    return (trained.get("balance") or {}).get("learned")


def unseen_of(test: Sequence[Mention], mentions: Sequence[Mention]) -> np.ndarray:
    """(n,) bool, of the test mentions: nobody had linked the text by hand. A labelled mention may have no gold yet: that links nothing."""
    seen = {normalise(m.text) for m in mentions if m.split == "labelled" and m.gold is not None}
    return np.array([normalise(m.text) not in seen for m in test])
