"""Keep the figures of a finished run as benchmarks/results/NAME.json: command, data, protocol and machine beside them, and no mention text."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rpdr.files import write_json

RESULTS = Path(__file__).parent / "results"
# not `errors` (mention texts) and not `run_dir` (a path of the machine)
KEPT = (
    "created_at",
    "protocol",
    "simulated_teacher",
    "machine",
    "kb",
    "corpus",
    "systems",
    "unseen_taught",
    "comparison",
    "calibration",
    "teacher",
    "stages",
)


def figures(metrics: dict[str, Any], command: str, data: str) -> dict[str, Any]:
    """What stands in a results file, from a run's metrics.json."""
    kept = {name: metrics[name] for name in KEPT if name in metrics}
    parts = metrics.get("parts") or {}
    kept["before"] = {**parts, "groups": [group for group in parts.get("groups", []) if group["by"] == "before"]}
    kept["kb"] = {name: value for name, value in kept.get("kb", {}).items() if name != "source"}
    return {"command": command, "data": data, **kept}


def main() -> int:
    """Exit code 2 if the run has no report yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("name", help="of the results file, and of the README's marker")
    parser.add_argument("--command", required=True, help="what was run")
    parser.add_argument("--data", required=True, help="what it ran on")
    options = parser.parse_args()
    path = options.run_dir / "report" / "metrics.json"
    if not path.exists():
        sys.stderr.write(f"error: {path}: no such file; run `rpdr report --config …` first\n")
        return 2
    write_json(RESULTS / f"{options.name}.json", figures(json.loads(path.read_text(encoding="utf-8")), options.command, options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
