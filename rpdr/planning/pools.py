"""How many processes each pool of a stream gets on given nodes: as many as there is room for, in proportion to their work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rpdr.config import Needs
from rpdr.planning.nodes import Choice, NodesConfig, Room, Rooms, crowding, group_of, room_for
from rpdr.planning.work import Pool, StageWork, Step, Stream

OF_RAY_DATA = Needs(cpus=1)  # what reads and spreads mentions; were there no place for it, all would wait for ever


def sized(stages: Sequence[StageWork], choices: Sequence[Choice], nodes: NodesConfig) -> tuple[StageWork, ...]:
    """The stages, each pool without a size with that which these nodes give it; 0 where there is no room for one of each."""
    return tuple(replace(stage, steps=tuple(_sized(step, choices, nodes) for step in stage.steps)) for stage in stages)


def _sized(step: Step, choices: Sequence[Choice], nodes: NodesConfig) -> Step:
    if not isinstance(step, Stream) or all(pool.most is not None for pool in step.pools):
        return step
    sizes = dict.fromkeys(range(len(step.pools)), 0)
    for choice in choices:
        mine = [n for n, pool in enumerate(step.pools) if pool.share and _group(pool, nodes) == choice.group]
        sizes.update(zip(mine, _shared(step, [step.pools[n] for n in mine], choice, nodes), strict=True))
    return replace(step, pools=tuple(replace(pool, most=pool.most or sizes[n]) for n, pool in enumerate(step.pools)))


def _shared(step: Stream, pools: Sequence[Pool], choice: Choice, nodes: NodesConfig) -> list[int]:
    """Of these pools on the nodes of one group: one more for the pool that has most to do a process, until none fits beside Ray Data's own tasks."""
    node = nodes.types[choice.type]
    work = [pool.share * pool.seconds * crowding(pool.process.needs) / node.speed_at(pool.process.kind) for pool in pools]
    rooms = Rooms([Room(node) for _ in range(choice.nodes)])
    rooms.take(OF_RAY_DATA)
    sizes = [0] * len(pools)
    open_ = set(range(len(pools)))
    batches = [math.ceil(step.mentions * pool.share / step.batch) for pool in pools]
    useful = [min(n, choice.nodes * room_for(pool.process.needs, node)) for n, pool in zip(batches, pools, strict=True)]
    while open_:
        n = max(open_, key=lambda i: work[i] / sizes[i] if sizes[i] else float("inf"))
        needs = pools[n].process.needs
        if sizes[n] < useful[n] and rooms.take(needs) is not None:
            sizes[n] += 1
        else:
            open_.remove(n)
    return sizes


def _group(pool: Pool, nodes: NodesConfig) -> str:
    return group_of(pool.process.needs, pool.process.kind, nodes)
