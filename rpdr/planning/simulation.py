"""A run on a cluster, played through: processes wait for nodes, load, work, lose their nodes and begin again.

A discrete-event simulation (SimPy). Work is homogeneous: a mention takes what mentions take on average.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import simpy

from rpdr.config import Needs
from rpdr.planning.fleet import HOUR, LOST, Claim, Fleet, Life
from rpdr.planning.nodes import Choice, NodesConfig, crowding, group_of
from rpdr.planning.pools import sized
from rpdr.planning.work import Driver, Gang, Pool, Process, Requests, StageWork, Stream

AHEAD = 2  # of what is left of a stream, a process takes at most its share of it divided by this
LEAST_PARTS, MOST_PARTS, ALL_PARTS = 8, 60, 20_000  # that a process does its share in; more where there are few of them
GROWS = 4  # times as much as at the turn before, at first
OVER = "over"  # the cause of the interrupt that a process is told by when its stage is at its end
GROWN = 32  # times at most: beyond any part
DONE = 1e-6  # of a mention
STARTING = Process("", Needs(cpus=1), 0.0)  # what starts on a node before all others


@dataclass(frozen=True)
class StageOutcome:
    """Seconds; dollars of worker nodes while it ran; the most nodes of each group; and of each kind of work the share of its processes' time, from
    the stage's begin to its end, that they were at work."""

    name: str
    seconds: float
    usd: float
    nodes: dict[str, int]
    busy: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """A run from start to end; `usd`: of the head, and of all nodes until what is idle is given back; their hours by group; `lost` nodes."""

    seconds: float
    usd: float
    node_hours: dict[str, float]
    stages: tuple[StageOutcome, ...]
    lost: int


def simulated(stages: Sequence[StageWork], choices: Sequence[Choice], nodes: NodesConfig, seed: int | None = None) -> Outcome:
    """One way that it may go; without a `seed` no node is lost. Raises ConfigError where work asks for a group that is not there."""
    stages = sized(stages, choices, nodes)
    world = _World(choices, nodes, None if seed is None else random.Random(seed))
    outcomes: list[StageOutcome] = []
    world.env.run(world.env.process(world.run(stages, outcomes)))
    end = world.env.now
    world.env.run(end + nodes.idle_timeout_s + 1)  # what is idle goes
    usd = world.usd() + nodes.types[nodes.head].usd_per_hour * end / HOUR
    fleets = world.fleets
    return Outcome(end, usd, {name: f.hours() for name, f in fleets.items()}, tuple(outcomes), sum(f.lost for f in fleets.values()))


