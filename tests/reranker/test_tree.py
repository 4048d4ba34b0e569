"""Branches as a tree: every branch is there, and what they begin with alike is there once."""

from __future__ import annotations

import pytest

from rpdr.reranker.tree import Tree, tree


def read(made: Tree, end: int) -> list[int]:
    """The branch that ends there."""
    found = []
    while end >= 0:
        found.append(made.ids[end])
        end = made.parents[end]
    return found[::-1]


@pytest.mark.parametrize(
    ("branches", "tokens"),
    [
        ([], 0),
        ([[1, 2, 3]], 3),
        ([[1, 2, 3], [1, 2, 4], [5]], 5),
        ([[1, 2], [1, 2]], 2),
        ([[1, 2, 3], [1, 2]], 3),
        ([[1, 1, 1], [2, 1, 1]], 6),
    ],
)
def test_each_branch_is_read_from_its_end(branches: list[list[int]], tokens: int):
    made = tree(branches)
    assert len(made) == tokens
    assert [read(made, end) for end in made.ends] == branches
    assert all(parent < place for place, parent in enumerate(made.parents))
    assert sum(made.counts) == sum(map(len, branches))
    for place, parent in enumerate(made.parents):
        assert made.depths[place] == (0 if parent < 0 else made.depths[parent] + 1)
