"""Whom the teacher is asked about: the pool's keys, their order, and the few-shot examples. Reads a run directory, asks nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.config import Config
from rpdr.corpus.mention import ROWS_AT_ONCE, batches_of
from rpdr.masking import Masker, Span
from rpdr.pipeline.questions import question_of
from rpdr.run import Run
from rpdr.run.folder import HIDDEN_FILE
from rpdr.run.gold import questions_by_gold
from rpdr.schema import NIL, ConceptId, MentionKey
from rpdr.teacher import Example, Question, at_random, by_worth, is_masked_away, mask_question

Leaves = Callable[[Question], tuple[Question, dict[str, int]]]  # a question as it may leave, and what was masked in it


def mentions_of(run: Run, splits: Sequence[str] = ("unlabelled",), among: Collection[MentionKey] | None = None) -> Counter[MentionKey]:
    """How many mentions of the splits each key stands for; of the keys `among` these, where given."""
    counts: Counter[MentionKey] = Counter()
    for part in batches_of(run.mentions_file, splits, ("key",)):
        counts.update(key for key in part["key"].to_pylist() if among is None or key in among)
    return counts


def queue_of(run: Run, pool: Mapping[MentionKey, int]) -> list[MentionKey]:
    """The pool's keys, in the order in which the teacher is asked about them."""
    if run.config.teacher.choose == "random":
        return at_random(list(pool), run.config.seed)
    counts = mentions_of(run, ("unlabelled", "corpus"), pool)
    scores: dict[MentionKey, list[float]] = {}
    first: dict[MentionKey, ConceptId] = {}
    columns = ["key", "candidate_ids", "scores"]
    for batch in pq.ParquetFile(run.teacher_candidates).iter_batches(columns=columns):
        for row in batch.to_pylist():
            if row["key"] in pool:
                scores[row["key"]] = row["scores"]
                first[row["key"]] = (row["candidate_ids"] or [ConceptId("")])[0]
    return by_worth(list(pool), counts, scores, first, run.config.seed)


def examples_of(run: Run, definitions: Mapping[ConceptId, str | None]) -> list[Example]:
    """Few-shot examples from the labelled mentions, as they may leave: the right one among the candidates, at most one in four with none."""
    labelled = questions_by_gold(run, "labelled")
    random.Random(run.config.seed).shuffle(labelled)
    wanted = run.config.teacher.examples
    hidden = hidden_of(run, [row["key"] for row in labelled])
    right: list[Example] = []
    none: list[Example] = []
    for row in labelled:
        example = Example(question_of(row, definitions, hidden), row["choice"], tuple(row["also"]))
        (right if row["choice"] != NIL else none).append(example)
    as_it_leaves = leaves(run.config)

    def some(examples: Sequence[Example], count: int) -> list[Example]:
        left = (replace(example, question=as_it_leaves(example.question)[0]) for example in examples)
        return list(islice((e for e, whole in zip(left, examples, strict=True) if not is_masked_away(whole.question, e.question)), count))

    few = some(none, wanted // 4)
    return some(right, wanted - len(few)) + few


def hidden_of(run: Run, keys: Sequence[str]) -> dict[MentionKey, list[Span]]:
    """What is masked in the contexts of these keys for what stands around them, in any of the texts that they were cut out of."""
    path = run.path("corpus", HIDDEN_FILE)
    if run.config.data_policy != "deidentified" or not path.exists():
        return {}
    found: dict[MentionKey, list[Span]] = {}
    rows = pq.read_table(path, filters=pc.field("key").isin(pa.array(keys, pa.string())))
    for batch in rows.to_batches(ROWS_AT_ONCE):
        for row in batch.to_pylist():
            found.setdefault(row.pop("key"), []).append(Span(**row))
    return found


def leaves(config: Config) -> Leaves:
    """How a question leaves under the config's data policy: `deidentified` masks it, the others do not."""
    if config.data_policy != "deidentified":
        return lambda question: (question, {})
    masker = Masker(config.teacher)
    return lambda question: mask_question(masker, question)
