"""`rpdr calibrate`: how fast each kind of work is -> plan/rates.json, in about three minutes.

Each kind runs where it would: as many processes at once as fill this machine or, on a cluster, a node that has what `resources` asks for: those that
share a GPU or a node's cores are each slower than one alone.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import ray
import ray.data
import ray.train
import torch
from ray.data import ActorPoolStrategy
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rpdr.config import Config, Needs
from rpdr.errors import RunError
from rpdr.files import read_json, write_json
from rpdr.machine import machine
from rpdr.pipeline.forecast.trials import BEGIN, TRIALS, driver_of_link
from rpdr.pipeline.on_ray.cluster import at_most_gpus, check_here, connect, has_gpu, interrupts_as_before, joins, placed, share_gpu
from rpdr.pipeline.progress import StageProgress, Stopwatch
from rpdr.planning.nodes import SPARE
from rpdr.run import Run
from rpdr.run.folder import not_prepared

FILE = "rates.json"
SECONDS = 10.0  # of a trial
BESIDE_S = 60.0  # for which the others on a node are waited for, as a job that is there too may have taken their place


@dataclass(frozen=True)
class Rate:
    """Of one process of a kind of work, beside others that keep its machine, or node of a cluster, busy: seconds until it works at full pace, and of each
    unit; on so many `cpus`."""

    load_s: float
    seconds: dict[str, float]
    cpus: float
    gpu: bool
    processes: int  # that ran at once
    alone: float = 1.0  # of those seconds, what a unit takes where nothing else is at work


@dataclass(frozen=True)
class Rates:
    """Of all kinds of work, and what Ray takes to begin and end a stream of data and a gang of training workers, their own loading left out."""

    made_at: float  # epoch seconds
    machine: dict[str, Any]
    kinds: dict[str, Rate]
    stream_s: float
    gang_s: float
    driver: dict[str, float]  # what its own process takes of a mention of a corpus, alone: to READ it, to SPREAD and to WRITE it

    def save(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Rates:
        """What `save` wrote. Raises RunError where that is not there or of another rpdr."""
        if not path.exists():
            raise RunError(f"plan: no {path} yet; measure it first, in about three minutes: rpdr calibrate --config …")
        try:
            told = read_json(path)
            return cls(**{**told, "kinds": {kind: Rate(**rate) for kind, rate in told["kinds"].items()}})
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path}: no rates that this rpdr can read; make them again: rpdr calibrate --config …") from error


def calibrate(run: Run, progress: StageProgress, seconds: float = SECONDS) -> Rates:
    """Measure all kinds. Raises RunError where nothing is prepared."""
    if not run.summary("prepare"):
        raise not_prepared(run, "calibrate")
    connect()
    kinds = {}
    for number, kind in enumerate(TRIALS):
        progress.update(number, len(TRIALS) + 1, f"measuring {kind}")
        kinds[kind] = _rate(run, kind, getattr(run.config.resources, kind), seconds)
    progress.update(len(TRIALS), len(TRIALS) + 1, "measuring what Ray takes")
    process_s = _process_s()
    starts = max(0.0, _stream_s() - process_s), max(0.0, _gang_s(run) - process_s)
    rates = Rates(time.time(), machine(), kinds, *starts, driver_of_link(run))
    rates.save(run.path("plan", FILE))
    return rates


def _rate(run: Run, kind: str, needs: Needs | None, seconds: float) -> Rate:
    joined = joins()
    cores = psutil.cpu_count() or 1
    cpus = max(1.0, needs.cpus if needs else 1.0)
    if not joined:
        cpus = min(cpus, cores)
    processes = max(1, int(cores / cpus))
    where: dict[str, Any] = placed(needs) if joined and needs else {"num_cpus": 0}
    if not joined and has_gpu():
        share = needs.gpus if needs else 1.0
        if needs:
            check_here(Needs(cpus=0, gpus=needs.gpus))  # the labels are a cluster's, and not asked for here
        processes = at_most_gpus(processes, share) if share else processes
        # without a share Ray would leave the card in sight
        where |= {"num_gpus": share} if share else {"runtime_env": {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}}
    idle = [ray.remote(_Nothing).options(**where).remote()]
    node = ray.get(idle[0].node.remote())  # what a node takes to come is not what a model takes to load
    if joined:
        where = {name: value for name, value in where.items() if name != "label_selector"}
        where["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
        has = next(each["Resources"] for each in ray.nodes() if each["NodeID"] == node)
        idle += [ray.remote(_Nothing).options(**where).remote() for _ in range(_at_once(needs, has) - 1)]
        processes = len(ray.wait([one.node.remote() for one in idle], num_returns=len(idle), timeout=BESIDE_S)[0])
    for one in idle:
        ray.kill(one)
    watch = Stopwatch()
    actors = [ray.remote(_Working).options(**where).remote(run.portable, kind, int(cpus)) for _ in range(processes)]
    gpus = ray.get([actor.has_gpu.remote() for actor in actors])
    load_s = watch.seconds
    found = ray.get([actor.measure.remote(seconds) for actor in actors])
    one = ray.get(actors[0].measure.remote(seconds / 2)) if processes > 1 else found[0]
    for actor in actors:
        ray.kill(actor)
    units = {unit: sum(each[unit] for each in found) / processes for unit in found[0]}
    load_s += units.pop(BEGIN, 0.0)
    alone = min(1.0, sum(one[unit] for unit in units) / sum(units.values())) if units else 1.0
    return Rate(load_s, units, cpus, gpus[0], processes, alone)


def _at_once(needs: Needs | None, node: dict[str, float]) -> int:
    """How many processes fill a node, or one GPU of it where they have a part of one; each has a core. Without needs one does: no plan is made of it."""
    if needs is None:
        return 1
    asked = {"CPU": max(1.0, needs.cpus), "GPU": needs.gpus, "memory": needs.memory_gib * 2**30}
    has = {**node, "GPU": 1.0} if needs.gpus < 1 else node
    return max(1, min(int(has.get(name, 0) / each + SPARE) for name, each in asked.items() if each))


class _Working:
    """A trial in a process of its own."""

    def __init__(self, config: Config, kind: str, threads: int) -> None:
        torch.set_num_threads(threads)
        share_gpu(getattr(config.resources, kind))
        self.trial = TRIALS[kind](Run(config))

    def has_gpu(self) -> bool:
        """Answers when all is loaded."""
        return torch.cuda.is_available()

    def measure(self, seconds: float) -> dict[str, float]:
        """Unit -> seconds of one."""
        return self.trial.measure(seconds)


class _Nothing:
    """Passes on what comes."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return batch

    def node(self) -> str:
        """On which its process is; answers when that is there."""
        return ray.get_runtime_context().get_node_id()


def _process_s() -> float:
    """Of a process that does nothing."""
    watch = Stopwatch()
    actor = ray.remote(_Nothing).options(num_cpus=0).remote()
    ray.get(actor.node.remote())
    ray.kill(actor)
    return watch.seconds


def _stream_s() -> float:
    """Of a stream of one row through one process that does nothing."""
    watch = Stopwatch()
    ray.data.range(1).map_batches(_Nothing, batch_format="pyarrow", compute=ActorPoolStrategy(size=1), num_cpus=0).materialize()
    return watch.seconds


def _gang_s(run: Run) -> float:
    """Of a training of two workers that do nothing."""
    watch = Stopwatch()
    trainer = TorchTrainer(
        _idle,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False, resources_per_worker={"CPU": 0.01}),
        run_config=RunConfig(name="nothing", storage_path=str(run.path("plan", "training"))),
    )
    with interrupts_as_before():
        trainer.fit()
    return watch.seconds


def _idle() -> None:
    """A training worker without work."""
