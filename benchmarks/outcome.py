"""What a benchmark leaves: a table for the terminal and the README, and one JSON with command, data and machine beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rpdr import machine as this
from rpdr.evaluation import PairedResult
from rpdr.evaluation.systems import Score
from rpdr.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]


def keep(
    name: str,
    command: str,
    data: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    simulated: bool = True,
    machines: Mapping[str, Mapping[str, Any]] | None = None,
    **measured: Any,
) -> None:
    """Print the table and write results/NAME.json. `simulated`: the sandbox teacher had a part in it, and the result says so. `machines`: of what each
    part was measured on, by its name, where earlier calls have measured some; else this one."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    on = {"machine": machine()} if machines is None else {"machines": by_machine(machines)}
    told = {"command": command, "data": data, "simulated_teacher": simulated, **on, "columns": columns, "rows": rows}
    write_json(RESULTS / f"{name}.json", {**told, **measured})


def kept(name: str) -> dict[str, Any]:
    """What results/NAME.json has, by earlier calls; nothing where it is not there."""
    path = RESULTS / f"{name}.json"
    return dict(read_json(path)) if path.exists() else {}


def machine() -> dict[str, Any]:
    """As rpdr.machine has it; of rpdr the commit that is checked out too, `-dirty` where files differ from it."""
    found = this.machine()
    told = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    found["versions"]["rpdr"] += f" at {told.stdout.strip()}" if told.stdout else ""
    return found


def by_machine(machines: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What was measured on each, that of most first."""
    found: dict[str, list[str]] = {}
    for name, on in machines.items():
        found.setdefault(where(on), []).append(name)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def where(on: Mapping[str, Any]) -> str:
    """A machine, in words."""
    return f"{on['cpu']}, {on['cores']} cores" + (f", {on['gpu']}" if on.get("gpu") else "")


def shown(score: Score) -> str:
    """A rate with its interval."""
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def against(test: PairedResult) -> str:
    """A difference with its p-value."""
    return in_short(test.difference, test.p_value)


def in_short(difference: float, p_value: float) -> str:
    """As `against` has it, of what a results file keeps of a test."""
    return f"{difference:+.3f} (p = {p_value:.2g})"
