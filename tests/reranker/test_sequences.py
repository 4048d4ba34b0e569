"""A student read as plain sequences scores as it does in one pass, where its "none of these" reads the mention alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stirred import stirred
from transformers import AutoModel

from rpdr.config import StudentConfig
from rpdr.reranker import Calibration, Query, Reranker, Student
from rpdr.reranker.balance import Balance
from rpdr.reranker.merged import write_lm
from rpdr.reranker.sequences import Engine, SequenceStudent

NAMES = ("Pain of the foot", "Pain of the hand", "Pain", "Vomiting", "Fever of unknown origin")
ASKED = [
    Query("my foot hurts", NAMES, (*NAMES[:3], "feeling sick", NAMES[4]), (0.71, 0.64, 0.40, 0.3, 0.12), "She said: my foot hurts."),
    Query("fever", NAMES[:2:-1], NAMES[:2:-1], (0.9, 0.2)),
    Query("a pain " * 30, ("Pain", "Pain", "a " * 40), ("Pain", "Pain", "a " * 40), (0.5, 0.4, 0.3)),
    Query("fever", NAMES[:2:-1], NAMES[:2:-1], (0.9, 0.2)),
    Query("", ("Pain",), ("Pain",), (0.1,)),
]


def plain(folder: Path) -> Engine:
    """transformers alone: one causal sequence at a time, the last hidden state of its last token."""
    lm = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return lambda sequences: torch.stack([lm(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in sequences])


def both(student: Student, folder: Path, batch_size: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Scores of ASKED, (ours, those by `plain`)."""
    ours = Reranker(student, Calibration(), batch_size, "cpu").scores(ASKED)
    prompt, head = student.prompt, student.head
    write_lm(student, folder)
    return ours, Reranker(SequenceStudent(prompt, head, plain(folder)), Calibration(), batch_size, "cpu").scores(ASKED)


@pytest.mark.parametrize("use_context", [False, True])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_sequences_score_as_one_pass_does(config: StudentConfig, tmp_path: Path, use_context: bool, batch_size: int):
    student = stirred(config.model_copy(update={"none_reads": "mention", "use_context": use_context, "max_tokens_mention": 60}))
    ours, theirs = both(student, tmp_path, batch_size)
    assert np.ptp(ours[np.isfinite(ours)]) > 1
    assert np.isneginf(ours).tolist() == np.isneginf(theirs).tolist()
    assert np.allclose(theirs, ours, atol=1e-4)


def test_a_balance_that_was_fitted_counts_in_sequences_too(config: StudentConfig, tmp_path: Path):
    student = stirred(config.model_copy(update={"none_reads": "mention"}))
    before = Reranker(student, Calibration(), 8, "cpu").scores(ASKED)
    student.head.rebalance(Balance(similarity=3.0, learned=0.2, none=0.5, shift=1.5))
    ours, theirs = both(student, tmp_path)
    assert not np.allclose(ours, before, atol=0.1)
    assert np.allclose(theirs, ours, atol=1e-4)


def test_a_none_that_reads_the_candidates_is_no_plain_sequence(config: StudentConfig, tmp_path: Path):
    ours, theirs = both(stirred(config), tmp_path)
    assert np.allclose(theirs[:, :-1], ours[:, :-1], atol=1e-4)
    assert (np.abs(theirs[:, -1] - ours[:, -1]) > 1e-2).all()
