"""A Ray cluster on this machine that grows and shrinks by Ray's own autoscaler: its nodes are processes (the fake multi-node provider)."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml

from rpdr.planning.nodes import GROUP

HEAD_ID = "f" * 51 + "00000"  # as the provider wants it
LOOK_EVERY_S = 0.5
STARTS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Group:
    """Worker nodes alike: from `least` to `most` of them."""

    cpus: int
    least: int = 0
    most: int = 2


@dataclass
class LocalCluster:
    """`nodes`: what was seen, each (seconds since the start, group -> ids of its live nodes). `meters`: rpdr's, as Prometheus would have scraped
    them last, by name."""

    address: str
    token: str
    dashboard: str
    place: Path
    begun: float = field(default_factory=time.monotonic)
    nodes: list[tuple[float, dict[str, tuple[str, ...]]]] = field(default_factory=list)
    meters: dict[str, float] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that joins it."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the cluster's `python` is this one
        return {**plain, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "PYTHONPATH": str(Path(__file__).parents[1])}

    def alive(self) -> dict[str, tuple[str, ...]]:
        """Live worker nodes by group."""
        found: dict[str, list[str]] = {}
        for node in self.ask("GET", "v0/nodes?detail=1&limit=1000")["data"]["result"]["result"]:
            if node["state"] == "ALIVE" and not node["is_head_node"]:
                found.setdefault(node["labels"].get(GROUP, "?"), []).append(node["node_id"])
        return {group: tuple(sorted(ids)) for group, ids in sorted(found.items())}

    def kill(self, node: str) -> None:
        """As a spot node is lost: without a word."""
        _kill_all(node)

    def ask(self, how: str, what: str, **more: Any) -> Any:
        """What the head's API answers. Raises requests.RequestException."""
        told = requests.request(how, f"{self.dashboard}/api/{what}", headers={"Authorization": f"Bearer {self.token}"}, timeout=30, **more)
        told.raise_for_status()
        return told.json()

    def _scraped(self) -> dict[str, float]:
        """From the ends that Ray names for Prometheus' service discovery."""
        found = {}
        discovery = self.place / "prom_metrics_service_discovery.json"
        targets = json.loads(discovery.read_text()) if discovery.exists() else []
        for target in sorted({target for group in targets for target in group["targets"]}):
            try:
                lines = requests.get(f"http://{target}/metrics", timeout=5).text.splitlines()
            except requests.RequestException:  # of a node that has gone
                continue
            for line in lines:
                if line.startswith("ray_rpdr_"):
                    found[line.partition("{")[0]] = float(line.rsplit(" ", 1)[1])
        return found

    def watch(self, until: threading.Event) -> None:
        """Note which nodes are there, twice a second."""
        while not until.wait(LOOK_EVERY_S):
            try:
                now = self.alive()
                self.meters |= self._scraped()
            except requests.RequestException:  # it is busy
                continue
            if not self.nodes or self.nodes[-1][1] != now:
                self.nodes.append((time.monotonic() - self.begun, now))


@contextmanager
def local_cluster(groups: Mapping[str, Group], idle_minutes: float = 0.1, **settings: str) -> Iterator[LocalCluster]:
    """A head without CPUs, as in production, and these groups; all of it ends with the block. `settings`: more of Ray's, by environment."""
    place = Path(tempfile.mkdtemp(prefix="rpdr-"))  # a short path: it holds sockets
    port, dashboard, agent, client = free_ports(4)
    cluster = LocalCluster(f"127.0.0.1:{port}", secrets.token_hex(32), f"http://127.0.0.1:{dashboard}", place)
    config = place / "autoscaling.yaml"
    config.write_text(yaml.safe_dump(_config(groups, idle_minutes, cluster.address)))
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=0",
        f"--temp-dir={place}",
    ]
    command += [f"--autoscaling-config={config}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--ray-client-server-port={client}", "--object-store-memory=500000000"]
    log = (place / "head.log").open("wb")
    environment = {
        **cluster.environment,
        **settings,
        **{
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_metrics_report_interval_ms": "500",
        },
        **{"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID},
    }
    head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    ended = threading.Event()
    try:
        _until_it_answers(cluster, head, place / "head.log")
        watcher = threading.Thread(target=cluster.watch, args=(ended,), daemon=True)
        watcher.start()
        yield cluster
    finally:
        ended.set()
        _end(head, place)
        shutil.rmtree(place, ignore_errors=True)


def _config(groups: Mapping[str, Group], idle_minutes: float, address: str) -> dict[str, Any]:
    workers = {
        name: {
            "resources": {"CPU": group.cpus, "object_store_memory": 300_000_000},
            "labels": {GROUP: name},
            "node_config": {},
            "min_workers": group.least,
            "max_workers": group.most,
        }
        for name, group in groups.items()
    }
    return {
        "cluster_name": "local",
        "max_workers": sum(group.most for group in groups.values()),
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 100,
        **{name: {} for name in ("auth", "file_mounts")},  # what Ray insists on
        **{
            f"{name}_commands": []
            for name in ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray")
        },
        **{"cluster_synced_files": [], "file_mounts_sync_continuously": False},
        "provider": {
            "type": "external",  # not "fake_multinode": its defaults are not in Ray's wheel
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "head_node_id": HEAD_ID,
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
        },
        "available_node_types": {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}, **workers},
        "head_node_type": "ray.head.default",
    }


def _until_it_answers(cluster: LocalCluster, head: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            cluster.alive()
            return
        except (requests.RequestException, KeyError, TypeError):
            if head.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the cluster did not start: {log.read_text()[-2000:]}") from None
            time.sleep(LOOK_EVERY_S)


def _end(head: subprocess.Popen[bytes], place: Path) -> None:
    """The head's processes, and those of its nodes, which are known by the folder that they work in."""
    if head.poll() is None:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(3)  # after jobs it may not end at all
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
    _kill_all(str(place))


def _kill_all(mark: str) -> None:
    """Processes that are known by what their command line or environment holds: the id of their node, or the folder that they work in."""
    for process in psutil.process_iter():
        try:
            if mark in " ".join([*process.cmdline(), *process.environ().values()]):
                process.kill()
        except psutil.Error:
            continue


def free_ports(count: int) -> list[int]:
    """So many, none of which Ray gives to workers (10002 to 19999)."""
    ports: list[int] = []
    with ExitStack() as held:  # all at once, so that none is two of them
        while len(ports) < count:
            made = held.enter_context(socket.socket())
            made.bind(("127.0.0.1", 0))
            port = int(made.getsockname()[1])
            if not 10_002 <= port <= 19_999:
                ports.append(port)
    return ports
