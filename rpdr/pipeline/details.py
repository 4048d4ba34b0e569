"""What stands behind a report's figures: errors by cause, the teacher's label noise, accuracy by part, and what abstaining would bring.

Reads a run directory; everything comes out laid out as the report wants it. Mention texts are in `examples` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rpdr.answer import guess
from rpdr.corpus import Mention, normalise
from rpdr.evaluation import (
    ERRORS,
    NOISE,
    SHAPES,
    Resampling,
    by_count,
    by_name,
    calibration_report,
    error_cause,
    gold_shape,
    noise_kind,
    outcomes,
    precision_coverage,
    score,
    selected,
    slices,
)
from rpdr.kb import Concept
from rpdr.run import Run
from rpdr.run.gold import golds_by_key
from rpdr.run.labels import labels_file, learned_labels
from rpdr.run.loaded import calibrated
from rpdr.schema import ConceptId, Gold, chosen_id, chosen_ids, members

SAID = ("a concept", "NIL")
TARGETS = (0.8, 0.9, 0.95, 0.99)  # precisions that the report shows the price of
REPEATS = (1, 2, 10, 100)  # parts by how often a text stands in the run's mentions
TAUGHT = (0, 1, 2, 5, 20)  # … by labels of the gold concept
LINKED_BY = ("hand", "teacher", "nobody")  # … by who has linked the same text before
SHOWN = 5  # candidates of an example
FEW_DOCUMENTS = 20


@dataclass(frozen=True)
class Answered:
    """The test mentions and what the student said of each, abstained or not; all of one length, in one order."""

    run: Run
    mentions: Sequence[Mention]
    rows: Sequence[Mapping[str, Any]]  # of schema.LINKED
    candidates: Sequence[Sequence[ConceptId]]  # the retriever's

    @cached_property
    def golds(self) -> list[Gold]:
        """Of each mention."""
        return [m.gold or [] for m in self.mentions]

    @cached_property
    def answers(self) -> list[ConceptId | None]:
        """What was said, or would have been: a concept, or None for NIL."""
        return [guess(row) for row in self.rows]

    @cached_property
    def right(self) -> np.ndarray:
        """(n,) bool: whether that is right."""
        return outcomes([[answer] for answer in self.answers], self.golds, 1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """(n,) float."""
        return np.array([row["confidence"] for row in self.rows], dtype=float)

    @cached_property
    def resampling(self) -> Resampling:
        """Of the mentions, by document."""
        return resampling(self.run, self.mentions)


def resampling(run: Run, mentions: Sequence[Mention]) -> Resampling:
    """How the run's report draws these mentions anew: by document, or, of those of none, by text, as repeats are right or wrong together."""
    return Resampling.by_document([_together(m) for m in mentions], run.config.report.bootstrap_samples, run.config.seed)


def _together(mention: Mention) -> tuple[str, str]:
    """What is drawn as one. Two sources may call their documents alike; the number before a mention's id says from which one it is."""
    return ("text", normalise(mention.text)) if mention.doc_id is None else (mention.mention_id.partition(":")[0], mention.doc_id)


def how_drawn(mentions: Sequence[Mention]) -> str:
    """What `resampling` makes of these mentions, and of tests, in words."""
    documents = {_together(m) for m in mentions if m.doc_id is not None}
    texts = {_together(m) for m in mentions if m.doc_id is None}
    alone = len(texts)
    if not documents:
        if alone == len(mentions):
            return "95 % percentile bootstrap over mentions; exact McNemar test"
        return f"95 % percentile bootstrap over the {alone:,} texts of the test mentions; exact randomisation test by text"
    few = f" (fewer than {FEW_DOCUMENTS}: they are narrower than the truth)" if len(documents) + alone < FEW_DOCUMENTS else ""
    more = f", and {alone:,} texts that are of none" if alone else ""
    return f"95 % percentile bootstrap over the {len(documents):,} documents of the test mentions{more}{few}; exact randomisation test by document"


def calibration(told: Answered) -> dict[str, Any]:
    """The reliability of the student's confidence on test."""
    return calibration_report(told.confidences, told.right, [normalise(m.text) for m in told.mentions], told.resampling)


def selective(told: Answered, linked: Mapping[str, Any]) -> dict[str, Any]:
    """Precision against coverage on test; for each target precision where dev would have it abstain, and what that brings on test."""
    settings = told.run.config.link
    fitted, _ = calibrated(told.run.path("student"), settings)
    targets = sorted({*TARGETS, *([settings.target_precision] if settings.target_precision is not None else [])})
    exact = [row["source"] == "exact" for row in told.rows]
    rows = []
    for target in targets if fitted.dev_right else []:
        point = fitted.operating_point(target, settings.exact_match)
        given = np.array([point.gives(sure, by_name) for sure, by_name in zip(told.confidences.tolist(), exact, strict=True)])
        if target == settings.target_precision:
            given = np.array([not row["abstained"] for row in told.rows])
        rows.append({**asdict(point), "test": asdict(selected(given, told.right, told.resampling))})
    return {
        "target": settings.target_precision,
        "warning": linked.get("warning"),
        "curve": precision_coverage(told.confidences, told.right, told.resampling),
        "targets": rows,
    }


