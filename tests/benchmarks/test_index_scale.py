"""What the index of millions of names is divided by."""

from __future__ import annotations

import index_scale
import numpy as np
import pytest
from index_scale import AT, BATCH, REPEATS, K, World


def test_exact_search_is_timed_as_the_index_is_asked(monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Watched(index_scale.Nearest):
        def __init__(self, queries: np.ndarray, k: int) -> None:
            asked.append((len(queries), k))
            super().__init__(queries, k)

    monkeypatch.setattr(index_scale, "Nearest", Watched)
    vectors = np.random.default_rng(13).standard_normal((300, 8), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[: BATCH + 2]
    found, seconds = index_scale._exact(World(vectors, queries), [str(n) for n in range(300)], queries)
    assert np.array_equal(found[:, 0], np.arange(len(queries)))
    assert asked[0] == (len(queries), AT)  # for recall, not timed
    assert asked[1:] == [(BATCH, K), *[(BATCH, K), (2, K)] * REPEATS]
    assert seconds > 0
