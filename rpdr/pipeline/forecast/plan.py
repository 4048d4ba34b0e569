"""`rpdr plan`: what is still to be done of a run, on which nodes of a cluster, in how many hours and for how many dollars.

Reads a run directory whose mentions are prepared and its measured rates (`calibrate`), and writes nothing. The stage report is left out: it is a
minute on the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.config import Needs, actors_between
from rpdr.corpus import load_mentions
from rpdr.errors import ConfigError
from rpdr.kb import map_kb
from rpdr.pipeline.candidates import BATCH
from rpdr.pipeline.forecast.calibrate import FILE, Rate, Rates
from rpdr.pipeline.forecast.estimate import estimate_of, measured
from rpdr.pipeline.forecast.trials import READ, SPREAD, WRITE
from rpdr.pipeline.link_summary import DECIDERS
from rpdr.pipeline.links import gold_pairs
from rpdr.pipeline.pool import mentions_of
from rpdr.pipeline.retune import FOLDS
from rpdr.pipeline.shards import questions
from rpdr.pipeline.tuning import AGAIN, most_synonyms, synonym_pairs
from rpdr.planning import Driver, Gang, NodesConfig, Pool, Process, Requests, StageWork, Step, Stream
from rpdr.planning.fleet import HOUR
from rpdr.planning.nodes import group_of
from rpdr.planning.pools import OF_RAY_DATA
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import UNDECIDED
from rpdr.run import STAGES, Run
from rpdr.run.folder import not_prepared
from rpdr.schema import STUDIED
from rpdr.teacher.estimate import LATENCY_S, Estimate

UNTIL_LINKED = ("retriever", "candidates", "teach", "retune", "baselines", "distill", "link")


@dataclass(frozen=True)
class Corpus:
    """What is to be linked. Of the `distinct` questions, `retrieved` and `reranked` are the shares that meet the models; a `further` one has yet to be
    read."""

    mentions: float
    distinct: float
    retrieved: float
    reranked: float
    further: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """What is to be done, by these rates; dollars that the teacher will be paid for its part; and what was assumed."""

    stages: tuple[StageWork, ...]
    corpus: Corpus
    rates: Rates
    teacher_usd: float
    notes: tuple[str, ...]


def work_of(run: Run, mentions: float | None = None, distinct: float | None = None, as_configured: bool = False) -> Work:
    """The stages that are not finished, up to linking `mentions` (default: the run's own), of which a share is `distinct`.

    `as_configured`: pools are as large as link.retriever_actors and link.student_actors say, not as the nodes have room for. Raises RunError where
    nothing is prepared or calibrated, ConfigError where a kind of work does not say what it needs.
    """
    rates = Rates.load(run.path("plan", FILE))
    if not run.finished(STAGES["prepare"]):
        raise not_prepared(run, "plan")
    corpus = corpus_of(run, mentions, distinct)
    todo = _left(run)
    made = _Made(run, rates, as_configured, frozenset(todo))
    if mentions and "link" not in todo:
        todo.append("link")
    stages = tuple(StageWork(name, made.steps(name, corpus)) for name in todo)
    return Work(tuple(stage for stage in stages if stage.steps), corpus, rates, made.teacher_usd, (*made.notes, *corpus.notes))


def _left(run: Run) -> list[str]:
    """Of UNTIL_LINKED what is not finished, would get further, or is made from what will be made anew."""
    left: list[str] = []
    for name in UNTIL_LINKED:
        stage = STAGES[name]
        if not run.summary(name) or run.stale(stage) or run.would_get_further(stage) or {*stage.after} & {*left}:
            left.append(name)
    return left


def corpus_of(run: Run, mentions: float | None, distinct: float | None) -> Corpus:
    """By what the run has linked before, else by the mentions that are prepared."""
    table = pq.read_table(run.mentions_file, columns=["split", "text", "context"])
    mine = table.filter(pc.field("split").isin(["test", "corpus"]))
    total = float(mentions or mine.num_rows)
    notes = []
    if distinct is None:
        distinct = _distinct(questions(mine, run.config.student.use_context), total) / total if total else 1.0
        if total > mine.num_rows:
            told = f"{distinct:.1%} of the mentions are taken to be distinct, by how that grows in {mine.num_rows:,} of them"
            notes.append(f"{told} (Heaps' law); --distinct says it better")
    linked = {} if run.stale(STAGES["link"]) else run.summary("link")
    if linked.get("distinct"):
        shares = {name: linked.get(name, 0) / linked["distinct"] for name, _ in DECIDERS.values()}
        retrieved, reranked = 1 - shares["exact"], shares["student_scored"]
        notes.append(
            f"as in the run's own linking, {1 - retrieved:.0%} of the distinct mentions are exact names and {reranked:.0%} meet the student"
        )
    else:
        retrieved = 1 - (_exact(run, mine) if run.config.link.exact_match else 0.0)
        reranked = retrieved
        if run.config.link.shortcut is not None:
            notes.append(
                "the student is taken to be asked about all that is no exact name: what link.shortcut will save is not known before it is trained"
            )
    return Corpus(total, total * distinct, retrieved, reranked, mentions is not None, tuple(notes))


def _distinct(keys: pa.ChunkedArray, mentions: float) -> float:
    """Of so many mentions, by Heaps' law through the half of these and the whole."""
    whole, half = pc.count_distinct(keys).as_py(), pc.count_distinct(keys[: len(keys) // 2]).as_py()
    if not half or len(keys) < 2:
        return mentions
    grows = min(1.0, max(0.0, math.log2(whole / half)))
    return min(mentions, whole * (mentions / len(keys)) ** grows)


def _exact(run: Run, mentions: pa.Table) -> float:
    """The share of the distinct mentions that are the name of one concept."""
    texts = pc.unique(mentions["text"]).to_pylist()
    found = ExactNames.for_student(map_kb(run.concepts_file), run.path("student")).find(texts)
    return float((found != UNDECIDED).mean()) if texts else 0.0


class _Made:
    """Steps out of a run's counts and rates; of the stages that are run `anew` what was found before does not count. `notes` grow as they are made."""

    def __init__(self, run: Run, rates: Rates, as_configured: bool, anew: frozenset[str]) -> None:
        self.run, self.config, self.rates, self.as_configured, self.anew = run, run.config, rates, as_configured, anew
        self.notes: list[str] = []
        if self.config.retriever.index_parts > 1:
            self.notes.append("what the index's parts hold (resources.indexing) is not planned: the nodes that retrieve want that room too")
        self.teacher_usd = 0.0
        made = load_mentions(run.mentions_file, "labelled", "dev", "test")
        concepts = list(map_kb(run.concepts_file))
        self.gold = len(gold_pairs([m for m in made if m.split == "labelled"], concepts))
        self.synonyms = min(len(synonym_pairs(concepts)), self.config.retriever.max_synonym_pairs)
        self.names = sum(len(concept.names) for concept in concepts)
        self.asked = {split: len({m.key for m in made if m.split == split}) for split in ("labelled", "dev", "test")}

    def steps(self, stage: str, corpus: Corpus) -> tuple[Step, ...]:
        """Of one of UNTIL_LINKED."""
        if stage == "link":
            shards = math.ceil(corpus.mentions / self.config.link.shard_mentions)
            alone = {what: each * corpus.mentions for what, each in self.rates.driver.items()}
            before = alone[READ] * corpus.further + alone[SPREAD]
            if before > HOUR / 10:
                self.notes.append(f"link: of it {before / HOUR:.1f} h are the job's own process, which reads and spreads the corpus alone")
            if self.config.link.engine == "vllm" and corpus.reranked:
                self.notes.append("link: the student's rate is that of link.engine: torch; vLLM's is not measured")
            steps = self._stream(corpus.distinct, corpus.retrieved, corpus.reranked, shards, alone[WRITE])
            return (Driver(before), *steps) if steps else ()
        return getattr(self, f"_{stage}")()

    def _retriever(self) -> tuple[Step, ...]:
        pairs = self.config.retriever.epochs * (self.gold + self.synonyms)
        return (self._tuning(pairs, self.names),)

    def _candidates(self) -> tuple[Step, ...]:
        return self._stream(len(mentions_of(self.run, STUDIED)), 1.0, 0.0)

    def _teach(self) -> tuple[Step, ...]:
        settings = self.config.teacher
        if not settings.max_mentions:
            return ()
        made = self._estimate
        share = min(1.0, made.covered / made.to_ask) if made.to_ask else 0.0
        requests, tokens = made.requests.expected * share, (made.prompt_tokens + made.completion_tokens).expected * share
        if not requests:
            return ()
        self.teacher_usd = min(made.usd.expected, max(0.0, made.budget_usd - made.spent_usd))
        if settings.mode == "batch":
            at_a_time = settings.batch.requests * settings.batch.at_once
            rounds = math.ceil(min(made.covered, made.to_ask) / at_a_time) * settings.votes
            self.notes.append(
                f"teach: {rounds} round{'s' if rounds > 1 else ''} of batches, each taken to be back after the provider's day; more at a time "
                "(teacher.batch.at_once) are fewer rounds"
            )
            return (Driver(24 * HOUR * rounds),)
        known = measured(self.run.path("ledger"), settings, made.endpoint)
        if known:
            latency = known.seconds.expected
        elif settings.simulated:
            latency = settings.sandbox.latency_s
        else:
            latency = LATENCY_S[1]
            self.notes.append(f"teach: an answer is taken to take {latency:g} s; where the ledger has {settings.model}'s, theirs count")
        limits = [settings.requests_per_minute, settings.tokens_per_minute and settings.tokens_per_minute * requests / tokens]
        least = min((limit for limit in limits if limit), default=None)
        asking = Requests(self._process("teaching")[0], settings.actors, settings.concurrency, requests, latency, least)
        return (Driver(self.rates.stream_s), asking)

    def _retune(self) -> tuple[Step, ...]:
        settings = self.config.retriever
        if not settings.second_round:
            return ()
        labels = self._learned
        scored = labels + self.asked["dev"] + self.asked["labelled"]
        anew = self.config.student.gold_labels  # the folds' encoders
        if settings.rounds == 2:
            epochs = -(-settings.epochs * AGAIN[0] // AGAIN[1])
            others = 1 - 1 / FOLDS
            tunings = (self.gold + labels, *([] if anew else [self.gold + labels * others] * FOLDS))
            pairs = epochs * sum(size + min(self.synonyms, most_synonyms(settings, round(size))) for size in tunings)
            if anew:
                pairs += settings.epochs * FOLDS * ((self.gold + labels) * others + self.synonyms)
            work = self._tuning(pairs, (FOLDS + 1) * self.names + 2 * scored)
        else:
            work = self._tuning(0, scored)
        return (work, *self._stream(self.asked["dev"] + self.asked["test"], 1.0, 0.0))

    def _baselines(self) -> tuple[Step, ...]:
        settings = self.config.retriever
        if not settings.baselines:
            return ()
        asked = self.asked["dev"] + self.asked["test"]
        again = self._learned and (settings.rounds == 1 or settings.aliases or settings.commonness)
        pairs = settings.epochs * (self.gold + self.synonyms + self._learned) if again and settings.rounds == 1 else 0
        return (self._tuning(pairs, (1 + bool(again)) * (self.names + asked)),)

    def _distill(self) -> tuple[Step, ...]:
        settings = self.config.student
        process, rate = self._process("training")
        labels = self._learned + (self.asked["labelled"] if settings.gold_labels else 0)
        workers = actors_between(settings.workers)[1]
        each = rate.seconds["label"] / workers
        every = settings.checkpoint_every_steps * settings.batch_size * each
        asking, answers = self._process("reranking")
        exams = settings.epochs * self.asked["dev"] * answers.seconds["mention"] / workers if settings.early_stop else 0.0
        gang = Gang(process, labels * settings.epochs * each + exams, workers, max(every, 1.0))
        return (Driver(self.rates.gang_s), gang, Gang(asking, self.asked["dev"] * answers.seconds["mention"]))

    @cached_property
    def _estimate(self) -> Estimate:
        return estimate_of(self.run, anew="candidates" in self.anew)

    @cached_property
    def _learned(self) -> float:
        """Labels that the teacher gives, of those that are asked for and paid for."""
        if not self.config.teacher.max_mentions:
            return 0.0
        given = None if "teach" in self.anew else self.run.summary("teach").get("labelled")
        if given is None:
            given = self._estimate.mentions - self._estimate.to_ask + self._estimate.covered
        return float(min(given, self.config.student.max_labels or given))

    def _tuning(self, pairs: float, names: float) -> Gang:
        process, rate = self._process("tuning")
        return Gang(process, pairs * rate.seconds["pair"] + names * rate.seconds["name"])

    def _stream(self, mentions: float, retrieved: float, reranked: float, shards: int = 0, driver_s: float = 0.0) -> tuple[Step, ...]:
        """`shards`: that it reads from, if any; `driver_s`: as of a Stream."""
        pools = []
        for kind, share, actors in (
            ("retrieving", retrieved, self.config.link.retriever_actors),
            ("reranking", reranked, self.config.link.student_actors),
        ):
            if share:
                process, rate = self._process(kind)
                pools.append(Pool(process, share, rate.seconds["mention"], actors_between(actors)[1] if self.as_configured else None))
        if not pools or not mentions:
            return ()
        there = OF_RAY_DATA.model_copy(update={"labels": pools[0].process.needs.labels})
        reader = Process("reading", there, self.rates.kinds["teaching"].load_s)  # which loads no model either
        return (Driver(self.rates.stream_s), Stream(mentions, tuple(pools), BATCH, reader if shards else None, shards, driver_s))

    def _process(self, kind: str) -> tuple[Process, Rate]:
        """With its rate, at the CPUs that it will have."""
        needs: Needs | None = getattr(self.config.resources, kind)
        if needs is None:
            raise ConfigError(
                f"resources.{kind}: a plan wants to know what it needs; cluster/resources.yaml has a section to append to the config"
            )
        rate = self.rates.kinds[kind]
        asked = max(1.0, needs.cpus)
        if asked != rate.cpus and not rate.gpu and not needs.gpus:  # of a GPU, `speed` says how many times as fast it is
            note = f"{kind}: measured on {rate.cpus:g} CPUs, it is taken to be {asked / rate.cpus:g} times as fast on {asked:g}"
            if rate.seconds and note not in self.notes:
                self.notes.append(note)
            rate = replace(rate, seconds={unit: each * rate.cpus / asked for unit, each in rate.seconds.items()})
        return Process(kind, needs, rate.load_s, rate.alone), rate


def check_gpus(work: Work, nodes: NodesConfig) -> None:
    """Raises ConfigError where work that was measured on a CPU is to be on a GPU, and nobody says how much faster that is; or the other way round."""
    for process in {p.kind: p for stage in work.stages for p in stage.processes}.values():
        rate = work.rates.kinds[process.kind]
        if rate.gpu and not process.needs.gpus and rate.seconds:
            raise ConfigError(
                f"resources.{process.kind}: was calibrated on a GPU and asks for none; measure it without one: rpdr calibrate, now that the config says so"
            )
        if not process.needs.gpus or rate.gpu or not rate.seconds:
            continue
        for name in nodes.groups[group_of(process.needs, process.kind, nodes)].types:
            if process.kind not in nodes.types[name].speed:
                raise ConfigError(
                    f"types.{name}: {process.kind} was calibrated on a CPU and is to be on a GPU; measure it there (rpdr submit calibrate), "
                    f"or say how many times as fast it is: speed: {{{process.kind}: …}}"
                )
