"""Stage `link`: test and corpus mentions -> linked/, or a corpus of the config's -> corpora/NAME/, in shards; what is asked about several
mentions alike is answered once and joined back to each.

Shards flow through exact names, retriever and student as one stream, and each is written as its last answer arrives. A shard is finished when
its file is in place, in a folder or an object store; a start after a kill does the others. Memory holds the shards on their way, not the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy

from rpdr.answer import answers, exact_answer, operating_point
from rpdr.config import Config, actors_between
from rpdr.errors import DataError, RunError
from rpdr.files import read_tables, sha256_tree
from rpdr.kb import map_kb
from rpdr.pipeline.candidates import BATCH, SECONDS, RetrieveActor, retrieving, with_seconds
from rpdr.pipeline.corpora import corpus_store, read_corpus
from rpdr.pipeline.link_summary import machine_usd
from rpdr.pipeline.linked import Linked
from rpdr.pipeline.on_ray.cluster import at_most_gpus, connect, has_gpu, keep_data_on, placed, pool_cpus, share_threads, waiting_for
from rpdr.pipeline.on_ray.elsewhere import TRIES
from rpdr.pipeline.on_ray.meters import Meters
from rpdr.pipeline.on_ray.parts import parts_at_work
from rpdr.pipeline.progress import StageProgress, Stopwatch, console
from rpdr.pipeline.shards import BOUNDS, COLUMNS, Shards, distinct
from rpdr.pipeline.store import REJECTED, Store, is_ours, shard_file, store_at
from rpdr.reranker import OperatingPoint
from rpdr.reranker.vllm_engine import prepare
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import LAST_FILE as EXACT_FILE
from rpdr.retriever.exact import UNDECIDED
from rpdr.retriever.rows import COLUMNS as CANDIDATE_COLUMNS
from rpdr.run import STAGES, WORK, Run, Stage, linking
from rpdr.run.loaded import AT_ONCE, calibrated, final_retriever, load_reranker
from rpdr.schema import CANDIDATES, LINKED, REJECTS
from rpdr.show import number

SPLITS = ("test", "corpus")
FOR_VLLM = "vllm"  # in the folder of the work


def link(run: Run, progress: StageProgress, corpus: str = "") -> dict[str, Any]:
    """Link what no finished shard holds yet: of the run's own mentions, or of the `corpus` of this name."""
    watch, stage = Stopwatch(), linking(corpus) if corpus else STAGES["link"]
    folder = run.path(*stage.owns)
    store = corpus_store(run, corpus) if corpus else store_at(folder)
    there = store.names()  # what cannot be reached or written is told before an hour of reading
    if run.config.link.engine == "vllm":
        progress.update(0, None, "writing the student for vLLM")
        _prepare_for_vllm(run, folder / WORK)
    store.check_writable()
    if not corpus:
        summary = _link_file(run, stage, run.mentions_file, folder / WORK, store, progress)
        if not summary["mentions"]:
            raise DataError("link: no mentions in the splits test and corpus; give one of the `mentions` sources `split: corpus`")
        return {**summary, "start_s": watch.seconds}
    mentions, rejects = folder / WORK / "mentions.parquet", folder / REJECTED
    again = mentions.exists()  # a start before this one may have read it
    sources = read_corpus(run, corpus, mentions, rejects, any(is_ours(name) and name != REJECTED for name in there), progress)
    summary = _link_file(run, stage, mentions, folder / WORK, store, progress)
    if run.config.link.output:
        store.write_tables(REJECTED, read_tables(rejects), REJECTS)
    refused = pq.ParquetFile(rejects).metadata.num_rows
    Meters(run.folder.name, "rejected").tell(rows=refused)
    told = {**summary, "rejects": refused, "output": str(store), "sources": sources}
    return told if again else {**told, "start_s": watch.seconds}


def _link_file(run: Run, stage: Stage, mentions: Path, work: Path, store: Store, progress: StageProgress) -> dict[str, Any]:
    """Link the mentions of a file of schema.MENTIONS into `store`; `work`: a folder for what `Run.clear_work` throws away."""
    progress.update(0, None, "spreading mentions over shards")
    shards = Shards.spread(mentions, SPLITS, run.config.link.shard_mentions, work, run.config.student.use_context)
    output = Linked(store, shards, {"inputs": run.inputs(stage), "revision": str(stage.revision), "mentions": sha256_tree(mentions)})
    resumed, before = len(output.counts), output.mentions
    calibration, _ = calibrated(run.path("student"), run.config.link)
    point = operating_point(calibration, run.config.link)
    warning = point.warning() if point else None
    if warning:
        console.print(f"[yellow]note:[/yellow] {warning}", soft_wrap=True)
    watch = Stopwatch()
    rates = _link(run, output, work, point, progress) if output.todo else {}
    output.write_manifest()
    missing = [shard_file(shard) for shard in output.todo if shard not in output.counts]
    if missing:
        raise RunError(f"link: {store}: {len(missing)} shards are not whole ({missing[0]}, …), though all was asked; start it again")
    return {
        **output.total(),
        "operating_point": asdict(point) if point else None,
        "warning": warning,
        "shards": len(shards),
        "shards_resumed": resumed,
        "start_mentions": output.mentions - before,
        "link_s": watch.seconds,
        **rates,
    }


