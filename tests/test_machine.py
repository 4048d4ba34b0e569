"""What a container leaves of its machine's memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rpdr import machine
from rpdr.machine import memory

GIB = 2**30
HOST = 64 * GIB


@pytest.mark.parametrize(
    ("mine", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": GIB}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": GIB, "memory.max": 2 * GIB}, GIB),
        ("0::/a\n", {"a/memory.max": "max", "b/memory.max": GIB, "memory/memory.limit_in_bytes": GIB}, HOST),
        ("5:devices:/\n4:memory:/host/c1\n0::/\n", {"memory/memory.limit_in_bytes": GIB}, GIB),  # it sees no other group than its own
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": GIB, "memory/memory.limit_in_bytes": 2**63 - 4096}, GIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": 2**63 - 4096, "memory.max": GIB}, HOST),
        (None, {}, HOST),
    ],
)
def test_memory_is_the_least_that_a_group_allows_or_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str | None, limits: dict[str, int | str], expected: int
):
    for name, limit in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")
    if mine is not None:
        (tmp_path / "mine").write_text(mine)
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "MINE", tmp_path / "mine")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=HOST))
    assert memory() == expected
