"""Each kind of work on a run's own models and texts for some seconds: how long a unit of it takes. For `calibrate`; what is worked out is thrown away.

A trial is made in the process that works, as its loading is measured too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rpdr.config import MentionsConfig, Needs
from rpdr.corpus import Mention, load_mentions, save_mentions, stream_mentions
from rpdr.errors import RunError
from rpdr.files import write_tables
from rpdr.kb import map_kb
from rpdr.models import best_device, load_encoder
from rpdr.pipeline.candidates import BATCH
from rpdr.pipeline.links import gold_pairs
from rpdr.pipeline.progress import Stopwatch
from rpdr.pipeline.shards import Shards, distinct, joined
from rpdr.pipeline.tuning import synonym_pairs
from rpdr.reranker import Calibration, Example, Reranker, queries
from rpdr.reranker.student import Student
from rpdr.reranker.training import Hooks, train
from rpdr.retriever import Retriever, add_candidates, train_encoder
from rpdr.retriever.retriever import encode
from rpdr.run import Run
from rpdr.run.found import candidates_file
from rpdr.schema import LINKED, STUDIED

TEXTS = 4_000  # mentions that a trial works on
NAMES = 2_000  # of the knowledge base, where the run has no index yet
WARM = 2  # first steps, which are slower
BEGIN = "begin"  # beside the units: seconds until the first of them goes at that pace
READ, SPREAD, WRITE = "read", "spread", "write"  # what a link job's own process does with a mention
MENTIONS = 20_000  # that it is tried on


class Trial(Protocol):
    """`measure` for about so many seconds: unit -> seconds of one, and BEGIN."""

    def measure(self, seconds: float) -> dict[str, float]:
        """Of each unit of this kind of work."""


class Tuning:
    """Units: a `pair` that the encoder is tuned on, a `name` that is encoded."""

    def __init__(self, run: Run) -> None:
        self.run, self.concepts = run, map_kb(run.concepts_file)
        self.encoder = load_encoder(run.config.retriever.model, run.config.retriever.max_tokens)

    def measure(self, seconds: float) -> dict[str, float]:
        settings = self.run.config.retriever
        names = [name for concept in islice(self.concepts, NAMES) for name in concept.names][:NAMES]
        encoding = _per_unit("name", lambda some: encode(self.encoder, some, settings.prefix), names, BATCH, seconds / 3)
        steps = _Steps(seconds * 2 / 3)
        gold = gold_pairs(load_mentions(self.run.mentions_file, "labelled"), list(self.concepts))
        with suppress(_Enough):
            train_encoder(
                self.encoder,
                gold,
                synonym_pairs(self.concepts),
                settings.model_copy(update={"epochs": max(1, settings.epochs)}),
                self.run.config.seed,
                on_step=lambda done, total: steps.told(),
            )
        return {**encoding, "pair": steps.seconds / settings.batch_size, BEGIN: encoding[BEGIN] + steps.begin}


class Retrieving:
    """Unit: a `mention`, encoded and looked up."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings, self.concepts = run, run.config.retriever, map_kb(run.concepts_file)
        self.encoder = load_encoder(self.settings.model, self.settings.max_tokens)

    def measure(self, seconds: float) -> dict[str, float]:
        rows, retriever = _mentions(self.run), self._retriever()
        top_k = min(self.settings.top_k, len(retriever.concepts))
        return _per_unit("mention", lambda some: add_candidates(retriever, pa.Table.from_pylist(list(some)), top_k), rows, BATCH, seconds)

    def _retriever(self) -> Retriever:
        """Over the run's own index; before there is one, over some names."""
        if self.run.path("index").exists():
            return Retriever.load(self.encoder, self.run.path("index"), self.concepts, self.settings.prefix)
        return Retriever.build(self.encoder, list(islice(self.concepts, NAMES)), self.settings.prefix, "flat")


