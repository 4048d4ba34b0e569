"""What stages have to do, in units and seconds a unit; what may be simulated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rpdr.config import Needs


@dataclass(frozen=True)
class Process:
    """A process of one kind of work: what it asks of a node, and the seconds until it is ready.

    Its work's seconds are those on a busy machine; `alone`, of them, those on one where nothing else is at work.
    """

    kind: str  # a key of `resources`
    needs: Needs
    load_s: float
    alone: float = 1.0


@dataclass(frozen=True)
class Driver:
    """Work of the job's own process, on the head."""

    seconds: float


@dataclass(frozen=True)
class Gang:
    """Work that `workers` processes do together: all wait until each is there, and all go back to the last checkpoint where one is lost.

    Without more said it is one process, which begins anew where its node is lost.
    """

    process: Process
    seconds: float  # of all of them together at work
    workers: int = 1
    checkpoint_every_s: float = math.inf


@dataclass(frozen=True)
class Pool:
    """Processes that take mentions off a queue: the `share` of the stream that meets them, at `seconds` a mention. `most` of them; None: as many
    as the nodes have room for."""

    process: Process
    share: float
    seconds: float
    most: int | None = None


@dataclass(frozen=True)
class Stream:
    """Mentions through one pool after the other, all at work at once. What a lost node was at is done again.

    `reader`: Ray Data's own process that reads them, one a node of its group but no more than there are `shards`; its reading itself takes no time.
    `driver_s`: of the job's own process meanwhile, which alone writes what was answered.
    """

    mentions: float
    pools: tuple[Pool, ...]
    batch: int  # mentions that a process takes at a time
    reader: Process | None = None
    shards: int = 1
    driver_s: float = 0.0


@dataclass(frozen=True)
class Requests:
    """Requests to an endpoint by `actors` processes, `at_once` each. What a lost node was at is asked again."""

    process: Process
    actors: int
    at_once: int
    requests: float
    latency_s: float
    per_minute: float | None  # the endpoint's or the budget's limit


Step = Driver | Gang | Stream | Requests


@dataclass(frozen=True)
class StageWork:
    """A stage's steps, one after the other."""

    name: str
    steps: tuple[Step, ...]

    @property
    def processes(self) -> tuple[Process, ...]:
        """That ask for nodes."""
        found: list[Process] = []
        for step in self.steps:
            if isinstance(step, Stream):
                found += [pool.process for pool in step.pools]
            elif not isinstance(step, Driver):
                found.append(step.process)
        return tuple(found)
