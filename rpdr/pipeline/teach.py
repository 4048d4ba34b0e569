"""Stage `teach`: candidates of unlabelled mentions -> labels/, each answer paid for once and kept in ledger/ before it is used.

What to ask, in which order, and what becomes of the answers; how it is asked is `ask`'s. Keys alone are held in memory: a pool of
millions costs no more than its keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.errors import ConfigError
from rpdr.files import sha256_tree, write_rows, writing_rows
from rpdr.kb import Concept, load_kb
from rpdr.masking import PATTERNS_ALONE
from rpdr.models import check_before_paying
from rpdr.pipeline.ask import MASKED, PLACE, Asking, ask_in_actors, ask_in_batches
from rpdr.pipeline.forecast.estimate import deviation_of, estimate_of
from rpdr.pipeline.on_ray.cluster import address_for_askers, connect
from rpdr.pipeline.pool import examples_of, hidden_of, mentions_of, queue_of
from rpdr.pipeline.prepare import check_masked
from rpdr.pipeline.progress import StageProgress, Stopwatch, say
from rpdr.pipeline.questions import Questions, write_questions
from rpdr.pipeline.trust import ANSWERED, write_labels
from rpdr.run import STAGES, Run
from rpdr.run.labels import SET_ASIDE_FILE
from rpdr.schema import LABELS, NIL, SET_ASIDE, members
from rpdr.teacher import Ledger, SandboxTeacher, check_endpoint, resolve_endpoint

REFUSED = "refused_by_budget"
ENOUGH_REFUSED = 1_000  # in a row: the rest need not be tried


def teach(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Ask about every distinct unlabelled mention until the budget is spent; what was labelled until then is kept. Nobody, where `max_mentions` is 0."""
    settings = run.config.teacher
    if not settings.max_mentions:
        if not run.config.student.gold_labels:
            raise ConfigError(
                "teacher.max_mentions: 0 asks nobody, so nothing is left to learn from; add student.gold_labels: true, for a student of the labelled mentions"
            )
        return _nobody_asked(run)
    check_masked(run)
    concepts = load_kb(run.concepts_file)
    definitions = {c.concept_id: c.definition for c in concepts}
    pool = mentions_of(run)
    found = run.teacher_candidates
    examples = examples_of(run, definitions)
    with sandbox(run, concepts) as sandbox_url:
        endpoint = resolve_endpoint(settings, run.config.data_policy, sandbox_url)
        check_endpoint(endpoint)
        progress.update(0, None, "choosing what to ask")
        keys = queue_of(run, pool)[: settings.max_mentions]
        made = estimate_of(run, keys, examples)
        if not settings.simulated and made.usd.high > 0:
            check_before_paying(run.config.student.model)
        say([*made.notes, *([PATTERNS_ALONE] if run.config.data_policy == "deidentified" and not settings.names_model else [])])
        with _scratch(run) as (file, answered):
            numbers = write_questions(file, found, set(keys), definitions, hidden_of(run, keys))
            queue = [numbers[key] for key in keys]
            asked_before = Ledger(run.path("ledger")).keys_asked(settings.model)
            perhaps_known = max((place for place, key in enumerate(keys, start=1) if key in asked_before), default=0)
            asking = Asking(run.config, endpoint, examples, file, run.path("ledger"))
            if settings.mode == "sync":
                connect()
            watch = Stopwatch()
            ask = ask_in_batches if settings.mode == "batch" else ask_in_actors
            with closing(ask(asking, queue, progress)) as votes:
                kept = _keep(run, Questions(file), queue, votes, answered, perhaps_known)
            seconds = watch.seconds
            run.reopen(STAGES["teach"])
            believed = write_labels(run, answered, run.teacher_labels)
    ledger = Ledger(run.path("ledger"))
    account = ledger.account(settings.simulated)
    sources = kept["sources"]
    return {
        "content": sha256_tree(run.teacher_labels),
        "ended_by": {
            **({"teacher.budget_usd": settings.budget_usd} if sources[REFUSED] or kept["cut_short"] else {}),
            **({"teacher.max_mentions": settings.max_mentions} if len(queue) < len(pool) else {}),
        },
        "model": settings.model,
        "simulated": settings.simulated,
        "pool": len(queue),
        "labelled": kept["labelled"],
        "none": kept["none"],
        **believed,
        "invalid": sources["set_aside"],
        "failed": sources["failed"],
        "masked_away": sources[MASKED],
        "from_ledger": sources["ledger"],
        "saved_by_early_stop": kept["saved_by_early_stop"],
        "missing": len(queue) - kept["labelled"],
        "stopped_by_budget": sources[REFUSED] > 0 or kept["cut_short"] > 0,
        "requests": sum(row["requests"] for row in account),
        "spent_usd": ledger.spent_usd(settings.simulated),
        "budget_usd": settings.budget_usd,
        "prompt_tokens": sum(row["prompt_tokens"] for row in account),
        "completion_tokens": sum(row["completion_tokens"] for row in account),
        "account": account,
        "masked": ledger.masked(settings.simulated),
        "estimate": made.as_dict(),
        "deviation": asdict(deviation_of(run, made)),
        "mentions_per_s": sources["asked"] / seconds if sources["asked"] else None,
    }


