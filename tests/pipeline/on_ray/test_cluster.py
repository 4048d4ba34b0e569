"""What actors hold of a cluster, by the nodes that Ray tells of."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest
import ray
from ray.data import DataContext
from ray.exceptions import RayTaskError

from rpdr.config import Needs, ResourcesConfig
from rpdr.errors import ConfigError, ModelError, RunError
from rpdr.pipeline.on_ray import cluster as module
from rpdr.pipeline.on_ray.cluster import (
    at_most_gpus,
    check_here,
    connect,
    interrupts_as_before,
    placed,
    pool_cpus,
    raised_by_worker,
    waiting_for,
)
from rpdr.pipeline.stages import plain


def nodes(*cpus: float) -> list[dict[str, Any]]:
    return [{"Alive": True, "Resources": {"CPU": each}} for each in cpus] + [{"Alive": False, "Resources": {"CPU": 64.0}}]


def test_in_a_process_that_ray_has_started_nothing_is_given_up_for_want_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    context = DataContext.get_current()
    monkeypatch.setattr(context, "execution_no_progress_timeout_s", 1800)
    connect()
    assert context.execution_no_progress_timeout_s == -1


def test_ray_tells_its_makers_nothing_unless_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(os, "environ", {})
    connect()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "1"
    connect()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


@pytest.fixture
def no_ray() -> None:
    """What another test of this process has begun is ended: who has joined a cluster joins no other."""
    ray.shutdown()


@pytest.mark.usefixtures("no_ray")
def test_a_cluster_that_is_not_there_is_said_so_before_ray_tries_it_for_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, silent: str
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("it was left to Ray"))
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": silent})
    with pytest.raises(RunError, match=f"RAY_ADDRESS {silent}: no Ray cluster answers there .*unset it"):
        connect()
    assert "waiting for it" in capsys.readouterr().err


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("address", ["auto", "local", "ray://127.0.0.1:1", "unix:/tmp/ray:1"])
def test_what_is_no_host_and_port_is_left_to_ray(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(ray, "init", lambda **_: asked.append(address))
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": address})
    connect()
    assert asked == [address]


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_head_that_listens_is_joined(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(ray, "init", lambda **_: asked.append(host))
    with socket.create_server(
        ("::1" if ":" in host else "127.0.0.1", 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    ) as head:
        monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": f"{host}:{head.getsockname()[1]}"})
        connect()
    assert asked == [host]


@pytest.mark.usefixtures("no_ray")
def test_a_dashboards_url_as_ray_address_is_told_from_a_heads_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "RAY_ADDRESS": "http://user:hush@127.0.0.1:8265"})
    with pytest.raises(
        RunError, match=r"RAY_ADDRESS http://user@127\.0\.0\.1:8265: cannot be joined .*HOST:PORT.*RAY_API_SERVER_ADDRESS"
    ) as refused:
        connect()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("cpus", "held"),
    [
        ((1,), 0.0),
        ((1, 1, 1, 1), 0.0),  # on each, a task of Ray Data's wants all there is
        ((0, 1), 0.0),
        ((2,), 0.25),
        ((1, 2), 0.375),
        ((16, 16), 1.0),
        ((0,), 0.0),  # before it grows
    ],
)
def test_actors_leave_a_whole_cpu_somewhere(cpus: tuple[float, ...], held: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes(*cpus))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(sum(cpus))})
    assert pool_cpus(1.0, 1 / 8) == pytest.approx(held)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"labels": {"rpdr.io/group": "linking"}}, "the label rpdr.io/group: linking"),
        ({"gpus": 1.0}, "1 GPU"),
        ({"cpus": 64.0}, "64 CPU"),
    ],
)
def test_a_machine_alone_says_what_it_has_not(needs: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALONE", [True])
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Labels": {"mine": "yes"}}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "memory": 2.0**34})
    with pytest.raises(ConfigError, match=rf"{says}.*rpdr submit"):
        placed(Needs(**needs))
    check_here(Needs(cpus=2.0, labels={"mine": "yes"}))
    check_here(Needs(labels={"mine": "in(no, yes)", "other": "!yes"}))
    with pytest.raises(ConfigError, match="4 CPU"):
        check_here(Needs(cpus=2.0), processes=2)
    with pytest.raises(ConfigError, match="mine: !in"):
        check_here(Needs(labels={"mine": "!in(no, yes)"}))
    monkeypatch.setattr(module, "_ALONE", [])
    check_here(Needs(**needs))  # nodes may come


def test_who_waits_for_nodes_names_the_keys_that_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = ResourcesConfig(retrieving=Needs(gpus=1), indexing=Needs(), training=Needs())
    monkeypatch.setattr("rpdr.pipeline.on_ray.cluster._ALONE", [])
    assert waiting_for(resources, "training") == "waiting for nodes as resources.training asks for, and for what they load"
    said = waiting_for(resources, "retrieving", "reranking", "indexing")
    assert said == "waiting for nodes as resources.retrieving and resources.indexing ask for, and for what they load"
    assert waiting_for(resources, "teaching") == "loading"
    monkeypatch.setattr("rpdr.pipeline.on_ray.cluster._ALONE", [True])
    assert waiting_for(resources, "training") == "loading"


@pytest.mark.parametrize(("each", "room"), [(1.0, 2), (0.5, 4), (0.6, 2), (0.1, 20), (2.0, 1)])
def test_a_share_of_a_gpu_is_of_one_of_them(each: float, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 2.0})
    assert at_most_gpus(100, each) == room


def test_what_a_worker_raised_comes_without_its_traceback() -> None:
    wrapped = RayTaskError("f", "Traceback: many lines", ModelError("x: cannot load this encoder")).as_instanceof_cause()
    assert isinstance(wrapped, ModelError)
    assert str(raised_by_worker(wrapped)) == "x: cannot load this encoder"
    assert str(plain("retriever", wrapped)) == "x: cannot load this encoder"


def test_a_handler_of_ctrl_c_that_a_library_leaves_is_gone_after_it():
    before = signal.getsignal(signal.SIGINT)
    with interrupts_as_before():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Ray Train does, whose own would stop a trainer that is over
    assert signal.getsignal(signal.SIGINT) is before
