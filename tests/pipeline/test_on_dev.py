"""What dev mentions say of a student: its balance, its calibration and its shortcut."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bare import ONE_ROUND, bare_run

from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.files import write_rows
from rpdr.kb import Concept, save_kb
from rpdr.pipeline import on_dev
from rpdr.pipeline.on_dev import _balanced
from rpdr.reranker import fit_calibration
from rpdr.reranker.balance import ENOUGH
from rpdr.reranker.shortcut import fit_shortcut
from rpdr.reranker.student import HEAD_FILE, Head
from rpdr.schema import CANDIDATES, ConceptId, MentionKey


@pytest.mark.parametrize(("mentions", "texts", "few"), [(ENOUGH - 1, 120, True), (120, ENOUGH - 1, True), (ENOUGH, 120, False)])
def test_what_too_few_different_dev_mentions_cannot_weigh_stays_as_it_was_trained(tmp_path: Path, mentions: int, texts: int, few: bool):
    head = Head(4)
    asked = np.arange(120) < mentions
    rows = [{"scores": [0.5, 0.4], "text": f"text {n % texts}", "context": None} for n in range(120)]
    right = np.tile([True, False, False], (len(asked), 1))
    scores = np.tile(np.float32([11.0, 8.0, 1.0]), (len(asked), 1))
    student: Any = SimpleNamespace(student=SimpleNamespace(head=head))
    (tmp_path / "student").mkdir()
    balanced, told = _balanced(bare_run(tmp_path, retriever=ONE_ROUND), student, rows, scores, right, asked)
    assert (told is None) == few
    assert np.array_equal(balanced, scores) == few
    assert (tmp_path / "student" / HEAD_FILE).exists() != few


def test_calibration_and_shortcut_are_fitted_on_dev_as_it_will_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sixty mentions of 45 texts: the first ten texts are names, which decide 20 mentions, and every sixth mention is NIL."""
    run, rng = bare_run(tmp_path, retriever=ONE_ROUND), np.random.default_rng(0)
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
    monkeypatch.setattr(on_dev, "_reranker", lambda _: SimpleNamespace(scores=lambda _: scores))

    exact = [[f"C{n % 45}"] in gold if n % 45 < 10 else None for n, gold in enumerate(golds)]
    asked = np.array([one is None for one in exact])
    expected = fit_calibration(scores, right, "dev mentions", True, nil, exact, asked, texts)
    progress: Any = None
    fitted, balance, shortcut = on_dev.calibrate(run, progress)
    assert fitted == expected
    assert fitted.fitted_on == "40 dev mentions"
    assert (len(fitted.dev_text), len(set(fitted.dev_text))) == (60, 45)
    assert balance is None  # dev has too few texts
    best, said_nil, _ = expected.decide(expected.probabilities(scores))
    student = [None if none else place for place, none in zip(best.tolist(), said_nil.tolist(), strict=True)]
    assert shortcut == fit_shortcut(similarities, right, student, True, nil, (~asked).tolist(), True, texts)
