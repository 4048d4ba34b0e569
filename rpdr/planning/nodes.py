"""Node types with their prices, and which of them each group of a cluster may have: a file like cluster/nodes.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from rpdr.config import Needs
from rpdr.errors import ConfigError
from rpdr.sections import Section, read_sections
from rpdr.teacher.prices import OLD

GROUP = "rpdr.io/group"  # the label that says of what worker group a node is
MANY = 1000  # processes a node, of those that ask for nothing
SPARE = 1e-9  # of a share of a GPU: thirds add up to less than one
Market = Literal["on_demand", "spot"]
Kind = Literal["tuning", "retrieving", "teaching", "training", "reranking"]  # of work, as `rpdr calibrate` measures it


class NodeType(Section):
    """A machine that can be had by the hour. Its room is what Ray may give away: less than it has."""

    cpus: float = Field(gt=0)
    gpus: float = Field(0, ge=0)
    memory_gib: float = Field(gt=0)
    usd_per_hour: float = Field(ge=0, description="on demand")
    spot_usd_per_hour: float | None = Field(None, ge=0, description="null: not to be had as spot")
    lost_per_hour: float = Field(0.0, ge=0, description="of one spot node: how often it is taken away in an hour, on average")
    starts_s: float = Field(120, ge=0, description="from the demand for a node to its first process")
    speed: dict[Kind, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="kind of work -> how many times as fast as what was calibrated a process is here, e.g. {reranking: 12}; 1 where not said",
    )

    def speed_at(self, kind: str) -> float:
        """Of a process of this kind of work, in those of what was calibrated."""
        return next((times for name, times in self.speed.items() if name == kind), 1.0)


class Group(Section):
    """A worker group, whose nodes have the label rpdr.io/group with its name."""

    types: tuple[str, ...] = Field(min_length=1)
    most: int = Field(ge=1, description="nodes at a time")
    markets: tuple[Market, ...] = Field(("on_demand", "spot"), min_length=1)


class NodesConfig(Section):
    """What a cluster may be made of."""

    as_of: date = Field(description="the day of the prices")
    source: str = Field(description="where they are from")
    head: str = Field(description="the type of the head, which is there on demand for as long as the job is")
    idle_timeout_s: float = Field(120, ge=0, description="after which a node without work is given back")
    cores: float | None = Field(
        None,
        gt=0,
        description="of the one machine that all nodes share, as the processes of a cluster for tests do; null: each is a machine of its own",
    )
    types: dict[str, NodeType] = Field(min_length=1)
    groups: dict[str, Group] = Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _types_are_known(self) -> NodesConfig:
        for name in (self.head, *(name for group in self.groups.values() for name in group.types)):
            if name not in self.types:
                raise ValueError(f"{name!r} is none of the types: {', '.join(self.types)}")
        return self

    def warning(self, today: date) -> str:
        """One line where the prices are old; empty where they are not."""
        return f"prices are of {self.as_of}: compare them with {self.source}" if today - self.as_of > OLD else ""


@dataclass(frozen=True)
class Choice:
    """What a group is made of in one plan."""

    group: str
    type: str
    market: Market
    nodes: int

    def __str__(self) -> str:
        return f"{self.nodes} × {self.type}{', spot' if self.market == 'spot' else ''}"


def read_nodes(path: str | Path) -> NodesConfig:
    """Raises ConfigError: one line that names the file, the line and the remedy."""
    return read_sections(path, NodesConfig, "file of node types", "types")


def usd_per_hour(choice: Choice, nodes: NodesConfig) -> float:
    """Of one of its nodes."""
    node = nodes.types[choice.type]
    price = node.spot_usd_per_hour if choice.market == "spot" else node.usd_per_hour
    assert price is not None
    return price


def group_of(needs: Needs, kind: str, nodes: NodesConfig) -> str:
    """The group whose nodes a kind of work asks for. Raises ConfigError where that is none, or none of its types has room."""
    name = needs.labels.get(GROUP, "")
    if name not in nodes.groups:
        raise ConfigError(
            f"resources.{kind}: asks for no group that the node types have; give it labels: {{{GROUP}: …}}, one of {', '.join(nodes.groups)}"
        )
    group = nodes.groups[name]
    if not any(room_for(needs, nodes.types[each]) for each in group.types):
        raise ConfigError(f"resources.{kind}: no node type of group {name} ({', '.join(group.types)}) has room for it")
    return name


class Room:
    """What processes on a node leave of it."""

    def __init__(self, node: NodeType) -> None:
        self._left = [node.cpus + SPARE, node.gpus + SPARE, node.memory_gib + SPARE]

    def take(self, needs: Needs) -> bool:
        """A place for a process, if there is one."""
        if needs.cpus > self._left[0] or needs.gpus > self._left[1] or needs.memory_gib > self._left[2]:
            return False
        self._add(needs, -1)
        return True

    def give_back(self, needs: Needs) -> None:
        """The place of a process that is over."""
        self._add(needs, 1)

    def _add(self, needs: Needs, sign: int) -> None:
        self._left[0] += sign * needs.cpus
        self._left[1] += sign * needs.gpus
        self._left[2] += sign * needs.memory_gib


class Rooms:
    """Some rooms, filled first to last; none is given back to, so a search goes on where the last one for the same needs ended."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = list(rooms)
        self._from: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def add(self, room: Room) -> None:
        """One more, the last."""
        self._rooms.append(room)

    def take(self, needs: Needs) -> int | None:
        """Which of them has given a place, if any has one."""
        for n in range(self._from.get(id(needs), 0), len(self._rooms)):
            self._from[id(needs)] = n
            if self._rooms[n].take(needs):
                return n
        self._from[id(needs)] = len(self._rooms)
        return None


def crowding(needs: Needs) -> float:
    """How many times as long a process takes on a full node that asks for a part of a CPU and computes on one."""
    return 1 / needs.cpus if 0 < needs.cpus < 1 and not needs.gpus else 1.0


def room_for(needs: Needs, node: NodeType) -> int:
    """How many such processes fit a node."""
    asked = ((needs.cpus, node.cpus), (needs.gpus, node.gpus), (needs.memory_gib, node.memory_gib))
    return min((int((there + SPARE) / each) for each, there in asked if each), default=MANY)
