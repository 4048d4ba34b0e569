"""What `rpdr plan` says of tens of millions of mentions, by the rates of this machine's cores: on paper, as nobody has made such a run.

    python benchmarks/on_paper.py RUN_DIR [--calibrate]

Of a finished run, on the node types of cluster/nodes-cpu.yaml, each kind of work as cluster/resources-cpu.yaml has it. --calibrate measures the rates anew
(minutes); without, those that `rpdr calibrate` left in the run are taken. Writes results/on_paper.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePath
from typing import Any

import yaml
from outcome import keep

from rpdr.config import load
from rpdr.pipeline.forecast.calibrate import calibrate
from rpdr.pipeline.forecast.plan import Work, work_of
from rpdr.pipeline.forecast.plan_view import as_dict
from rpdr.pipeline.progress import stage_progress
from rpdr.planning import NodesConfig, cheapest, read_nodes
from rpdr.run import Run

NAME = "on_paper"
CLUSTER = Path(__file__).parents[1] / "cluster"
MENTIONS, DISTINCT = (50e6, 1e9), 0.154  # of the 1.9 million of RPDR_DATA/throughput so many are distinct
DEADLINE_S = 24 * 3600.0


def main() -> int:
    """A plan for each number of mentions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    needs = yaml.safe_load((CLUSTER / "resources-cpu.yaml").read_text())["resources"]
    made = load(options.run_dir / "config.yaml", {"run_dir": str(options.run_dir), "resources": needs})
    if options.calibrate:
        with stage_progress("calibrate") as progress:
            calibrate(Run(made), progress)
    nodes = read_nodes(CLUSTER / "nodes-cpu.yaml")
    works = [work_of(Run(made), mentions, DISTINCT) for mentions in MENTIONS]
    plans = [as_dict(cheapest([stage for stage in work.stages if stage.name == "link"], nodes, DEADLINE_S), work) for work in works]
    student = made.student
    keep(
        NAME,
        f"python benchmarks/on_paper.py {options.run_dir.name}{' --calibrate' if options.calibrate else ''}",
        f"the cheapest nodes that link so many mentions within a day, of which {DISTINCT:.1%} are distinct, by the finished run {options.run_dir.name}, "
        f"to {PurePath(made.kb.path).name}",
        ("Mentions", "Nodes that link", "Market", "Hours", "of which the job alone", "Dollars"),
        [row for work, plan in zip(works, plans, strict=True) for row in _rows(work, plan)],
        protocol=f"On paper, nobody has made it. `{made.retriever.model}`; `{student.model}`, {student.layers or 'all'} layers. {_told(works[0])} The job alone: what its own process reads, "
        f"spreads and writes, which no nodes shorten. Prices: {nodes.source} of {nodes.as_of}; of spot nodes an assumption.",
        plans=plans,
        nodes=_types(nodes),
    )
    return 0


def _rows(work: Work, plan: dict[str, Any]) -> list[list[str]]:
    alone = work.corpus.mentions * sum(work.rates.driver.values()) / 3600
    rows = []
    for market, which in (("spot", "cheapest"), ("on demand", "on_demand")):
        chosen = plan[which]
        if chosen:
            [link] = [choice for choice in chosen["choices"] if choice["group"] == "linking"]
            size = f"{link['nodes']} {link['type']}"
            rows.append([f"{work.corpus.mentions:,.0f}", size, market, f"{chosen['hours']:.1f}", f"{alone:.1f}", f"{chosen['usd']:.2f}"])
    return rows


def _told(work: Work) -> str:
    """The rates, in words."""
    kinds, driver = work.rates.kinds, work.rates.driver
    each = {kind: next(iter(kinds[kind].seconds.values())) for kind in ("retrieving", "reranking")}
    return (
        f"A core retrieves {1 / each['retrieving']:,.0f} distinct mentions a second and re-ranks {1 / each['reranking']:,.0f}; "
        f"{work.corpus.reranked:.0%} of them meet the student; the job reads {1 / driver['read']:,.0f} mentions a second."
    )


def _types(nodes: NodesConfig) -> dict[str, Any]:
    return {name: node.model_dump(mode="json", exclude_defaults=True) for name, node in nodes.types.items()}


if __name__ == "__main__":
    raise SystemExit(main())
