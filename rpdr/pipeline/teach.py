"""Stage `teach`: candidates of unlabelled mentions -> labels/, each answer paid for once and kept in ledger/ before it is used.

An async actor pool asks; one named governor actor holds the money for all of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from rpdr.config import Price, TeacherConfig
from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.files import sha256_tree, write_rows
from rpdr.kb import Concept, load_kb
from rpdr.pipeline.candidates import load_candidates
from rpdr.pipeline.cluster import connect
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.run import Run, Stopwatch
from rpdr.schema import LABELS, NIL, ConceptId
from rpdr.teacher import Endpoint, Example, Governor, Ledger, Question, SandboxTeacher, TeacherClient, check_endpoint, resolve_endpoint

FILE = "labels.parquet"
BATCH = 64  # questions an actor writes to the ledger together


def teach(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Ask about every distinct unlabelled mention until the budget is spent; what was labelled until then is kept."""
    settings = run.config.teacher
    concepts = load_kb(run.path("kb", "concepts.parquet"))
    mentions = load_mentions(run.path("corpus", "mentions.parquet"))
    found = load_candidates(run)
    pool = {m.key: m for m in mentions if m.split == "unlabelled"}
    keys = sorted(pool, key=lambda key: hashlib.md5(f"{run.config.seed}{key}".encode()).hexdigest())[: settings.max_mentions]
    definitions = {c.concept_id: c.definition for c in concepts}
    examples = _examples(run, mentions, found, definitions)
    with _sandbox(run, concepts, mentions) as sandbox_url:
        endpoint = resolve_endpoint(settings, run.config.data_policy, sandbox_url)
        check_endpoint(endpoint)
        connect()
        answers, status, seconds = _ask_all(run, endpoint, examples, [_question(found[key], definitions) for key in keys], progress)
    labels = [
        {**found[a["key"]], "choice": a["choice"], "source": "teacher", "ledger_ids": [a["request_id"]]} for a in answers if a["valid"]
    ]
    labels.sort(key=lambda row: row["key"])
    write_rows(run.path("labels", FILE), labels, LABELS)
    table = Ledger(run.path("ledger")).rows()
    asked = sum(a["source"] == "asked" for a in answers)
    stopped = any(a["source"] == "refused_by_budget" for a in answers)
    return {
        "content": sha256_tree(run.path("labels")),
        "ended_by": {
            **({"teacher.budget_usd": settings.budget_usd} if stopped else {}),
            **({"teacher.max_mentions": settings.max_mentions} if len(keys) < len(pool) else {}),
        },
        "model": settings.model,
        "simulated": settings.model == "sandbox",
        "pool": len(keys),
        "labelled": len(labels),
        "none": sum(row["choice"] == NIL for row in labels),
        "invalid": sum(a["source"] == "asked" and not a["valid"] for a in answers),
        "failed": sum(a["source"] == "failed" for a in answers),
        "missing": len(keys) - len(labels),
        "stopped_by_budget": stopped,
        "requests": table.num_rows,
        "spent_usd": status["spent_usd"] + status["reserved_usd"],
        "budget_usd": settings.budget_usd,
        "prompt_tokens": sum(table["prompt_tokens"].to_pylist()),
        "completion_tokens": sum(table["completion_tokens"].to_pylist()),
        "mentions_per_s": asked / seconds if asked else None,
    }


