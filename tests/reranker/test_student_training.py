"""The training step without Ray: it learns, the same seed learns the same, and every example is seen once an epoch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from rpdr.config import StudentConfig
from rpdr.reranker import Calibration, Query, Reranker, narrowed
from rpdr.reranker.prompt import Tokens
from rpdr.reranker.training import Hooks, _batches, train

NAMES = ("Vomiting", "Nausea", "Fever")


def examples(count: int) -> tuple[list[Query], list[int]]:
    """The retriever prefers the first; what is right is the one that the mention names."""
    right = [n % 3 for n in range(count)]
    return [Query(f"{NAMES[n]} all day {i}", NAMES, NAMES, (0.6, 0.5, 0.4)) for i, n in enumerate(right)], right


def trained(config: StudentConfig, tmp_path: Path, steps: list[float] | None = None) -> tuple[Reranker, list[Query], list[int]]:
    queries, right = examples(48)
    losses = [] if steps is None else steps
    hooks = Hooks(lambda done, total, loss: losses.append(loss), lambda: tmp_path / "checkpoint", lambda *_: None)
    settings = config.model_copy(update={"epochs": 8, "batch_size": 8, "head_learning_rate": 0.05, "learning_rate": 0.01})
    student = train(settings, queries, right, 7, hooks, resume_from=None, device="cpu", save_to=tmp_path / "student")
    return Reranker(student, Calibration(), 8, "cpu"), queries, right


def test_a_student_learns_what_its_retriever_does_not_know(config: StudentConfig, tmp_path: Path):
    losses: list[float] = []
    reranker, queries, right = trained(config, tmp_path, losses)
    assert len(losses) == 48
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    assert (reranker.scores(queries)[:, :3].argmax(1) == right).mean() > 0.8


def test_the_same_seed_learns_the_same(config: StudentConfig, tmp_path: Path):
    first, queries, _ = trained(config, tmp_path / "a")
    second, _, _ = trained(config, tmp_path / "b")
    assert torch.equal(torch.tensor(first.scores(queries)), torch.tensor(second.scores(queries)))


@pytest.mark.parametrize("count", [1, 7, 8, 300])
def test_each_example_is_in_one_batch_among_its_like(count: int):
    rng = random.Random(1)
    tokens = [Tokens([0] * rng.randrange(1, 200), [], [], ()) for _ in range(count)]
    batches = _batches(tokens, 8, random.Random(2))
    assert sorted(n for batch in batches for n in batch) == list(range(count))
    assert all(len(batch) <= 8 for batch in batches)
    padded = sum(len(batch) * max(len(tokens[n]) for n in batch) for batch in batches)
    assert count < 100 or padded < 1.15 * sum(map(len, tokens))


def test_a_query_is_narrowed_to_the_chosen_and_the_most_similar():
    query = Query("x", tuple("abcde"), tuple("ABCDE"), (0.9, 0.8, 0.7, 0.6, 0.5))
    assert narrowed(query, 0, 3) == (Query("x", tuple("abc"), tuple("ABC"), (0.9, 0.8, 0.7)), 0)
    assert narrowed(query, 4, 3) == (Query("x", tuple("abe"), tuple("ABE"), (0.9, 0.8, 0.5)), 2)
    assert narrowed(query, -1, 3) == (Query("x", tuple("abc"), tuple("ABC"), (0.9, 0.8, 0.7)), -1)
    assert narrowed(query, 1, 9) == (query, 1)
