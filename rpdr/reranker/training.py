"""One worker's part of the training of a student, under DeepSpeed: listwise cross-entropy on the teacher's choices.

Knows nothing of Ray: rank and world come from torch.distributed, progress and checkpoints go out through `Hooks`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rpdr.config import StudentConfig
from rpdr.errors import RunError
from rpdr.models import chosen_precision
from rpdr.reranker.prompt import Query, Tokens
from rpdr.reranker.student import Student

LIKE_LENGTHS = 16  # batches among whose examples lengths are matched


@dataclass(frozen=True)
class Hooks:
    """What the worker tells its surroundings: each step, and each checkpoint folder that it wrote (all ranks write into it)."""

    on_step: Callable[[int, int, float], None]  # steps done, steps in all, loss in nats
    checkpoint_folder: Callable[[], Path]
    on_checkpoint: Callable[[Path, int, int], None]  # folder, steps done, steps in all


@dataclass(frozen=True)
class Step:
    """The examples of one optimizer step, as micro-batches of this rank; every rank has the same number of them."""

    micro_batches: list[list[int]]


def train(
    config: StudentConfig,
    queries: Sequence[Query],
    choices: Sequence[int],
    seed: int,
    hooks: Hooks,
    *,
    resume_from: Path | None,
    device: str,
    save_to: Path | None,
) -> Student:
    """Train a new student (or go on from `resume_from`), save it from rank 0 to `save_to`, and return it.

    `choices[i]` is the index of the chosen candidate of `queries[i]`, or -1 (none). Raises ModelError if the base model cannot be loaded, RunError if DeepSpeed did not take the model.
    """
    if not dist.is_initialized():  # alone, as in a notebook
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    rank, world = dist.get_rank(), dist.get_world_size()
    student = Student.create(config, seed, device)
    tokens = [student.prompt.tokens(query) for query in queries]
    _fit_head(student, tokens, choices)
    engine, schedule = _engine(student, config, device, world)
    if type(engine).__name__ != "DeepSpeedEngine":
        raise RunError(f"training ran without DeepSpeed ({type(engine).__name__})")
    steps = _steps(tokens, config, seed, rank, world)
    done = 0
    if resume_from is not None:
        _, state = engine.load_checkpoint(str(resume_from), load_module_strict=False)
        done = int((state or {}).get("steps", 0))
    engine.train()
    for number, step in enumerate(steps, start=1):
        if number <= done:
            continue
        factor = schedule(number - 1, len(steps))
        for group in engine.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        losses = []
        for micro_batch in step.micro_batches:
            batch = {name: value.to(device) for name, value in student.prompt.collate([tokens[i] for i in micro_batch]).items()}
            scores = engine(**batch)
            none = scores.shape[1] - 1
            target = torch.tensor([choices[i] if choices[i] >= 0 else none for i in micro_batch], device=device)
            loss = torch.nn.functional.cross_entropy(scores, target)
            engine.backward(loss)
            engine.step()
            losses.append(loss.item())
        hooks.on_step(number, len(steps), sum(losses) / len(losses))
        if number % config.checkpoint_every_steps == 0 and number < len(steps):
            folder = hooks.checkpoint_folder()
            engine.save_checkpoint(str(folder), client_state={"steps": number}, exclude_frozen_parameters=True)
            hooks.on_checkpoint(folder, number, len(steps))
    if save_to is not None:
        import deepspeed

        trained = [p for p in student.parameters() if p.requires_grad] if config.zero_stage == 3 else []
        with deepspeed.zero.GatheredParameters(trained):  # ZeRO 3 keeps a part of each weight on each rank
            if rank == 0:
                student.save(save_to)
        dist.barrier()
    return student


def _fit_head(student: Student, tokens: Sequence[Tokens], choices: Sequence[int]) -> None:
    k = max(len(t.branches) for t in tokens)
    similarities, present = torch.zeros(len(tokens), k), torch.zeros(len(tokens), k + 1, dtype=torch.bool)
    for row, t in enumerate(tokens):
        similarities[row, : len(t.branches)] = torch.tensor(t.similarities)
        present[row, : len(t.branches)] = True
    present[:, k] = True
    student.head.fit_to_retriever(similarities, present, torch.tensor([c if c >= 0 else k for c in choices]))


def _steps(tokens: Sequence[Tokens], config: StudentConfig, seed: int, rank: int, world: int) -> list[Step]:
    """The same plan on every rank, cut so that all ranks do equal numbers of micro-batches of like lengths."""
    steps: list[Step] = []
    for epoch in range(config.epochs):
        for batch in _batches(tokens, max(config.batch_size, world), random.Random(f"{seed}-{epoch}")):
            mine = batch[rank::world] or batch[:1]  # sorted by length, as it comes
            while len(mine) < -(-len(batch) // world):  # a rank that is one short repeats one: all ranks must step together
                mine.append(mine[-1])
            steps.append(Step(_split(mine, accumulation(config, world))))
    return steps


def _batches(tokens: Sequence[Tokens], size: int, rng: random.Random) -> list[list[int]]:
    """Every example once, at random, but among like lengths, shortest first: a batch is padded to its longest, which wasted a quarter of the work."""
    order = list(range(len(tokens)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    for window in _chunks(order, LIKE_LENGTHS * size):
        batches += _chunks(sorted(window, key=lambda i: len(tokens[i])), size)
    rng.shuffle(batches)
    return batches


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _split(items: list[int], parts: int) -> list[list[int]]:
    """`parts` lists of nearly equal length, in order; short input repeats its last item, as every step has the same number of parts."""
    items = items + [items[-1]] * max(0, parts - len(items))
    bounds = [round(i * len(items) / parts) for i in range(parts + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]


def accumulation(config: StudentConfig, world: int) -> int:
    """Micro-batches of one rank in one optimizer step."""
    return max(1, -(-config.batch_size // (world * config.micro_batch_size)))


def _engine(student: Student, config: StudentConfig, device: str, world: int) -> tuple[Any, Callable[[int, int], float]]:
    os.environ["DS_ACCELERATOR"] = "cuda" if device.startswith("cuda") else "cpu"
    import deepspeed

    # or it compiles an op here that only its own inference uses: half a minute, and a failure where there is no C++ compiler
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    adapters = [p for name, p in student.named_parameters() if p.requires_grad and not name.startswith("head.")]
    groups = [
        {"params": adapters, "lr": config.learning_rate, "base_lr": config.learning_rate},
        {"params": list(student.head.parameters()), "lr": config.head_learning_rate, "base_lr": config.head_learning_rate},
    ]
    # the class, not a config entry: DeepSpeed would compile its own CPU AdamW for minutes
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    engine, *_ = deepspeed.initialize(
        model=student,
        optimizer=optimizer,
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": config.micro_batch_size,
            "gradient_accumulation_steps": accumulation(config, world),
            "bf16": {"enabled": chosen_precision(config.precision, device) == "bf16"},
            "zero_optimization": {"stage": config.zero_stage},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "gradient_clipping": 1.0,
            "steps_per_print": 10**9,
        },
    )

    def schedule(step: int, total: int) -> float:
        warmup = max(1, round(total * config.warmup_fraction))
        return (step + 1) / warmup if step < warmup else max(0.05, (total - step) / max(1, total - warmup))

    return engine, schedule
