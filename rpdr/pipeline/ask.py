"""How the teacher is asked: by an async actor pool under Ray Data past one governor, or by the provider's Batch API.

Row numbers of the questions file in; votes out, in any order. What is paid for is in the ledger before it comes out. What to ask, and
what becomes of it, is `teach`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from rpdr.config import Config, Price, TeacherConfig
from rpdr.pipeline.on_ray.cluster import beside_the_driver, dataset_of, keep_data_on, placed, pool_cpus, waiting_for
from rpdr.pipeline.on_ray.meters import Meters
from rpdr.pipeline.pool import leaves
from rpdr.pipeline.progress import StageProgress, Stopwatch
from rpdr.pipeline.questions import Questions, question_of
from rpdr.run import Run
from rpdr.schema import NIL
from rpdr.show import usd
from rpdr.teacher import Endpoint, Example, Governor, Ledger, Question, Vote, is_masked_away, vote
from rpdr.teacher.batch import BatchClient
from rpdr.teacher.client import TeacherClient

AT_A_TIME = 64  # questions that an actor is given
MASKED = "masked"  # the source of a vote on what was not asked
STATUS_EVERY_S = 1.0
PLACE = "place"  # of a question in the queue
VOTES = pa.schema(  # a teacher.Vote, and its place
    [
        pa.field(PLACE, pa.int64()),
        *(pa.field(name, pa.string()) for name in ("key", "source", "reason")),
        *(pa.field(name, pa.int32()) for name in ("choice", "agreed", "asked")),
        pa.field("also", pa.list_(pa.int32())),
        *(
            pa.field("valid", pa.bool_()),
            pa.field("cut_short", pa.bool_()),
            pa.field("confidence", pa.float64()),
            pa.field("ledger_ids", pa.list_(pa.string())),
        ),
    ]
)

Votes = Generator[dict[str, Any], None, None]


@dataclass(frozen=True)
class Asking:
    """All that an asker has to know: whom, how, what, and where it is kept."""

    config: Config
    endpoint: Endpoint
    examples: list[Example]
    questions: Path  # the file
    ledger: Path  # the folder

    @property
    def settings(self) -> TeacherConfig:
        """The teacher's section."""
        return self.config.teacher

    def governor(self) -> tuple[int | float | Price | Path, ...]:
        """The arguments of its Governor."""
        settings = self.settings
        limits = (settings.requests_per_minute, settings.tokens_per_minute)
        return (settings.budget_usd, self.endpoint.price, self.ledger, *limits, settings.timeout_s + 30, settings.simulated)


def ask_in_actors(asking: Asking, queue: Sequence[int], progress: StageProgress) -> Votes:
    """A vote for each row number of `queue`, as rows of VOTES in about their order. Closed early, it asks no further."""
    if Ledger(asking.ledger).has_open_batches():  # the money that they hold, and their answers, come first
        asyncio.run(_in_batches(asking, progress, BatchClient.resume))
    governor = (
        ray.remote(Governor)
        .options(
            num_cpus=0,
            max_concurrency=10_000,
            # its state is the ledger's: it may die and come back, and be asked again what it did not answer
            max_restarts=-1,
            max_task_retries=-1,
            enable_task_events=False,  # two calls a request: Ray would keep a record of each, and grow by 5 KB a mention
            scheduling_strategy=beside_the_driver(),
        )
        .remote(*asking.governor())
    )
    keep_data_on(asking.config.resources.teaching)
    asked = dataset_of(pa.table({PLACE: range(len(queue)), "row": queue}), AT_A_TIME, asking.settings.actors).map_batches(
        AskActor,
        fn_constructor_args=(asking, [governor]),
        batch_size=AT_A_TIME,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=asking.settings.actors),
        **placed(asking.config.resources.teaching, num_cpus=pool_cpus(0.5, 1 / (2 * asking.settings.actors))),
    )
    done, looked, money = 0, 0.0, ""
    meters, watch = Meters(Run(asking.config).folder.name, "teacher"), Stopwatch()
    progress.update(0, None, waiting_for(asking.config.resources, "teaching"))
    try:
        for batch in asked.iter_batches(batch_size=None, batch_format="pyarrow"):
            done += batch.num_rows
            if time.monotonic() - looked > STATUS_EVERY_S or done == len(queue):
                status = ray.get(governor.status.remote())
                looked, money = time.monotonic(), f", {usd(status['spent_usd'])} of {usd(status['budget_usd'])}"
                meters.tell(asked=done, **_measured(status, watch.seconds, asking.settings.requests_per_minute))
            progress.update(done, len(queue), f"asking {asking.settings.model}{money}")
            yield from batch.to_pylist()
    finally:
        ray.get(governor.close.remote())
        ray.kill(governor)


