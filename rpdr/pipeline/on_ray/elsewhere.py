"""Run a stage's own work on a node that has what it needs, as a task of Ray's, and show its progress here.

The node sees the same run directory. If it is lost, as a spot node may be, Ray begins the task again on another: what a stage writes is whole or
not there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import ray

from rpdr.config import Config
from rpdr.pipeline.on_ray.cluster import beside_the_driver, connect, placed, waiting_for
from rpdr.pipeline.progress import StageProgress
from rpdr.run import Run

LOOK_EVERY_S = 0.5
TRIES = 10  # of nodes that were lost


def run_elsewhere(kind: str, run: Run, module: str, function: str, progress: StageProgress) -> Any:
    """What `module.function(run, progress)` returns, on a node as `resources` asks for this kind of work. Its errors come back as they were raised, in
    Ray's wrapping."""
    connect()
    board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=beside_the_driver()).remote()
    work = (
        ray.remote(_work)
        .options(**placed(getattr(run.config.resources, kind)), max_retries=TRIES)
        .remote(run.portable, module, function, board)
    )
    progress.update(0, None, waiting_for(run.config.resources, kind))
    shown = None
    while not ray.wait([work], timeout=LOOK_EVERY_S)[0]:
        now = ray.get(board.now.remote())
        if now and now != shown:
            progress.update(*now)
            shown = now
    return ray.get(work)


def _work(config: Config, module: str, function: str, board: Any) -> Any:
    """On the other node."""
    connect()
    return getattr(import_module(module), function)(Run(config), _Told(board))


class _Told:
    """A StageProgress that tells the board."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def update(self, done: int, total: int | None, doing: str) -> None:
        """As StageProgress."""
        self._board.update.remote(done, total, doing)


class Board:
    """Where work on another node tells how far it is."""

    def __init__(self) -> None:
        self._now: tuple[int, int | None, str] | None = None

    def update(self, done: int, total: int | None, doing: str) -> None:
        """As StageProgress."""
        self._now = (done, total, doing)

    def now(self) -> tuple[int, int | None, str] | None:
        """The last that was told."""
        return self._now
