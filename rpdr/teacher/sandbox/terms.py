"""On what terms the sandbox teacher is served, and what goes wrong on demand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as shares of the requests (or batches). *: the model worked, so it is billed."""

    rate_limited: float = 0.0  # 429 with Retry-After
    server_error: float = 0.0  # 500 or 503
    hang: float = 0.0  # * accepted, never answered
    cut: float = 0.0  # * the connection is closed in the middle of the answer
    malformed: float = 0.0  # * HTTP 200 whose body is no JSON
    out_of_range: float = 0.0  # * an option that there is not
    batch_expire: float = 0.0  # a batch ends with only part of it answered
    batch_line_fail: float = 0.0  # a line of a batch ends with 500 or 503
    batch_fail: float = 0.0  # a whole batch fails when it is checked


@dataclass(frozen=True)
class Terms:
    """At what price and within what limits it serves; 0 and empty: no limit."""

    input_usd_per_million: float = 0.15
    output_usd_per_million: float = 0.60
    batch_discount: float = 0.5
    requests_per_minute: int = 0  # measured by the second, as providers do
    retry_after_s: float = 0.2  # said with the 429s of Faults
    enqueued_token_limit: int = 0  # prompt tokens in batches that have not ended
    batch_seconds: float = 0.0  # how long a batch takes
    models: frozenset[str] = frozenset()  # all others are 404
    refuses: frozenset[str] = frozenset()  # of response_format, logprobs, temperature, max_tokens: HTTP 400
    count_questions: bool = False  # keep what was paid for by question, for the meter


NO_FAULTS, PLAIN_TERMS = Faults(), Terms()
