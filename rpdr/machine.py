"""The machine that a process runs on: what it is, and what the process may have of it, which in a container is not all."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


def machine() -> dict[str, Any]:
    """Where this runs: CPU, cores, GPU, Python and the versions that matter."""
    import torch  # seconds, which who asks for memory alone need not wait

    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), cpu)
    except OSError:
        pass
    packages = ("rpdr", "ray", "torch", "transformers", "peft", "deepspeed", "sentence-transformers", "pyarrow")
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
