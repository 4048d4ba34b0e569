"""Branches as a tree: what several begin with alike is one branch until they part, and is read once.

A token's reading depends on what stands before it alone, so this changes no score. Token trees are how speculative decoding reads many
continuations at once (Miao et al. 2023, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tree:
    """n tokens, each after its parent: `parents`, -1 where a branch begins; `depths`, from 0; `counts`, how many branches have it; and `ends`, of
    each branch its last token."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


def tree(branches: Sequence[Sequence[int]]) -> Tree:
    """Of branches that are not empty."""
    made = Tree()
    place: dict[tuple[int, int], int] = {}  # (parent, token)
    for branch in branches:
        at = -1
        for depth, token in enumerate(branch):
            if (at, token) not in place:
                place[at, token] = len(made)
                made.ids.append(token)
                made.parents.append(at)
                made.depths.append(depth)
                made.counts.append(0)
            at = place[at, token]
            made.counts[at] += 1
        made.ends.append(at)
    return made
