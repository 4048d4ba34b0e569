"""Results as a table for a terminal (rich) and for a README (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from rpdr.evaluation.systems import METRICS
from rpdr.show import usd, visible

_UNKNOWN = "—"


def results_table(systems: Sequence[dict[str, Any]]) -> Table:
    """A table for the terminal from the `systems` of metrics.json, one row each, 95 % intervals dimmed under their values; fits 80 columns."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption="dim: 95 % bootstrap interval", caption_justify="left"
    )
    table.add_column("System", overflow="fold", min_width=16)
    scores = {key: heading for key, heading in METRICS.items() if key != "micro_f1" or any(s.get(key) for s in systems)}
    for heading in (*scores.values(), "Price", "Mentions/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in systems:
        table.add_row(
            Text(visible(s["name"])),
            *(_rich_score(s[key]) for key in scores),
            _UNKNOWN if s["price_usd"] is None else usd(s["price_usd"]),
            _UNKNOWN if s["mentions_per_s"] is None else f"{s['mentions_per_s']:,.1f}",
        )
    return table


def markdown_table(systems: Sequence[dict[str, Any]]) -> str:
    """A GitHub Markdown table from the `systems` of metrics.json: values to 3 decimals with [low, high].

    A column in which no system has a value, or none another than for all mentions, is left out.
    """
    columns: list[tuple[str, list[str]]] = [("System", [visible(s["name"]).replace("|", "\\|") for s in systems])]
    unseen = any(s["unseen_acc_at_1"] != s["acc_at_1"] for s in systems if s.get("unseen_acc_at_1"))
    for key, heading in {**METRICS, **({"unseen_acc_at_1": "Acc@1, unseen"} if unseen else {})}.items():
        columns.append((heading, [_markdown_score(s.get(key)) for s in systems]))
    columns.append(("Price", [_UNKNOWN if s.get("price_usd") is None else usd(s["price_usd"]) for s in systems]))
    columns.append(("Mentions/s", [_UNKNOWN if s.get("mentions_per_s") is None else f"{s['mentions_per_s']:,.1f}" for s in systems]))
    kept = [(heading, cells) for heading, cells in columns if any(cell != _UNKNOWN for cell in cells)]
    lines = [[heading for heading, _ in kept], ["---" if n == 0 else "---:" for n in range(len(kept))]]
    lines += [[cells[n] for _, cells in kept] for n in range(len(systems))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def comparison_line(row: Mapping[str, Any]) -> str:
    """A comparison of metrics.json in a line of Markdown."""
    return (
        f"{row['a']} against *{row['b']}*, {METRICS[row['metric']]}, {row['on']} mentions: {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], "
        f"p = {row['p_value']:.2g}"
    )


def _rich_score(score: dict[str, float] | None) -> Text:
    if score is None:
        return Text(_UNKNOWN)
    return Text.assemble((f"{score['value']:.3f}", "bold"), "\n", (f"{score['low']:.3f}–{score['high']:.3f}", "dim"))


def _markdown_score(score: dict[str, float] | None) -> str:
    return _UNKNOWN if score is None else f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
