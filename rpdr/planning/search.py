"""The cheapest nodes that meet a deadline: each step alone by every choice of its groups, then the best of their sums, played through with losses."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rpdr.errors import ConfigError
from rpdr.planning.fleet import HOUR
from rpdr.planning.nodes import Choice, NodesConfig, group_of, room_for, usd_per_hour
from rpdr.planning.pools import sized
from rpdr.planning.simulation import Outcome, simulated
from rpdr.planning.work import Gang, Process, StageWork, Step, Stream

DRAWS = 20  # ways that it may go
SURE = 0.9  # of them meet the deadline
TRIED = 6  # of the cheapest that meet the deadline where no node is lost
LOOKED_AT = 60  # of the cheapest sums, of those that are not alike
LOOSE = 1.15  # sums count the start of nodes that the step before has left


@dataclass(frozen=True)
class Plan:
    """Nodes of each group, and how it may go with them: without a lost node, and in DRAWS of random losses."""

    choices: tuple[Choice, ...]
    calm: Outcome
    draws: tuple[Outcome, ...]

    @property
    def usd(self) -> float:
        """The mean of the draws."""
        return statistics.fmean(outcome.usd for outcome in self.draws)

    @property
    def seconds(self) -> float:
        """That SURE of the draws take at most."""
        return sorted(outcome.seconds for outcome in self.draws)[max(0, round(SURE * len(self.draws)) - 1)]

    @property
    def lost(self) -> float:
        """Nodes, on average."""
        return statistics.fmean(outcome.lost for outcome in self.draws)

    @property
    def chance_of_loss(self) -> float:
        """Of at least one node."""
        return statistics.fmean(outcome.lost > 0 for outcome in self.draws)


@dataclass(frozen=True)
class Found:
    """`best`: the cheapest that meets the deadline, None where none does; `fastest`: the fastest there is; `on_demand`: the cheapest that meets the
    deadline without spot nodes, None where `best` has none or there is none."""

    best: Plan | None
    fastest: Plan
    on_demand: Plan | None


def cheapest(stages: Sequence[StageWork], nodes: NodesConfig, deadline_s: float | None = None) -> Found:
    """Without a deadline, the cheapest of all. Raises ConfigError where a kind of work has no group, or none with room."""
    options = _options(stages, nodes)
    sums = sorted(_sums(stages, options, nodes), key=lambda found: found[1])
    if not sums:  # each step has a choice, but no two of them the same
        raise ConfigError(
            f"groups: no one type of nodes a group has room for all stages; raise `most` of {', '.join(options)}, or give larger types"
        )
    fastest = _played(stages, min(sums, key=lambda found: (found[0], found[1]))[2], nodes)
    safe = _best(stages, (found for found in sums if all(choice.market == "on_demand" for choice in found[2])), nodes, deadline_s)
    plans = [plan for plan in (_best(stages, sums, nodes, deadline_s), safe, fastest) if plan and _meets(plan.seconds, deadline_s)]
    found = min(plans, key=lambda plan: plan.usd, default=None)
    spot = found and any(choice.market == "spot" for choice in found.choices)
    return Found(found, fastest, safe if spot else None)


def _meets(seconds: float, deadline_s: float | None) -> bool:
    return deadline_s is None or seconds <= deadline_s


def _best(
    stages: Sequence[StageWork], sums: Iterable[tuple[float, float, tuple[Choice, ...]]], nodes: NodesConfig, deadline_s: float | None
) -> Plan | None:
    """The cheapest of some choices, in the order of their dollars. Losses are played only where a plan may still be the cheapest."""
    unlike: dict[tuple[float, float], tuple[Choice, ...]] = {}  # of a group that uses one node, all numbers of nodes come to the same sum
    for seconds, usd, choices in sums:
        if deadline_s is None or seconds <= LOOSE * deadline_s:
            unlike.setdefault((seconds, usd), choices)
    likely = itertools.islice(unlike.values(), LOOKED_AT)
    played = ((simulated(stages, choices, nodes), choices) for choices in likely)
    calm = itertools.islice((found for found in played if _meets(found[0].seconds, deadline_s)), TRIED)
    best: Plan | None = None
    for outcome, choices in sorted(calm, key=lambda found: found[0].usd):
        if best is None or outcome.usd < best.usd:
            plan = _played(stages, choices, nodes)
            if _meets(plan.seconds, deadline_s) and (best is None or plan.usd < best.usd):
                best = plan
    return best


def _played(stages: Sequence[StageWork], choices: tuple[Choice, ...], nodes: NodesConfig) -> Plan:
    calm = simulated(stages, choices, nodes)
    losses = any(choice.market == "spot" and nodes.types[choice.type].lost_per_hour for choice in choices)
    return Plan(choices, calm, tuple(simulated(stages, choices, nodes, seed) for seed in range(DRAWS)) if losses else (calm,))


def _options(stages: Sequence[StageWork], nodes: NodesConfig) -> dict[str, list[Choice]]:
    """Group -> what it may be made of, where there is work for it."""
    asking: dict[str, list[Process]] = {}
    for process in (process for stage in stages for process in stage.processes):
        asking.setdefault(group_of(process.needs, process.kind, nodes), []).append(process)
    found = {}
    for name, processes in asking.items():
        group = nodes.groups[name]
        choices = []
        for type_, market in itertools.product(group.types, group.markets):
            node = nodes.types[type_]
            if all(room_for(process.needs, node) for process in processes) and (
                market == "on_demand" or node.spot_usd_per_hour is not None
            ):
                choices += [Choice(name, type_, market, count) for count in _counts(group.most)]
        if not choices:
            raise ConfigError(f"groups.{name}: none of its types ({', '.join(group.types)}) has room for all that is to run there")
        found[name] = choices
    return found


def _counts(most: int) -> list[int]:
    """From one to all, closer together where they are few."""
    return sorted({*(n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if n < most), most})


def _sums(
    stages: Sequence[StageWork], options: dict[str, list[Choice]], nodes: NodesConfig
) -> Iterable[tuple[float, float, tuple[Choice, ...]]]:
    """(seconds, dollars, choices) of each combination, its steps taken one by one."""
    head = nodes.types[nodes.head].usd_per_hour / HOUR
    named = [(stage.name, step) for stage in stages for step in stage.steps]
    steps = [step for _, step in named]
    groups = [sorted({group_of(process.needs, process.kind, nodes) for process in _processes(step)}) for step in steps]
    alone: dict[tuple[int, tuple[Choice, ...]], tuple[float, float]] = {}
    for number, ((stage, step), mine) in enumerate(zip(named, groups, strict=True)):
        calm: dict[tuple[Choice, ...], Outcome | None] = {}  # both markets go the same way where no node is lost
        for choices in itertools.product(*(options[group] for group in mine)):
            alike = tuple(replace(choice, market="on_demand") for choice in choices)
            if alike not in calm:
                calm[alike] = simulated([StageWork("", (step,))], alike, nodes) if _gets_all(step, alike, nodes) else None
            outcome = calm[alike]
            if outcome:
                usd = sum(outcome.node_hours[choice.group] * usd_per_hour(choice, nodes) for choice in choices)
                alone[number, choices] = outcome.seconds, usd
        if not any(calm.values()):
            raise _no_room(stage, step, mine, nodes)
    for choices in itertools.product(*options.values()):
        of = {choice.group: choice for choice in choices}
        parts = [alone.get((number, tuple(of[group] for group in mine))) for number, mine in enumerate(groups)]
        if None not in parts:
            seconds = sum(part[0] for part in parts if part)
            yield seconds, sum(part[1] for part in parts if part) + head * seconds, choices


def _no_room(stage: str, step: Step, groups: Sequence[str], nodes: NodesConfig) -> ConfigError:
    """Of a step that no choice of its groups has room for."""
    kinds = " and ".join(process.kind for process in _processes(step))
    most = " and ".join(f"group {name} ({', '.join(nodes.groups[name].types)}; most: {nodes.groups[name].most})" for name in groups)
    if isinstance(step, Gang):
        what, less = f"the {step.workers} workers of {kinds}", "lower student.workers"
    else:
        what, less = f"a process each of {kinds}, beside a CPU for Ray Data's own tasks", f"ask for less in resources ({kinds})"
    return ConfigError(f"{stage}: {most} has no room for {what}; raise its `most`, give it larger types, or {less}")


def _processes(step: Step) -> tuple[Process, ...]:
    return StageWork("", (step,)).processes


def _gets_all(step: Step, choices: tuple[Choice, ...], nodes: NodesConfig) -> bool:
    """Whether there is room for all workers of a gang, and for one of each of a stream's pools: else they wait for ever."""
    if isinstance(step, Gang):
        [choice] = choices
        return room_for(step.process.needs, nodes.types[choice.type]) * choice.nodes >= step.workers
    if isinstance(step, Stream):
        [stage] = sized([StageWork("", (step,))], choices, nodes)
        [filled] = stage.steps
        assert isinstance(filled, Stream)
        return all(pool.most for pool in filled.pools if pool.share)
    return True
