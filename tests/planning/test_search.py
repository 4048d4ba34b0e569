"""The cheapest nodes for a deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rpdr.config import Needs
from rpdr.errors import ConfigError
from rpdr.planning import Gang, NodesConfig, Pool, Process, StageWork, Stream, cheapest, read_nodes

HOUR = 3600.0


def process(kind: str, group: str = "linking", **needs: Any) -> Process:
    return Process(kind, Needs(labels={"rpdr.io/group": group}, **needs), load_s=10)


def nodes(lost_per_hour: float = 0.0, most: int = 16, **small: Any) -> NodesConfig:
    return NodesConfig.model_validate(
        {
            **{"as_of": "2026-11-01", "source": "made up", "head": "small"},
            "types": {
                "small": {"cpus": 2, "memory_gib": 8, "usd_per_hour": 0.1, **small},
                "large": {
                    **{"cpus": 8, "memory_gib": 32, "usd_per_hour": 0.3, "spot_usd_per_hour": 0.1},
                    "lost_per_hour": lost_per_hour,
                },
            },
            "groups": {"linking": {"types": ["small", "large"], "most": most}, "training": {"types": ["large"], "most": 4}},
        }
    )


def linking(mentions: float) -> StageWork:
    return StageWork(
        "link", (Stream(mentions, (Pool(process("retrieving", cpus=2), 1, 0.001), Pool(process("reranking", cpus=2), 1, 0.1)), 256),)
    )


def test_more_nodes_are_had_only_where_the_deadline_wants_them() -> None:
    work = [linking(1e6)]  # 28 hours of one process
    slow, fast = cheapest(work, nodes(), 24 * HOUR), cheapest(work, nodes(), HOUR / 2)
    assert slow.best
    assert fast.best
    assert slow.best.seconds <= 24 * HOUR
    assert fast.best.seconds <= HOUR / 2
    assert slow.best.usd <= fast.best.usd
    assert slow.best.choices[0].nodes < fast.best.choices[0].nodes
    assert slow.best.choices[0].type == "large"  # a third of the price a CPU, as spot


def test_a_longer_deadline_is_never_dearer_however_many_sums_are_alike() -> None:
    """Tuning uses one node of its group, whether that may have one or sixteen."""
    tuning, there = process("tuning", "training", cpus=8), nodes(most=32)
    there = there.model_copy(update={"groups": {**there.groups, "training": there.groups["training"].model_copy(update={"most": 16})}})
    work = [StageWork("retriever", (Gang(tuning, 600),)), linking(3e5)]
    free = cheapest(work, there).best
    assert free
    found = [cheapest(work, there, free.seconds * share) for share in (0.5, 0.6, 0.9)]
    usd = [one.best.usd for one in found if one.best]
    assert len(usd) == 3
    assert [*usd, free.usd] == sorted([*usd, free.usd], reverse=True)
    assert usd[1] < found[1].fastest.usd


def test_where_no_plan_meets_the_deadline_the_fastest_is_told() -> None:
    found = cheapest([linking(1e8)], nodes(), HOUR)
    assert found.best is None
    assert found.fastest.seconds > HOUR
    assert found.fastest.choices[0].nodes == 16


def test_spot_nodes_that_are_lost_all_the_time_are_not_the_cheapest() -> None:
    work = [StageWork("retriever", (Gang(process("tuning", "training", cpus=2), 3 * HOUR),))]
    [calm], [rough] = (cheapest(work, nodes(lost), 24 * HOUR).best.choices for lost in (0.0, 2.0))  # type: ignore[union-attr]
    assert calm.market == "spot"
    assert rough.market == "on_demand"


def test_a_plan_on_spot_nodes_has_one_without_beside_it() -> None:
    found = cheapest([linking(1e6)], nodes(0.02), 8 * HOUR)
    assert found.best
    assert found.on_demand
    assert found.best.choices[0].market == "spot"
    assert all(choice.market == "on_demand" for choice in found.on_demand.choices)
    assert found.best.usd < found.on_demand.usd


def test_a_plan_without_spot_nodes_is_not_told_twice() -> None:
    found = cheapest([linking(1e6)], nodes(spot_usd_per_hour=None, usd_per_hour=0.01), 24 * HOUR)
    assert found.best
    assert {choice.market for choice in found.best.choices} == {"on_demand"}
    assert found.on_demand is None


def test_a_gang_gets_nodes_for_all_of_its_workers() -> None:
    work = [StageWork("distill", (Gang(process("training", "training", cpus=8), HOUR, 3, 60),))]
    found = cheapest(work, nodes())
    assert found.best
    assert found.best.choices[0].nodes == 3


def test_work_that_no_type_has_room_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"resources.tuning: no node type of group training"):
        cheapest([StageWork("retriever", (Gang(process("tuning", "training", cpus=9), 10),))], nodes())
    with pytest.raises(ConfigError, match=r"resources.tuning: asks for no group.*linking, training"):
        cheapest([StageWork("retriever", (Gang(process("tuning", "elsewhere"), 10),))], nodes())


def test_where_the_most_nodes_have_no_room_the_error_names_the_stage_and_what_to_change() -> None:
    gang = [StageWork("distill", (Gang(process("training", "training", cpus=8), HOUR, 64, 60),))]
    with pytest.raises(ConfigError, match=r"distill: group training \(large; most: 4\).*64 workers of training.*`most`.*student\.workers"):
        cheapest(gang, nodes())
    stream = Stream(1e6, (Pool(process("retrieving", cpus=4), 1, 0.001), Pool(process("reranking", cpus=4), 1, 0.1)), 256)
    with pytest.raises(ConfigError, match=r"link: group linking \(small, large; most: 1\).*retrieving and reranking.*`most`.*resources"):
        cheapest([StageWork("link", (stream,))], nodes(most=1))
    assert cheapest([StageWork("link", (stream,))], nodes(most=2)).best


def test_stages_that_want_other_types_of_one_group_are_told_so() -> None:
    many = StageWork("retriever", (Gang(process("tuning", cpus=1), HOUR, 16, 60),))
    large = StageWork("distill", (Gang(process("training", cpus=1, memory_gib=8), HOUR, 4, 60),))
    told = nodes(most=1, cpus=16)
    for alone in (many, large):
        assert cheapest([alone], told).best
    with pytest.raises(ConfigError, match=r"no one type of nodes a group.*`most` of linking"):
        cheapest([many, large], told)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("types: {a: {cpus: 1}}", "missing"),
        (
            "as_of: 2026-01-01\nsource: x\nhead: b\ntypes: {a: {cpus: 1, memory_gib: 1, usd_per_hour: 1}}\ngroups: {g: {types: [a], most: 1}}",
            "'b' is none of the types: a",
        ),
        (
            "as_of: 2026-01-01\nsource: x\nhead: a\ntypes: {a: {cpu: 1, memory_gib: 1, usd_per_hour: 1}}\ngroups: {g: {types: [a], most: 1}}",
            "did you mean 'cpus'",
        ),
        (
            "as_of: 2026-01-01\nsource: x\nhead: a\ntypes:\n  a: {cpus: 1, memory_gib: 1, usd_per_hour: 1, speed: {reranking: 0}}\n"
            "groups: {g: {types: [a], most: 1}}",
            r"types\.a\.speed\.reranking: 0: Input should be greater than 0 .*line 5",
        ),
        (
            "as_of: 2026-01-01\nsource: x\nhead: a\ntypes:\n  a: {cpus: 1, memory_gib: 1, usd_per_hour: 1, speed: {rerankin: 12}}\n"
            "groups: {g: {types: [a], most: 1}}",
            r"types\.a\.speed\.rerankin: 'rerankin': did you mean 'reranking'\?",
        ),
        ("- a", "a file of node types is a mapping of sections, e.g. `types:`"),
    ],
)
def test_a_wrong_file_of_node_types_is_refused_with_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "nodes.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")) as told:
        read_nodes(tmp_path / "nodes.yaml")
    assert "nodes.yaml" in str(told.value)
