"""What this process may have of its machine, which in a container is not all that the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def memory() -> int:
    """Bytes: the machine's, or the least that a cgroup of this process allows."""
    return min([psutil.virtual_memory().total, *_limits(GROUPS, MINE)])


def _limits(groups: Path, mine: Path) -> Iterator[int]:
    """Of the cgroup that `mine` names below `groups` and of those that it is in; a container often sees its own as the topmost alone."""
    lines = mine.read_text().splitlines() if mine.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if "memory" in controllers.split(","):  # of version 1
            root, name = groups / "memory", "memory.limit_in_bytes"
        elif not controllers:
            root, name = groups, "memory.max"
        else:
            continue
        place = root / path.lstrip("/")
        for file in (folder / name for folder in (place, *place.parents) if folder.is_relative_to(root)):
            if file.exists() and (limit := file.read_text().strip()).isdigit():  # or "max"
                yield int(limit)
