"""A run's report: one dict of measurements in, `metrics.json` and a self-contained `index.html` out.

Lays out and writes; what the numbers are is decided by whoever fills `Metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import jinja2
import numpy as np

from rpdr.evaluation.view import build
from rpdr.files import write_json, write_text

HERE = Path(__file__).parent


class Comparison(TypedDict):
    """`PairedResult` of two systems, by name: a is the newer one, b what it must beat; difference = a minus b."""

    a: str
    b: str
    metric: str  # acc_at_1, acc_at_5, recall_at_10 or micro_f1
    on: str  # "all" or "unseen"
    difference: float
    low: float
    high: float
    p_value: float
    a_only: int
    b_only: int
    reranked: bool  # b's candidates are those that a re-ranks: what a has learned is the difference
    untaught: bool  # b has all that no teacher is needed for: what the teacher's labels bring is the difference


class Corpus(TypedDict, total=False):
    """What the batch job linked; counts of mentions unless said otherwise."""

    mentions: int
    distinct: int  # different questions among them
    linked: int
    nil: int
    abstained: int | None  # None: without a target precision
    exact: int  # distinct ones answered by an unambiguous name
    by_retriever: int  # distinct ones whose first candidate was taken without asking the student
    student_scored: int  # distinct ones answered by the student
    rejects: int  # rows that could not be read
    unknown_gold_ids: int  # gold ids that the knowledge base does not have
    mentions_per_s: float | None
    seconds: float | None


class Teacher(TypedDict, total=False):
    """What the teacher was asked, answered and was paid."""

    model: str
    asked: int
    labelled: int
    invalid: int  # answers that could not be read
    none: int  # answers "none of these"
    missing: int  # mentions without an answer after all attempts
    retries: int
    believed_accuracy: float | None  # of the labels, as teacher.trust finds it without gold of the pool
    agreement_with_gold: float | None  # where gold exists
    spent_usd: float
    budget_usd: float
    prompt_tokens: int
    completion_tokens: int
    stopped_by_budget: bool
    account: list[dict[str, Any]]  # rows of teacher.Ledger.account
    from_ledger: int  # questions whose answer had been paid for earlier
    saved_by_early_stop: int  # questions that a vote need not ask, as two agreed
    saved_usd: float  # what both would have cost
    masked: dict[str, int]  # identifiers by kind that did not leave
    estimate: dict[str, Any] | None  # teacher.estimate.Deviation: what was expected before, and how far off it was
    usd_per_million_mentions: float | None  # by asking the teacher each time, as for these labels
    student_hours_per_million_mentions: float | None  # of one actor on this machine
    student_usd_per_million_mentions: float | None  # where report.machine_usd_per_hour is set


class Calibration(TypedDict, total=False):
    """What `confidence.calibration_report` returns."""

    bins: list[dict[str, Any]]
    ece: float
    texts: int  # distinct ones
    ece_by_chance: float
    ece_by_chance_high: float


class Learning(TypedDict, total=False):
    """How the student's training went."""

    curve: list[dict[str, float]]  # {step, loss}: nats, the mean of the steps up to this one
    held_out: list[float]  # mean loss (nats) on dev after each epoch, where it was measured
    retriever: float | None  # mean loss (nats) of the retriever's similarities alone, on the same labels
    epochs: int  # at most
    weight: float | None  # how much of what was learned dev believes beside the similarity; 0: none of it


class Selective(TypedDict, total=False):
    """What abstaining brings on test."""

    target: float | None  # link.target_precision
    warning: str | None  # where dev cannot show it
    curve: list[dict[str, float]]  # confidence.precision_coverage
    targets: list[dict[str, Any]]  # asdict(OperatingPoint) on dev, and `test`, asdict(confidence.Selected)


class Stage(TypedDict, total=False):
    """One stage of the run."""

    name: str
    seconds: float
    peak_memory_mib: float | None


class Example(TypedDict):
    """A mention that the student, or the teacher, got wrong. `gold_names` is empty for NIL; `answer_name` is None for "none of these"."""

    text: str
    context: str | None  # where the system read it
    alike: int  # mentions of the same text with the same answer that it stands for
    gold_names: list[str]
    answer_name: str | None
    abstained: bool
    confidence: float | None  # a label's: its trust
    candidates: list[str]  # the first names, as the student ordered them, or, of a label, the retriever
    rank: int | None  # of the right one among all of them
    written: NotRequired[str | None]  # as it stands there, where abbreviations were written out


class Cause(TypedDict):
    """Wrong answers of one cause."""

    cause: str  # one of causes.ERRORS
    mentions: int
    share: dict[str, float]  # of all test mentions: a Score
    abstained: int  # of these mentions
    said_nil: int
    second: int  # the right one stood second
    namesake: int  # the answer has the name of the right one
    examples: list[Example]


class Errors(TypedDict):
    """The student's wrong answers on test, abstained from or not."""

    mentions: int  # of test
    wrong: int
    abstaining: bool
    causes: list[Cause]


class Kind(TypedDict):
    """Labels of one kind."""

    kind: str | None  # one of causes.NOISE; None: right
    labels: int
    share: dict[str, float]  # of all labels that have gold: a Score
    trust: float  # the mean, as the student was told it
    learned: int  # labels that the student learned from
    namesake: int
    examples: list[Example]


class LabelNoise(TypedDict):
    """The teacher's labels of mentions that have gold."""

    labels: int
    wrong: int
    believed: float  # the share of them that was taken to be right, without their gold
    kinds: list[Kind]


class Parts(TypedDict):
    """Accuracy by kind of mention, of two systems."""

    new: str
    old: str
    groups: list[dict[str, Any]]  # {by, rows}: type, before, repeats, taught, gold or source; slices.slices


class Kb(TypedDict, total=False):
    """The knowledge base."""

    concepts: int
    names: int
    source: str


class Machine(TypedDict, total=False):
    """Where it ran."""

    cpu: str
    cores: int
    gpu: str | None
    python: str
    versions: dict[str, str]


class Metrics(TypedDict, total=False):
    """The layout of metrics.json. Every part may be missing; the report then leaves its section out."""

    title: str
    run_dir: str
    created_at: str  # ISO 8601
    protocol: str  # one paragraph: data, split, what was measured and how
    simulated_teacher: bool
    systems: list[dict[str, Any]]  # asdict(SystemResult)
    unseen_taught: int  # of the unseen test mentions, how many have a text that the teacher labelled
    comparison: list[Comparison]  # the first one on acc_at_1 and "all" is the headline
    corpus: Corpus
    teacher: Teacher
    calibration: Calibration
    selective: Selective
    learning: Learning
    stages: list[Stage]
    errors: Errors
    label_noise: LabelNoise
    parts: Parts
    kb: Kb
    machine: Machine
    meters_url: str | None  # of a dashboard of the run's own time


def write_report(folder: Path, metrics: Mapping[str, Any]) -> Path:
    """Write `metrics` (laid out as `Metrics`) to `folder`/metrics.json and `folder`/index.html, both atomically; returns the latter.

    Dataclasses and numpy values become plain JSON ones, NaN and infinities null. The page needs no network and no JavaScript, and
    forbids both; all text from data is escaped.
    """
    plain = _plain(metrics)
    page = render(plain)
    write_json(folder / "metrics.json", plain)
    write_text(folder / "index.html", page)
    return folder / "index.html"


def render(metrics: Mapping[str, Any]) -> str:
    """The report as one HTML page. `metrics` is laid out as `Metrics`, of plain JSON values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(build(metrics))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
    if isinstance(value, Sequence | set):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
