"""What actors hold of a cluster, by the nodes that Ray tells of."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from rpdr.pipeline.cluster import pool_cpus


def nodes(*cpus: float) -> list[dict[str, Any]]:
    return [{"Alive": True, "Resources": {"CPU": each}} for each in cpus] + [{"Alive": False, "Resources": {"CPU": 64.0}}]


@pytest.mark.parametrize(
    ("cpus", "held"),
    [
        ((1,), 0.0),
        ((1, 1, 1, 1), 0.0),  # on each, a task of Ray Data's wants all there is
        ((0, 1), 0.0),
        ((2,), 0.25),
        ((1, 2), 0.375),
        ((16, 16), 1.0),
        ((0,), 0.0),  # before it grows
    ],
)
def test_actors_leave_a_whole_cpu_somewhere(cpus: tuple[float, ...], held: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes(*cpus))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(sum(cpus))})
    assert pool_cpus(1.0, 1 / 8) == pytest.approx(held)
