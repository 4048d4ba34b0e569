"""Stage `link`: test and corpus mentions -> linked/, in shards; distinct mentions are linked once and joined back to every repeat.

The distinct keys, in order, are cut into shards. A shard is finished when its file is in place (write, fsync, rename) and in
the manifest; a start after a kill does the others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy

from rpdr.config import LinkConfig, StudentConfig
from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.errors import DataError
from rpdr.files import write_json, write_rows
from rpdr.kb import load_kb
from rpdr.linker import answers, exact_answer, exact_names, operating_point
from rpdr.pipeline.candidates import SECONDS, final_retriever, retrieve_dataset, with_seconds
from rpdr.pipeline.cluster import at_most_gpus, connect, cpus, has_gpu, share_threads
from rpdr.pipeline.progress import StageProgress, console
from rpdr.pipeline.run import Run, Stopwatch
from rpdr.reranker import Calibration, OperatingPoint, Reranker
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.retriever import distinct_rows
from rpdr.schema import LINKED

MANIFEST = "_manifest.json"  # readers of Parquet folders pass over names with an underscore


def link(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Link what no finished shard holds yet."""
    mentions = [m for m in load_mentions(run.path("corpus", "mentions.parquet")) if m.split in ("test", "corpus")]
    if not mentions:
        raise DataError("link: no mentions in the splits test and corpus; give one of the `mentions` sources `split: corpus`")
    rows = distinct_rows(mentions)
    size = run.config.link.shard_mentions
    shards = {number: rows[start : start + size] for number, start in enumerate(range(0, len(rows), size))}
    finished = _finished(run)
    todo = [{**row, "shard": number} for number, shard in shards.items() if number not in finished for row in shard]
    resumed = len(finished)
    watch = Stopwatch()
    calibration = Calibration.load(run.path("student", CALIBRATION_FILE))
    point = operating_point(calibration, run.config.link)
    warning = point.warning() if point else None
    if warning:
        console.print(f"[yellow]note:[/yellow] {warning}", soft_wrap=True)
    rates = _link_rows(run, todo, shards, mentions, finished, calibration, point, progress) if todo else {}
    linked = pq.read_table(run.path("linked"), columns=["concept_id", "abstained", "source", "key"])
    abstained = pc.sum(linked["abstained"]).as_py()
    sources = Counter(dict(zip(linked["key"].to_pylist(), linked["source"].to_pylist(), strict=True)).values())
    return {
        "mentions": linked.num_rows,
        "distinct": len(rows),
        "nil": linked["concept_id"].null_count - abstained,
        "abstained": abstained,
        "operating_point": asdict(point) if point else None,
        "warning": warning,
        "exact": sources["exact"],
        "student_scored": sources["student"],
        "shards": len(shards),
        "shards_resumed": resumed,
        "link_s": watch.seconds,
        **rates,
    }


def _link_rows(
    run: Run,
    todo: list[dict[str, Any]],
    shards: dict[int, list[dict[str, Any]]],
    mentions: list[Mention],
    finished: dict[int, str],
    calibration: Calibration,
    point: OperatingPoint | None,
    progress: StageProgress,
) -> dict[str, float]:
    connect()
    by_key: dict[str, list[Mention]] = defaultdict(list)
    for mention in mentions:
        by_key[mention.key].append(mention)
    names = exact_names(load_kb(run.path("kb", "concepts.parquet"))) if run.config.link.exact_match else {}
    waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    done = written = 0
    whole = Stopwatch()

    def accept(answered: list[dict[str, Any]], shard: int) -> None:
        nonlocal done, written
        done += len(answered)
        waiting[shard].extend(answered)
        if len(waiting[shard]) == len(shards[shard]):
            out = [_joined(answer, m) for answer in sorted(waiting.pop(shard), key=lambda a: a["key"]) for m in by_key[answer["key"]]]
            file = f"shard-{shard:06d}.parquet"
            write_rows(run.path("linked", file), out, LINKED)
            finished[shard] = file
            write_json(run.path("linked", MANIFEST), {"shards": {str(n): finished[n] for n in sorted(finished)}, "of": len(shards)})
            written += len(out)

    hard = []
    for row in todo:
        concept = names.get(normalise(row["text"]))
        if concept is None:
            hard.append(row)
        else:
            accept([{**row, **exact_answer(concept, calibration, point)}], row["shard"])
    seconds = 0.0
    if hard:
        settings = run.config.link
        actors = at_most_gpus(settings.student_actors)
        blocks = max(2 * actors, len(hard) // 256)  # each copy of the student takes whole blocks: as many as keep all at work
        questions = ray.data.from_arrow(pa.Table.from_pylist(hard)).repartition(blocks)
        dataset = retrieve_dataset(run, questions, final_retriever(run), run.config.final_top_k)
        ranked = dataset.map_batches(
            RerankActor,
            fn_constructor_args=(run.folder, run.config.student, settings, actors, point),
            batch_size=settings.batch_size * 4,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=actors),
            # a share of the CPUs must be left to Ray Data's own tasks, or they never start
            **({"num_gpus": 1} if has_gpu() else {"num_cpus": min(1.0, cpus() / (4 * actors))}),
        )
        for batch in ranked.iter_batches(batch_size=None, batch_format="pyarrow"):
            answered = batch.to_pylist()
            seconds += sum(answer[SECONDS] for answer in answered)
            by_shard: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for answer in answered:
                by_shard[answer["shard"]].append(answer)
            for shard, some in by_shard.items():
                accept(some, shard)
            progress.update(done, len(todo), "linking distinct mentions")
    rates = {"mentions_per_s": written / whole.seconds}
    if hard:
        rates["student_mentions_per_s"] = len(hard) / seconds
    return rates


def _joined(answer: dict[str, Any], mention: Mention) -> dict[str, Any]:
    return {
        **{n: answer[n] for n in LINKED.names if n in answer},
        "mention_id": mention.mention_id,
        "text": mention.text,
        "split": mention.split,
    }


def _finished(run: Run) -> dict[int, str]:
    path = run.path("linked", MANIFEST)
    shards = json.loads(path.read_text())["shards"] if path.exists() else {}
    return {int(number): file for number, file in shards.items() if run.path("linked", file).exists()}


class RerankActor:
    """Holds a student; a batch of candidates in, answers out."""

    def __init__(self, folder: Path, student: StudentConfig, settings: LinkConfig, actors: int, point: OperatingPoint | None) -> None:
        share_threads(actors)
        self.allow_nil, self.point = settings.allow_nil, point
        self.reranker = Reranker.load(folder / "student", student, settings.batch_size)

    def __call__(self, batch: pa.Table) -> pa.Table:
        watch = Stopwatch()
        rows = batch.to_pylist()
        found = answers(self.reranker, rows, self.allow_nil, self.point)
        keep = ("key", "text", "shard")
        kept = [{**{name: row[name] for name in keep}, **answer} for row, answer in zip(rows, found, strict=True)]
        return with_seconds(pa.Table.from_pylist(kept, SCHEMA), watch)


SCHEMA = pa.schema([*(f for f in LINKED if f.name not in ("mention_id", "split")), pa.field("shard", pa.int64())])
