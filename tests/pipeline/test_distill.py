"""Stage `distill` without training: what is learned from and measured on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rpdr.config import Config
from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.errors import ModelError
from rpdr.files import write_rows
from rpdr.kb import Concept, save_kb
from rpdr.pipeline import distill
from rpdr.pipeline.cluster import connect
from rpdr.pipeline.distill import Monitor, _balanced, _fit, _lost, gold_examples
from rpdr.pipeline.progress import stage_progress
from rpdr.reranker import Example, Query, fit_calibration
from rpdr.reranker.balance import ENOUGH
from rpdr.reranker.shortcut import fit_shortcut
from rpdr.reranker.student import HEAD_FILE, Head
from rpdr.run import Run
from rpdr.schema import CANDIDATES, NIL, ConceptId, MentionKey


def run_in(folder: Path, **more: Any) -> Run:
    sources = {"kb": {"format": "obo", "path": "x"}, "mentions": [{"format": "jsonl", "path": "x"}]}
    return Run(Config.model_validate({"run_dir": str(folder), **sources, "retriever": {"rounds": 1, "aliases": False}, **more}))


@pytest.mark.parametrize("several", [False, True])
def test_of_gold_with_alternatives_each_is_right_and_where_answers_have_several_those_of_one(tmp_path: Path, several: bool):
    run = run_in(tmp_path, link={"several": several})
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


def test_a_question_that_hands_linked_in_two_ways_is_learned_once_and_either_is_right(tmp_path: Path):
    run = run_in(tmp_path)
    golds: list[Any] = [[["C1"]], [["C2"]], [["C1"]], []]
    save_mentions(
        run.mentions_file,
        [Mention(f"m{n}", MentionKey("k"), "t", None, None, None, "dev", gold) for n, gold in enumerate(golds)],
    )
    names = ["C0", "C1", "C2"]
    offer = {"text": "t", "candidate_ids": names, "candidate_names": names, "matched_names": names, "scores": [0.4, 0.3, 0.2]}
    write_rows(run.path("candidates", "candidates.parquet"), [{"key": "k", "context": None, "type": None, **offer}], CANDIDATES)
    assert [example.named for example in gold_examples(run, "dev")] == [(1, 2)]


@pytest.mark.parametrize(("mentions", "texts", "few"), [(ENOUGH - 1, 120, True), (120, ENOUGH - 1, True), (ENOUGH, 120, False)])
def test_what_too_few_different_dev_mentions_cannot_weigh_stays_as_it_was_trained(tmp_path: Path, mentions: int, texts: int, few: bool):
    head = Head(4)
    asked = np.arange(120) < mentions
    rows = [{"scores": [0.5, 0.4], "text": f"text {n % texts}", "context": None} for n in range(120)]
    right = np.tile([True, False, False], (len(asked), 1))
    scores = np.tile(np.float32([11.0, 8.0, 1.0]), (len(asked), 1))
    student: Any = SimpleNamespace(student=SimpleNamespace(head=head))
    (tmp_path / "student").mkdir()
    balanced, told = _balanced(run_in(tmp_path), student, rows, scores, right, asked)
    assert (told is None) == few
    assert np.array_equal(balanced, scores) == few
    assert (tmp_path / "student" / HEAD_FILE).exists() != few


def test_calibration_and_shortcut_are_fitted_on_dev_as_it_will_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sixty mentions of 45 texts: the first ten texts are names, which decide 20 mentions, and every sixth mention is NIL."""
    run, rng = run_in(tmp_path), np.random.default_rng(0)
    save_kb(run.concepts_file, [Concept(ConceptId(f"C{n}"), f"text {n}", (f"text {n}",), None) for n in range(10)])
    texts = [f"text {n % 45}" for n in range(60)]
    offered = [[f"C{(n + more) % 10}" for more in range(4)] for n in range(60)]
    places = rng.integers(0, 5, 60).tolist()  # of the right one; 4: it was missed
    golds: list[Any] = [[] if n % 6 == 0 else [[f"C{(n + place) % 10}"]] for n, place in enumerate(places)]
    mentions = [
        Mention(f"m{n}", MentionKey(f"k{n}"), text, f"context {n}", None, None, "dev", gold)
        for n, (text, gold) in enumerate(zip(texts, golds, strict=True))
    ]
    save_mentions(run.mentions_file, mentions)
    similarities = np.sort(rng.random((60, 4)).astype(np.float32))[:, ::-1]
    offers = [{"candidate_ids": ids, "candidate_names": ids, "matched_names": ids} for ids in offered]
    rows = [
        {"key": m.key, "text": m.text, "context": m.context, "type": None, "scores": similar, **offer}
        for m, similar, offer in zip(mentions, similarities.tolist(), offers, strict=True)
    ]
    write_rows(run.teacher_candidates, rows, CANDIDATES)
    run.path("student").mkdir()
    run.path("student", HEAD_FILE).write_bytes(b"a head")
    nil = np.arange(60) % 6 == 0
    right = np.array([[[i] in gold for i in ids] + [not gold or gold[0][0] not in ids] for gold, ids in zip(golds, offered, strict=True)])
    scores = 2 * rng.normal(size=(60, 5)) + 3 * right
    monkeypatch.setattr(distill, "_reranker", lambda _: SimpleNamespace(scores=lambda _: scores))

    exact = [[f"C{n % 45}"] in gold if n % 45 < 10 else None for n, gold in enumerate(golds)]
    asked = np.array([one is None for one in exact])
    expected = fit_calibration(scores, right, "dev mentions", True, nil, exact, asked, texts)
    progress: Any = None
    fitted, balance, shortcut = distill.calibrate(run, progress)
    assert fitted == expected
    assert fitted.fitted_on == "40 dev mentions"
    assert (len(fitted.dev_text), len(set(fitted.dev_text))) == (60, 45)
    assert balance is None  # dev has too few texts
    best, said_nil, _ = expected.decide(expected.probabilities(scores))
    student = [None if none else place for place, none in zip(best.tolist(), said_nil.tolist(), strict=True)]
    assert shortcut == fit_shortcut(similarities, right, student, True, nil, (~asked).tolist(), True, texts)


