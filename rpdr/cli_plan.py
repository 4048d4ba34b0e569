"""`rpdr calibrate` and `rpdr plan`: how fast each kind of work is, and what a run will take on a cluster."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpdr.cli_cluster import take_config
from rpdr.errors import ConfigError

if TYPE_CHECKING:
    from rpdr.config import Config

CALIBRATE = (
    "measure how fast each kind of work is, in about three minutes: what `plan` counts with; submitted, on the nodes that it would run on"
)


def add_commands(commands: Any, read_config: Callable[[argparse.Namespace], Config]) -> None:
    """To the parser of `rpdr`."""
    command = commands.add_parser("calibrate", help=CALIBRATE, description=CALIBRATE)
    take_config(command)
    command.set_defaults(run=lambda options: _calibrate(read_config(options)))
    text = "what is left of a run will take on a cluster: nodes, hours, dollars, the bottleneck, and the cheapest that meets a deadline"
    command = commands.add_parser("plan", help=text, description=text)
    take_config(command)
    command.add_argument("--nodes", type=Path, required=True, metavar="FILE", help="node types with their prices, as cluster/nodes.yaml")
    command.add_argument("--mentions", type=float, metavar="N", help="to be linked, e.g. 50e6; default: the run's own")
    command.add_argument("--distinct", type=float, metavar="SHARE", help="of them; default: extrapolated from the prepared mentions")
    command.add_argument("--deadline", default="", metavar="TIME", help="e.g. 8h, 90m, 2d; default: none, the cheapest of all")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=lambda options: _plan(options, read_config(options)))


def _calibrate(config: Config) -> int:
    from rpdr.pipeline.forecast.calibrate import calibrate
    from rpdr.pipeline.forecast.plan_view import rates_table
    from rpdr.pipeline.progress import console, stage_progress
    from rpdr.pipeline.stages import plain
    from rpdr.run import Run

    with stage_progress("calibrate") as progress:
        try:
            rates = calibrate(Run(config), progress)
        except Exception as error:
            raise plain("calibrate", error) from error
    console.print(rates_table(rates))
    return 0


def _check_corpus(mentions: float | None, distinct: float | None) -> None:
    """Raises ConfigError for numbers of which there is no corpus, nan among them."""
    if mentions is not None and not 0 < mentions < math.inf:
        raise ConfigError(f"--mentions {mentions:g}: expected a number over 0, e.g. 50e6; leave it out to plan the run's own mentions")
    if distinct is not None and not 0 < distinct <= 1:
        raise ConfigError(f"--distinct {distinct:g}: expected a share over 0 and at most 1, e.g. 0.15 for 15 %")


def _plan(options: argparse.Namespace, config: Config) -> int:
    from rich.console import Console

    from rpdr.pipeline.forecast.plan import check_gpus, work_of
    from rpdr.pipeline.forecast.plan_view import as_dict, in_words, plan_table, seconds_of
    from rpdr.planning import cheapest, read_nodes
    from rpdr.run import Run

    _check_corpus(options.mentions, options.distinct)
    deadline_s = seconds_of(options.deadline) if options.deadline else None
    nodes = read_nodes(options.nodes)
    work = work_of(Run(config), options.mentions, options.distinct)
    if not work.stages:
        print("nothing is left to do; --mentions N plans a further corpus", file=sys.stderr)
        return 0
    check_gpus(work, nodes)
    with Console(stderr=True).status("playing through choices of nodes"):
        found = cheapest(work.stages, nodes, deadline_s)
    if options.json:
        sys.stdout.write(json.dumps(as_dict(found, work), indent=2) + "\n")
    else:
        console = Console()
        console.print(plan_table(found.best or found.fastest, work))
        for line in in_words(found, work, nodes, deadline_s):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    return 0 if found.best else 1
