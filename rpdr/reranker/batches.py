"""Which examples go through the student together: steps of like lengths, shared among ranks, cut by tokens. Plans alone, no tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from rpdr.config import StudentConfig
from rpdr.reranker.prompt import WHOLE, Tokens

LIKE_LENGTHS = 16  # batches among whose examples lengths are matched

Micro = list[tuple[int, float]]  # examples of one forward pass, each with its weight in the loss of the step


def steps(tokens: Sequence[Tokens], config: StudentConfig, seed: int, rank: int, world: int) -> list[tuple[list[Micro], bool]]:
    """A rank's part of each step of all epochs, and whether it ends one. Every rank makes the same plan, and so do more ranks, or fewer: where a
    batch has no example for a rank, that one only fills up."""
    plan: list[tuple[list[Micro], bool]] = []
    for epoch in range(config.epochs):
        found = batches(tokens, config.batch_size, random.Random(f"{seed}-{epoch}"))
        plan += [(share(batch, tokens, config.micro_batch_tokens, rank, world), n == len(found)) for n, batch in enumerate(found, start=1)]
    return plan


def batches(tokens: Sequence[Tokens], size: int, rng: random.Random) -> list[list[int]]:
    """Every example once, at random, but among like lengths, shortest first: a batch is padded to its longest, which wasted a quarter of the work.
    As few batches as hold them, all of one size but for one example: a step is a mean, in which those of a small rest would weigh more."""
    order = list(range(len(tokens)))
    rng.shuffle(order)
    found: list[list[int]] = []
    for window in _chunks(_evenly(order, -(-len(order) // size)), LIKE_LENGTHS):
        found += _evenly(sorted(chain.from_iterable(window), key=lambda i: len(tokens[i])), len(window))
    rng.shuffle(found)
    return found


def share(batch: Sequence[int], tokens: Sequence[Tokens], limit: int, rank: int, world: int) -> list[Micro]:
    """A rank's part of a batch that is sorted by length, cut so that no forward pass holds more than `limit` tokens, padding too.

    Every rank has equally many passes, as they must step together. Weights make the mean over the ranks of their sums the mean over the
    batch; what only fills a rank up weighs nothing.
    """
    parts = [list(_cut(batch[r::world] or batch[:1], tokens, limit)) for r in range(world)]
    weight = world / len(batch) if batch[rank::world] else 0.0
    mine: list[Micro] = [[(number, weight) for number in part] for part in parts[rank]]
    while len(mine) < max(map(len, parts)):
        mine.append([(mine[-1][-1][0], 0.0)])
    return mine


def _cut(numbers: Sequence[int], tokens: Sequence[Tokens], limit: int) -> Iterator[list[int]]:
    part: list[int] = []
    for number in numbers:
        length = -(-len(tokens[number]) // WHOLE) * WHOLE  # the longest until now
        if part and length * (len(part) + 1) > limit:
            yield part
            part = []
        part.append(number)
    yield part


def _evenly(items: list[int], parts: int) -> list[list[int]]:
    """In order, in so many parts, whose sizes differ by one at most."""
    return [items[len(items) * n // parts : len(items) * (n + 1) // parts] for n in range(parts)]


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
