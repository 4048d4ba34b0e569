"""Connect to Ray: the cluster that RAY_ADDRESS or a Ray job names, or a small one on this machine that ends with the process."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import DataContext
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rpdr import errors
from rpdr.config import Needs, ResourcesConfig
from rpdr.errors import ConfigError, RpdrError, RunError
from rpdr.pipeline.progress import say
from rpdr.remote import shown

PATIENCE_S, PAUSE_S = 60.0, 1.0  # how long a cluster that RAY_ADDRESS names, and that may be about to begin, is waited for
_ALONE: list[bool] = []  # filled where this process has started a Ray of its own
JOINED_BY = (
    "it is the HOST:PORT of a head that runs (port 6379, where `ray start` was told no other); to work on this machine alone, unset it. "
    "What `rpdr submit` asks, the dashboard's URL, is RAY_API_SERVER_ADDRESS"
)


def joins() -> bool:
    """Whether this process is one of a cluster that was there before, as RAY_ADDRESS says."""
    return bool(os.environ.get("RAY_ADDRESS"))


def connect() -> None:
    """Start or join Ray once a process; quiet, as rpdr has its own progress display. Raises RunError where RAY_ADDRESS names nothing that can be joined."""
    if not ray.is_initialized():
        _begin()
    context = DataContext.get_current()  # in a process that Ray has started, too
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # Ray's half hour is over before a spot node comes, or a slow teacher has answered a batch
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _begin() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two waiting thread pools on one core stall each other
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a short training is over before the default 2 s
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to its makers
    local = {} if joins() else {"address": "local", "include_dashboard": False, "object_store_memory": 400 * 2**20}
    if joins():
        _wait_for(os.environ["RAY_ADDRESS"])
    try:
        with _quiet_backend():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **local)
    except (ValueError, ConnectionError, RuntimeError) as error:
        if not joins():
            raise
        address = os.environ["RAY_ADDRESS"]
        why = str(error).replace(address, shown(address)).partition(". ")[0]  # what follows are remedies of Ray's, for its own programs
        raise RunError(f"RAY_ADDRESS {shown(address)}: cannot be joined ({why}); {JOINED_BY}") from error
    _ALONE[:] = [True] * (not joins())


def _wait_for(address: str) -> None:
    """Raises RunError where nothing listens at a HOST:PORT, which Ray would try in silence for minutes. What has another form Ray finds by itself."""
    found = re.fullmatch(r"\[?([^/\[\]]+)\]?:(\d{1,5})", address)
    if not found or address.startswith("unix:"):
        return
    until, told = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=5 * PAUSE_S).close()
            return
        except (OSError, OverflowError) as error:  # OverflowError: there is no such port
            if time.monotonic() > until:
                raise RunError(f"RAY_ADDRESS {address}: no Ray cluster answers there ({error}); {JOINED_BY}") from error
        if not told:
            say([f"RAY_ADDRESS {address}: nothing answers there yet; waiting for it"])
            told = True
        time.sleep(min(PAUSE_S, PATIENCE_S))


@contextmanager
def _quiet_backend() -> Iterator[None]:
    """Keep what Ray's C++ side says to the terminal, past any logger, out of the progress display. RAY_BACKEND_LOG_LEVEL=info undoes it."""
    if "RAY_BACKEND_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # it announces even that its level was set
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def cpus() -> int:
    """CPUs of the cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def pool_cpus(at_most: float, share: float) -> float:
    """CPUs that an actor of a pool holds: a share of the cluster's. Each of Ray Data's own tasks wants a whole one, and would wait for ever if
    the pools left less on each node: of nodes that have a single one they hold nothing."""
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return min(at_most, cpus() * share) if largest > 1 else 0.0


def address_for_askers() -> str:
    """Of this machine, as processes on all nodes reach it."""
    return ray.util.get_node_ip_address() if joins() else "127.0.0.1"


def has_gpu() -> bool:
    """Whether the cluster has a GPU."""
    return ray.cluster_resources().get("GPU", 0) > 0


def at_most_gpus(wanted: int, each: float = 1.0) -> int:
    """`wanted` processes that hold a model, but no more than GPUs have room for where there are any, at a share of `each` a process: the others
    would wait for one for ever."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    room = int(gpus / each) if each >= 1 else gpus * int(1 / each + 1e-9)  # a share is of one of them
    return min(wanted, room) if gpus else wanted


