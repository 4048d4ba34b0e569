"""What a run keeps of a stage, in `.stages/NAME.json`: what it was begun from, and, once it is finished, what it found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rpdr.files import write_json


@dataclass(frozen=True)
class Record:
    """`inputs`: the hash of all that the stage was begun from; empty while its results are thrown away: what is left is of no config, and `were` has
    the hash. `revision`: that of the stage that began it. `id`: the hash of what a finished stage has made, empty before; `summary`: for the report."""

    inputs: str
    revision: int = 1
    were: str = ""
    id: str = ""
    finished_at: str = ""  # ISO 8601, UTC
    seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        write_json(path, {name: value for name, value in asdict(self).items() if value or name == "inputs"})


def read_record(path: Path) -> Record | None:
    """None where the stage was never begun. What a later rpdr keeps besides is passed over."""
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Record(**{known.name: kept[known.name] for known in fields(Record) if known.name in kept})