def errors(told: Answered, concepts: Sequence[Concept]) -> dict[str, Any]:
    """The student's wrong answers by cause, each with the surest ones as examples, a text once: where a person should look first."""
    names = _names(concepts)
    plain = {c.concept_id: c.name for c in concepts}
    causes = [
        error_cause(answer, gold, candidates, row["source"] == "exact", plain)
        for answer, gold, candidates, row in zip(told.answers, told.golds, told.candidates, told.rows, strict=True)
    ]
    ranks = [_rank(row["ranked_ids"], gold) for row, gold in zip(told.rows, told.golds, strict=True)]
    abstained = np.array([row["abstained"] for row in told.rows], dtype=bool)
    silent = np.array([answer is None for answer in told.answers], dtype=bool)
    second = np.array([rank == 2 for rank in ranks], dtype=bool)
    namesake = np.array([_namesake(*pair, plain) for pair in zip(told.answers, told.golds, strict=True)], dtype=bool)

    def example(n: int, alike: int) -> dict[str, Any]:
        row, answer = told.rows[n], told.answers[n]
        return {
            "text": told.mentions[n].text,
            "written": told.mentions[n].written,  # as it stands there, where abbreviations were written out
            "context": told.mentions[n].context if told.run.config.student.use_context else None,
            "alike": alike,  # mentions of the same text with the same answer that it stands for
            "gold_names": _gold_names(told.golds[n], names),
            "answer_name": None if answer is None else names.get(answer, answer),
            "abstained": row["abstained"],
            "confidence": row["confidence"],
            "candidates": [names.get(i, i) for i in row["ranked_ids"][:SHOWN]],
            "rank": ranks[n],
        }

    rows = []
    for cause in ERRORS:
        inside = np.array([found == cause for found in causes], dtype=bool)
        if inside.any():
            surest = np.flatnonzero(inside)[np.argsort(-told.confidences[inside], kind="stable")]
            shown = _once([((told.mentions[n].text, told.answers[n]), n) for n in surest.tolist()], told.run.config.report.examples)
            rows.append(
                {
                    "cause": cause,
                    "mentions": int(inside.sum()),
                    "share": score(inside, told.resampling),
                    "abstained": int((inside & abstained).sum()),
                    "said_nil": int((inside & silent).sum()),
                    "second": int((inside & second).sum()),  # the right one stood second
                    "namesake": int((inside & namesake).sum()),
                    "examples": [example(*one) for one in shown],
                }
            )
    return {"mentions": len(causes), "wrong": int((~told.right).sum()), "abstaining": bool(abstained.any()), "causes": rows}


def label_noise(
    run: Run, labels: Sequence[Mapping[str, Any]], golds: Sequence[Gold], concepts: Sequence[Concept], drawn: Resampling
) -> dict[str, Any]:
    """The teacher's wrong labels by kind, with the most trusted ones as examples; as trusted as the student was told, and how many it learned from.
    `believed`: how many of the same labels were taken to be right when they were given.
    `labels`: at least one row of schema.LABELS, of mentions with these `golds`, which are `drawn` so."""
    names = _names(concepts)
    chosen = [chosen_id(row) for row in labels]
    kinds = [noise_kind(label, gold, row["candidate_ids"]) for label, gold, row in zip(chosen, golds, labels, strict=True)]
    plain = {c.concept_id: c.name for c in concepts}
    namesake = np.array([_namesake(*pair, plain) for pair in zip(chosen, golds, strict=True)], dtype=bool)
    last = pq.read_table(labels_file(run), columns=["key", "trust"]).to_pydict()  # the second round has thought again
    told = dict(zip(last["key"], last["trust"], strict=True))
    trust = np.array([told.get(row["key"], row["trust"]) for row in labels], dtype=float)
    learned = {row["key"] for row in learned_labels(run, ["key"])}
    kept = np.array([row["key"] in learned for row in labels], dtype=bool)
    settings = run.config.report

    def example(n: int, alike: int) -> dict[str, Any]:
        label = chosen[n]
        return {
            "text": labels[n]["text"],
            "context": labels[n]["context"] if run.config.student.use_context else None,
            "alike": alike,
            "gold_names": _gold_names(golds[n], names),
            "answer_name": None if label is None else names.get(label, label),
            "abstained": False,
            "confidence": float(trust[n]),
            "candidates": [names.get(i, i) for i in labels[n]["candidate_ids"][:SHOWN]],
            "rank": _rank(labels[n]["candidate_ids"], golds[n]),
        }

    rows = []
    for kind in (None, *NOISE):
        inside = np.array([found == kind for found in kinds], dtype=bool)
        if inside.any():
            most = np.flatnonzero(inside)[np.argsort(-trust[inside], kind="stable")].tolist() if kind else []
            rows.append(
                {
                    "kind": kind,
                    "labels": int(inside.sum()),
                    "share": score(inside, drawn),
                    "trust": float(trust[inside].mean()),
                    "learned": int((inside & kept).sum()),
                    "namesake": int((inside & namesake).sum()) if kind else 0,
                    "examples": [
                        example(*shown) for shown in _once([((labels[n]["text"], chosen[n]), n) for n in most], settings.examples)
                    ],
                }
            )
    return {
        "labels": len(kinds),
        "wrong": sum(kind is not None for kind in kinds),
        "believed": float(np.mean([row["trust"] for row in labels])),
        "kinds": rows,
    }


