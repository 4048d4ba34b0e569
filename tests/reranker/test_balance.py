"""How much of what a student learned is believed: by mentions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rpdr.reranker.balance import Balance, fit_balance
from rpdr.reranker.student import Head


def drawn(n: int, learned: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mentions of three candidates, whose answers follow 20 times the similarity and what was learned, which was taken `learned` times."""
    rng = np.random.default_rng(3)
    similarities, head, none = rng.uniform(0.5, 1.0, (n, 3)), rng.normal(0, 1.5, (n, 3)), rng.normal(12.0, 1.0, n)
    logits = np.concatenate([20 * similarities + head, none[:, None]], axis=1)
    right = np.eye(4, dtype=bool)[(logits + rng.gumbel(size=logits.shape)).argmax(1)]
    return similarities, head * learned, none, right


def loss(balance: Balance, similarities: np.ndarray, learned: np.ndarray, none: np.ndarray, right: np.ndarray) -> float:
    return float(-log_softmax(balance.scores(similarities, learned, none), axis=1)[right].mean())


@pytest.mark.parametrize("taken", [0.5, 1.0, 4.0])
def test_what_was_learned_counts_as_much_as_dev_says(taken: float):
    told = drawn(4000, taken)
    balance = fit_balance(*told, start=20.0)
    assert balance.learned * taken == pytest.approx(1.0, abs=0.1)
    assert balance.similarity == pytest.approx(20.0, abs=1.5)
    assert loss(balance, *told) <= loss(Balance(20.0), *told)


def test_what_was_learned_in_vain_counts_for_nothing():
    similarities, learned, none, right = drawn(4000, 1.0)
    noise = np.random.default_rng(4).normal(0, 3, learned.shape)
    assert fit_balance(similarities, noise, none, right, 20.0).learned < 0.05


def test_absent_candidates_stay_absent():
    similarities, learned, none, right = drawn(200, 1.0)
    similarities[:50, 2], learned[:50, 2] = -np.inf, 0.0
    right[:50] = np.eye(4, dtype=bool)[0]
    balance = fit_balance(similarities, learned, none, right, 20.0)
    assert np.isfinite([balance.similarity, balance.learned, balance.none, balance.shift]).all()
    assert np.isneginf(balance.scores(similarities, learned, none)[:50, 2]).all()


def test_a_head_that_is_told_scores_so():
    torch.manual_seed(0)
    head = Head(8)
    torch.nn.init.normal_(head.candidate.weight)
    torch.nn.init.normal_(head.none.weight)
    torch.nn.init.constant_(head.none.bias, 2.0)
    hidden, similarities, present = torch.randn(5, 4, 8), torch.rand(5, 3), torch.ones(5, 4, dtype=torch.bool)
    before = head(hidden, similarities, present).detach().numpy()
    learned = before[:, :3] - head.log_scale.exp().item() * similarities.numpy()
    balance = Balance(30.0, 0.4, 1.2, -3.0)
    head.rebalance(balance)
    after = head(hidden, similarities, present).detach().numpy()
    assert after == pytest.approx(balance.scores(similarities.numpy(), learned, before[:, 3]), abs=1e-4)