class _World:
    def __init__(self, choices: Sequence[Choice], nodes: NodesConfig, rng: random.Random | None) -> None:
        self.env, self.nodes = simpy.Environment(), nodes
        self.fleets = {choice.group: Fleet(self.env, choice, nodes, rng, self._start) for choice in choices}
        self._of_kind: dict[str, Fleet] = {}
        self.threads = 0.0  # that compute at this moment
        self.worked: dict[str, float] = defaultdict(float)  # seconds of processes by kind of work, of the stage at work
        self.processes: dict[str, int] = {}

    def usd(self) -> float:
        return sum(fleet.usd() for fleet in self.fleets.values())

    def run(self, stages: Sequence[StageWork], outcomes: list[StageOutcome]) -> Life:
        doing: dict[type, Callable[[Any], Life]] = {
            Driver: self._driver,
            Gang: self._gang,
            Stream: self._stream,
            Requests: self._requests,
        }
        for stage in stages:
            begun, usd = self.env.now, self.usd()
            self.worked.clear()
            self.processes.clear()
            for fleet in self.fleets.values():
                fleet.watch_most()
            for step in stage.steps:
                yield from doing[type(step)](step)
            seconds = self.env.now - begun
            busy = {kind: self.worked[kind] / (count * seconds) for kind, count in self.processes.items() if seconds}
            most = {name: fleet.most for name, fleet in self.fleets.items() if fleet.most}
            outcomes.append(StageOutcome(stage.name, seconds, self.usd() - usd, most, busy))

    def _driver(self, step: Driver) -> Life:
        yield self.env.timeout(step.seconds)

    def _gang(self, step: Gang) -> Life:
        yield self.env.process(self._together(step))

    def _together(self, step: Gang) -> Life:
        """A process of the simulation, which a lost node interrupts: all go back to the last checkpoint."""
        process, workers = step.process, step.workers
        self.processes[process.kind] = max(workers, self.processes.get(process.kind, 0))
        fleet, left = self._fleet(process), step.seconds
        while left > DONE:
            claims = [fleet.claim(process.needs) for _ in range(workers)]
            try:
                yield self.env.all_of([claim.granted for claim in claims])
                yield from self._load(process, workers)
                while left > DONE:
                    part = min(left, step.checkpoint_every_s)
                    yield from self._work(_Doing(process, part, workers))
                    left -= part
            except simpy.Interrupt:
                continue
            finally:
                for claim in claims:
                    fleet.release(claim)

    def _stream(self, step: Stream) -> Life:
        pools = [pool for pool in step.pools if pool.share]
        queues = [_Queue(self.env, step.mentions * pool.share) for pool in pools]
        if not pools:
            return
        ends = [self.env.process(self._feed(step, queues[0])), self.env.process(self._driver(Driver(step.driver_s)))]
        for n, (pool, queue) in enumerate(zip(pools, queues, strict=True)):
            assert pool.most
            after = queues[n + 1] if n + 1 < len(pools) else None
            lives = [(pool.process, partial(self._answer, pool, queue, after, step.batch))] * pool.most
            ends.append(self.env.process(self._until(queue.finished, lives)))
        yield self.env.all_of(ends)

    def _feed(self, step: Stream, queue: _Queue) -> Life:
        """Mentions wait from when the first reader is there."""
        if step.reader:
            readers = min(step.shards, self._fleet(step.reader).choice.nodes)
            yield self.env.any_of([self.env.process(self._read(step.reader)) for _ in range(readers)])
        queue.put(queue.total)

    def _read(self, reader: Process) -> Life:
        fleet = self._fleet(reader)
        claim = fleet.claim(reader.needs)
        try:
            yield claim.granted
            yield from self._load(reader)
        except simpy.Interrupt:
            pass  # the others read on
        finally:
            fleet.release(claim)

    def _answer(self, pool: Pool, queue: _Queue, after: _Queue | None, batch: float) -> Life:
        """A process of a pool, from when it is loaded."""
        assert pool.most
        for number in count():
            while not queue.waiting:
                yield queue.more
            much = queue.take(queue.part(batch, pool.most, number))
            done, doing = 0.0, _Doing(pool.process, much * pool.seconds)
            try:
                yield from self._work(doing)
                done = much
            except simpy.Interrupt:
                done = doing.share(self.env.now) * much // batch * batch  # whole batches
                raise
            finally:
                queue.answered(done, much - done)
                if after:
                    after.put(done * after.total / queue.total)

    def _requests(self, step: Requests) -> Life:
        queue = _Queue(self.env, step.requests)
        queue.put(step.requests)
        turn = _Turn(self.env, 60 / step.per_minute if step.per_minute else 0.0)
        lives = [(step.process, partial(self._ask, step, queue, turn))] * step.actors
        yield from self._until(queue.finished, lives)

    def _ask(self, step: Requests, queue: _Queue, turn: _Turn) -> Life:
        """Requests go out as the limit lets them, and come back a latency later; waiting takes no core."""
        for number in count():
            while not queue.waiting:
                yield queue.more
            much = queue.take(queue.part(step.at_once, step.actors, number))
            done, begun = 0.0, self.env.now
            try:
                yield self.env.timeout(max(turn.wait(much), much * step.latency_s / step.at_once))
                done = much
            finally:
                queue.answered(done, much - done)
                self.worked[step.process.kind] += self.env.now - begun

    def _until(self, event: simpy.Event, lives: Sequence[tuple[Process, Callable[[], Life]]]) -> Life:
        """Processes that live until an event."""
        for process, _ in lives:
            self.processes[process.kind] = self.processes.get(process.kind, 0) + 1
        running = [self.env.process(self._kept_up(process, life)) for process, life in lives]
        yield event
        for one in running:
            if one.is_alive:
                one.interrupt(OVER)

    def _kept_up(self, process: Process, life: Callable[[], Life]) -> Life:
        """A process, begun again on another node where it is lost."""
        fleet = self._fleet(process)
        while True:
            claim: Claim = fleet.claim(process.needs)
            try:
                yield claim.granted
                yield from self._load(process)
                yield from life()
            except simpy.Interrupt as told:
                if told.cause != LOST:
                    return
            finally:
                fleet.release(claim)

    def _start(self, seconds: float) -> Life:
        """Of a node: where nodes share a machine, its start takes one of the cores."""
        yield from self._compute(_Doing(STARTING, seconds), self._stretch)

    def _load(self, process: Process, workers: int = 1) -> Life:
        """Until a process is ready: it computes too, but no faster on a faster type."""
        yield from self._compute(_Doing(process, process.load_s, workers), self._stretch)

    def _work(self, doing: _Doing) -> Life:
        """Less on a faster type, or where the machine that all nodes share rests."""
        begun, process = self.env.now, doing.process
        speed = self._fleet(process).type.speed_at(process.kind)
        try:
            crowded = 1.0 if self.nodes.cores else crowding(process.needs)
            yield from self._compute(doing, lambda: crowded * self._stretch() * (1 - self._rests() * (1 - process.alone)) / speed)
        finally:
            self.worked[process.kind] += (self.env.now - begun) * doing.workers

    def _compute(self, doing: _Doing, times: Callable[[], float]) -> Life:
        threads = max(1.0, doing.process.needs.cpus) * doing.workers
        self.threads += threads
        try:
            if self.nodes.cores:
                yield self.env.timeout(0)  # all that begin at this moment share the cores
            doing.begun, doing.lasts = self.env.now, doing.seconds * times()
            yield self.env.timeout(doing.lasts)
        finally:
            self.threads -= threads

    def _stretch(self) -> float:
        """How many times as long all takes where nodes share a machine that has fewer cores than are wanted."""
        return max(1.0, self.threads / self.nodes.cores) if self.nodes.cores else 1.0

    def _rests(self) -> float:
        """The share of such a machine's other cores that have nothing to do; of machines of their own nobody knows, and they are taken to be busy."""
        cores = self.nodes.cores
        return min(1.0, max(0.0, (cores - self.threads) / max(1.0, cores - 1))) if cores else 0.0

    def _fleet(self, process: Process) -> Fleet:
        found = self._of_kind.get(process.kind)
        if found is None:
            found = self._of_kind[process.kind] = self.fleets[group_of(process.needs, process.kind, self.nodes)]
        return found


