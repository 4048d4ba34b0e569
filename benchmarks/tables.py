"""Write the tables of README.md and docs/measured.md from benchmarks/results: what stands between `<!-- results:NAME -->` and `<!-- /results:NAME -->`.

With --check, change nothing, and exit with 1 if a page does not say what the results say, or has a figure of three decimals in its text that no results have.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from outcome import where

from rpdr.errors import DataError
from rpdr.evaluation.table import comparison_line, markdown_table
from rpdr.files import write_text

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/measured.md")
SECTION = re.compile(r"(<!-- results:([\w-]+) -->\n)(.*?)(<!-- /results:\2 -->)", re.DOTALL)
MARKER = re.compile(r"<!-- /?results:")
CODE = re.compile(r"```.*?```", re.DOTALL)
DECIMAL = re.compile(r"(?<![\w.,])\d+\.\d{3}(?!\d)")
OF_A_TEST = ("difference", "low", "high")  # what results have of comparisons that no table shows


def rendered(pages: Mapping[str, str], results: Path) -> dict[str, str]:
    """The pages, by name, with all their tables made anew. Raises DataError for a marker without its partner or its results file, and for
    results that no page shows."""
    shown = set()
    for name, text in pages.items():
        found = [match.group(2) for match in SECTION.finditer(text)]
        if len(MARKER.findall(text)) != 2 * len(found):
            raise DataError(f"{name}: a results marker without its partner; write <!-- results:NAME --> and <!-- /results:NAME -->")
        for result in found:
            if not (results / f"{result}.json").exists():
                raise DataError(f"{name}: results:{result} has no {result}.json in benchmarks/results; make it with benchmarks/collect.py")
        shown |= set(found)
    for path in sorted(results.glob("*.json")):
        if path.stem not in shown:
            where = " or ".join(pages)
            raise DataError(f"no marker shows {path.name}; add <!-- results:{path.stem} --> and <!-- /results:{path.stem} --> to {where}")

    def section(match: re.Match[str]) -> str:
        made = json.loads((results / f"{match.group(2)}.json").read_text(encoding="utf-8"))
        return match.group(1) + text_of(made) + match.group(4)

    return {name: SECTION.sub(section, text) for name, text in pages.items()}


def unmeasured(pages: Mapping[str, str], results: Path) -> dict[str, list[str]]:
    """By page the figures of three decimals in the text around tables that no table has, nor a comparison in a results file: a slip of who typed them.
    What a table has by chance passes."""
    known = {number for text in pages.values() for match in SECTION.finditer(text) for number in DECIMAL.findall(match.group(3))}
    for path in sorted(results.glob("*.json")):
        known |= {f"{abs(value):.3f}" for value in _of_tests(json.loads(path.read_text(encoding="utf-8")))}
    found = {name: DECIMAL.findall(CODE.sub("", SECTION.sub("", text))) for name, text in pages.items()}
    return {name: unknown for name, numbers in found.items() if (unknown := [number for number in numbers if number not in known])}


def _of_tests(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        if "p_value" in value:
            yield from (value[name] for name in OF_A_TEST if name in value)
        for each in value.values():
            yield from _of_tests(each)
    elif isinstance(value, list):
        for each in value:
            yield from _of_tests(each)


def text_of(result: dict[str, Any]) -> str:
    """Table, comparisons and circumstances of one results file, as Markdown."""
    if "rows" in result:
        return _plain(result)
    teacher = result.get("teacher", {})
    compared = result.get("comparison", [])
    of_all = [{**row, "on": ""} for row in compared if row["on"] == "all"]
    repeated = all({**row, "on": ""} in of_all for row in compared)  # where nothing had been linked by hand, "unseen" says nothing more
    lines = [comparison_line(row) for row in compared if not (repeated and row["on"] != "all")]
    for group in (result.get("before") or {}).get("groups", []):
        told = [_part(row, result["before"]["new"], result["before"]["old"]) for row in group["rows"]]
        lines.append(f"Acc@1 by who had linked the same text before: {'; '.join(told)}.")
    if result.get("simulated_teacher"):
        lines.append(
            f"The teacher is **simulated**: it knows the answers of the {teacher['labelled']:,} mentions that it labelled and errs at a set rate; "
            "its row is measured on them, not on the test mentions. Its price is what a small priced LLM would have taken."
        )
    lines.append(f"{result['data']}. {result['protocol']}")
    return markdown_table(result["systems"]) + "\n" + "".join(f"- {line}\n" for line in [*lines, _made_by(result)])


def _plain(result: dict[str, Any]) -> str:
    """The table of a benchmark of its own, as outcome.keep wrote it."""
    rows = [result["columns"], ["---"] * len(result["columns"]), *result["rows"]]
    simulated = ["The teacher is **simulated**."] if result["simulated_teacher"] else []
    told = [f"{result['data']}. {result.get('protocol', '')}".strip(), *simulated, _made_by(result)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n" + "".join(f"- {line}\n" for line in told)


def _made_by(result: dict[str, Any]) -> str:
    machines = result.get("machines") or {where(result["machine"]): []}
    first, *others = machines
    told = [first, *(f"{other} ({', '.join(machines[other])})" for other in others)]
    return f"`{result['command']}` on {', and on '.join(told)}."


def _part(row: dict[str, Any], new: str, old: str) -> str:
    who = {"hand": "somebody by hand", "teacher": "the teacher", "nobody": "nobody"}[row["name"]]
    scores = f"{new} {row['new']['value']:.3f}, {old} {row['old']['value']:.3f}"
    return (
        f"{who} ({row['mentions']:,} mentions): {scores} ({row['difference']['difference']:+.3f}, p = {row['difference']['p_value']:.2g})"
    )


def main() -> int:
    """0: the pages are up to date, or were written. 1: --check found another text, or a figure that was not measured. 2: markers and results do not fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    before = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    try:
        after = rendered(before, ROOT / "benchmarks" / "results")
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    changed = [name for name in PAGES if after[name] != before[name]]
    if check and changed:
        sys.stderr.write(f"error: {', '.join(changed)} does not say what benchmarks/results say; run python benchmarks/tables.py\n")
        return 1
    slips = unmeasured(after, ROOT / "benchmarks" / "results") if check else {}
    for name, numbers in slips.items():
        sys.stderr.write(f"error: {name}: no table or results file has {', '.join(numbers)}; say what a table says\n")
    if slips:
        return 1
    for name in changed:
        write_text(ROOT / name, after[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