def _nobody_asked(run: Run) -> dict[str, Any]:
    """No label; it takes neither endpoint nor key."""
    for path, schema in ((run.teacher_labels, LABELS), (run.path("labels", SET_ASIDE_FILE), SET_ASIDE)):
        write_rows(path, [], schema)
    counts = dict.fromkeys(("pool", "labelled", "none", "invalid", "failed", "masked_away", "missing", "requests"), 0)
    return {
        "content": sha256_tree(run.teacher_labels),
        "model": None,
        "simulated": False,
        "stopped_by_budget": False,
        "spent_usd": 0.0,
        "budget_usd": 0.0,
        **counts,
    }


@contextmanager
def _scratch(run: Run) -> Iterator[tuple[Path, Path]]:
    """Where the questions and what was answered are kept while the stage runs, and no longer."""
    files = run.path("labels", "questions.arrow"), run.path("labels", "answered.parquet")
    try:
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _keep(
    run: Run, questions: Questions, queue: Sequence[int], votes: Iterable[Mapping[str, Any]], answered: Path, perhaps_known: int
) -> dict[str, Any]:
    """Write each vote to `answered` or set it aside, in the queue's order; counts of both. Stops asking where the budget refuses, but not
    before the first `perhaps_known`: among these are answers that the ledger gives for nothing."""
    sources: Counter[str] = Counter()
    counts = {"labelled": 0, "none": 0, "saved_by_early_stop": 0, "cut_short": 0}
    refused = done = 0
    with (
        writing_rows(answered, ANSWERED) as label,
        writing_rows(run.path("labels", SET_ASIDE_FILE), SET_ASIDE) as set_aside,
    ):
        for found in _in_order(votes):
            done += 1
            [row] = questions.rows([queue[found[PLACE]]])
            sources[found["source"]] += 1
            if found["valid"]:
                label({**row, **found, "source": "teacher"})
                counts["labelled"] += 1
                counts["none"] += found["choice"] == NIL
                counts["cut_short"] += found["cut_short"]
                counts["saved_by_early_stop"] += 0 if found["cut_short"] else run.config.teacher.votes - len(found["ledger_ids"])
            else:
                set_aside({**found, "text": row["text"]})
            refused = refused + 1 if found["source"] == REFUSED else 0
            if refused >= ENOUGH_REFUSED and done >= perhaps_known:
                break
        for number in queue[done:]:
            [row] = questions.rows([number])
            sources[REFUSED] += 1
            set_aside({**row, "source": REFUSED, "reason": "the budget was spent", "ledger_ids": []})
    return {**counts, "sources": sources}


def _in_order(votes: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """By place, without gaps: what comes before its turn waits."""
    early: dict[int, Mapping[str, Any]] = {}
    turn = 0
    for found in votes:
        early[found[PLACE]] = found
        while turn in early:
            yield early.pop(turn)
            turn += 1


@contextmanager
def sandbox(run: Run, concepts: list[Concept]) -> Iterator[str | None]:
    """The sandbox teacher's URL while in the block, where the config asks for it; it knows the unlabelled pool's gold."""
    if not run.config.teacher.simulated:
        yield None
        return
    pool = load_mentions(run.mentions_file, "unlabelled")
    with sandbox_of(run, concepts, pool).serve(host=address_for_askers()) as url:
        yield url


def sandbox_of(run: Run, concepts: Sequence[Concept], mentions: Sequence[Mention]) -> SandboxTeacher:
    """The run's sandbox teacher, who knows the gold of these mentions."""
    settings = run.config.teacher
    names = {c.concept_id: c.name for c in concepts}
    answers: dict[str, set[str]] = {}
    for m in mentions:
        if m.gold is not None:
            # asked for several it names one alternative, or it would name all of them together
            right = members(m.gold[:1] if settings.several else m.gold)
            answers.setdefault(normalise(m.text), set()).update(names[i] for i in right if i in names)
    return SandboxTeacher(answers, settings.sandbox, run.config.seed)
