"""Runs that are played through: what starts, waits, is lost and costs."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from rpdr.config import Needs
from rpdr.planning import Choice, Driver, Gang, NodesConfig, Pool, Process, Requests, StageWork, Stream, simulated
from rpdr.planning import simulation as module

ON = Needs(cpus=1, labels={"rpdr.io/group": "work"})
WORKER = Process("training", ON, load_s=5)


def nodes(**changes: Any) -> NodesConfig:
    node = {"cpus": 1, "memory_gib": 4, "usd_per_hour": 3.6, "spot_usd_per_hour": 1.8, "starts_s": 10, "lost_per_hour": 1}
    told = {
        **{"as_of": "2026-11-01", "source": "made up", "head": "head", "idle_timeout_s": 30},
        "types": {"head": {"cpus": 1, "memory_gib": 4, "usd_per_hour": 0}, "node": {**node, **changes.pop("node", {})}},
        "groups": {"work": {"types": ["node"], "most": 8}},
    }
    return NodesConfig.model_validate({**told, **changes})


def of(count: int, market: Any = "on_demand") -> list[Choice]:
    return [Choice("work", "node", market, count)]


def seconds(*steps: Any, count: int = 1, **changes: Any) -> float:
    return simulated([StageWork("stage", steps)], of(count), nodes(**changes)).seconds


class LostAfter(random.Random):
    """Nodes are lost after these seconds, the others never."""

    times: list[float]

    def expovariate(self, lambd: float = 1.0) -> float:
        return self.times.pop(0) if self.times else 1e9


@pytest.fixture
def lost_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    def lose(*times: float) -> None:
        def made(seed: int) -> LostAfter:
            rng = LostAfter(seed)
            rng.times = list(times)
            return rng

        monkeypatch.setattr(module.random, "Random", made)

    return lose


def test_a_node_starts_a_process_loads_and_then_works() -> None:
    assert seconds(Gang(WORKER, 100)) == pytest.approx(10 + 5 + 100)


def test_an_idle_node_is_used_again_and_costs_until_it_is_given_back() -> None:
    twice = simulated([StageWork("a", (Gang(WORKER, 100),)), StageWork("b", (Gang(WORKER, 100),))], of(1), nodes())
    assert [stage.seconds for stage in twice.stages] == pytest.approx([115, 105])
    assert twice.usd == pytest.approx((220 + 30) * 3.6 / 3600)
    rested = simulated([StageWork("a", (Gang(WORKER, 100), Driver(60), Gang(WORKER, 100)))], of(1), nodes())
    assert rested.seconds == pytest.approx(115 + 60 + 115)  # the node had gone after 30
    assert rested.usd == pytest.approx(2 * (115 + 30) * 3.6 / 3600)


def test_a_gang_waits_for_all_and_a_lost_node_costs_what_was_done_since_the_checkpoint(lost_after: Any) -> None:
    gang = Gang(WORKER, workers=2, seconds=100, checkpoint_every_s=40)
    calm = simulated([StageWork("stage", (gang,))], of(2), nodes())
    assert calm.seconds == pytest.approx(115)
    lost_after(
        70
    )  # of one node: 15 to begin, 40 to the checkpoint, and 25 s of what came after it (a node is 10 s old when it can be lost)
    rough = simulated([StageWork("stage", (gang,))], of(2, "spot"), nodes(), seed=0)
    assert rough.lost == 1
    assert rough.seconds == pytest.approx(80 + 10 + 5 + 60)  # from the checkpoint, on a new node
    assert rough.stages[0].busy["training"] < calm.stages[0].busy["training"]


def test_a_task_whose_node_is_lost_begins_anew(lost_after: Any) -> None:
    lost_after(50)
    assert simulated([StageWork("stage", (Gang(WORKER, 100),))], of(1, "spot"), nodes(), seed=0).seconds == pytest.approx(60 + 115)


def test_mentions_flow_through_pools_at_the_pace_of_the_slowest() -> None:
    first, second = Process("retrieving", ON, 5), Process("reranking", ON, 5)
    stream = Stream(10_000, (Pool(first, 1.0, 0.01, 1), Pool(second, 0.5, 0.2, 2)), batch=10)
    assert seconds(stream, count=3) == pytest.approx(15 + 10_000 * 0.5 * 0.2 / 2, rel=0.02)
    assert seconds(stream, count=1) > 15 + 10_000 * (0.01 + 0.5 * 0.2)  # one place: first one pool, then the other


def test_what_a_lost_node_was_at_is_done_again(lost_after: Any) -> None:
    stream = Stream(1_000, (Pool(WORKER, 1.0, 0.1, 1),), batch=100)
    calm = simulated([StageWork("stage", (stream,))], of(1), nodes())
    lost_after(50)  # 45 s of work: 4 batches of 10 s; the node is lost as the fifth is at its middle
    rough = simulated([StageWork("stage", (stream,))], of(1, "spot"), nodes(), seed=0)
    assert calm.seconds == pytest.approx(115)
    assert rough.seconds == pytest.approx(60 + 10 + 5 + 60)


def test_pools_without_a_size_share_the_nodes_by_their_work() -> None:
    first, second = Process("retrieving", ON, 0), Process("reranking", ON, 0)
    stream = Stream(10_000, (Pool(first, 1.0, 0.1), Pool(second, 1.0, 0.3)), batch=10)
    assert seconds(stream, count=5, node={"starts_s": 0}) == pytest.approx(1_000, rel=0.02)  # one of the five is for Ray Data's own tasks


def test_no_process_is_started_that_would_have_no_batch() -> None:
    few = Stream(30, (Pool(WORKER, 1.0, 1.0),), batch=10)
    assert simulated([StageWork("stage", (few,))], of(8), nodes()).stages[0].nodes == {"work": 3}


@pytest.mark.parametrize(("per_minute", "expected"), [(None, 100.0), (300, 200.0)])
def test_requests_wait_for_the_endpoint_and_for_the_limit(per_minute: float | None, expected: float) -> None:
    asking = Requests(WORKER, actors=2, at_once=5, requests=1_000, latency_s=1.0, per_minute=per_minute)
    assert seconds(asking, count=2) == pytest.approx(15 + expected, rel=0.03)


def test_nodes_that_share_a_machine_share_its_cores() -> None:
    stream = Stream(1_000, (Pool(WORKER, 1.0, 0.4, 4),), batch=10)
    assert seconds(stream, count=4) == pytest.approx(115, rel=0.02)
    assert seconds(stream, count=4, cores=2) == pytest.approx(20 + 10 + 200, rel=0.02)  # as what starts and loads


def test_a_process_is_faster_where_the_machine_that_is_shared_rests() -> None:
    quiet = Process("training", ON, load_s=5, alone=0.6)
    assert seconds(Gang(quiet, 100), cores=2) == pytest.approx(15 + 60)
    assert seconds(Gang(quiet, 100, 2, 100), cores=2, count=2) == pytest.approx(115)
    assert seconds(Gang(quiet, 100)) == pytest.approx(115)  # a machine of its own is taken to be busy


def test_a_process_that_asks_for_half_a_cpu_gets_half() -> None:
    half = Process("training", ON.model_copy(update={"cpus": 0.5}), load_s=5)
    assert seconds(Gang(half, 100)) == pytest.approx(15 + 200)
    assert seconds(Gang(half, 100), cores=2) == pytest.approx(115)  # of one machine it is known who else is at work


def test_a_faster_type_is_faster() -> None:
    assert seconds(Gang(WORKER, 100), node={"speed": {"training": 4}}) == pytest.approx(15 + 25)


def test_losses_are_the_same_for_the_same_seed_and_cost() -> None:
    work = [StageWork("stage", (Gang(WORKER, 3_600),))]
    some = [simulated(work, of(1, "spot"), nodes(), seed) for seed in range(20)]
    assert some == [simulated(work, of(1, "spot"), nodes(), seed) for seed in range(20)]
    calm = simulated(work, of(1, "spot"), nodes())
    assert calm.lost == 0
    assert 0 < sum(outcome.lost > 0 for outcome in some) < 20
    assert all((outcome.usd > calm.usd) == (outcome.lost > 0) for outcome in some)


def test_what_the_job_alone_writes_is_a_floor_under_a_stream() -> None:
    stream = Stream(1_000, (Pool(WORKER, 1.0, 0.1, 1),), batch=100)
    quick, slow = (simulated([StageWork("stage", (replace(stream, driver_s=s),))], of(1), nodes()).seconds for s in (1.0, 5_000.0))
    assert quick == pytest.approx(simulated([StageWork("stage", (stream,))], of(1), nodes()).seconds)
    assert slow == pytest.approx(5_000, rel=0.05)
