"""An index in parts on the cluster: an actor a part, which maps its own file alone, on as many nodes as there are; whoever retrieves asks all at once.

If a node is lost, Ray starts its part on another and asks it again: a part is a file, and an answer depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rpdr.config import Needs
from rpdr.models import best_device
from rpdr.pipeline.on_ray.cluster import check_here, placed, pool_cpus, share_gpu, share_threads
from rpdr.retriever.vectors import InParts, Part, check_total, part_files


@contextmanager
def parts_at_work(index: Path, needs: Needs | None) -> Iterator[list[Any]]:
    """An actor for each part of the index in this folder, until the block ends; none where there is one part, which who retrieves maps itself."""
    files = part_files(index)
    if len(files) < 2:
        yield []
        return
    if needs:
        check_here(needs, len(files))
    options = placed(needs, num_cpus=pool_cpus(1.0, 1 / (16 * len(files))))
    group = _apart(options, len(files))
    options |= {"max_restarts": -1, "max_task_retries": -1}
    places = [PlacementGroupSchedulingStrategy(group, at) if group else None for at in range(len(files))]
    actors = [
        ray.remote(PartActor).options(scheduling_strategy=place, **options).remote(file, len(files), needs)
        for place, file in zip(places, files, strict=True)
    ]
    try:
        yield actors
    finally:
        for each in actors:
            ray.kill(each)
        if group:
            remove_placement_group(group)


def _apart(options: dict[str, Any], parts: int) -> PlacementGroup | None:
    """A place for each part, over as many nodes as there are: actors that are only asked to spread may all land on one. None where they hold
    nothing to place them by, as on a cluster of one CPU."""
    held = {"CPU": options["num_cpus"], "GPU": options.get("num_gpus", 0), "memory": options.get("memory", 0)}
    place = {resource: amount for resource, amount in held.items() if amount}
    if not place:
        return None
    labels = options.pop("label_selector", {})  # the places have them, and what is in a place needs none
    return placement_group([place] * parts, strategy="SPREAD", bundle_label_selector=[labels] * parts if labels else None)


def asked(index: Path, actors: Sequence[Any], total: int) -> InParts:
    """What these actors hold, of `total` vectors in all. Raises RunError where that is not what they hold."""
    totals = ray.get([actor.total.remote() for actor in actors])
    check_total(index, totals, total)

    def ask(what: str, vectors: np.ndarray, more: Sequence[tuple[Any, ...]]) -> list[Any]:
        once = ray.put(vectors)  # and not with each question
        return ray.get([getattr(actor, what).remote(once, *told) for actor, told in zip(actors, more, strict=True)])

    return InParts(totals, ask)


class PartActor:
    """Holds a part; see Vectors for what it answers."""

    def __init__(self, file: Path, parts: int, needs: Needs | None) -> None:
        share_threads(parts, needs)
        share_gpu(needs)
        self._part = Part.load(file).to(best_device() if needs is None or needs.gpus else "cpu")  # a card that was not asked for is others'

    def total(self) -> int:
        """How many vectors it has."""
        return self._part.total

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Vectors."""
        return self._part.search(vectors, k)

    def cosines(self, vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As Vectors."""
        return self._part.cosines(vectors, queries, rows)