def placed(needs: Needs | None, **otherwise: Any) -> dict[str, Any]:
    """Ray's options for a process with these needs; `otherwise`, where the config names none. Raises ConfigError as check_here."""
    if needs is None:
        return otherwise
    check_here(needs)
    more = {"memory": int(needs.memory_gib * 2**30)} if needs.memory_gib else {}
    return {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "label_selector": dict(needs.labels), **more}


def check_here(needs: Needs, processes: int = 1) -> None:
    """Raises ConfigError where Ray is this machine alone, to which no node will come, and it has not what so many processes with these needs want: Ray
    would wait for ever."""
    if not _ALONE:
        return
    has, labels = ray.cluster_resources(), {name: value for node in ray.nodes() for name, value in node.get("Labels", {}).items()}
    each = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gib * 2**30}
    wanted = {name: amount * processes for name, amount in each.items()}
    missing = [f"{amount:g} {name}" for name, amount in wanted.items() if amount > has.get(name, 0)]
    missing += [f"the label {name}: {value}" for name, value in needs.labels.items() if not _selected(labels.get(name), value)]
    if missing:
        raise ConfigError(
            f"resources: they ask for {', '.join(missing)}, which this machine has not; leave `resources` out here, or submit to a cluster that has "
            "it: rpdr submit"
        )


def _selected(label: str | None, selector: str) -> bool:
    """Whether a node's label is what Ray's selector wants: a value, !value, in(a, b) or !in(a, b)."""
    plain = selector.removeprefix("!")
    values = plain[3:-1].split(",") if plain.startswith("in(") and plain.endswith(")") else [plain]
    return (label in {value.strip() for value in values}) != selector.startswith("!")


def waiting_for(resources: ResourcesConfig, *kinds: str) -> str:
    """What a stage is at until processes of these kinds of work have begun: where nodes that they ask for never come, no more is told."""
    asked = [f"resources.{kind}" for kind in kinds if getattr(resources, kind)]
    if not asked or _ALONE:
        return "loading"
    return f"waiting for nodes as {' and '.join(asked)} ask{'s' if len(asked) == 1 else ''} for, and for what they load"


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """For an actor that needs no CPU: elsewhere it would keep a node from being given back, or be lost with it. Not soft, which goes elsewhere where
    the driver's node has no CPUs, as heads do not."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def keep_data_on(needs: Needs | None) -> None:
    """Ray Data's own tasks, of the datasets made from now on, on the nodes of these needs: else they wake up whichever group there is."""
    DataContext.get_current().execution_options.label_selector = dict(needs.labels) if needs and needs.labels else None


def dataset_of(table: pa.Table, rows: int, blocks: int = 1) -> Any:
    """A dataset of blocks of at most so many rows, at least so many blocks if there are rows for them. Made here: Ray's `repartition` moves them by
    tasks, and waits for ever for one whose node was lost."""
    each = max(1, min(rows, -(-table.num_rows // blocks)))
    return ray.data.from_arrow([table.slice(start, each) for start in range(0, max(1, table.num_rows), each)])


def share_threads(actors: int, needs: Needs | None = None) -> None:
    """Inside an actor: the CPU threads that it asked for, or its fair share of the node's, which in a container are not its host's. Ray would give
    an actor that asks for half a CPU one thread."""
    if needs is not None:
        torch.set_num_threads(max(1, int(needs.cpus)))
        return
    here = ray.get_runtime_context().get_node_id()
    node = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    torch.set_num_threads(max(1, int(node.get("CPU", 1)) // actors))


def share_gpu(needs: Needs | None) -> None:
    """Inside an actor: no more of a GPU's memory than the part of one that it asked for."""
    if needs is not None and 0 < needs.gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(needs.gpus)


def raised_by_worker(error: BaseException) -> RpdrError | None:
    """The RpdrError that a worker raised, out of Ray's wrapping; None if it was another kind of error."""
    seen: BaseException | None = error
    while seen is not None:
        # Ray's own wrapping of one is one too, with a traceback for its words
        if isinstance(seen, RpdrError) and not isinstance(seen, RayTaskError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    # Ray keeps some errors only as text
    for line in reversed(str(error).splitlines()):
        found = re.match(r"(?:rpdr\.errors\.)?(\w+Error): (.+)", line.strip())
        kind = getattr(errors, found.group(1), None) if found else None
        if found and kind and issubclass(kind, RpdrError):
            return kind(found.group(2))
    return None


@contextmanager
def interrupts_as_before() -> Iterator[None]:
    """Ray Train leaves a Ctrl-C behind that stops a trainer: of the stages after this one it would end none."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)
