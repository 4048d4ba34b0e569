"""Whom the teacher is asked about: the pool's keys, their order, and the few-shot examples. Reads a run directory, asks nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rpdr.config import Config
from rpdr.corpus import Mention, load_mentions
from rpdr.errors import RunError
from rpdr.files import RELATIVE
from rpdr.pipeline import candidates
from rpdr.pipeline.questions import question_of
from rpdr.pipeline.run import Run
from rpdr.schema import NIL, ConceptId, Gold, MentionKey, members
from rpdr.teacher import Example, Masker, Question, at_random, by_worth, mask_question

Leaves = Callable[[Question], tuple[Question, dict[str, int]]]  # a question as it may leave, and what was masked in it


def not_prepared(run: Run, command: str) -> RunError:
    """The error of a command that needs mentions, where the run has none: perhaps it is another folder's run that is meant."""
    here = "" if run.config.run_dir.startswith(("/", "~", "$")) else f" ({RELATIVE})"
    return RunError(f"{command}: {run.folder} has no mentions yet{here}; run first what costs nothing: rpdr prepare --config …")


def mentions_of(run: Run, splits: Sequence[str] = ("unlabelled",), among: Collection[MentionKey] | None = None) -> Counter[MentionKey]:
    """How many mentions of the splits each key stands for; of the keys `among` these, where given."""
    counts: Counter[MentionKey] = Counter()
    for batch in pq.ParquetFile(run.path("corpus", "mentions.parquet")).iter_batches(columns=["key", "split"]):
        rows = zip(*(batch[name].to_pylist() for name in ("key", "split")), strict=True)
        counts.update(key for key, split in rows if split in splits and (among is None or key in among))
    return counts


def chosen_by_gold(run: Run, split: str, final: bool = False) -> list[dict[str, Any]]:
    """The split's mentions that have gold, as rows of schema.CANDIDATES with the `choice` that the gold makes among them, NIL where
    none is right, what it names `also`, together with it, the concepts of the `gold`: an empty set is NIL, a concept that the knowledge base lacks; and its `alternatives`. `final`: the candidates of
    the last round, which the student re-ranks."""
    return _by_gold(run, load_mentions(run.path("corpus", "mentions.parquet"), split), split, final)


def questions_by_gold(run: Run, split: str, final: bool = False) -> list[dict[str, Any]]:
    """As `chosen_by_gold`, each question once, whatever hands have linked it to."""
    mentions = load_mentions(run.path("corpus", "mentions.parquet"), split)
    golds = golds_by_key(mentions)
    once = {m.key: replace(m, gold=golds[m.key]) for m in mentions if m.key in golds}
    return _by_gold(run, list(once.values()), split, final)


def _by_gold(run: Run, mentions: Sequence[Mention], split: str, final: bool) -> list[dict[str, Any]]:
    return by_gold(mentions, candidates.candidates_in(candidates.candidates_file(run, final, split), {m.key for m in mentions}))


def golds_by_key(mentions: Iterable[Mention]) -> dict[MentionKey, Gold]:
    """Of annotated mentions the gold of each question: hands may have linked it in several ways, which are alternatives then; NIL only where all say so."""
    golds: dict[MentionKey, Gold] = {}
    for mention in mentions:
        if mention.gold is not None:
            known = golds.setdefault(mention.key, [])
            known += [alternative for alternative in mention.gold if alternative not in known]
    return golds


def by_gold(mentions: Sequence[Mention], found: Mapping[MentionKey, dict[str, Any]]) -> list[dict[str, Any]]:
    """As `chosen_by_gold`, of rows of schema.CANDIDATES by key."""
    rows = []
    for mention in mentions:
        if mention.gold is None:
            continue
        gold = members(mention.gold)
        row = found[mention.key]
        right = [n for n, i in enumerate(row["candidate_ids"]) if i in gold]
        choice = right[0] if right else NIL
        together = _fullest(mention.gold, row["candidate_ids"][choice], {*row["candidate_ids"]}) if right else []
        also = [n for n in right[1:] if row["candidate_ids"][n] in together]
        rows.append({**row, "choice": choice, "also": also, "gold": gold, "alternatives": mention.gold})
    return rows


def _fullest(gold: Gold, chosen: ConceptId, offered: Collection[ConceptId]) -> Collection[ConceptId]:
    """Of the alternatives that have `chosen`, the one of which most is `offered`."""
    return max((a for a in gold if chosen in a), key=lambda a: sum(i in offered for i in a))


def right_among(rows: Sequence[Mapping[str, Any]], k: int) -> np.ndarray:
    """(n, k + 1) bool, of n rows of `chosen_by_gold` with at most k candidates: which of them the gold names; last, that none is."""
    right = np.zeros((len(rows), k + 1), dtype=bool)
    for n, row in enumerate(rows):
        right[n, : len(row["candidate_ids"])] = [i in row["gold"] for i in row["candidate_ids"]]
    right[:, -1] = ~right.any(axis=1)
    return right


def queue_of(run: Run, pool: Mapping[MentionKey, int]) -> list[MentionKey]:
    """The pool's keys, in the order in which the teacher is asked about them."""
    if run.config.teacher.choose == "random":
        return at_random(list(pool), run.config.seed)
    counts = mentions_of(run, ("unlabelled", "corpus"), pool)
    scores: dict[MentionKey, list[float]] = {}
    first: dict[MentionKey, ConceptId] = {}
    columns = ["key", "candidate_ids", "scores"]
    for batch in pq.ParquetFile(run.path("candidates", candidates.FILE)).iter_batches(columns=columns):
        for row in batch.to_pylist():
            if row["key"] in pool:
                scores[row["key"]] = row["scores"]
                first[row["key"]] = (row["candidate_ids"] or [ConceptId("")])[0]
    return by_worth(list(pool), counts, scores, first, run.config.seed)


def examples_of(run: Run, definitions: Mapping[ConceptId, str | None]) -> list[Example]:
    """Few-shot examples from the labelled mentions, as they may leave: the right one among the candidates, at most one in four with none."""
    labelled = list({row["key"]: row for row in chosen_by_gold(run, "labelled")}.values())  # a question once, however often it stands there
    random.Random(run.config.seed).shuffle(labelled)
    wanted = run.config.teacher.examples
    right: list[Example] = []
    none: list[Example] = []
    for row in labelled:
        example = Example(question_of(row, definitions), row["choice"], tuple(row["also"]))
        (right if row["choice"] != NIL else none).append(example)
    few = none[: wanted // 4]
    as_it_leaves = leaves(run.config)
    return [replace(example, question=as_it_leaves(example.question)[0]) for example in right[: wanted - len(few)] + few]


def leaves(config: Config) -> Leaves:
    """How a question leaves under the config's data policy: `deidentified` masks it, the others do not."""
    if config.data_policy != "deidentified":
        return lambda question: (question, {})
    masker = Masker.of(config.teacher)
    return lambda question: mask_question(masker, question)
