"""What asking will cost, told before a cent is spent: prompts, a price and counts in, an estimate with its range out.

Pure arithmetic. Which prompts would be sent, and what earlier answers took, is pipeline.forecast.estimate's.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from rpdr.config import TeacherConfig
from rpdr.teacher.dialect import Dialect, own_schema
from rpdr.teacher.ledger import Known, Spent
from rpdr.teacher.prices import Quote, cost_usd
from rpdr.teacher.tokens import count_tokens, worst_case_tokens
from rpdr.teacher.vote import AGREE

A_MESSAGE, A_REPLY, A_SCHEMA = 4, 3, 9  # tokens: the frame of a message, the start of the reply, the frame of a JSON schema
OF_OPENAI = ("api.openai.com", ".azure.com")
DISAGREE, STILL_DISAGREE = 0.15, 0.2  # of two answers to one question in other orders; of a further one with both
UNREADABLE = 0.01  # of answers: asked for once more
REQUESTS_A_S = 150.0  # what one job gets out of itself on two CPU cores, its endpoint aside
LATENCY_S = (0.5, 1.0, 3.0)  # of a request, where nothing is known
OWN_COUNT = 0.04  # how far this file's count may be from an OpenAI tokenizer's
OTHER_COUNT = 0.15  # and from another vocabulary's
THOUGHT = {"none": 0, "minimal": 16, "low": 100, "medium": 300, "high": 1000, "xhigh": 2000, "max": 4000}  # tokens, by reasoning_effort
REASONS = re.compile(  # names of models that think before they answer, unless they are told not to
    r"^(?!.*non-?reasoning).*((?<![a-z0-9])o[134](?![a-z0-9])|(?<![a-z0-9])gpt-([5-9]|oss)|deepseek|gemini-(2\.5|[3-9])|qwen-?3(?!.*instruct)|qwq|glm-(4\.[5-9]|[5-9])"
    r"|grok-(3-mini|[4-9])|kimi-k(2\.[5-9]|[3-9])|reason|think|magistral)",
    re.IGNORECASE,
)
ROOM_TO_THINK = 64  # output tokens: no answer needs so many


@dataclass(frozen=True)
class Range:
    """What is expected, and between what it may well be."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def __mul__(self, other: Range | float) -> Range:
        by = other if isinstance(other, Range) else Range(other, other, other)
        return Range(self.low * by.low, self.expected * by.expected, self.high * by.high)

    @classmethod
    def around(cls, expected: float, off: float) -> Range:
        """Up to a share `off` less or more, and not less than nothing."""
        return cls(expected * max(0.0, 1 - off), expected, expected * (1 + off))


NONE = Range(0, 0, 0)