def test_starts_are_counted_from_the_last_checkpoint_on():
    monitor = Monitor()
    assert [monitor.begun(checkpoint, 2)[0] for checkpoint in ("", "", "a", "a", "a", "b")] == [1, 2, 1, 2, 3, 1]


def test_a_gang_that_grows_as_nodes_come_has_lost_nobody():
    monitor = Monitor()
    assert [monitor.begun("", workers)[0] for workers in (1, 2, 3, 4, 5, 5)] == [1, 1, 1, 1, 1, 2]
    assert [monitor.begun("", workers)[0] for workers in (1, 2, 1, 2)] == [2, 2, 3, 3]  # but one that comes and goes has


def test_what_a_worker_failed_by_is_told_where_training_is_given_up():
    monitor = Monitor()
    monitor.note("OSError: No space left on device")
    assert "the last by: OSError: No space left on device" in _lost(monitor.begun("", 1)[1], 50)
    assert "student.micro_batch_tokens" in _lost(Monitor().begun("", 1)[1], 50)


@pytest.mark.slow
def test_an_error_that_would_come_again_ends_training_at_once_and_a_model_in_a_relative_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken").mkdir()
    monkeypatch.chdir(tmp_path)
    read = tmp_path / "read.txt"

    def noted(example: Example) -> Example:
        with read.open("a") as file:
            file.write("x")
        return example

    class Noting:
        """An example that notes each time that a worker begins, and reads it."""

        def __reduce__(self) -> tuple[Any, ...]:
            return noted, (Example(Query("t", ("a", "b"), ("a", "b"), (0.5, 0.4)), 0),)

    connect()
    run = run_in(tmp_path / "run", student={"model": "./broken", "use_gpu": False})
    chosen: Any = [Noting()]
    with stage_progress("distill") as progress, pytest.raises(ModelError, match=rf"{tmp_path / 'broken'}: cannot load"):
        _fit(run, chosen, [], progress)
    assert read.read_text() == "x"