def _link(run: Run, output: Linked, work: Path, point: OperatingPoint | None, progress: StageProgress) -> dict[str, float]:
    """Answer and write the shards to do; how fast each part was."""
    connect()
    settings = run.config.link
    if settings.exact_match and not ExactNames.saved(work):
        ExactNames.for_student(map_kb(run.concepts_file), run.path("student")).save(work)
    total = int(output.shards.mentions.sum())
    watch, meters = Stopwatch(), Meters(run.folder.name, "linked")
    retrieved = asked = questions = 0
    seconds = dict.fromkeys((SECONDS, RERANK_S), 0.0)
    before, usd = output.mentions, run.config.report.machine_usd_per_hour
    with parts_at_work(final_retriever(run)[1], run.config.resources.indexing) as parts:
        progress.update(0, None, waiting_for(run.config.resources, "retrieving", "reranking", *["indexing"] * bool(parts)))
        for batch in _answers(run, output, work, point, parts).iter_batches(batch_size=None, batch_format="pyarrow"):
            retrieved += pc.sum(pc.not_equal(batch["source"], "exact")).as_py() or 0
            asked += pc.sum(pc.equal(batch["source"], "student")).as_py() or 0
            for name in seconds:
                seconds[name] += pc.sum(batch[name]).as_py() or 0.0
            output.accept(batch)
            questions += batch.num_rows
            rate = (output.mentions - before) / watch.seconds
            meters.tell(mentions=output.mentions, questions=questions, by_student=asked, mentions_per_s=rate)
            price = f", ${machine_usd(watch.seconds, usd):.2f}" if usd is not None else ""
            progress.update(output.mentions, total, f"linking, {number(rate)} mentions a second{price},")
    rates = {"mentions_per_s": (output.mentions - before) / watch.seconds}
    if retrieved:
        rates["retriever_mentions_per_s"] = retrieved / seconds[SECONDS]
    if asked:
        rates["student_mentions_per_s"] = asked / seconds[RERANK_S]
    return rates


def _answers(run: Run, output: Linked, work: Path, point: OperatingPoint | None, parts: Sequence[Any]) -> Any:
    """A dataset of rows of ANSWERED, one a question of the shards to do."""
    settings, todo = run.config.link, output.todo
    least, most, options = _students(run)
    keep_data_on(run.config.resources.retrieving)
    numbers = ray.data.range(len(todo), override_num_blocks=len(todo))
    names = run.concepts_file if settings.exact_match else None
    questions = numbers.map_batches(_read, fn_args=(todo, work, names), batch_size=1, batch_format="pyarrow")
    rows = _rows_at_once(int(output.shards.mentions[todo].sum()), most)
    questions = questions.repartition(target_num_rows_per_block=rows)
    retrieved = retrieving(run, questions, final_retriever(run), run.config.final_top_k, parts, Retrieve, rows)
    return retrieved.map_batches(
        Rerank,
        fn_constructor_args=(run.folder, run.config, most, point, work),
        batch_size=min(settings.batch_size * AT_ONCE, rows),
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        **options,
    )


TURNS, FEW = 8, 16  # portions of a small corpus that each copy of the student gets, and the least that are worth one