@dataclass(frozen=True)
class Sampled:
    """A mention as it would be asked about. `known`: what the ledger has of its ballots, in order; `weight`: mentions it stands for."""

    messages: Sequence[Mapping[str, str]]
    options: int
    known: Sequence[Known] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class Measured:
    """What answers of the same model at the same endpoint took, by the ledger. `tokens_a_byte`: of the governor's worst case."""

    answers: int
    tokens_a_byte: Range
    completion_tokens: Range
    requests_a_question: Range
    seconds: Range
    structured: bool  # whether the endpoint took JSON schemas


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked and paid for. `batch_usd` is None where the price has no discount; `hours` are of `mode`: sync."""

    made_at: float  # epoch seconds
    model: str
    endpoint: str
    mode: str
    mentions: int  # of the pool
    to_ask: float  # of them, not yet answered in the ledger
    requests: Range
    prompt_tokens: Range
    completion_tokens: Range
    usd: Range  # in `mode`
    sync_usd: Range
    batch_usd: Range | None
    hours: Range
    spent_usd: float
    budget_usd: float
    covered: int  # mentions to ask that the rest of the budget is expected to cover
    input_usd_per_million: float
    output_usd_per_million: float
    price_source: str
    price_as_of: date | None
    counted_by: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        return {**found, "notes": list(self.notes), "price_as_of": str(self.price_as_of) if self.price_as_of else None}


@dataclass(frozen=True)
class Deviation:
    """An estimate against the ledger, over the mentions that were asked about. `off`: 0.05 is 5 % more dollars than expected."""

    mentions: int
    requests: int
    expected_usd: float
    usd: float
    off: float | None  # None: nothing was to be paid


def estimate(
    config: TeacherConfig,
    endpoint: str,
    quote: Quote,
    sample: Iterable[Sampled],
    mentions: int,
    *,
    made_at: float,
    spent_usd: float = 0.0,
    measured: Measured | None = None,
    notes: Sequence[str] = (),
) -> Estimate:
    """What it takes to ask about `mentions`, of which `sample` is some or all, weighted; `notes` come before its own."""
    config = config if measured is None else config.model_copy(update={"structured": measured.structured})
    count, off, counted_by = _counter(config, endpoint, measured)
    asked = [(s, questions_left(s.known, config.votes)) for s in sample]
    weights = sum(s.weight for s, _ in asked)
    scale = mentions / weights if weights else 0.0
    questions, prompts = NONE, NONE
    each: dict[float, list[float]] = {}  # by what a mention stands for: prompt tokens of each
    for s, left in asked:
        tokens = count(s)
        questions += left * s.weight
        prompts += left * (tokens * s.weight)
        each.setdefault(s.weight * scale, []).append(left.expected * tokens)
    off = math.hypot(off, 2 * _relative_error(each))
    again = measured.requests_a_question if measured else _requests_a_question(config)
    answer = measured.completion_tokens if measured else _answer_tokens(config)
    requests = questions * scale * again
    prompt_tokens = prompts * scale * again * Range.around(1.0, off)
    completion_tokens = requests * answer
    to_ask = scale * sum(s.weight for s, left in asked if left.expected)

    def usd(mode: str) -> Range:
        ends = zip(*(vars(tokens).values() for tokens in (prompt_tokens, completion_tokens)), strict=True)
        return Range(*(cost_usd(quote.price, prompt, completion, mode) for prompt, completion in ends))

    dollars = usd(config.mode)
    return Estimate(
        made_at=made_at,
        model=config.model,
        endpoint=endpoint,
        mode=config.mode,
        mentions=mentions,
        to_ask=to_ask,
        requests=requests,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        usd=dollars,
        sync_usd=usd("sync"),
        batch_usd=usd("batch") if quote.price.batch_discount and not config.simulated else None,
        hours=_hours(config, requests, prompt_tokens + completion_tokens, measured),
        spent_usd=spent_usd,
        budget_usd=config.budget_usd,
        covered=_covered(to_ask, dollars.expected, config.budget_usd - spent_usd),
        input_usd_per_million=quote.price.input_usd_per_million,
        output_usd_per_million=quote.price.output_usd_per_million,
        price_source=quote.source,
        price_as_of=quote.as_of,
        counted_by=counted_by,
        notes=tuple(note for note in (quote.warning(date.fromtimestamp(made_at)), *notes, *_assumptions(config, measured)) if note),
    )


def deviation(made: Estimate, spent: Spent) -> Deviation:
    """How far the ledger is from an estimate made before: a stage that the budget ended is compared over what it asked."""
    expected = made.usd.expected * spent.mentions / made.to_ask if made.to_ask else 0.0
    return Deviation(spent.mentions, spent.requests, expected, spent.usd, spent.usd / expected - 1 if expected else None)


def questions_left(known: Sequence[Known], votes: int) -> Range:
    """How many questions a mention still takes, of at most `votes`, by what is known of the first of them."""
    agreed = max(Counter(k.choice_id for k in known if k.valid).values(), default=0)
    least = min(AGREE, votes) - agreed
    left = votes - len(known)
    if left <= 0 or least <= 0:
        return NONE
    least = min(least, left)
    further = sum(DISAGREE * STILL_DISAGREE**n for n in range(left - least))
    return Range(least, least + further, left)


def _counter(config: TeacherConfig, endpoint: str, measured: Measured | None) -> tuple[Callable[[Sampled], float], float, str]:
    """(prompt tokens of a mention's question, how far that may be off, what counts them)."""
    dialect = Dialect(config)
    if measured is not None:
        ratio = measured.tokens_a_byte
        off = (ratio.high - ratio.low) / 2 / ratio.expected if ratio.expected else 0.0

        def by_bytes(s: Sampled) -> float:
            return worst_case_tokens([dict(m) for m in s.messages], dialect.arguments(s.options)) * ratio.expected

        return by_bytes, off, f"counted by bytes, as in {measured.answers:,} answers of this ledger"
    counted: dict[str, float] = {}  # most messages are the few-shot examples, of all questions the same

    def tokens(text: str) -> float:
        if text not in counted:
            counted[text] = count_tokens(text)
        return counted[text]

    of_openai = any(host in endpoint for host in OF_OPENAI)

    def by_text(s: Sampled) -> float:
        arguments = dialect.arguments(s.options)
        asked_for = arguments.get("response_format")
        if not asked_for:
            schema = 0.0
        elif config.simulated:
            schema = tokens(json.dumps(asked_for))
        else:
            own = own_schema(arguments)
            as_prompt = _as_prompt(own) if own else json.dumps(asked_for)
            schema = tokens(as_prompt) + A_SCHEMA if of_openai else 0.0  # other servers constrain the decoder alone
        return sum(tokens(m["content"]) + A_MESSAGE for m in s.messages) + A_REPLY + schema

    off = OWN_COUNT if config.simulated or of_openai else OTHER_COUNT
    return by_text, off, f"estimated from characters, as the tokenizer of {config.model} is not at hand"


def _as_prompt(schema: Mapping[str, Any]) -> str:
    """A schema as OpenAI counts it (openai/openai-cookbook, issue 2140): compact, and without these keys."""
    left_out = {"required", "additionalProperties", "$schema"}
    return json.dumps({k: v for k, v in schema.items() if k not in left_out}, separators=(",", ":"))


def _requests_a_question(config: TeacherConfig) -> Range:
    unreadable = config.sandbox.invalid_rate if config.simulated else UNREADABLE
    return Range(1.0, 1 + unreadable, 1 + 2 * unreadable + 0.02)  # a few are lost on the way, and may have been served


def _answer_tokens(config: TeacherConfig) -> Range:
    """Completion tokens of an answer: {"choice":"3"}, or 3; {"choices":["3","5"]}, or 3, 5; and what a model thinks before it."""
    answer = Range(5, 5, 8) if config.structured else Range(1, 1, 2)
    if config.several:
        answer = Range(7, 8, 20) if config.structured else Range(1, 2, 8)
    limit = config.max_output_tokens
    if not reasons(config):
        high = limit if may_reason(config) else answer.high
        return Range(min(answer.low, limit), min(answer.expected, limit), min(high, limit))
    thought = THOUGHT.get(str(config.parameters.get("reasoning_effort", "medium")), THOUGHT["medium"])
    return Range(min(answer.low, limit), min(answer.expected + thought, limit), limit)


def reasons(config: TeacherConfig) -> bool:
    """Whether the model thinks before it answers, and is paid for that."""
    effort = config.parameters.get("reasoning_effort")
    return effort != "none" if effort else bool(REASONS.search(config.model))


def may_reason(config: TeacherConfig) -> bool:
    """Whether a model that is not known to think is given room for it."""
    told_not_to = config.parameters.get("reasoning_effort") == "none"
    return not (reasons(config) or told_not_to or config.simulated) and config.max_output_tokens >= ROOM_TO_THINK


def _hours(config: TeacherConfig, requests: Range, tokens: Range, measured: Measured | None) -> Range:
    """Of sync requests: what the limits allow, or, where there are none, the endpoint's latency and this machine."""
    if measured:
        seconds = measured.seconds
    elif config.simulated:
        seconds = Range.around(config.sandbox.latency_s, 0.5)
    else:
        seconds = Range(*LATENCY_S)
    at_once = config.actors * config.concurrency

    def hours(requests: float, tokens: float, seconds: float) -> float:
        needed = [requests * seconds / at_once, requests / REQUESTS_A_S]
        needed += [requests * 60 / config.requests_per_minute] if config.requests_per_minute else []
        needed += [tokens * 60 / config.tokens_per_minute] if config.tokens_per_minute else []
        return max(needed) / 3600

    return Range(*(hours(*ends) for ends in zip(*(vars(r).values() for r in (requests, tokens, seconds)), strict=True)))


def _covered(to_ask: float, usd: float, left_usd: float) -> int:
    if usd <= max(0.0, left_usd):
        return round(to_ask)
    return int(to_ask * max(0.0, left_usd) / usd)


def _relative_error(drawn: Mapping[float, Sequence[float]]) -> float:
    """Of a sum over all: its standard error over it. `drawn`: by how many each stands for, the values; those that are all there err in nothing."""
    total = sum(weight * sum(values) for weight, values in drawn.items())
    errors = (
        weight * math.sqrt(max(0.0, 1 - 1 / weight) * len(values)) * statistics.stdev(values)
        for weight, values in drawn.items()
        if weight and len(values) > 1
    )
    return math.hypot(*errors) / total if total else 0.0


def _assumptions(config: TeacherConfig, measured: Measured | None) -> list[str]:
    notes = []
    if not measured and not config.simulated:
        low, expected, high = LATENCY_S
        notes.append(f"time: {expected:g} s an answer is assumed ({low:g} to {high:g} s), {config.actors * config.concurrency:,} at once")
    if config.votes > AGREE:
        notes.append(f"votes: {DISAGREE:.0%} of the first two answers are taken to disagree; at most {config.votes} are asked for")
    if not measured and reasons(config):
        thought = f"{config.model} may think before it answers: up to max_output_tokens ({config.max_output_tokens:,}) an answer"
        short = "; too few of them leave no answer: raise it, or set parameters: {reasoning_effort: none}"
        notes.append(thought + (short if config.max_output_tokens < THOUGHT["medium"] else ""))
    if not measured and may_reason(config):
        notes.append(
            f"at most {config.max_output_tokens:,} tokens an answer (max_output_tokens): if {config.model} thinks before it answers, it may take all"
        )
    return notes
