"""Write requirements-cpu.lock and requirements-cuda.lock: what rpdr needs, at the versions that are installed here, which its tests have run with.

make lock
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent
EXTRAS = {"cpu": ("cpu", "qlora"), "cuda": ("gpu", "qlora")}
AS_NAMED = {"faiss-gpu": "faiss-cpu"}  # released together; one of them is installed here


def main() -> None:
    """Both files."""
    for target, extras in EXTRAS.items():
        lines = [f"{name}=={number}" for name, number in sorted(needed("rpdr", extras).items())]
        head = "# Made by `make lock`; see lock.py. torch and faiss bring what they need of CUDA.\n"
        (FOLDER / f"requirements-{target}.lock").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def needed(package: str, extras: tuple[str, ...]) -> dict[str, str]:
    """name -> version of all that the package needs, with these extras, and what those need, on Linux."""
    found: dict[str, str] = {}
    waiting = [(package, extras)]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        for text in requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                continue
            child = canonicalize_name(requirement.name)
            installed = AS_NAMED.get(child, child)
            try:
                found[child] = version(installed).partition("+")[0]
            except PackageNotFoundError:  # a requirement of another build, such as torch's CUDA libraries
                continue
            waiting.append((installed, tuple(sorted(requirement.extras))))
    return found


if __name__ == "__main__":
    main()