class Training:
    """Unit: a `label` that the student learns from."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.student = Student.create(run.config.student, run.config.seed, _device(run.config.resources.training))

    def measure(self, seconds: float) -> dict[str, float]:
        settings = self.run.config.student.model_copy(update={"checkpoint_every_steps": 10**6, "epochs": 20})
        rng = random.Random(self.run.config.seed)
        asked = queries(_questions(self.run, self.run.config.retriever.top_k))
        labels = [Example(q, rng.randrange(len(q.candidate_names)), 1.0).narrowed(settings.train_candidates) for q in asked]
        steps = _Steps(seconds)
        hooks = Hooks(lambda done, total, loss: steps.told(), lambda: self.run.folder, lambda *_: None)
        device = _device(self.run.config.resources.training)
        with suppress(_Enough):
            train(
                settings, labels, self.run.config.seed, hooks, resume_from=None, device=device, save_to=None, create=lambda *_: self.student
            )
        return {"label": steps.seconds / settings.batch_size, BEGIN: steps.begin}


class Reranking:
    """Unit: a `mention` that the student is asked about."""

    def __init__(self, run: Run) -> None:
        self.run = run
        student = Student.create(run.config.student, run.config.seed, _device(run.config.resources.reranking))
        self.reranker = Reranker(student.merged(), Calibration(), run.config.link.batch_size)

    def measure(self, seconds: float) -> dict[str, float]:
        asked = queries(_questions(self.run, self.run.config.final_top_k))
        return _per_unit("mention", self.reranker.scores, asked, 4 * self.run.config.link.batch_size, seconds)


class Teaching:
    """Loads what asks an endpoint; how long answers take is the endpoint's to say."""

    def __init__(self, run: Run) -> None:
        import_module("rpdr.pipeline.ask")

    def measure(self, seconds: float) -> dict[str, float]:
        return {}


TRIALS: dict[str, Callable[[Run], Trial]] = {
    "tuning": Tuning,
    "retrieving": Retrieving,
    "teaching": Teaching,
    "training": Training,
    "reranking": Reranking,
}


class _Enough(Exception):
    """The time of a trial is over."""


class _Steps:
    """Counts steps after the first ones, until it is enough."""

    def __init__(self, seconds: float) -> None:
        self._wanted, self._done, self._warm_s, self._watch = seconds, 0, 0.0, Stopwatch()

    def told(self) -> None:
        """A step is done."""
        self._done += 1
        if self._done == WARM:
            self._warm_s, self._watch = self._watch.seconds, Stopwatch()
        elif self._done > WARM and self._watch.seconds > self._wanted:
            raise _Enough

    @property
    def seconds(self) -> float:
        """Of a step: where there were but the first ones, of these."""
        if self._done <= WARM:
            return (self._warm_s + self._watch.seconds) / max(1, self._done)
        return self._watch.seconds / (self._done - WARM)

    @property
    def begin(self) -> float:
        """Seconds from the start until steps were as fast."""
        return max(0.0, self._warm_s - WARM * self.seconds)


def _per_unit(unit: str, work: Callable[[Any], Any], rows: Sequence[Any], batch: int, seconds: float) -> dict[str, float]:
    """Seconds that one of the rows takes, after a first batch that does not count."""
    first = Stopwatch()
    work(rows[:batch])
    first_s, watch, done = first.seconds, Stopwatch(), 0
    while watch.seconds < seconds:
        some = rows[done % len(rows) :][:batch]
        work(some)
        done += len(some)
    each = watch.seconds / done
    return {unit: each, BEGIN: max(0.0, first_s - each * len(rows[:batch]))}


