"""Run stages of a run directory, in order: skip what is finished, go on with what was killed, time and record the rest."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import psutil

from rpdr.config import Config
from rpdr.errors import RunError
from rpdr.pipeline.in_short import in_short
from rpdr.pipeline.link_summary import summary_lines
from rpdr.pipeline.progress import StageProgress, Stopwatch, console, stage_progress
from rpdr.run import STAGES, Run, Stage, check_corpus, linking
from rpdr.show import in_one_line

TUNING = ("retriever", "retune", "baselines")  # stages whose own work is where `resources.tuning` says
Work = Callable[..., dict[str, Any]]  # of a Run, its StageProgress, and what else it works on


def run_stages(config: Config, names: Sequence[str] = tuple(STAGES), redo: bool = False) -> Run:
    """Run the named stages. `redo` throws away what one stage had made, or, of several, what was made from other inputs (never the
    ledger). Raises RpdrError."""
    run = Run(config)
    if {"teach", "distill"}.issubset(names) and not run.summary("distill"):
        from rpdr.models import check_before_paying  # loads torch

        check_before_paying(config.student.model)
    for number, name in enumerate(names, start=1):
        with run.alone(STAGES[name]):
            if redo and (len(names) == 1 or run.stale(STAGES[name])):
                run.require_before(STAGES[name])
                run.forget(STAGES[name])
            _run_one(run, STAGES[name], f"[{number}/{len(names)}] {name}")
    return run


def link_corpus(config: Config, corpus: str, redo: bool = False) -> Run:
    """Link one of the config's `corpora` with the student of a finished run. Raises RpdrError."""
    check_corpus(config, corpus)
    run, stage = Run(config), linking(corpus)
    with run.alone(stage):
        run.require_before(stage)
        if redo:
            if config.link.output:
                from rpdr.pipeline.corpora import throw_away

                throw_away(run, corpus)
            run.forget(stage)
        _run_one(run, stage, stage.name, corpus)
    return run


def _run_one(run: Run, stage: Stage, label: str, *what: str) -> None:
    """`what`: the corpus that is linked, where it is not the run's own."""
    name = stage.name.partition("-")[0]
    if run.finished(stage):
        run.clear_work(stage)  # where a start was killed before it did
        console.print(f"[dim]{label:<18} finished before, unchanged[/dim]")
        return
    run.begin(stage)
    watch = Stopwatch()
    with stage_progress(label) as progress, PeakMemory() as memory:
        try:
            summary = _worked(name, run, progress, *what)
        except Exception as error:
            raise plain(name, error) from error
    _let_go_of_gpu()
    run.finish(stage, watch.seconds, {**summary, "peak_memory_mib": memory.peak_mib})
    run.clear_work(stage)
    console.print(f"[green]{label:<18}[/green] {watch.seconds:6.1f} s   {in_short(name, summary)}", soft_wrap=True)
    for title, told in summary_lines(summary, run.config.report.machine_usd_per_hour) if name == "link" else ():
        console.print(f"[dim]{title:>18}[/dim]   {told}", soft_wrap=True)


def _let_go_of_gpu() -> None:
    """Give back what torch holds of a GPU's memory for later: this process outlives the stage, and the next one's may want it."""
    torch = sys.modules.get("torch")  # a stage that did without it has nothing to give back
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _worked(name: str, run: Run, progress: StageProgress, *what: str) -> dict[str, Any]:
    """A stage's summary."""
    # its module is imported when it runs: `rpdr --help` need not load torch
    module = f"rpdr.pipeline.{name}"
    if run.config.resources.tuning and name in TUNING:
        from rpdr.pipeline.on_ray.elsewhere import run_elsewhere

        return run_elsewhere("tuning", run, module, name, progress)
    work: Work = getattr(import_module(module), name)
    return work(run, progress, *what)


def plain(name: str, error: Exception) -> Exception:
    """The error that a user can act on: what a worker raised, or that Ray itself could not go on."""
    if not type(error).__module__.startswith("ray"):
        return error
    from ray.exceptions import RayTaskError

    from rpdr.pipeline.on_ray.cluster import raised_by_worker

    known = raised_by_worker(error)
    if known is not None or isinstance(error, RayTaskError):  # a fault of ours keeps its traceback
        return known or error
    return RunError(f"{name}: Ray could not go on ({in_one_line(error)}); start it again to go on from here")


class PeakMemory:
    """The most memory (MiB) that the machine used over what it used at first, sampled twice a second."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._start = psutil.virtual_memory().used
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, (psutil.virtual_memory().used - self._start) / 2**20)
            if self._stop.wait(0.5):
                return
