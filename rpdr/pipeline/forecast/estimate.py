"""`rpdr estimate`: what `teach` will cost, by the very prompts that it would send; afterwards, how far that was from the ledger.

Reads a run directory and writes nothing. No request leaves, and no key is needed.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table

from rpdr.config import Config, TeacherConfig
from rpdr.errors import ConfigError, ModelError
from rpdr.models import check_student_model
from rpdr.pipeline.pool import examples_of, hidden_of, leaves, mentions_of, queue_of
from rpdr.pipeline.questions import question_of
from rpdr.run import STAGES, Run
from rpdr.run.folder import not_prepared
from rpdr.schema import NIL, ConceptId, MentionKey
from rpdr.show import usd
from rpdr.teacher import Endpoint, Example, Ledger, Question, at_random, is_masked_away, resolve_endpoint
from rpdr.teacher.client import TeacherClient
from rpdr.teacher.estimate import Deviation, Estimate, Measured, Range, Sampled, deviation, estimate
from rpdr.teacher.ledger import LOST
from rpdr.teacher.prices import quote

SAMPLE = 500  # mentions whose prompts are built
OF_CANDIDATES = ("candidate_ids", "candidate_names")
LOOKED_AT = 20_000  # of the last requests
ENOUGH = 30  # answers of a model that say more of it than any assumption


def estimate_of(
    run: Run, keys: Sequence[MentionKey] | None = None, examples: Sequence[Example] | None = None, anew: bool = False
) -> Estimate:
    """What is still to be asked and paid for. `teach` gives what it has already: the `keys` to ask about and the `examples`. `anew`: candidates will be
    retrieved anew, and those that there are do not count.

    Without candidates, concepts drawn at random stand in for them. Raises RunError where nothing is prepared or it is another
    config's, and ConfigError as `teach` would.
    """
    settings = run.config.teacher
    if not settings.max_mentions:
        raise ConfigError("nothing to estimate: nobody is asked (teacher.max_mentions: 0)")
    endpoint = resolve_endpoint(settings, run.config.data_policy, to_ask=False)
    retrieved = not anew and _retrieved(run)
    if keys is None:
        pool = mentions_of(run)
        keys = queue_of(run, pool) if retrieved and settings.max_mentions < len(pool) else at_random(list(pool), run.config.seed)
        keys = keys[: settings.max_mentions]
    ledger = run.path("ledger")
    asked_before = Ledger(ledger).keys_asked(settings.model)
    drawn = _draw(keys, asked_before, run.config.seed)
    rows = _rows(run, list(drawn), retrieved)
    # of all concepts where the examples are still to be chosen: theirs are others than these questions'
    definitions = _definitions(run, None if examples is None else {i for row in rows for i in row["candidate_ids"]})
    if examples is None:
        examples = examples_of(run, definitions) if retrieved else _stand_ins(run, settings.examples)
    as_it_leaves, hidden = leaves(run.config), hidden_of(run, list(drawn))
    leaving = [(question, as_it_leaves(question)[0]) for question in (question_of(row, definitions, hidden) for row in rows)]
    unasked = {question.key for question, left in leaving if is_masked_away(question, left)}
    sample = _sampled(run, endpoint, [left for _, left in leaving if left.key not in unasked], examples, drawn)
    return estimate(
        settings,
        endpoint.base_url or "the sandbox teacher",
        quote(settings, endpoint.base_url, endpoint.local or settings.simulated),
        sample,
        len(keys) - round(sum(drawn[key] for key in unasked)),
        made_at=time.time(),
        spent_usd=Ledger(ledger).spent_usd(settings.simulated),
        measured=measured(ledger, settings, endpoint.base_url),
        notes=[
            *([] if retrieved else ["before the candidates are retrieved: concepts drawn at random stand in for them"]),
            *_missing_student(run.config),
        ],
    )


def _missing_student(config: Config) -> list[str]:
    try:
        check_student_model(config.student.model)
    except ModelError as error:
        return [str(error)]
    return []


def deviation_of(run: Run, made: Estimate) -> Deviation:
    """How far what the ledger has paid since is from the estimate."""
    return deviation(made, Ledger(run.path("ledger")).spent_since(made.made_at))


def measured(ledger: Path, settings: TeacherConfig, endpoint: str) -> Measured | None:
    """What answers of this model at this endpoint took, asked for as they would be now; None where there are too few."""
    rows = Ledger(ledger).answers_of(settings.model, endpoint, settings.max_output_tokens, LOOKED_AT)
    more = {name: value for name, value in settings.parameters.items() if value is not None}
    rows = [row for row in rows if _more(row["parameters"], settings) == more]
    structured = bool(rows) and "response_format" in rows[0]["parameters"]
    rows = [row for row in rows if ("response_format" in row["parameters"]) == structured]
    answers = [row for row in rows if row["state"] != LOST]
    if len(answers) < ENOUGH or not any(row["prompt_tokens"] for row in answers):
        return None
    ratios = [row["prompt_tokens"] / row["worst_tokens"] for row in answers]
    ratio = sum(row["prompt_tokens"] for row in answers) / sum(row["worst_tokens"] for row in answers)
    took = [row["ended"] - row["at"] for row in answers if row["mode"] == "sync"] or [1.0]
    quarters = statistics.quantiles(took, n=4) if len(took) > 1 else took * 3
    again = len(rows) / len({row["question"] for row in rows})
    return Measured(
        len(answers),
        Range.around(ratio, 0.01 + 2 * statistics.stdev(ratios) / len(ratios) ** 0.5 / ratio),
        _mean([row["completion_tokens"] for row in answers]),
        Range(1.0, again, 2 * again - 1),
        Range(*quarters),
        structured,
    )


def _more(parameters: str, settings: TeacherConfig) -> dict[str, Any]:
    """Of a request's parameters those that `teacher.parameters` gave."""
    own = {"max_tokens", "max_completion_tokens", "temperature", "response_format", "logprobs"} - settings.parameters.keys()
    return {name: value for name, value in json.loads(parameters).items() if name not in own}