def _rows_at_once(mentions: int, copies: int) -> int:
    """Rows that go from part to part together: BATCH at most, and of a small corpus so few that each copy of the student gets some while the
    retriever is still at work, and that all copies end at about the same time."""
    return min(BATCH, max(FEW, -(-mentions // (TURNS * copies))))


def _students(run: Run) -> tuple[int, int, dict[str, Any]]:
    """(the least, the most copies of the student at work, Ray's options of each)."""
    settings, needs = run.config.link, run.config.resources.reranking
    least, most = (actors if needs else at_most_gpus(actors, settings.student_gpus) for actors in actors_between(settings.student_actors))
    # no CPU beside a GPU: of a machine with few, none would be left to read the corpus, for which Ray would wait without a word
    share = {"num_gpus": settings.student_gpus, "num_cpus": 0} if has_gpu() else {"num_cpus": pool_cpus(1.0, 1 / (4 * most))}
    return least, most, placed(needs, **share)


def _prepare_for_vllm(run: Run, work: Path) -> None:
    """Write the student as vLLM loads it, where a student will be at work: what is missing there is told before anything else is done."""
    connect()
    *_, options = _students(run)
    ray.get(ray.remote(prepare).options(**options, max_retries=TRIES).remote(run.path("student"), run.config.student, work / FOR_VLLM))


RERANK_S = "rerank_s"  # each row's share of the student's time, as SECONDS is of the retriever's
_PLACE = [pa.field("shard", pa.int64()), pa.field("of", pa.int64()), pa.field(SECONDS, pa.float64())]
# `exact`: its one candidate is the concept whose name it is; the others have none before they meet the retriever
QUESTIONS = pa.schema([*CANDIDATES, pa.field("exact", pa.bool_()), *_PLACE])
ANSWERED = pa.schema([*(f for f in LINKED if f.name == "key" or f.name not in COLUMNS), *_PLACE])  # and RERANK_S


@lru_cache(maxsize=3)
def _loaded(load: Callable[[Path], Any], place: Path, mtime_ns: int) -> Any:
    """What `load` maps, as it was written at that time: a Python session may link a corpus, and then another of the same name."""
    return load(place)


def _mapped(load: Callable[[Path], Any], place: Path, file: str = "") -> Any:
    """`load` of a place whose `file` tells when it was written."""
    return _loaded(load, place, (place / file).stat().st_mtime_ns)


def _read(numbers: pa.Table, todo: list[int], work: Path, names: Path | None) -> pa.Table:
    """The questions of a shard as rows of QUESTIONS; those that are `names` of one concept of this file decided."""
    shard = todo[numbers["id"][0].as_py()]
    rows = distinct(_mapped(Shards.load, work, BOUNDS).read(shard))
    n = rows.num_rows
    owners = _mapped(ExactNames.load, work, EXACT_FILE).find(rows["text"].to_pylist()) if names else np.full(n, UNDECIDED)
    owned = owners != UNDECIDED
    ids: list[list[str]] = [[]] * n
    called = ids.copy()
    concepts = _mapped(map_kb, names) if names else []
    for place in np.flatnonzero(owned):
        concept = concepts[owners[place]]
        ids[place], called[place] = [concept.concept_id], [concept.name]
    found = {"candidate_ids": ids, "candidate_names": called, "matched_names": called, "scores": [[1.0] * len(i) for i in ids]}
    told = {**{name: rows[name] for name in ("key", "text", "context", "type")}, **found}
    return pa.table({**told, "exact": owned, "shard": [shard] * n, "of": [n] * n, SECONDS: [0.0] * n}, schema=QUESTIONS)


class Retrieve(RetrieveActor):
    """As its base; rows of QUESTIONS in and out, of which exact names pass by."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        hard, easy = _parted(batch)
        if hard.num_rows:
            hard = super().__call__(hard.drop_columns([*CANDIDATE_COLUMNS, SECONDS]))
        return pa.concat_tables([part.select(QUESTIONS.names).cast(QUESTIONS) for part in (hard, easy)])


class Rerank:
    """Holds a student; rows of QUESTIONS in, of ANSWERED out."""

    def __init__(self, folder: Path, config: Config, actors: int, point: OperatingPoint | None, work: Path) -> None:
        share_threads(actors, config.resources.reranking)
        self.allow_nil, self.point = config.link.allow_nil, point
        self.reranker = load_reranker(folder, config, for_vllm=work / FOR_VLLM if config.link.engine == "vllm" else None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        watch = Stopwatch()
        hard, easy = (part.to_pylist() for part in _parted(batch))
        found = answers(self.reranker, hard, self.allow_nil, self.point)
        found += [exact_answer(row["candidate_ids"][0], row["candidate_names"][0], self.reranker.calibration, self.point) for row in easy]
        keep = ("key", *(field.name for field in _PLACE))
        kept = [{**{name: row[name] for name in keep}, **answer} for row, answer in zip(hard + easy, found, strict=True)]
        return with_seconds(pa.Table.from_pylist(kept, ANSWERED), watch, RERANK_S)


def _parted(questions: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(those for the models, those that an exact name decides)."""
    return questions.filter(pc.invert(questions["exact"])), questions.filter(questions["exact"])
