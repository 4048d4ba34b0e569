"""Stage `distill` without training: what is learned from and measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bare import ONE_ROUND, bare_run

from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.errors import RunError
from rpdr.files import write_rows
from rpdr.pipeline.distill import distill, gold_examples
from rpdr.pipeline.progress import stage_progress
from rpdr.schema import CANDIDATES, LABELS, NIL, MentionKey


@pytest.mark.parametrize("several", [False, True])
def test_of_gold_with_alternatives_each_is_right_and_where_answers_have_several_those_of_one(tmp_path: Path, several: bool):
    run = bare_run(tmp_path, retriever=ONE_ROUND, link={"several": several})
    golds: list[tuple[Any, tuple[int, ...]]] = [
        ([["C1"], ["C2"]], (1,) if several else (1, 2)),
        ([["C3", "C1"]], (1, 3)),
        ([["C2"], ["C3", "C1"]], (1, 3) if several else (1, 2, 3)),
        ([["C9"], ["C0"]], (0,)),
        ([["C9"]], (NIL,)),
        ([], (NIL,)),
    ]
    keys = [MentionKey(f"k{n}") for n in range(len(golds))]
    save_mentions(
        run.mentions_file,
        [Mention(key, key, "t", None, None, None, "dev", gold) for key, (gold, _) in zip(keys, golds, strict=True)],
    )
    names = ["C0", "C1", "C2", "C3"]
    offer = {"text": "t", "candidate_ids": names, "candidate_names": names, "matched_names": names, "scores": [0.4, 0.3, 0.2, 0.1]}
    write_rows(
        run.path("candidates", "candidates.parquet"), [{"key": key, "context": None, "type": None, **offer} for key in keys], CANDIDATES
    )
    assert [(example.named, example.trust) for example in gold_examples(run, "dev")] == [(named, 1.0) for _, named in golds]


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        (False, r"the teacher answered nothing .* student\.gold_labels: true"),
        (True, "the teacher answered nothing .* no mention in the split labelled has gold"),
    ],
)
def test_where_there_is_no_label_that_is_said_with_the_remedy(tmp_path: Path, by_hand: bool, said: str):
    run = bare_run(tmp_path, retriever=ONE_ROUND, student={"gold_labels": by_hand})
    write_rows(run.teacher_labels, [], LABELS)
    save_mentions(run.mentions_file, [])
    write_rows(run.path("candidates", "candidates.parquet"), [], CANDIDATES)
    with stage_progress("distill") as progress, pytest.raises(RunError, match=said):
        distill(run, progress)


def test_a_question_that_hands_linked_in_two_ways_is_learned_once_and_either_is_right(tmp_path: Path):
    run = bare_run(tmp_path, retriever=ONE_ROUND)
    golds: list[Any] = [[["C1"]], [["C2"]], [["C1"]], []]
    save_mentions(
        run.mentions_file,
        [Mention(f"m{n}", MentionKey("k"), "t", None, None, None, "dev", gold) for n, gold in enumerate(golds)],
    )
    names = ["C0", "C1", "C2"]
    offer = {"text": "t", "candidate_ids": names, "candidate_names": names, "matched_names": names, "scores": [0.4, 0.3, 0.2]}
    write_rows(run.path("candidates", "candidates.parquet"), [{"key": "k", "context": None, "type": None, **offer}], CANDIDATES)
    assert [example.named for example in gold_examples(run, "dev")] == [(1, 2)]