def driver_of_link(run: Run) -> dict[str, float]:
    """Seconds a mention of what a link job's own process does alone, tried on its corpora's mentions, or the run's own: READ, SPREAD and WRITE."""
    with TemporaryDirectory() as folder:
        work, found = Path(folder), {}
        watch = Stopwatch()
        rows = list(islice((row for row in stream_mentions(_as_corpora(run), run.config.seed) if isinstance(row, Mention)), MENTIONS))
        found[READ] = watch.seconds
        splits = tuple({row.split for row in rows})
        save_mentions(work / "mentions.parquet", rows)
        watch = Stopwatch()
        shards = Shards.spread(work / "mentions.parquet", splits, run.config.link.shard_mentions, work, run.config.student.use_context)
        found[SPREAD] = watch.seconds
        said = {"concept_id": "C1", "name": "a name", "concept_ids": ["C1"], "source": "student", "abstained": False, "nil": False}
        k = run.config.final_top_k
        told = {**said, "confidence": 0.5, "ranked_ids": [f"C{n}" for n in range(k)], "ranked_scores": [1 / k] * k}
        seconds = 0.0
        for shard in range(len(shards)):
            keys = distinct(shards.read(shard))["key"].to_pylist()
            answers = pa.Table.from_pylist(
                [{"key": key, **told} for key in keys], pa.schema([LINKED.field("key"), *map(LINKED.field, told)])
            )
            watch = Stopwatch()
            write_tables(work / "linked.parquet", joined(shards.read(shard), answers, LINKED), LINKED)
            seconds += watch.seconds
        found[WRITE] = seconds
        return {what: each / max(1, len(rows)) for what, each in found.items()}


def _as_corpora(run: Run) -> list[MentionsConfig]:
    """The run's corpora, else its mentions, read as a corpus is: each row of them is kept once, in no split of its own."""
    whole = {"split": "corpus", "split_file": "", "split_documents": None, "keep_every": 1, "repeat": 0, "types": ()}
    sources = list(run.config.corpora.values()) or [source.model_copy(update=whole) for source in run.config.mentions]
    return [source.model_copy(update={"gold": "unknown"}) for source in sources]


def _mentions(run: Run) -> list[dict[str, Any]]:
    """Distinct ones of the splits that are studied, in random order. Raises RunError where there is none."""
    wanted = {"columns": ["key", "text", "context", "type", "split"], "filters": [("split", "in", STUDIED)]}
    table = pq.read_table(run.mentions_file, **wanted).to_pylist()
    rows = list({row["key"]: row for row in table}.values())
    if not rows:
        raise RunError(
            f"calibrate: {run.folder} has mentions of no split but corpus; give one of the `mentions` sources another, as `split: unlabelled`"
        )
    random.Random(run.config.seed).shuffle(rows)
    return rows[:TEXTS]


def _questions(run: Run, top_k: int) -> list[dict[str, Any]]:
    """As rows of schema.CANDIDATES, of so many candidates; before there are such, with concepts drawn at random."""
    file = candidates_file(run, final=top_k != run.config.retriever.top_k)
    if file.exists():
        return _some_rows(file, TEXTS, run.config.seed)
    concepts, rng = map_kb(run.concepts_file), np.random.default_rng(run.config.seed)
    found = []
    for row in _mentions(run):
        some = [concepts[n] for n in rng.choice(len(concepts), min(top_k, len(concepts)), replace=False).tolist()]
        names = [concept.name for concept in some]
        scores = np.linspace(0.9, 0.3, len(some)).tolist()
        drawn = {"candidate_ids": [c.concept_id for c in some], "candidate_names": names, "matched_names": names, "scores": scores}
        found.append({**row, **drawn})
    return found


def _some_rows(file: Path, wanted: int, seed: int) -> list[dict[str, Any]]:
    """So many rows in random order, or all, from no more row groups than hold them: as objects, the rows of a pool of millions are many gigabytes."""
    parquet, rng = pq.ParquetFile(file), random.Random(seed)
    enough, rows = list[int](), 0
    for group in rng.sample(range(parquet.num_row_groups), parquet.num_row_groups):
        if rows < wanted:
            enough.append(group)
            rows += parquet.metadata.row_group(group).num_rows
    drawn = pa.array(rng.sample(range(rows), min(wanted, rows)), pa.int64())
    return parquet.read_row_groups(enough).take(drawn).to_pylist()


def _device(needs: Needs | None) -> str:
    return best_device() if needs is None or needs.gpus else "cpu"
