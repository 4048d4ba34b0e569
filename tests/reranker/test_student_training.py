"""The training step without Ray: it learns, the same seed learns the same, and every example is seen once an epoch."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpdr.config import StudentConfig
from rpdr.errors import RunError
from rpdr.reranker import Calibration, Example, Query, Reranker, Student
from rpdr.reranker.batches import batches, share, steps
from rpdr.reranker.prompt import Tokens
from rpdr.reranker.student import HEAD_FILE
from rpdr.reranker.targets import Task, prior_loss, prior_of, target
from rpdr.reranker.training import STATE_FILE, Hooks, _rate, train
from rpdr.retriever import Prior

NAMES = ("Vomiting", "Nausea", "Fever")


def examples(count: int, trust: float = 1.0) -> list[Example]:
    """The retriever prefers the first; what is right is the one that the mention names."""
    return [Example(Query(f"{NAMES[n % 3]} all day {n}", NAMES, NAMES, (0.6, 0.5, 0.4)), n % 3, trust) for n in range(count)]


def trained(config: StudentConfig, folder: Path, chosen: list[Example], **more: Any) -> tuple[Reranker, list[float], list[float]]:
    """(student, loss of each step, losses on held-out examples)."""
    told: list[list[float]] = []
    hooks = Hooks(lambda *_: None, lambda: folder / "checkpoint", lambda *_: None, lambda losses, exams, _: told.extend((losses, exams)))
    settings = config.model_copy(update={"epochs": 8, "batch_size": 8, "head_learning_rate": 0.05, "learning_rate": 0.01, **more})
    held_out = examples(12) if settings.early_stop else []
    train(settings, chosen, 7, hooks, held_out=held_out, resume_from=None, device="cpu", save_to=folder / "student")
    losses, exams = told
    return Reranker.load(folder / "student", settings, 8, "cpu"), losses, exams


@pytest.mark.parametrize(("tuning", "rate"), [("lora", 0.01), ("qlora", 0.01), ("full", 0.003)])
def test_a_student_learns_what_its_retriever_does_not_know(config: StudentConfig, tmp_path: Path, tuning: str, rate: float):
    chosen = examples(48)
    reranker, losses, _ = trained(config, tmp_path, chosen, tuning=tuning, learning_rate=rate)
    assert len(losses) == 48
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    right = [example.choice for example in chosen]
    assert (reranker.scores([example.query for example in chosen])[:, :3].argmax(1) == right).mean() > 0.8


def test_the_same_seed_learns_the_same(config: StudentConfig, tmp_path: Path):
    asked = [example.query for example in examples(48)]
    first, second = (trained(config, tmp_path / name, examples(48))[0] for name in "ab")
    assert torch.equal(torch.tensor(first.scores(asked)), torch.tensor(second.scores(asked)))


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_how_a_step_is_cut_into_forward_passes_changes_nothing(config: StudentConfig, tmp_path: Path, zero_stage: int):
    chosen = [replace(e, query=replace(e.query, text=e.query.text * (1 + n % 5))) for n, e in enumerate(examples(21))]
    cut = {"epochs": 1, "zero_stage": zero_stage, "learning_rate": 0.001, "head_learning_rate": 0.01}
    whole, losses, _ = trained(config, tmp_path / "a", chosen, micro_batch_tokens=100_000, **cut)
    parts, same, _ = trained(config, tmp_path / "b", chosen, micro_batch_tokens=64, **cut)
    assert losses == pytest.approx(same, rel=1e-4)
    asked = [example.query for example in chosen]
    assert whole.scores(asked) == pytest.approx(parts.scores(asked), abs=1e-2)
    alone, of_alone, _ = trained(config, tmp_path / "c", chosen, **{**cut, "zero_stage": 0})
    assert losses == pytest.approx(of_alone, rel=1e-4)  # what is cut in shards learns the same
    assert whole.scores(asked) == pytest.approx(alone.scores(asked), abs=1e-2)
    untrained = Reranker(Student.create(config, 7), Calibration(), 8, "cpu")
    assert np.abs(whole.scores(asked) - untrained.scores(asked))[:, :3].max() > 0.1


@pytest.mark.parametrize(
    ("tuning", "other"),
    [*((tuning, other) for tuning in ("lora", "qlora", "full") for other in ({}, {"world": 3})), ("lora", {"precision": "bf16"})],
)
def test_training_goes_on_from_a_checkpoint_also_one_of_more_workers_or_another_precision(
    config: StudentConfig, tmp_path: Path, other: dict[str, Any], tuning: str
):
    folders: list[Path] = []

    def folder() -> Path:
        folders.append(tmp_path / f"checkpoint{len(folders)}")
        return folders[-1]

    settings = config.model_copy(
        update={"epochs": 8, "batch_size": 8, "checkpoint_every_steps": 20, "head_learning_rate": 0.05, "tuning": tuning}
    )
    losses: dict[str, list[float]] = {"whole": [], "rest": []}
    chosen = examples(48)
    told: dict[str, list[float]] = {}
    for name in ("whole", "rest"):

        def end(all_losses: list[float], *_: Any, name: str = name) -> None:
            told[name] = all_losses

        hooks = Hooks(lambda done, total, loss, to=losses[name]: to.append(loss), folder, lambda *_: None, end)
        start = folders[0] if name == "rest" else None
        train(settings, chosen, 7, hooks, resume_from=start, device="cpu", save_to=tmp_path / name)
        if name == "whole" and other:
            state = json.loads((folders[0] / STATE_FILE).read_text())
            (folders[0] / STATE_FILE).write_text(json.dumps({**state, **other}))
    assert (len(losses["whole"]), len(losses["rest"])) == (48, 28)
    assert losses["rest"][0] == pytest.approx(losses["whole"][20], rel=1e-5)  # the same weights and batches
    assert told == {"whole": losses["whole"], "rest": losses["whole"][:20] + losses["rest"]}  # the curve is whole
    if not other:  # the same moments too
        assert losses["rest"] == pytest.approx(losses["whole"][20:], rel=1e-4)
    assert losses["rest"][-1] < losses["rest"][0]


def test_training_stops_when_an_epoch_brings_nothing_and_the_best_is_kept(config: StudentConfig, tmp_path: Path):
    wild = {"epochs": 30, "learning_rate": 0.1, "head_learning_rate": 0.5, "early_stop": True}
    reranker, losses, exams = trained(config, tmp_path, examples(24), **wild)
    assert 2 <= len(exams) < 30
    assert len(losses) == 3 * len(exams)
    assert min(exams) == exams[-2] < exams[-1]
    held_out = examples(12)
    logs = torch.log_softmax(torch.tensor(reranker.scores([e.query for e in held_out])), 1)
    assert -sum(float(logs[n, e.choice]) for n, e in enumerate(held_out)) / 12 == pytest.approx(min(exams), rel=1e-3)


def test_where_training_goes_on_the_best_student_is_the_one_that_the_checkpoint_knows(config: StudentConfig, tmp_path: Path):
    best: list[bytes] = []
    kept = tmp_path / "student" / HEAD_FILE
    hooks = Hooks(lambda *_: None, lambda: tmp_path / f"checkpoint{len(best)}", lambda *_: best.append(kept.read_bytes()))
    settings = config.model_copy(update={"epochs": 3, "batch_size": 8, "checkpoint_every_steps": 4, "head_learning_rate": 0.05})
    task: dict[str, Any] = {"held_out": examples(12), "device": "cpu", "save_to": tmp_path / "student"}
    train(settings, examples(24), 7, hooks, resume_from=None, **task)
    assert kept.read_bytes() != best[0]  # a later epoch's, as a kill before the next checkpoint leaves it
    (tmp_path / "student" / "half").touch()
    state = json.loads((tmp_path / "checkpoint0" / STATE_FILE).read_text())
    (tmp_path / "checkpoint0" / STATE_FILE).write_text(json.dumps({**state, "exams": [0.0]}))  # which no epoch from there on betters
    train(settings, examples(24), 7, hooks, resume_from=tmp_path / "checkpoint0", **task)
    assert kept.read_bytes() == best[0]
    assert not (tmp_path / "student" / "half").exists()


def test_a_soft_label_leaves_the_rest_to_the_retriever():
    prior = Prior(10.0, 4.0)
    example = Example(Query("x", NAMES, NAMES, (0.6, 0.5, 0.4)), 1, 0.8)
    wanted = target(example, prior)
    believed = prior.probabilities(np.array([[0.6, 0.5, 0.4]]))[0]
    assert wanted[1] == 0.8
    assert wanted.sum() == pytest.approx(1)
    assert wanted[0] / wanted[2] == pytest.approx(believed[0] / believed[2])
    assert target(example).tolist() == [0, 1, 0, 0]
    assert target(replace(example, choice=-1), prior)[-1] == 0.8
    both = replace(example, also=(0,))
    assert target(both).tolist() == [0.5, 0.5, 0, 0]
    assert target(both, prior)[:2].tolist() == pytest.approx([0.4, 0.4])
    assert target(both, prior).sum() == pytest.approx(1)


def test_what_is_held_out_asks_for_any_of_those_that_are_right():
    one, other = examples(2)
    task = Task([Tokens([], [], [], ())] * 2, [target(replace(one, also=(2,))), target(other)], any_of=True)
    micro = [(0, 0.5), (1, 0.25)]
    for sure in ([8.0, 0, 0, 0], [0, 0, 8.0, 0]):
        p = torch.softmax(torch.tensor(sure), 0)
        expected = -0.5 * (p[0] + p[2]).log() - 0.25 * p[1].log()
        assert float(task.loss(torch.tensor([sure, sure]), micro)) == pytest.approx(float(expected), rel=1e-4)
    fewer = torch.tensor([[1.0, 2.0, float("-inf"), 3.0]])  # no third candidate
    alone = Task([Tokens([], [], [], ())], [np.array([0.0, 1.0, 0.0])])
    assert float(replace(alone, any_of=True).loss(fewer, [(0, 1.0)])) == pytest.approx(float(alone.loss(fewer, [(0, 1.0)])))
    assert float(replace(alone, any_of=True).loss(fewer, [(0, 0.0)])) == 0  # which only fills a rank up


def test_what_the_retriever_alone_loses_is_where_training_starts():
    prior = Prior(10.0, 4.0)
    one, other = examples(2)
    logits = np.array([6.0, 5.0, 4.0, 4.0])
    logs = logits - np.log(np.exp(logits).sum())
    assert prior_loss([one], prior) == pytest.approx(-logs[0])
    assert prior_loss([one, replace(other, choice=-1)], prior) == pytest.approx(-(logs[0] + logs[3]) / 2)


def test_with_soft_labels_that_is_the_loss_against_them():
    prior = Prior(10.0, 4.0)
    some = [replace(example, trust=0.7) for example in examples(2)]
    believed = prior.probabilities(np.array([example.query.similarities for example in some]))
    losses = [-(target(example, prior) @ np.log(row)) for example, row in zip(some, believed, strict=True)]
    assert prior_loss(some, prior, soft=True) == pytest.approx(np.mean(losses))
    assert prior_loss(some, prior, soft=True) != pytest.approx(prior_loss(some, prior))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_share_a_batch_so_that_each_example_counts_once(world: int):
    rng = random.Random(1)
    tokens = [Tokens([0] * n, [], [], ()) for n in sorted(rng.randrange(1, 200) for _ in range(20))]
    for batch in (list(range(20)), [3, 9], [5]):
        parts = [share(batch, tokens, 400, rank, world) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        weights = Counter[int]()
        for part in parts:
            for micro in part:
                assert len(micro) == 1 or len(micro) * max(len(tokens[n]) for n, _ in micro) <= 400
                weights.update({n: w / world for n, w in micro if w})
        assert weights == pytest.approx({n: 1 / len(batch) for n in batch})


@pytest.mark.parametrize("world", [2, 5])
def test_more_workers_take_the_same_steps_also_more_than_a_batch_has_examples(config: StudentConfig, world: int):
    rng = random.Random(1)
    tokens = [Tokens([0] * rng.randrange(1, 200), [], [], ()) for _ in range(10)]
    settings = config.model_copy(update={"epochs": 2, "batch_size": 3, "micro_batch_tokens": 400})

    def learned(of: int) -> list[tuple[Counter[int], bool]]:
        """Of each step, how much each example counts, and whether it ends an epoch."""
        plans = [steps(tokens, settings, 7, rank, of) for rank in range(of)]
        found = []
        for together in zip(*plans, strict=True):
            weights = Counter[int]()
            for micros, _ in together:
                for micro in micros:
                    weights.update({n: w / of for n, w in micro if w})
            found.append((weights, together[0][1]))
        return found

    for (mine, ends), (alone, also) in zip(learned(world), learned(1), strict=True):
        assert mine == pytest.approx(alone)
        assert ends == also


@pytest.mark.parametrize("count", [1, 7, 8, 257, 300])
def test_each_example_is_in_one_batch_among_its_like(count: int):
    rng = random.Random(1)
    tokens = [Tokens([0] * rng.randrange(1, 200), [], [], ()) for _ in range(count)]
    found = batches(tokens, 8, random.Random(2))
    assert sorted(n for batch in found for n in batch) == list(range(count))
    assert len(found) == -(-count // 8)
    sizes = [len(batch) for batch in found]
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1  # a rest of one would count as much as eight others
    assert batches(tokens, 8, random.Random(2)) == found
    padded = sum(len(batch) * max(len(tokens[n]) for n in batch) for batch in found)
    assert count < 100 or padded < 1.15 * sum(map(len, tokens))


def test_an_example_is_narrowed_to_the_chosen_and_the_most_similar():
    query = Query("x", tuple("abcde"), tuple("ABCDE"), (0.9, 0.8, 0.7, 0.6, 0.5))
    few = Query("x", tuple("abc"), tuple("ABC"), (0.9, 0.8, 0.7))
    assert Example(query, 0).narrowed(3) == Example(few, 0)
    assert Example(query, 4, 0.5).narrowed(3) == Example(Query("x", tuple("abe"), tuple("ABE"), (0.9, 0.8, 0.5)), 2, 0.5)
    assert Example(query, -1).narrowed(3) == Example(few, -1)
    both = Example(query, 1, 0.5, (4,))
    assert both.narrowed(3) == Example(Query("x", tuple("abe"), tuple("ABE"), (0.9, 0.8, 0.5)), 1, 0.5, (2,))
    assert both.narrowed(1) == Example(Query("x", tuple("be"), tuple("BE"), (0.8, 0.5)), 0, 0.5, (1,))
    assert Example(query, 1).narrowed(9) == Example(query, 1).narrowed(0) == Example(query, 1)


def test_a_loss_that_is_no_number_ends_it(config: StudentConfig, tmp_path: Path):
    with pytest.raises(RunError, match=r"lower student\.learning_rate"):
        trained(config, tmp_path, examples(48), learning_rate=1e25, head_learning_rate=1e25)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(("bad", "zero_stage"), [(2, 1), (99, 3)])
def test_gradients_that_are_no_numbers_end_it_where_none_is_left_to_hope_for(
    config: StudentConfig, tmp_path: Path, bad: int, zero_stage: int
):
    """DeepSpeed drops such a step without a word, and the loss stays a number."""

    def create(*how: Any) -> Student:
        student = Student.create(*how)
        seen = []
        spoilt = next(p for name, p in student.named_parameters() if "lora_B" in name)
        spoilt.register_hook(lambda gradient: gradient * (np.nan if seen.append(1) is None and len(seen) <= bad else 1))
        return student

    told: list[Any] = []
    hooks = Hooks(lambda *_: None, lambda: tmp_path / "checkpoint", lambda *_: None, lambda *what: told.extend(what))
    settings = config.model_copy(update={"epochs": 2, "batch_size": 8, "precision": "bf16", "zero_stage": zero_stage})
    hopeless = pytest.raises(RunError, match=r"gradients that are no numbers in 8 steps, .* lower student\.learning_rate")
    with hopeless if bad > 8 else nullcontext():
        train(settings, examples(40), 7, hooks, resume_from=None, device="cpu", save_to=tmp_path / "student", create=create)
    assert (len(told[0]), told[2]) == (10, bad) if bad <= 8 else not told
    assert (tmp_path / "student").exists() == (bad <= 8)


def test_in_bf16_training_starts_at_what_the_retriever_alone_loses(config: StudentConfig, tmp_path: Path):
    query = examples(1)[0].query
    chosen = [Example(replace(query, similarities=(0.9 - n / 500, 0.83, 0.8)), -1 if n > 17 else int(n % 6 == 5)) for n in range(24)]
    prior = prior_of(chosen)
    reranker, losses, _ = trained(
        config, tmp_path, chosen, precision="bf16", epochs=1, batch_size=24, learning_rate=1e-9, head_learning_rate=1e-9
    )
    assert losses == pytest.approx([prior_loss(chosen, prior)], abs=1e-4)
    expected = prior.scores(np.array([e.query.similarities for e in chosen]))
    assert reranker.scores([e.query for e in chosen]) == pytest.approx(expected, abs=1e-3)


def test_the_learning_rate_rises_to_all_of_it_and_falls_to_a_twentieth():
    assert [_rate(step, 100, 0.1) for step in (1, 10, 56, 100)] == [0.1, 1.0, 0.5, 0.05]


def test_in_bf16_the_first_steps_are_as_long_without_shards_as_with_them(config: StudentConfig, tmp_path: Path):
    def moved(zero_stage: int) -> torch.Tensor:
        settings = config.model_copy(update={"precision": "bf16", "epochs": 1, "batch_size": 8, "zero_stage": zero_stage})
        hooks = Hooks(lambda *_: None, lambda: tmp_path, lambda *_: None)
        student = train(settings, examples(16), 7, hooks, resume_from=None, device="cpu", save_to=None)
        return torch.cat([p.detach().float().flatten() for p in student.head.parameters()])

    assert moved(0) == pytest.approx(moved(1), rel=0.02, abs=1e-4)