def estimate_table(made: Estimate) -> Table:
    """The estimate for a terminal."""
    table = Table("", "low", "expected", "high", title=f"{made.model} at {made.endpoint}, {made.mode}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("mentions", "", f"{made.mentions:,}", "")
    if round(made.to_ask) < made.mentions:
        table.add_row("  not answered yet", "", f"{made.to_ask:,.0f}", "")
    for name, found in (("requests", made.requests), ("prompt tokens", made.prompt_tokens), ("completion tokens", made.completion_tokens)):
        table.add_row(name, *(f"{value:,.0f}" for value in vars(found).values()))
    table.add_row("dollars, sync", *(usd(value) for value in vars(made.sync_usd).values()))
    if made.batch_usd:
        table.add_row("dollars, batch", *(usd(value) for value in vars(made.batch_usd).values()))
    table.add_row("time, sync", *(_time(hours) for hours in vars(made.hours).values()))
    return table


def in_words(made: Estimate) -> list[str]:
    """What a table does not say: whether the budget covers it, what the price is and from when, and what was assumed."""
    day = f", {made.price_as_of}" if made.price_as_of else ""
    price = f"${made.input_usd_per_million:g} and ${made.output_usd_per_million:g} a million tokens in and out ({made.price_source}{day})"
    return [*_covers(made), f"price: {price}", f"tokens: {made.counted_by}", *made.notes]


def _covers(made: Estimate) -> list[str]:
    if not (made.input_usd_per_million or made.output_usd_per_million):  # free: no budget runs out
        return []
    left = made.budget_usd - made.spent_usd
    money = usd(made.budget_usd) + (f", of which {usd(made.spent_usd)} is spent," if made.spent_usd else "")
    if made.usd.high <= left:
        return [f"budget_usd {money} covers it"]
    if made.usd.expected <= left:
        return [f"budget_usd {money} covers what is expected, but not the high end"]
    return [f"budget_usd {money} covers about {made.covered:,} of {made.to_ask:,.0f} mentions; all take {usd(made.usd.expected)}"]


def _retrieved(run: Run) -> bool:
    """Whether the run has candidates. Raises RunError where it has no mentions yet, or what it has was made from another config."""
    made = [name for name in ("prepare", "retriever", "candidates") if run.summary(name) or run.stale(STAGES[name])]
    for name in made:
        run.finished(STAGES[name])
    if "prepare" not in made:
        raise not_prepared(run, "estimate")
    return "candidates" in made


def _draw(keys: Sequence[str], asked_before: Collection[str], seed: int) -> dict[str, float]:
    """Some of the keys -> how many each stands for: as many of those asked about before as of the others, if there are."""
    drawn: dict[str, float] = {}
    for part in ([k for k in keys if k not in asked_before], [k for k in keys if k in asked_before]):
        some = random.Random(seed).sample(part, min(SAMPLE, len(part)))
        drawn.update((key, len(part) / len(some)) for key in some)
    return drawn


def _rows(run: Run, keys: Sequence[str], retrieved: bool) -> list[dict[str, Any]]:
    """What a question needs of the rows of schema.CANDIDATES of the keys."""
    wanted = pc.field("key").isin(pa.array(keys, pa.string()))
    columns = ["key", "text", "context", "type"]
    if retrieved:
        found = pq.read_table(run.teacher_candidates, columns=[*columns, *OF_CANDIDATES], filters=wanted)
        return found.to_pylist()
    mentions = pq.read_table(run.mentions_file, columns=columns, filters=wanted).to_pylist()
    distinct = {row["key"]: row for row in mentions}
    concepts = pq.read_table(run.concepts_file, columns=["concept_id", "name"]).to_pylist()
    rng = random.Random(run.config.seed)
    rows = []
    for row in distinct.values():
        some = rng.sample(concepts, min(run.config.retriever.top_k, len(concepts)))
        ids, names = ([c[name] for c in some] for name in ("concept_id", "name"))
        rows.append({**row, **dict(zip(OF_CANDIDATES, (ids, names), strict=True))})
    return rows


def _stand_ins(run: Run, wanted: int) -> list[Example]:
    """Examples as long as they will be, before there are candidates."""
    labelled = pq.read_table(run.mentions_file, columns=["key"], filters=[("split", "=", "labelled")])
    keys = sorted(set(labelled["key"].to_pylist()))
    rows = _rows(run, random.Random(run.config.seed).sample(keys, min(wanted, len(keys))), False)
    definitions = _definitions(run, {i for row in rows for i in row["candidate_ids"]})
    return [Example(question_of(row, definitions), NIL) for row in rows]


def _definitions(run: Run, ids: Collection[str] | None) -> Mapping[ConceptId, str | None]:
    wanted = None if ids is None else pc.field("concept_id").isin(pa.array(sorted(ids), pa.string()))
    columns = ["concept_id", "definition"]
    rows = pq.read_table(run.concepts_file, columns=columns, filters=wanted).to_pylist()
    return {row["concept_id"]: row["definition"] for row in rows}


def _sampled(
    run: Run, endpoint: Endpoint, questions: Sequence[Question], examples: Sequence[Example], weights: Mapping[str, float]
) -> list[Sampled]:
    """The prompts of the first ballot, and what the ledger knows of each ballot so far."""
    client = TeacherClient(run.config.teacher, endpoint, None)  # type: ignore[arg-type]  # it is not asked
    votes, seed = run.config.teacher.votes, run.config.seed
    ballots = [client.prepare(questions, examples, seed + ballot) for ballot in range(votes)]
    ids = {asked[0].question.key: [a.request_id for a in asked] for asked in zip(*ballots, strict=True)}
    known = Ledger(run.path("ledger")).known([i for ballots in ids.values() for i in ballots])
    return [
        Sampled(first.messages, len(first.options), [known[i] for i in ids[key] if i in known], weights[key])
        for first in ballots[0]
        for key in [first.question.key]
    ]


def _mean(values: Sequence[float]) -> Range:
    mean = statistics.fmean(values)
    error = 2 * statistics.stdev(values) / len(values) ** 0.5
    return Range(max(0.0, mean - error), mean, mean + error)


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 2 / 60 else f"{math.ceil(3600 * hours)} s"
