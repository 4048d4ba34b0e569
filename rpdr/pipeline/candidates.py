"""Stage `candidates`: every distinct annotated or to-be-labelled mention -> its top-k concepts, by a Ray Data actor pool."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.data import ActorPoolStrategy

from rpdr.config import Config, actors_between
from rpdr.corpus import Mention, load_mentions
from rpdr.errors import DataError
from rpdr.files import write_table
from rpdr.kb import map_kb
from rpdr.pipeline.on_ray.cluster import connect, dataset_of, keep_data_on, placed, pool_cpus, share_gpu, share_threads, waiting_for
from rpdr.pipeline.on_ray.parts import asked, parts_at_work
from rpdr.pipeline.progress import StageProgress, Stopwatch
from rpdr.retriever import add_candidates, distinct_rows
from rpdr.run import Run
from rpdr.run.loaded import load_retriever
from rpdr.schema import CANDIDATES, STUDIED

BATCH = 256
SECONDS = "seconds"


def candidates(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Retrieve once for each distinct mention of every split but `corpus`, whose mentions are retrieved as they are linked."""
    mentions = load_mentions(run.mentions_file, *STUDIED)
    if not mentions:
        raise DataError(
            f"candidates: no mentions in the splits {', '.join(STUDIED)}; give one of the `mentions` sources another split than corpus"
        )
    found, seconds = retrieved(run, mentions, (run.path("retriever"), run.path("index")), run.config.retriever.top_k, progress)
    write_table(run.teacher_candidates, found, CANDIDATES)
    return {"distinct": len(found), "mentions": len(mentions), "mentions_per_s": len(found) / seconds}


def retrieved(
    run: Run, mentions: Sequence[Mention], retriever: tuple[Path, Path], top_k: int, progress: StageProgress
) -> tuple[pa.Table, float]:
    """(a table of schema.CANDIDATES of the distinct mentions, of `top_k` candidates, sorted by key, seconds that actors were at work), by this
    encoder and index."""
    connect()
    asked = pa.Table.from_pylist(distinct_rows(mentions))
    found: list[pa.Table] = []
    seconds, done = 0.0, 0
    keep_data_on(run.config.resources.retrieving)
    dataset = dataset_of(asked, BATCH)
    with parts_at_work(retriever[1], run.config.resources.indexing) as parts:
        progress.update(0, None, waiting_for(run.config.resources, "retrieving", *["indexing"] * bool(parts)))
        for batch in retrieving(run, dataset, retriever, top_k, parts).iter_batches(batch_size=None, batch_format="pyarrow"):
            found.append(batch.select(CANDIDATES.names).cast(CANDIDATES))
            seconds += sum(batch[SECONDS].to_pylist())
            done += batch.num_rows
            progress.update(done, asked.num_rows, "retrieving candidates")
    return pa.concat_tables([CANDIDATES.empty_table(), *found]).sort_by("key"), seconds


def retrieving(
    run: Run, dataset: Any, retriever: tuple[Path, Path], top_k: int, parts: Sequence[Any], actor: type | None = None, batch: int = BATCH
) -> Any:
    """A dataset with a `text` column through as many actors as `link.retriever_actors` says (RetrieveActor, or of a subclass) with this encoder and index,
    whose `parts` are at work; `batch` rows at a time."""
    least, most = actors_between(run.config.link.retriever_actors)
    return dataset.map_batches(
        actor or RetrieveActor,
        fn_constructor_args=(run.folder, retriever, run.config, top_k, most, parts),
        batch_size=batch,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        **placed(run.config.resources.retrieving, num_cpus=pool_cpus(1.0, 1 / (8 * most))),
    )


class RetrieveActor:
    """Holds the encoder and the index, or asks its parts; a batch of mentions in, the same with candidates out."""

    def __init__(self, folder: Path, retriever: tuple[Path, Path], config: Config, top_k: int, actors: int, parts: Sequence[Any]) -> None:
        share_threads(actors, config.resources.retrieving)
        share_gpu(config.resources.retrieving)
        own = partial(asked, retriever[1], parts) if parts else None
        self.retriever = load_retriever(retriever, map_kb(folder / "kb" / "concepts.parquet"), config.retriever, own=own)
        self.top_k = top_k

    def __call__(self, batch: pa.Table) -> pa.Table:
        watch = Stopwatch()
        return with_seconds(add_candidates(self.retriever, batch, self.top_k), watch)


def with_seconds(batch: pa.Table, watch: Stopwatch, name: str = SECONDS) -> pa.Table:
    """`batch` with the column `name`: each row's share of the time that its actor worked on it: what rates are counted from, not when batches arrive."""
    return batch.append_column(name, pa.array([watch.seconds / max(1, batch.num_rows)] * batch.num_rows, pa.float64()))