@dataclass
class _Doing:
    """So many seconds of work, by so many processes at once; from when on, and how long it will be, once it has begun."""

    process: Process
    seconds: float
    workers: int = 1
    begun: float = 0.0
    lasts: float = 0.0

    def share(self, now: float) -> float:
        """That is done."""
        return min(1.0, (now - self.begun) / self.lasts) if self.lasts else 0.0


class _Queue:
    """Mentions before a pool: `total` come by in all, some are `waiting`; `finished` when all have been answered."""

    def __init__(self, env: simpy.Environment, total: float) -> None:
        self._env, self.total, self.waiting, self._answered, self._taken = env, total, 0.0, 0.0, 0.0
        self.finished, self.more = env.event(), env.event()

    def put(self, much: float) -> None:
        """They wait."""
        if much:
            self.waiting += much
            more, self.more = self.more, self._env.event()
            more.succeed()

    def part(self, batch: float, processes: int, turn: int) -> float:
        """How many a process takes at its turn, from 0: a batch at first, so that what comes after has something to do, then GROWS times as many each time,
        up to a part of its share of what is left (guided self-scheduling, Polychronopoulos & Kuck 1987), so that all end together."""
        most = self.total / processes / min(MOST_PARTS, max(LEAST_PARTS, ALL_PARTS / processes))
        left = (self.total - self._taken) / (processes * AHEAD)
        return max(batch, min(batch * GROWS ** min(turn, GROWN), most, left))

    def take(self, most: float) -> float:
        """Some that wait."""
        much = min(most, self.waiting)
        self.waiting -= much
        self._taken += much
        return much

    def answered(self, done: float, again: float) -> None:
        """Of some that were taken; `again`: those that wait once more."""
        self._taken -= again
        self.put(again)
        self._answered += done
        if self._answered >= self.total - DONE * max(1.0, self.total) and not self.finished.triggered:
            self.finished.succeed()


class _Turn:
    """A limit that all wait for: `every_s` seconds a request."""

    def __init__(self, env: simpy.Environment, every_s: float) -> None:
        self._env, self._every_s, self._next = env, every_s, 0.0

    def wait(self, requests: float) -> float:
        """Seconds until so many more have gone out."""
        self._next = max(self._env.now, self._next) + requests * self._every_s
        return self._next - self._env.now
