"""The nodes of a worker group in a simulation: started for what waits, given back when idle, lost if they are spot nodes, paid by the second."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from rpdr.config import Needs
from rpdr.planning.nodes import Choice, NodesConfig, NodeType, Room, Rooms, usd_per_hour

HOUR = 3600.0
LOST = "lost"  # the cause of the interrupt that a process is told by

Life = Generator[simpy.Event, Any, Any]


@dataclass(eq=False)
class Node:
    """There from `since` until `until`; usable once it is alive."""

    type: NodeType
    since: float
    until: float | None = None
    alive: bool = False
    idle_from: float = 0.0
    claims: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room = Room(self.type)


@dataclass(eq=False)
class Claim:
    """A place on a node for a process, `granted` when there is one."""

    needs: Needs
    owner: simpy.Process
    granted: simpy.Event
    node: Node | None = None


class Fleet:
    """At most as many nodes as the choice says. Without `rng` none is lost. `start`: what happens in the seconds that a node takes to start."""

    def __init__(
        self, env: simpy.Environment, choice: Choice, config: NodesConfig, rng: random.Random | None, start: Callable[[float], Life]
    ) -> None:
        self.choice, self.type = choice, config.types[choice.type]
        self.lost = self.most = 0  # nodes; the most at a time
        self._env, self._rng, self._start, self._idle_timeout_s = env, rng, start, config.idle_timeout_s
        self._nodes: list[Node] = []
        self._waiting: list[Claim] = []
        self._due = False
        spot = choice.market == "spot"
        self._usd_per_hour, self._lost_per_s = usd_per_hour(choice, config), self.type.lost_per_hour / HOUR if spot else 0.0

    def claim(self, needs: Needs) -> Claim:
        """A place for the process that calls; it is interrupted if the node is lost."""
        owner = self._env.active_process
        assert owner is not None
        claim = Claim(needs, owner, self._env.event())
        self._waiting.append(claim)
        self._serve_soon()
        return claim

    def release(self, claim: Claim) -> None:
        """The process is over, or its node is lost."""
        if claim in self._waiting:
            self._waiting.remove(claim)
        elif claim.node and claim in claim.node.claims:
            claim.node.claims.remove(claim)
            claim.node.room.give_back(claim.needs)
            self._watch_idle(claim.node)
            self._serve_soon()

    def hours(self) -> float:
        """Of all nodes until now."""
        return sum((self._env.now if node.until is None else node.until) - node.since for node in self._nodes) / HOUR

    def usd(self) -> float:
        """Dollars of all nodes until now."""
        return self.hours() * self._usd_per_hour

    def watch_most(self) -> None:
        """Count `most` from now on."""
        self.most = len(self._here)

    @property
    def _here(self) -> list[Node]:
        return [node for node in self._nodes if node.until is None]

    def _serve_soon(self) -> None:
        """When all that happens at this moment has happened: processes come by the hundred."""
        if self._waiting and not self._due:
            self._due = True
            self._env.timeout(0).callbacks.append(lambda _: self._serve())

    def _serve(self) -> None:
        self._due = False
        alive = [node for node in self._here if node.alive]
        rooms = Rooms([node.room for node in alive])
        waiting, self._waiting = self._waiting, []
        for claim in waiting:
            place = rooms.take(claim.needs)
            if place is not None:
                node = alive[place]
                node.claims.append(claim)
                claim.node = node
                claim.granted.succeed()
            else:
                self._waiting.append(claim)
        starting = sum(not node.alive for node in self._here)
        for _ in range(min(self._wanted() - starting, self.choice.nodes - len(self._here))):
            self._nodes.append(Node(self.type, self._env.now))
            self._env.process(self._live(self._nodes[-1]))
        self.most = max(self.most, len(self._here))

    def _wanted(self) -> int:
        """Empty nodes that what waits would fill, first fit."""
        packed = Rooms([])
        for claim in self._waiting:
            if packed.take(claim.needs) is None and len(packed) < self.choice.nodes:
                packed.add(Room(self.type))
                packed.take(claim.needs)
        return len(packed)

    def _live(self, node: Node) -> Life:
        yield from self._start(self.type.starts_s)
        node.alive = True
        self._serve_soon()
        self._watch_idle(node)
        if self._rng and self._lost_per_s:
            yield self._env.timeout(self._rng.expovariate(self._lost_per_s))
            if node.until is None:
                self._lose(node)

    def _lose(self, node: Node) -> None:
        self.lost += 1
        node.until = self._env.now
        owners = {claim.owner for claim in node.claims}
        node.claims.clear()
        for owner in owners:
            owner.interrupt(LOST)

    def _watch_idle(self, node: Node) -> None:
        if not node.claims and node.until is None:
            node.idle_from = self._env.now
            self._env.process(self._end_if_idle(node, self._env.now))

    def _end_if_idle(self, node: Node, since: float) -> Life:
        yield self._env.timeout(self._idle_timeout_s)
        if not node.claims and node.until is None and node.idle_from == since:
            node.until = self._env.now