def parts(told: Answered, old: np.ndarray, mentions: Sequence[Mention], names: tuple[str, str]) -> dict[str, Any]:
    """The student's accuracy by kind of mention beside that of another system, whose outcomes are `old`, (n,) bool; `names` of the two."""
    test, golds = told.mentions, told.golds
    repeats: Counter[str] = Counter()
    learned = learned_labels(told.run, ["key", "text", "candidate_ids", "choice", "also"])
    taught = pq.read_table(told.run.teacher_labels, columns=["text"])["text"].to_pylist()  # also what the student did not learn from
    before = dict.fromkeys(map(normalise, taught), "teacher")
    for m in mentions:
        repeats[normalise(m.text)] += 1
        if m.split == "labelled" and m.gold is not None:
            before[normalise(m.text)] = "hand"
    by_hand = golds_by_key(m for m in mentions if m.split == "labelled")
    labels = Counter(i for gold in by_hand.values() for i in members(gold))
    labels.update(chosen for row in learned for chosen in chosen_ids(row))
    of_concept = [max((labels[i] for i in members(gold)), default=None) for gold in golds]
    kinds: dict[str, tuple[Sequence[str | None], Sequence[str]]] = {
        "type": by_name([m.type for m in test]),
        "before": ([before.get(normalise(m.text), "nobody") for m in test], LINKED_BY),
        "repeats": by_count([repeats[normalise(m.text)] for m in test], REPEATS),
        "taught": by_count(of_concept, TAUGHT),
        "gold": ([gold_shape(gold) for gold in golds], SHAPES),
        "said": (
            ["NIL" if answer is None else "a concept" for answer in told.answers],
            SAID,
        ),  # how right NIL is: the part above has how much is found
        "source": by_name([row["source"] for row in told.rows]),
    }
    groups = [{"by": kind, "rows": slices(of, told.right, old, told.resampling, order)} for kind, (of, order) in kinds.items()]
    # one part of all mentions tells nothing that the table of systems does not
    return {"new": names[0], "old": names[1], "groups": [group for group in groups if len(group["rows"]) > 1]}


def _names(concepts: Sequence[Concept]) -> dict[ConceptId, str]:
    """The name of each, with its id where others have the same."""
    bearers = Counter(c.name for c in concepts)
    return {c.concept_id: c.name if bearers[c.name] == 1 else f"{c.name} ({c.concept_id})" for c in concepts}


def _namesake(said: ConceptId | None, gold: Gold, plain: Mapping[ConceptId, str]) -> bool:
    """Whether what was said has the very name of a concept of the gold."""
    names = {plain[i].casefold() for i in members(gold) if i in plain}
    return said is not None and plain.get(said, "").casefold() in names


def _gold_names(gold: Gold, names: Mapping[ConceptId, str]) -> list[str]:
    return [names.get(i, i) for alternative in gold for i in alternative]


def _rank(ranked: Sequence[ConceptId], gold: Gold) -> int | None:
    """The place of the first right one, from 1."""
    right = members(gold)
    return next((n for n, i in enumerate(ranked, start=1) if i in right), None)


def _once(said: Sequence[tuple[tuple[str, ConceptId | None], int]], most: int) -> list[tuple[int, int]]:
    """(the first number, how many there are) of each normalised text with each answer, in order."""
    numbers: dict[tuple[str, ConceptId | None], list[int]] = {}
    for (text, answer), n in said:
        numbers.setdefault((normalise(text), answer), []).append(n)
    return [(same[0], len(same)) for same in numbers.values()][:most]
