"""Stage `report`: everything that the run holds -> report/metrics.json and report/index.html.

Retriever and student are measured on the test mentions; the teacher on the pool that it labelled, where that has gold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow.parquet as pq

from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.evaluation import (
    Resampling,
    SystemResult,
    evaluate,
    names_several,
    noise_kind,
    outcomes,
    write_report,
)
from rpdr.kb import Concept, load_kb
from rpdr.machine import machine
from rpdr.pipeline import details
from rpdr.pipeline.baselines import FROM_TEACHER
from rpdr.pipeline.link_summary import machine_usd
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.systems import (
    RETRIEVER,
    SECOND,
    STUDENT,
    TITLES,
    Ranking,
    comparisons,
    dev_sets_nil,
    first_round,
    note_of,
    rankings_of,
    retrieved_by,
    sets_of,
    unseen_of,
    weight_of,
)
from rpdr.remote import shown
from rpdr.run import STAGES, Run
from rpdr.run.found import load_candidates
from rpdr.run.gold import golds_by_key
from rpdr.schema import STUDIED, Gold, chosen_id, chosen_ids
from rpdr.teacher.ledger import VALID

DASHBOARD = "rpdr"  # the uid of cluster/grafana.json


def report(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Measure and write; the summary names the page."""
    progress.update(0, None, "measuring")
    concepts, mentions = load_kb(run.concepts_file), load_mentions(run.mentions_file, *STUDIED)
    labels = pq.read_table(run.teacher_labels).to_pylist()
    systems, of_test = _on_test(run, mentions, labels, concepts)
    teacher, agreement, noise = _on_pool(run, mentions, labels, concepts)
    if teacher:
        systems.insert(max(0, len(systems) - 1), teacher)
    taught, linked = run.summary("teach"), run.summary("link")
    metrics: dict[str, Any] = {
        **_about(run, mentions),
        **of_test,
        **noise,
        "systems": [asdict(system) for system in systems],
        "learning": _learning(run),
        "teacher": {
            **{name: taught.get(name) for name in TAUGHT},
            **_bill(run, taught, linked, labels),
            "agreement_with_gold": agreement,
        },
    }
    page = write_report(run.path("report"), metrics)
    return {"page": str(page)}


def _about(run: Run, mentions: Sequence[Mention]) -> dict[str, Any]:
    """What was run, where, on what."""
    prepared, linked = run.summary("prepare"), run.summary("link")
    # exact, by_retriever and student_scored are of distinct questions, the others of mentions
    counts = ("mentions", "distinct", "nil", "exact", "by_retriever", "student_scored", "mentions_per_s")
    return {
        "title": run.folder.name,
        "run_dir": run.config.run_dir,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "protocol": protocol(run, run.summary("distill"), _annotated(mentions, "test")),
        "simulated_teacher": bool(run.summary("teach").get("simulated")),
        "corpus": {
            **{name: linked.get(name) for name in counts},
            "linked": linked["mentions"] - linked["nil"] - linked["abstained"],
            "abstained": linked["abstained"] if linked["operating_point"] else None,  # without a target precision
            "rejects": prepared["rejects"],
            "unknown_gold_ids": prepared["unknown_gold_ids"],
            "seconds": linked.get("link_s"),
        },
        "stages": [
            {"name": n, "seconds": s["seconds"], "peak_memory_mib": s.get("peak_memory_mib")} for n in STAGES if (s := run.summary(n))
        ],
        "kb": {"concepts": prepared["concepts"], "names": prepared["names"], "source": shown(run.config.kb.path)},
        "machine": machine(),
        "meters_url": _meters_url(run),
    }