def _measured(status: Mapping[str, float], seconds: float, requests_per_minute: int) -> dict[str, float]:
    """Of the governor's status, what is metered."""
    used = {"rate_limit_used": status["requests"] / (requests_per_minute * seconds / 60)} if requests_per_minute else {}
    return {**{name: status[name] for name in ("requests", "refused", "spent_usd", "reserved_usd", "budget_usd")}, **used}


def ask_in_batches(asking: Asking, queue: Sequence[int], progress: StageProgress) -> Votes:
    """A vote for each row number of `queue`, as rows of VOTES in their order: by the provider's Batch API, from this process."""

    def votes(rows: Sequence[int]) -> list[Vote]:
        return asyncio.run(_in_batches(asking, progress, lambda client: Asker(asking, client).ask(rows)))

    at_a_time = asking.settings.batch.requests * asking.settings.batch.at_once
    for start in range(0, len(queue), at_a_time):
        for place, found in enumerate(votes(queue[start : start + at_a_time]), start):
            yield {PLACE: place, **asdict(found)}


async def _in_batches(asking: Asking, progress: StageProgress, work: Callable[[BatchClient], Awaitable[Any]]) -> Any:
    """What `work` returns, with a client that lives as long."""
    governor = Governor(*asking.governor())  # type: ignore[arg-type]
    try:
        return await work(BatchClient(TeacherClient(asking.settings, asking.endpoint, governor), progress.update))
    finally:
        await governor.close()


def unasked(question: Question) -> Vote:
    """Of a mention that masking leaves nothing of: an answer would be paid for, and teach that such mentions mean nothing."""
    reason = "not asked: all of it has the form of an identifier, and is masked (data_policy: deidentified)"
    return Vote(question.key, False, NIL, 0, 0, None, [], MASKED, reason)


class Asker:
    """Rows of the questions file in, votes out, by one client."""

    def __init__(self, asking: Asking, client: TeacherClient | BatchClient) -> None:
        self.asking, self.client = asking, client
        self._questions, self._leaves = Questions(asking.questions), leaves(asking.config)

    async def ask(self, rows: Sequence[int]) -> list[Vote]:
        """A vote a row, in their order."""
        asking = self.asking
        questions = [question_of(row) for row in self._questions.rows(rows)]
        left = {question.key: self._leaves(question) for question in questions}
        votes = {question.key: unasked(question) for question in questions if is_masked_away(question, left[question.key][0])}
        asked = [left[question.key] for question in questions if question.key not in votes]
        leaving, masked = [question for question, _ in asked], [kinds for _, kinds in asked]
        found = await vote(self.client, leaving, asking.examples, asking.config.seed, asking.settings.votes, masked)
        votes.update((answer.key, answer) for answer in found)
        return [votes[question.key] for question in questions]


class RemoteGovernor:
    """What a TeacherClient calls, answered by the governor's actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._actor, name).remote  # its result can be awaited


class AskActor:
    """One teacher client; batches of questions run side by side in its event loop."""

    def __init__(self, asking: Asking, governor: list[Any]) -> None:
        self.asker = Asker(asking, TeacherClient(asking.settings, asking.endpoint, cast(Governor, RemoteGovernor(governor[0]))))

    async def __call__(self, batch: pa.Table) -> Any:
        votes = await self.asker.ask(batch["row"].to_pylist())
        rows = [{PLACE: place, **asdict(found)} for place, found in zip(batch[PLACE].to_pylist(), votes, strict=True)]
        yield pa.Table.from_pylist(rows, schema=VOTES)