def _ask_all(
    run: Run, endpoint: Endpoint, examples: list[Example], questions: list[Question], progress: StageProgress
) -> tuple[list[dict[str, Any]], dict[str, Any], float]:
    """(answers, the governor's status, seconds)."""
    settings = run.config.teacher
    ledger = Ledger(run.path("ledger"))
    governor = (
        ray.remote(GovernorActor).options(num_cpus=0, max_concurrency=1000).remote(settings.budget_usd, endpoint.price, ledger.folder)
    )
    rows = [{"question": i} for i in range(len(questions))]
    shared = ray.put(questions)
    dataset = ray.data.from_arrow(pa.Table.from_pylist(rows)).repartition(max(1, len(rows) // BATCH)) if rows else None
    answers: list[dict[str, Any]] = []
    watch = Stopwatch()
    if dataset is not None:
        asked = dataset.map_batches(
            AskActor,
            fn_constructor_args=(settings, endpoint, ledger.folder, [governor], [shared], examples, run.config.seed),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=settings.actors),
            num_cpus=0.5,
        )
        for batch in asked.iter_batches(batch_size=None, batch_format="pyarrow"):
            answers.extend(batch.to_pylist())
            progress.update(len(answers), len(rows), f"asking {settings.model}")
    status = ray.get(governor.status.remote())
    ray.kill(governor)
    return answers, status, watch.seconds


class GovernorActor:
    """The one governor of a cluster: `rpdr.teacher.Governor` in an actor."""

    def __init__(self, budget_usd: float, price: Price, folder: Path) -> None:
        self.governor = Governor(budget_usd, price, folder)

    async def reserve(self, prompt_tokens: int, max_output_tokens: int) -> str | None:
        """See Governor.reserve."""
        return self.governor.reserve(prompt_tokens, max_output_tokens)

    async def settle(self, reservation_id: str, prompt_tokens: int, completion_tokens: int) -> float:
        """See Governor.settle."""
        return self.governor.settle(reservation_id, prompt_tokens, completion_tokens)

    async def release(self, reservation_id: str) -> None:
        """See Governor.release."""
        self.governor.release(reservation_id)

    async def status(self) -> dict[str, Any]:
        """See Governor.status."""
        return self.governor.status()


class RemoteGovernor:
    """What a TeacherClient calls, answered by the governor's actor."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    async def reserve(self, prompt_tokens: int, max_output_tokens: int) -> str | None:
        """See Governor.reserve."""
        return await self.actor.reserve.remote(prompt_tokens, max_output_tokens)

    async def settle(self, reservation_id: str, prompt_tokens: int, completion_tokens: int) -> float:
        """See Governor.settle."""
        return await self.actor.settle.remote(reservation_id, prompt_tokens, completion_tokens)

    async def release(self, reservation_id: str) -> None:
        """See Governor.release."""
        await self.actor.release.remote(reservation_id)


class AskActor:
    """One teacher client; batches of questions run side by side in its event loop."""

    def __init__(
        self,
        settings: TeacherConfig,
        endpoint: Endpoint,
        ledger: Path,
        governor: list[Any],
        questions: list[Any],
        examples: list[Example],
        seed: int,
    ) -> None:
        self.client = TeacherClient(settings, endpoint, RemoteGovernor(governor[0]), Ledger(ledger))
        self.questions: list[Question] = ray.get(questions[0])
        self.examples, self.seed = examples, seed

    async def __call__(self, batch: pa.Table) -> Any:
        asked = [self.questions[i] for i in batch["question"].to_pylist()]
        answers = await self.client.ask_many(asked, self.examples, self.seed)
        columns = ("key", "request_id", "valid", "choice", "price_usd", "attempts", "source")
        yield {name: [getattr(a, name) for a in answers] for name in columns}


def _question(row: dict[str, Any], definitions: Mapping[ConceptId, str | None]) -> Question:
    ids = tuple(row["candidate_ids"])
    return Question(
        row["key"], row["text"], row["context"], row["type"], ids, tuple(row["candidate_names"]), tuple(definitions.get(i) for i in ids)
    )


def _examples(
    run: Run, mentions: list[Mention], found: dict[str, dict[str, Any]], definitions: Mapping[ConceptId, str | None]
) -> list[Example]:
    """Few-shot examples from the labelled mentions: the right one among the candidates, and at most one in four with none."""
    labelled = [m for m in mentions if m.split == "labelled" and m.gold is not None]
    random.Random(run.config.seed).shuffle(labelled)
    wanted = run.config.teacher.examples
    right: list[Example] = []
    none: list[Example] = []
    for mention in labelled:
        question = _question(found[mention.key], definitions)
        gold = {i for alternative in mention.gold or [] for i in alternative}
        choice = next((n for n, i in enumerate(question.candidate_ids) if i in gold), NIL)
        (right if choice != NIL else none).append(Example(question, choice))
    few = none[: wanted // 4]
    return right[: wanted - len(few)] + few


@contextmanager
def _sandbox(run: Run, concepts: list[Concept], mentions: list[Mention]) -> Iterator[str | None]:
    """The sandbox teacher's URL while in the block, where the config asks for it; it knows the unlabelled pool's gold."""
    settings = run.config.teacher
    if settings.model != "sandbox":
        yield None
        return
    names = {c.concept_id: c.name for c in concepts}
    answers: dict[str, set[str]] = {}
    for m in mentions:
        if m.split == "unlabelled" and m.gold is not None:
            answers.setdefault(normalise(m.text), set()).update(names[i] for alternative in m.gold for i in alternative if i in names)
    with SandboxTeacher(answers, settings.sandbox, run.config.seed).serve() as url:
        yield url