def _on_test(
    run: Run, mentions: Sequence[Mention], labels: Sequence[dict[str, Any]], concepts: Sequence[Concept]
) -> tuple[list[SystemResult], dict[str, Any]]:
    """(each retriever that was measured, then the student; how they differ, and where the student errs): nothing where no test mention has gold."""
    dev, test = _annotated(mentions, "dev"), _annotated(mentions, "test")
    if not test:
        return [], {"comparison": []}
    taught, linked = run.summary("teach"), run.summary("link")
    golds, unseen, drawn = [m.gold or [] for m in test], unseen_of(test, mentions), details.resampling(run, test)
    answered = {row["mention_id"]: row for row in pq.read_table(run.path("linked"), filters=[("split", "=", "test")]).to_pylist()}
    rows = [answered[m.mention_id] for m in test]
    measured = {m.key for m in mentions if m.split in ("dev", "test")}
    first = load_candidates(run, keys=measured)
    last = load_candidates(run, final=True, keys=measured) if run.config.retriever.second_round else first
    found = retrieved_by(run, first, last)
    rankings = rankings_of(run, dev, test, rows, found)
    sets = sets_of(run, dev, test, rows, rankings, found)
    prices = dict.fromkeys((STUDENT, SECOND, FROM_TEACHER), taught.get("spent_usd"))
    rates = {first_round(found): run.summary("candidates").get("mentions_per_s"), STUDENT: linked.get("student_mentions_per_s")}
    systems = [
        evaluate(
            TITLES[name],
            ranked,
            golds,
            unseen,
            resampling=drawn,
            price_usd=prices.get(name, 0.0),
            mentions_per_s=rates.get(name),
            note=note_of(run, name),
            sets=sets[name],
        )
        for name, ranked in rankings.items()
    ]
    taught_texts = {normalise(row["text"]) for row in labels}
    told = details.Answered(run, test, rows, [last[m.key]["candidate_ids"] for m in test])
    return systems, {
        "comparison": comparisons(run, drawn, rankings, sets, golds, unseen),
        "unseen_taught": sum(normalise(m.text) in taught_texts for m, new in zip(test, unseen, strict=True) if new),
        "calibration": details.calibration(told),
        "selective": details.selective(told, linked),
        "errors": details.errors(told, concepts),
        "parts": details.parts(told, outcomes(rankings[RETRIEVER], golds, 1), mentions, (TITLES[STUDENT], TITLES[RETRIEVER])),
    }


def _on_pool(
    run: Run, mentions: Sequence[Mention], labels: Sequence[dict[str, Any]], concepts: Sequence[Concept]
) -> tuple[SystemResult | None, float | None, dict[str, Any]]:
    """(the teacher, the share of its labels that are right, what kinds of wrong ones there are), on what it labelled and has gold; where there is some."""
    pool = {m.key: m for m in mentions if m.split == "unlabelled" and m.gold is not None}
    known = [row for row in labels if row["key"] in pool]
    if not known:
        return None, None, {}
    right = golds_by_key(m for m in mentions if m.split == "unlabelled")
    golds = [right[row["key"]] for row in known]
    drawn = details.resampling(run, [pool[row["key"]] for row in known])
    teacher, agreement = _teacher(known, golds, run.summary("teach"), drawn)
    return teacher, agreement, {"label_noise": details.label_noise(run, known, golds, concepts, drawn)}


def _annotated(mentions: Sequence[Mention], split: str) -> list[Mention]:
    return [m for m in mentions if m.split == split and m.gold is not None]


def _learning(run: Run) -> dict[str, Any]:
    """How the student's training went: mean losses in nats, on its labels as it learned, on dev after each epoch, and of the retriever's similarities
    alone on the same labels."""
    trained = run.summary("distill")
    return {
        "curve": trained.get("loss_curve", []),
        "held_out": trained["held_out_losses"],
        "retriever": trained.get("retriever_loss"),
        "epochs": run.config.student.epochs,
        "weight": weight_of(trained),
    }


TAUGHT = (
    *("model", "labelled", "believed_accuracy", "invalid", "none", "missing", "from_ledger", "saved_by_early_stop"),
    *("spent_usd", "budget_usd", "prompt_tokens", "completion_tokens", "stopped_by_budget", "account", "masked"),
)


def protocol(run: Run, trained: dict[str, Any], test: Sequence[Mention]) -> str:
    """One paragraph: what was measured, on what, and how."""
    splits = run.summary("prepare")["splits"]
    counts = ", ".join(f"{splits[name]:,} {name}" for name in ("labelled", "unlabelled", "dev", "test", "corpus") if name in splits)
    few = "No system says NIL: dev has too few different mentions, under 20, to set when. "
    nil = ("When a system says NIL is set on dev. " if dev_sets_nil(run) else few) if run.config.link.allow_nil else ""
    teacher = "; the teacher's with those that it named" if run.config.teacher.several else ""
    several = "Micro F1: over the concepts of all mentions; each answer names one. " if names_several([m.gold for m in test]) else ""
    if several and run.config.link.several:
        several = f"Micro F1: over the concepts of all mentions, answers have as many as a threshold from dev lets in{teacher}. "
    more = f", {run.config.final_top_k} for the student" if run.config.final_top_k != run.config.retriever.top_k else ""
    abstaining = "Where the student abstains, these scores count what it would have answered. " if run.config.link.target_precision else ""
    epochs = run.config.student.epochs
    learned = [
        f"{trained[name]:,} {of}" for name, of in (("labels", "teacher labels"), ("gold_labels", "labelled mentions")) if trained.get(name)
    ]
    pool = "The teacher's row is measured on the pool that it labelled, not on test. " if run.summary("teach").get("model") else ""
    return (
        f"Mentions: {counts}, to {run.summary('prepare')['concepts']:,} concepts. Candidates: {run.config.retriever.top_k} a mention{more}. Student: {' and '.join(learned)}, "
        f"{epochs} epoch{'s' if epochs > 1 else ''}. A mention is right if the concept named first is in its gold; NIL gold wants 'none of these'. "
        "'Unseen': nobody had linked the text by hand. Intervals and comparisons: "
        f"{details.how_drawn(test)}. {nil}{several}{abstaining}{pool}Mentions a second: of one actor at work, its loading left out. "
        + _made_of(run)
    )


