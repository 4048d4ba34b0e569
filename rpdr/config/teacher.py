"""The LLM that is paid, its simulation, and what it may cost."""

from __future__ import annotations

import re
from typing import Any, Literal

import pydantic
from pydantic import Field

from rpdr.config.values import ServerUrl
from rpdr.sections import Section, unshown

SANDBOX = "sandbox"  # the model's name of the simulated teacher


class Price(Section):
    """Dollars per million tokens."""

    input_usd_per_million: float = Field(ge=0, description="of the prompt")
    output_usd_per_million: float = Field(ge=0, description="of the answer, thoughts too")
    cached_input_usd_per_million: float | None = Field(
        None, ge=0, description="of what of the prompt the provider says it has cached, in mode: sync; null: as the rest of it"
    )
    batch_discount: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="off both by the provider's Batch API, often 0.5; 0: it gives none, and the budget holds whatever it gives",
    )

    @pydantic.model_validator(mode="after")
    def _cached_for_less(self) -> Price:
        if (self.cached_input_usd_per_million or 0) > self.input_usd_per_million:
            raise ValueError("cached_input_usd_per_million is more than input_usd_per_million, by which requests are reserved")
        return self


class SandboxConfig(Section):
    """A simulated teacher that knows the unlabelled pool's answers and errs at a set rate. For demonstrations and tests only."""

    accuracy: float = Field(
        0.9, gt=0, le=1, description="how often it answers rightly when the answer is among the candidates (or rightly says none)"
    )
    invalid_rate: float = Field(0.01, ge=0, lt=1, description="how often its answer cannot be read")
    stable_errors: float = Field(
        0.6, ge=0, le=1, description="share of its errors that are the same in any order of the options; an assumption, not measured"
    )
    latency_s: float = Field(0.02, ge=0, description="until it answers")


class BatchConfig(Section):
    """How the provider's Batch API is used."""

    requests: int = Field(10_000, ge=1, le=50_000, description="requests a batch")
    at_once: int = Field(4, ge=1, description="batches at the provider's at a time")
    poll_s: float = Field(30.0, gt=0, description="between two looks at a batch")


_BUDGETED = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "give teacher.max_output_tokens"),
    **dict.fromkeys(("n", "best_of", "stream", "tools", "functions", "web_search_options", "prediction"), "leave it out"),
    **dict.fromkeys(("models", "route", "plugins"), "leave it out"),  # OpenRouter's: other models, at their own prices; searches of the web
    "model": "give teacher.model",
    "messages": "leave it out",
    "service_tier": "give its price too, as teacher.price",
}


class TeacherConfig(Section):
    """The closed LLM, and what may be spent on it."""

    model: str = Field(SANDBOX, description="a model name of the endpoint; 'sandbox' starts the sandbox teacher on this machine")
    base_url: ServerUrl = Field("", description="chat-completions endpoint; empty: the SDK's default (or OPENAI_BASE_URL)")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="hosts, e.g. [llm.hospital.example], that restricted data may go to beside this machine: exact names, no wildcards"
    )
    names_model: str = Field(
        "", description="deidentified: a token-classification model that finds names, as a hub name, folder or package:NAME/path"
    )
    phone_regions: tuple[str, ...] = Field(
        ("US", "CA", "GB", "IE", "AU", "NZ", "IN", "CN", "JP", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "PT", "BR", "IT", "SE", "PL"),
        description="deidentified: countries (ISO 3166) whose phone numbers are known without a +",
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="the environment variable that holds the key; keys never stand in a config")
    budget_usd: float = Field(5.0, ge=0, description="hard cap on this run's spending")
    price: Price | None = Field(None, description="wins over rpdr/teacher/prices.yaml; required where that does not know the model")
    max_mentions: int = Field(
        100_000,
        ge=0,
        description="mentions to label at most; 0: nobody is asked, and the student learns from labelled mentions (student.gold_labels)",
    )
    mode: Literal["sync", "batch"] = Field("sync", description="batch: the provider's Batch API, within a day at a lower price")
    batch: BatchConfig = BatchConfig()
    choose: Literal["random", "worth"] = Field(
        "random", description="whom to ask about first: worth = unsure to the retriever, frequent, of concepts not yet asked about"
    )
    examples: int = Field(4, ge=0, le=20, description="few-shot examples, drawn from the labelled mentions")
    votes: int = Field(
        1, ge=1, le=9, description="answers a mention at most, each to another order of the options, until two agree; 1: no vote"
    )
    several: bool = Field(
        False,
        description="a mention may name several concepts, see link.several: ask for all of them (max_output_tokens: 32 leaves room for that)",
    )
    max_output_tokens: int = Field(16, ge=1, description="of an answer; a model that thinks first needs hundreds")
    temperature: float | None = Field(0.0, ge=0, le=2, description="null: the endpoint's own, for models that take none")
    structured: bool = Field(True, description="ask for JSON with the options as an enum; endpoints that refuse it are asked for a number")
    logprobs: bool = Field(False, description="ask for token log-probabilities, which become a label's confidence")
    parameters: dict[str, Any] = Field(default={}, description="sent with each request as they are, e.g. {reasoning_effort: low}")
    api_version: str = Field("", description="Azure OpenAI's dated API alone, e.g. 2024-10-21; its /openai/v1 needs none")
    requests_per_minute: int = Field(0, ge=0, description="of all jobs on the run directory together; 0: no limit")
    tokens_per_minute: int = Field(0, ge=0, description="prompt and answer, of all jobs on the run directory together; 0: no limit")
    timeout_s: float = Field(30.0, gt=0, description="of a request, which may have been paid for all the same")
    patience_s: float = Field(600.0, gt=0, description="how long the endpoint may answer nothing, or HTTP 429 alone, before the stage ends")
    max_attempts: int = Field(4, ge=1, description="tries of one question: connection errors, time-outs, 5xx; a 429 uses none")
    actors: int = Field(1, ge=1, description="processes that ask, under one budget")
    concurrency: int = Field(32, ge=1, description="requests in flight an actor")
    sandbox: SandboxConfig = SandboxConfig()

    @property
    def simulated(self) -> bool:
        """Whether it is the sandbox teacher, whom nobody pays."""
        return self.model == SANDBOX

    @property
    def where_the_key_goes(self) -> str:
        """The remedy where it stands elsewhere."""
        return f"take it out, and put a key into the environment variable {self.api_key_env} (teacher.api_key_env)"

    @pydantic.model_validator(mode="after")
    def _parameters_within_the_budget(self) -> TeacherConfig:
        for name in self.parameters.keys() & _BUDGETED.keys():
            if name != "service_tier" or self.price is None:
                raise ValueError(f"parameters: {name}: the budget is reserved by what is known of a request; {_BUDGETED[name]}")
        return self

    @pydantic.field_validator("api_key_env")
    @classmethod
    def _no_key_itself(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise unshown(
                "is not the name of an environment variable, which has letters, digits and _ alone; put the key into one, as OPENAI_API_KEY, and name that"
            )
        return name

    @pydantic.field_validator("allowed_hosts")
    @classmethod
    def _hosts_alone(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
                raise ValueError(f"{host!r} is not the name of a host; give it without scheme, port, path or wildcard")
        return hosts
