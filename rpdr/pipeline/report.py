"""Stage `report`: everything that the run holds -> report/metrics.json and report/index.html.

Retriever and student are measured on the test mentions; the teacher on the pool that it labelled, where that has gold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow.parquet as pq

from rpdr.answer import guess, guesses
from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.evaluation import (
    Resampling,
    SystemResult,
    compare_sets,
    evaluate,
    firsts,
    is_hit,
    names_several,
    noise_kind,
    outcomes,
    paired_test,
    write_report,
)
from rpdr.kb import load_kb
from rpdr.machine import machine
from rpdr.pipeline import details
from rpdr.pipeline.account import spent as cost_of
from rpdr.pipeline.baselines import FROM_TEACHER, ZERO_SHOT
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.retriever import TUNED_ALONE
from rpdr.pipeline.several import retrievers_sets
from rpdr.remote import shown
from rpdr.reranker import nil_threshold
from rpdr.run import STAGES, Run
from rpdr.run.found import load_candidates
from rpdr.run.gold import golds_by_key
from rpdr.run.loaded import calibrated
from rpdr.schema import STUDIED, ConceptId, Gold, MentionKey, chosen_ids
from rpdr.teacher.ledger import VALID

Ranking = list[ConceptId | None]
RETRIEVER, LABELLED_NAMES, SECOND, STUDENT = "retriever", "labelled_names", "second_round", "student"
DASHBOARD = "rpdr"  # the uid of cluster/grafana.json


def report(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Measure and write; the summary names the page."""
    progress.update(0, None, "measuring")
    concepts = load_kb(run.concepts_file)
    mentions = load_mentions(run.mentions_file, *STUDIED)
    dev, test = ([m for m in mentions if m.split == split and m.gold is not None] for split in ("dev", "test"))
    taught, trained, linked = run.summary("teach"), run.summary("distill"), run.summary("link")
    prepared = run.summary("prepare")
    metrics: dict[str, Any] = {
        "title": run.folder.name,
        "run_dir": run.config.run_dir,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "protocol": protocol(run, trained, test),
        "simulated_teacher": bool(taught.get("simulated")),
        "corpus": {
            **{
                name: linked.get(name)
                for name in ("mentions", "distinct", "nil", "exact", "by_retriever", "student_scored", "mentions_per_s")
            },
            "linked": linked["mentions"] - linked["nil"] - linked["abstained"],
            "abstained": linked["abstained"] if linked["operating_point"] else None,
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
    systems, comparison = [], []
    taught_rows = pq.read_table(run.teacher_labels).to_pylist()
    if test:
        golds = [m.gold or [] for m in test]
        unseen = _unseen(test, mentions)
        answered = {row["mention_id"]: row for row in pq.read_table(run.path("linked"), filters=[("split", "=", "test")]).to_pylist()}
        rows = [answered[m.mention_id] for m in test]
        measured = {m.key for m in mentions if m.split in ("dev", "test")}
        retrieved = load_candidates(run, keys=measured)
        reranked = load_candidates(run, final=True, keys=measured) if run.config.retriever.second_round else retrieved
        found = _retrieved(run, retrieved, reranked)
        rankings = _rankings(run, dev, test, rows, found)
        rates = {_first_round(found): run.summary("candidates").get("mentions_per_s"), STUDENT: linked.get("student_mentions_per_s")}
        prices = dict.fromkeys((STUDENT, SECOND, FROM_TEACHER), taught.get("spent_usd"))
        fitted, _ = calibrated(run.path("student"), run.config.link)
        answered_sets = _sets(run, dev, test, rankings, found)
        answered_sets[STUDENT] = [guesses(row, fitted) for row in rows]
        for name, ranked in rankings.items():
            systems.append(
                _evaluated(
                    run,
                    TITLES[name],
                    ranked,
                    golds,
                    unseen,
                    prices.get(name, 0.0),
                    rates.get(name),
                    _note(run, name),
                    details.resampling(run, test),
                    answered_sets[name],
                )
            )
        comparison = _comparisons(run, details.resampling(run, test), rankings, answered_sets, golds, unseen)
        taught_texts = {normalise(row["text"]) for row in taught_rows}
        metrics["unseen_taught"] = sum(normalise(m.text) in taught_texts for m, new in zip(test, unseen, strict=True) if new)
        told = details.Answered(run, test, rows, [reranked[m.key]["candidate_ids"] for m in test])
        metrics["calibration"] = details.calibration(told)
        metrics["selective"] = details.selective(told, linked)
        metrics["errors"] = details.errors(told, concepts)
        metrics["parts"] = details.parts(told, outcomes(rankings[RETRIEVER], golds, 1), mentions, (TITLES[STUDENT], TITLES[RETRIEVER]))
    agreement = None
    pool = {m.key: m for m in mentions if m.split == "unlabelled" and m.gold is not None}
    labels = [row for row in taught_rows if row["key"] in pool]
    if labels:
        right = golds_by_key(m for m in mentions if m.split == "unlabelled")
        label_golds = [right[row["key"]] for row in labels]
        drawn = details.resampling(run, [pool[row["key"]] for row in labels])
        teacher, agreement = _teacher(run, labels, label_golds, taught, drawn)
        systems.insert(max(0, len(systems) - 1), teacher)
        metrics["label_noise"] = details.label_noise(run, labels, label_golds, concepts, drawn)
    metrics["learning"] = {
        "curve": trained.get("loss_curve", []),
        "held_out": trained["held_out_losses"],
        "retriever": trained.get("retriever_loss"),
        "epochs": run.config.student.epochs,
        "weight": _weight(trained),
    }
    metrics["systems"] = [asdict(s) for s in systems]
    metrics["comparison"] = comparison
    metrics["teacher"] = {
        **{name: taught.get(name) for name in TAUGHT},
        **_bill(run, taught, linked),
        "agreement_with_gold": agreement,
    }
    page = write_report(run.path("report"), metrics)
    return {"page": str(page)}


def _unseen(test: Sequence[Mention], mentions: Sequence[Mention]) -> np.ndarray:
    """(n,) bool, of the test mentions: nobody had linked the text by hand. A labelled mention may have no gold yet: that links nothing."""
    seen = {normalise(m.text) for m in mentions if m.split == "labelled" and m.gold is not None}
    return np.array([normalise(m.text) not in seen for m in test])


TAUGHT = (
    *("model", "labelled", "believed_accuracy", "invalid", "none", "missing", "from_ledger", "saved_by_early_stop"),
    *("spent_usd", "budget_usd", "prompt_tokens", "completion_tokens", "stopped_by_budget", "account", "masked"),
)
TITLES = {
    ZERO_SHOT: "Retriever, zero-shot",
    RETRIEVER: "Retriever, few labels",
    LABELLED_NAMES: "Retriever, few labels as names too",
    FROM_TEACHER: "Retriever, few + teacher's labels",
    SECOND: "Retriever, second round",
    STUDENT: "Student",
}


def _note(run: Run, name: str) -> str:
    settings = run.config.retriever
    few, taught = "tuned on the labelled mentions and synonyms", "tuned on the labelled mentions, synonyms and the teacher's labels"
    discount = run.summary("retune").get("alias_discount")
    common = "; what is commonly meant counts" if run.summary("retune").get("commonness") else ""
    aliases = f"; linked mentions are names too, whose similarity counts {1 - discount:g} times" if discount is not None else ""
    reranked = "the second round" if settings.second_round else "the few-label retriever"
    unheard = "; dev gave what it learned no weight: it says what that says" if _weight(run.summary("distill")) == 0 else ""
    return {
        ZERO_SHOT: "the encoder as it comes",
        RETRIEVER: few,
        LABELLED_NAMES: few + ", which are names too and tell what is common; the teacher chose from its candidates",
        FROM_TEACHER: taught,
        SECOND: (taught if settings.rounds == 2 else few) + aliases + common,
        STUDENT: f"re-ranks the candidates of {reranked}{unheard}",
    }[name]


def _weight(trained: Mapping[str, Any]) -> float | None:
    """How much of what the student learned dev believes, by the summary of `distill`."""
    return (trained.get("balance") or {}).get("learned")


def protocol(run: Run, trained: dict[str, Any], test: Sequence[Mention]) -> str:
    """One paragraph: what was measured, on what, and how."""
    splits = run.summary("prepare")["splits"]
    counts = ", ".join(f"{splits[name]:,} {name}" for name in ("labelled", "unlabelled", "dev", "test", "corpus") if name in splits)
    nil = "When a system says NIL is set on dev. " if run.config.link.allow_nil else ""
    teacher = "; the teacher's with those that it named" if run.config.teacher.several else ""
    several = "Micro F1: over the concepts of all mentions; each answer names one. " if names_several([m.gold for m in test]) else ""
    if several and run.config.link.several:
        several = f"Micro F1: over the concepts of all mentions, answers have as many as a threshold from dev lets in{teacher}. "
    more = f", {run.config.final_top_k} for the student" if run.config.final_top_k != run.config.retriever.top_k else ""
    abstaining = "Where the student abstains, these scores count what it would have answered. " if run.config.link.target_precision else ""
    epochs = run.config.student.epochs
    return (
        f"Mentions: {counts}, to {run.summary('prepare')['concepts']:,} concepts. Candidates: {run.config.retriever.top_k} a mention{more}. Student: {trained.get('labels', 0):,} teacher labels, "
        f"{epochs} epoch{'s' if epochs > 1 else ''}. A mention is right if the concept named first is in its gold; NIL gold wants 'none of these'. "
        "'Unseen': nobody had linked the text by hand. Intervals and comparisons: "
        f"{details.how_drawn(test)}. {nil}{several}{abstaining}The teacher's row is measured on the pool that it labelled, not on test. Mentions a second: of one actor at work, its loading left out. "
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


Found = Mapping[MentionKey, dict[str, Any]]


def _retrieved(run: Run, candidates: Found, reranked: Found) -> dict[str, Found]:
    """Rows of schema.CANDIDATES of each retriever that was measured, in the order of the results table."""
    alone = run.path("index", TUNED_ALONE)
    found = {
        LABELLED_NAMES if alone.exists() else RETRIEVER: candidates,
        **({SECOND: reranked} if run.config.retriever.second_round else {}),
    }
    for name, path in ((RETRIEVER, alone), *((name, run.path("baselines", f"{name}.parquet")) for name in (ZERO_SHOT, FROM_TEACHER))):
        if path.exists():
            found[name] = {row["key"]: row for row in pq.read_table(path).to_pylist()}
    return {name: found[name] for name in (ZERO_SHOT, RETRIEVER, LABELLED_NAMES, FROM_TEACHER, SECOND) if name in found}


def _reranked(run: Run, found: Collection[str]) -> str:
    """Whose candidates the student re-ranks, of those that were measured."""
    return SECOND if run.config.retriever.second_round else _first_round(found)


def _first_round(found: Collection[str]) -> str:
    """Whose candidates the teacher chose from."""
    return LABELLED_NAMES if LABELLED_NAMES in found else RETRIEVER


def _rankings(
    run: Run, dev: Sequence[Mention], test: Sequence[Mention], answered: Sequence[dict[str, Any]], found: Mapping[str, Found]
) -> dict[str, list[Ranking]]:
    """Each system's answers for the test mentions, best first, the retrievers' by what they `found`; the student's are in `answered`."""
    rankings: dict[str, list[Ranking]] = {}
    for name, rows in found.items():
        threshold = _nil_threshold(dev, rows) if run.config.link.allow_nil else -1.0
        rankings[name] = [_by_threshold(rows[m.key], threshold) for m in test]
    offered = found[_reranked(run, found)]
    rankings[STUDENT] = [_by_student(row, offered[m.key]["candidate_ids"]) for row, m in zip(answered, test, strict=True)]
    return rankings


def _by_student(row: Mapping[str, Any], candidates: Sequence[ConceptId]) -> Ranking:
    """Of a row of schema.LINKED; behind what an exact name decided, which has no ranking, the candidates in the retriever's order."""
    if guess(row) is None:
        return [None, *row["ranked_ids"]]
    return [*row["ranked_ids"], *(i for i in candidates if row["source"] == "exact" and i not in row["ranked_ids"])]


def _by_threshold(row: dict[str, Any], threshold: float) -> Ranking:
    """A retriever's ranking; "none" stands before it where not even the first candidate is as similar as the threshold. Behind others it stands in
    no ranking: it is mostly the retriever's miss, and systems differ in where they would put it."""
    return [None, *row["candidate_ids"]] if row["scores"][0] < threshold else list(row["candidate_ids"])


def _nil_threshold(dev: Sequence[Mention], found: Mapping[MentionKey, dict[str, Any]]) -> float:
    """The similarity under which the retriever alone should say NIL: the best on dev; never where dev has no NIL."""
    nil = np.array([m.gold == [] for m in dev], dtype=bool)
    if not nil.any():
        return -1.0
    right = np.array([is_hit(found[m.key]["candidate_ids"], m.gold or [], 1) if m.gold else False for m in dev])
    return nil_threshold(np.array([found[m.key]["scores"][0] for m in dev]), right, nil)


def _evaluated(
    run: Run,
    name: str,
    ranked: list[Ranking],
    golds: list[Gold],
    unseen: np.ndarray,
    price: float | None,
    rate: float | None,
    note: str,
    resampling: Resampling,
    sets: Sequence[Sequence[ConceptId]] | None = None,
) -> SystemResult:
    return evaluate(
        name,
        ranked,
        golds,
        unseen,
        resampling=resampling,
        price_usd=price,
        mentions_per_s=rate,
        note=note,
        sets=sets,
    )


Sets = list[list[ConceptId]]


def _sets(
    run: Run,
    dev: Sequence[Mention],
    test: Sequence[Mention],
    rankings: Mapping[str, list[Ranking]],
    found: Mapping[str, Found],
) -> dict[str, Sets]:
    """All concepts of each answer of each system: the first alone, but, where the student's answers have several, of retrievers as many as a threshold
    from dev lets in."""
    sets = {name: firsts(ranked) for name, ranked in rankings.items()}
    for name in found if run.config.link.several else ():
        sets[name] = retrievers_sets(dev, test, found[name], sets[name], run.config.link.allow_nil)
    return sets


def _comparisons(
    run: Run, resampling: Resampling, rankings: dict[str, list[Ranking]], sets: dict[str, Sets], golds: list[Gold], unseen: np.ndarray
) -> list[dict[str, Any]]:
    """The student against each retriever, on all test mentions and on unseen ones; where a gold has several concepts by all concepts of the answers too."""
    found = []
    reranked = _reranked(run, rankings)
    for other in (RETRIEVER, LABELLED_NAMES, FROM_TEACHER, SECOND):
        if other not in rankings:
            continue
        told = {"a": TITLES[STUDENT], "b": TITLES[other], "reranked": other == reranked, "untaught": other == LABELLED_NAMES}
        a, b = outcomes(rankings[STUDENT], golds, 1), outcomes(rankings[other], golds, 1)
        for on, rows in (("all", np.ones(len(golds), dtype=bool)), ("unseen", unseen)):
            if rows.any():
                result = paired_test(a[rows], b[rows], resampling.of(rows))
                found.append({**told, "metric": "acc_at_1", "on": on, **asdict(result)})
        if names_several(golds):
            result = compare_sets(sets[STUDENT], sets[other], golds, resampling)
            found.append({**told, "metric": "micro_f1", "on": "all", **asdict(result)})
    return found


def _teacher(
    run: Run, labels: Sequence[dict[str, Any]], golds: Sequence[Gold], taught: dict[str, Any], resampling: Resampling
) -> tuple[SystemResult, float]:
    """(the teacher on its own pool, with the retriever's order after its choice; the share of its labels that are right, "none" among them where no candidate was)."""
    ranked: list[Ranking] = []
    for row in labels:
        chosen = details.chosen_id(row)
        ranked.append([chosen, *(i for i in row["candidate_ids"] if i != chosen)])
    agreement = [
        noise_kind(answers[0], gold, row["candidate_ids"]) is None for answers, gold, row in zip(ranked, golds, labels, strict=True)
    ]
    simulated = taught.get("simulated")
    who = "knows the answers, and errs at a set rate" if simulated else str(taught.get("model"))
    result = _evaluated(
        run,
        f"Teacher, on its pool{' (simulated)' if simulated else ''}",
        ranked,
        list(golds),
        np.zeros(len(golds), dtype=bool),
        taught.get("spent_usd"),
        None if simulated else taught.get("mentions_per_s"),  # how fast a server on this machine is tells nothing
        f"{who}; after its choice, the retriever's order",
        resampling,
        [chosen_ids(row) for row in labels],
    )
    return replace(result, on_pool=True), float(np.mean(agreement))


def _bill(run: Run, taught: dict[str, Any], linked: Mapping[str, Any]) -> dict[str, Any]:
    """What the whole of the ledger says of requests and prices, and what was saved."""
    account = taught.get("account", [])
    labelled, spent = taught.get("labelled"), taught.get("spent_usd")
    served = [row for row in account if row["state"] == VALID]
    an_answer = sum(row["usd"] for row in served) / (sum(row["requests"] for row in served) or 1)
    not_asked = (taught.get("from_ledger") or 0) + (taught.get("saved_by_early_stop") or 0)
    an_actor, all_of_it = linked.get("student_mentions_per_s"), linked.get("mentions_per_s")
    usd_an_hour = run.config.report.machine_usd_per_hour  # of all that links, in which the student may have several actors
    return {
        "asked": sum(row["requests"] for row in account),
        "retries": sum(row["requests"] for row in account if row["attempt"] > 1),
        "saved_usd": not_asked * an_answer,
        "usd_per_million_mentions": 1e6 * spent / labelled if spent and labelled else None,
        "student_hours_per_million_mentions": 1e6 / an_actor / 3600 if an_actor else None,
        "student_usd_per_million_mentions": cost_of(1e6 / all_of_it, usd_an_hour) if all_of_it and usd_an_hour is not None else None,
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