def _made_of(run: Run) -> str:
    """The models, and what chance there is in the figures."""
    config, student = run.config, run.config.student
    layers = f", its first {student.layers} layers" if student.layers else ""
    simulated = run.summary("teach").get("simulated")
    teacher = f" The simulated teacher is set to be right in {config.teacher.sandbox.accuracy:g} of what it is asked." if simulated else ""
    return (
        f"Encoder: {shown(config.retriever.model)}; student: {shown(student.model)}{layers}, {student.tuning}; seed {config.seed}, "
        f"{config.report.bootstrap_samples:,} resamples.{teacher}"
    )


def _teacher(
    labels: Sequence[dict[str, Any]], golds: Sequence[Gold], taught: dict[str, Any], resampling: Resampling
) -> tuple[SystemResult, float]:
    """(the teacher on its own pool, with the retriever's order after its choice; the share of its labels that are right, "none" among them where no candidate was)."""
    ranked: list[Ranking] = []
    for row in labels:
        chosen = chosen_id(row)
        ranked.append([chosen, *(i for i in row["candidate_ids"] if i != chosen)])
    agreement = [
        noise_kind(answers[0], gold, row["candidate_ids"]) is None for answers, gold, row in zip(ranked, golds, labels, strict=True)
    ]
    simulated = taught.get("simulated")
    who = "knows the answers, and errs at a set rate" if simulated else str(taught.get("model"))
    result = evaluate(
        f"Teacher, on its pool{' (simulated)' if simulated else ''}",
        ranked,
        list(golds),
        np.zeros(len(golds), dtype=bool),
        resampling=resampling,
        price_usd=taught.get("spent_usd"),
        mentions_per_s=None if simulated else taught.get("mentions_per_s"),  # how fast a server on this machine is tells nothing
        note=f"{who}; after its choice, the retriever's order",
        sets=[chosen_ids(row) for row in labels],
    )
    return replace(result, on_pool=True), float(np.mean(agreement))


def _bill(run: Run, taught: dict[str, Any], linked: Mapping[str, Any], labels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the whole of the ledger says of requests and prices, and what was saved. It has answers of earlier settings too, so what a
    label costs goes by the answers that these `labels` took, rows of schema.LABELS, not by what was spent on them and others; a million mentions would
    be asked about as these were."""
    account = taught.get("account", [])
    served = [row for row in account if row["state"] == VALID]
    answers = sum(row["requests"] for row in served) or 1
    an_answer = sum(row["usd"] for row in served) / answers
    with_waste = sum(row["usd"] for row in account) / answers
    not_asked = (taught.get("from_ledger") or 0) + (taught.get("saved_by_early_stop") or 0)
    an_actor, all_of_it = linked.get("student_mentions_per_s"), linked.get("mentions_per_s")
    usd_an_hour = run.config.report.machine_usd_per_hour  # of all that links, in which the student may have several actors
    return {
        "asked": sum(row["requests"] for row in account),
        "retries": sum(row["requests"] for row in account if row["attempt"] > 1),
        "saved_usd": not_asked * an_answer,
        "usd_per_million_mentions": 1e6 * with_waste * fmean(row["asked"] for row in labels) if with_waste and labels else None,
        "student_hours_per_million_mentions": 1e6 / an_actor / 3600 if an_actor else None,
        "student_usd_per_million_mentions": machine_usd(1e6 / all_of_it, usd_an_hour) if all_of_it and usd_an_hour is not None else None,
        "estimate": taught.get("deviation"),
    }


def _meters_url(run: Run) -> str | None:
    """Of the dashboard of cluster/grafana.json, at this run and the time of its stages."""
    url = run.config.report.grafana_url
    if not url:
        return None
    times = [(datetime.fromisoformat(s["finished_at"]).timestamp(), s["seconds"]) for n in STAGES if (s := run.summary(n))]
    first, last = min(end - seconds for end, seconds in times), max(end for end, _ in times)
    asked = urlencode({"var-run": run.folder.name, "from": int(first * 1000), "to": int(last * 1000)})
    return f"{url.rstrip('/')}/d/{DASHBOARD}?{asked}"
