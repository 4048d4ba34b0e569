"""What is linked and told, and where on a cluster the work runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rpdr.config.values import Actors, ServerUrl
from rpdr.sections import Section


class LinkConfig(Section):
    """The batch job over the test mentions and the corpus."""

    output: str | None = Field(
        None,
        description="where `rpdr link --corpus NAME` writes, in a folder NAME: a folder, or an object store's URL as s3://bucket/linked, whose credentials "
        "come from the environment; null: corpora/ in the run directory",
    )
    allowed_stores: tuple[str, ...] = Field(
        (),
        description="buckets of yours, to the letter, that `output` may name under data_policy restricted, though they are on other machines",
    )
    engine: Literal["torch", "vllm"] = Field(
        "torch",
        description="what computes the student's hidden states: torch: ours, a mention in one pass; vllm: vLLM, a sequence a candidate, for large "
        "students on GPUs (pip install '.[vllm]'; student.none_reads: mention). Prompt, head and calibration are the same",
    )
    shard_mentions: int = Field(10_000, ge=1, description="mentions a shard, about; a shard is the unit of resume")
    batch_size: int = Field(32, ge=1, description="mentions a forward pass of the student")
    top_k: int = Field(
        0,
        ge=0,
        le=100,
        description="candidates a mention that the student re-ranks; 0: as many as the teacher chose from, retriever.top_k. A score does not depend "
        "on the other candidates, so there may be more than the student learned from; twice as many take twice the time",
    )
    retriever_actors: Actors = Field(1, description="copies of the retriever's encoder at work, or [least, most], as of the student")
    student_actors: Actors = Field(
        1,
        description="copies of the student at work, or [least, most], between which their number follows the work that waits; no more than there is "
        "room for on GPUs where there are any. Without a GPU one a core is fastest",
    )
    student_gpus: float = Field(
        1.0, gt=0, le=1, description="of a GPU, what a copy of the student holds where there are any: 0.5 puts two on one"
    )
    allow_nil: bool = Field(
        True, description='whether "none of these" may be the answer; false where every mention is known to have a concept'
    )
    several: bool = Field(
        False,
        description="a mention may name several concepts: the answer has all that are probable enough, which is set on dev for the best micro F1",
    )
    exact_match: bool = Field(
        True,
        description="a mention that is verbatim the name of exactly one concept is answered without the student, unless somebody, or the teacher, has linked it "
        "to others alone",
    )
    shortcut: float | None = Field(
        0.98,
        gt=0,
        lt=1,
        description="the retriever's answer is taken without asking the student, where the retriever is so sure that dev shows, with 95 % "
        "certainty, this share of such answers to be the student's too, each text counted once (each context, where the student reads them); null: the student is asked about each mention",
    )
    target_precision: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="abstain from what is not sure enough for this share of right answers, concepts and NIL alike, shown on dev with 95 % "
        "certainty, each text counted once (each context, where the student reads them), e.g. 0.95; of several concepts the first is judged; null: answer everything",
    )


class ReportConfig(Section):
    """Evaluation and the report."""

    bootstrap_samples: int = Field(1000, ge=100, description="resamples behind an interval")
    examples: int = Field(
        4, ge=0, description="wrong answers and wrong labels shown of each cause; 0 keeps mention texts out of the report"
    )
    machine_usd_per_hour: float | None = Field(
        None, ge=0, description="of the machine that links, to set the student's cost beside the teacher's"
    )
    grafana_url: ServerUrl | None = Field(
        None,
        description="of a Grafana with cluster/grafana.json, e.g. http://localhost:3000: the report links to the run's meters",
    )


class Needs(Section):
    """What one process asks of the cluster: a node that has no room for it is not given it, and one that has may be started for it."""

    cpus: float = Field(1.0, ge=0, description="cores that are kept for it")
    gpus: float = Field(0.0, ge=0, description="0.5 puts two on one")
    memory_gib: float = Field(0.0, ge=0, description="0: none is kept for it")
    labels: dict[str, str] = Field(
        default={},
        description="of the nodes that may run it, as Ray's label selectors have them, e.g. {rpdr.io/group: training} or "
        '{ray.io/market-type: "!spot"}',
    )


class ResourcesConfig(Section):
    """Where on a cluster each kind of work runs, and so which nodes are started for it. null: beside the job's own process, or, of a pool, a share
    of the cluster as it is. Each has the keys of `resources.tuning`. What may be lost and repeated, which is all of these, suits spot nodes; the driver
    and the budget stay on the head."""

    tuning: Needs | None = Field(
        None, description="the process that tunes the encoder and indexes all names: stages retriever, retune, baselines"
    )
    retrieving: Needs | None = Field(
        None,
        description="each of link.retriever_actors. Its nodes want a whole CPU beside all actors there, for Ray Data's own tasks: without one they wait for ever",
    )
    indexing: Needs | None = Field(
        None, description="each of retriever.index_parts, where there are several; memory: its file's size and half a gibibyte"
    )
    teaching: Needs | None = Field(None, description="each of teacher.actors, which wait for an endpoint")
    training: Needs | None = Field(
        None, description="each of student.workers; gpus: at most 1, and training is on them wherever the job began"
    )
    reranking: Needs | None = Field(None, description="each of link.student_actors, and the process that calibrates the student")
