"""What a plan looks like to a person: a table of the stages, and in words what it rests on. And as JSON."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from rich.table import Table

from rpdr.errors import ConfigError
from rpdr.pipeline.forecast.calibrate import Rates
from rpdr.pipeline.forecast.plan import Work
from rpdr.pipeline.forecast.trials import READ, SPREAD, WRITE
from rpdr.planning import Found, NodesConfig, Plan, Stream
from rpdr.planning.fleet import HOUR
from rpdr.planning.nodes import GROUP
from rpdr.planning.pools import sized
from rpdr.planning.search import DRAWS, SURE
from rpdr.show import number

DONE = {READ: "read", SPREAD: "spread", WRITE: "written"}


def bottleneck(chosen: Plan) -> str:
    """The stage that takes longest, and what is at work in it most of the time."""
    longest = max(chosen.calm.stages, key=lambda stage: stage.seconds)
    kind, busy = max(longest.busy.items(), key=lambda item: item[1], default=("waiting", 0.0))
    return f"{longest.name}, {longest.seconds / chosen.calm.seconds:.0%} of the time: {kind}, whose processes are at work {busy:.0%} of it"


def plan_table(chosen: Plan, work: Work) -> Table:
    """A line a stage, for a terminal."""
    table = Table("stage", "nodes", "hours", "dollars, nodes", "at work", title_justify="left")
    for column in table.columns[2:4]:
        column.justify = "right"
    asking = {stage.name: {p.needs.labels[GROUP] for p in stage.processes} for stage in work.stages}
    for stage in chosen.calm.stages:
        mine = ", ".join(f"{count} {group}" for group, count in stage.nodes.items() if group in asking[stage.name])
        busy = ", ".join(f"{kind} {share:.0%}" for kind, share in stage.busy.items())
        table.add_row(stage.name, mine or "the head", f"{stage.seconds / HOUR:.2f}", f"{stage.usd:,.2f}", busy)
    table.add_section()
    table.add_row("all, with the head", "", f"{chosen.calm.seconds / HOUR:.2f}", f"{chosen.calm.usd:,.2f}", "")
    return table


def in_words(found: Found, work: Work, nodes: NodesConfig, deadline_s: float | None) -> list[str]:
    """What the table does not say."""
    chosen = found.best or found.fastest
    lines = []
    if deadline_s is not None and found.best is None:
        over = chosen.seconds / HOUR
        lines.append(
            f"no plan meets {deadline_s / HOUR:g} h: with these, the fastest there are, {SURE:.0%} of runs take up to {over:.2f} h; "
            f"what takes longest is {bottleneck(chosen)}; raise `most` of its group, or name faster types"
        )
    else:
        met = f" and meets {deadline_s / HOUR:g} h" if deadline_s is not None else ""
        lines.append(f"the cheapest of those that were tried{met}: {', '.join(f'{choice.group} {choice}' for choice in chosen.choices)}")
        lines.append(f"bottleneck: {bottleneck(chosen)}")
    if len(chosen.draws) > 1:
        extra_h, extra_usd = (chosen.seconds - chosen.calm.seconds) / HOUR, chosen.usd - chosen.calm.usd
        lines.append(
            f"lost spot nodes, in {DRAWS} ways that it may go: at least one with a chance of {chosen.chance_of_loss:.0%}, {chosen.lost:.1f} on average; "
            f"they cost {extra_usd:+,.2f} dollars on average, and {SURE:.0%} of runs take up to {extra_h:+.2f} h"
        )
    if found.on_demand:
        safe = found.on_demand
        lines.append(f"on demand alone: {', '.join(map(str, safe.choices))}: {safe.seconds / HOUR:.2f} h, {safe.usd:,.2f} dollars")
    if work.teacher_usd:
        lines.append(f"and the teacher: {work.teacher_usd:,.2f} dollars (rpdr estimate says more)")
    actors = _actors(chosen, work, nodes)
    if actors:
        lines.append(f"for these nodes, in the config: {actors}")
    per_million = chosen.usd / work.corpus.mentions * 1e6 if work.corpus.mentions else 0
    lines.append(f"{work.corpus.mentions:,.0f} mentions, {work.corpus.distinct:,.0f} distinct: {per_million:,.2f} dollars a million")
    warning = nodes.warning(date.today())
    return [*lines, *work.notes, *([warning] if warning else [f"prices: {nodes.source}, {nodes.as_of}"])]


def _actors(chosen: Plan, work: Work, nodes: NodesConfig) -> str:
    """The keys that make pools as large as the plan has them."""
    streams = [step for stage in sized(work.stages, chosen.choices, nodes) for step in stage.steps if isinstance(step, Stream)]
    sizes = {pool.process.kind: pool.most for pool in streams[-1].pools} if streams else {}
    keys = {"retrieving": "retriever_actors", "reranking": "student_actors"}
    told = ", ".join(f"{keys[kind]}: [1, {size}]" for kind, size in sizes.items())
    return f"link: {{{told}}}" if told else ""


def as_dict(found: Found, work: Work) -> dict[str, Any]:
    """For JSON."""

    def told(chosen: Plan | None) -> dict[str, Any] | None:
        if chosen is None:
            return None
        return {
            "choices": [vars(choice) for choice in chosen.choices],
            "hours": chosen.calm.seconds / HOUR,
            f"hours_of_{SURE:.0%}": chosen.seconds / HOUR,
            "usd": chosen.usd,
            "usd_without_losses": chosen.calm.usd,
            "chance_of_loss": chosen.chance_of_loss,
            "stages": [{**vars(stage), "hours": stage.seconds / HOUR} for stage in chosen.calm.stages],
        }

    return {
        "mentions": work.corpus.mentions,
        "distinct": work.corpus.distinct,
        "cheapest": told(found.best),
        "fastest": told(found.fastest),
        "on_demand": told(found.on_demand),
        "notes": list(work.notes),
    }


def seconds_of(text: str) -> float:
    """Of "8h", "90m", "2d" or "1.5h". Raises ConfigError."""
    units = {"m": 60.0, "h": HOUR, "d": 24 * HOUR}
    try:
        seconds = float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"--deadline {text}: expected a number over 0 and m, h or d, e.g. 8h")
    return seconds


def rates_table(rates: Rates) -> Table:
    """What was calibrated."""
    table = Table("work", "loads in", "then, of one process", "processes at once")
    for kind, rate in rates.kinds.items():
        each = ", ".join(f"{number(1 / seconds)} {unit}s a second" for unit, seconds in rate.seconds.items()) or "waits for the endpoint"
        where = "a GPU" if rate.gpu else f"{rate.cpus:g} CPU{'s' if rate.cpus != 1 else ''} each"
        table.add_row(kind, f"{rate.load_s:.1f} s", each, f"{rate.processes}, {where}")
    alone = ", ".join(f"{number(1 / seconds)} mentions {DONE[what]} a second" for what, seconds in rates.driver.items() if seconds)
    table.add_row("link, by the job's own process", "", alone, "1")
    return table
