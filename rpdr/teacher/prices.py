"""What a model costs: from the config, else from prices.yaml, else not at all: a model without a price is refused.

In: the teacher's config and the endpoint's URL. Out: a price, with where it comes from and of which day.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pydantic import Field

from rpdr.config import Price, TeacherConfig
from rpdr.errors import ConfigError
from rpdr.files import read_text
from rpdr.sections import Section

OLD = timedelta(days=180)
# nobody is paid: what a small priced LLM would take, so that budgets and reports show something real
SANDBOX_PRICE = Price(input_usd_per_million=0.15, output_usd_per_million=0.60, batch_discount=0.5)
FREE = Price(input_usd_per_million=0, output_usd_per_million=0)
AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
HOSTED = (  # domains of others' models, beside those of prices.yaml
    *("openai.com", "azure.com", "anthropic.com", "openrouter.ai", "googleapis.com", "amazonaws.com", "x.ai", "cohere.com", "cohere.ai"),
    *("together.xyz", "together.ai", "fireworks.ai", "perplexity.ai", "deepinfra.com", "huggingface.co", "huggingface.cloud", "nvidia.com"),
    *("cerebras.ai", "sambanova.ai", "replicate.com", "aliyuncs.com", "moonshot.ai", "moonshot.cn"),
)
IN_CONFIG = "teacher: {price: {input_usd_per_million: …, output_usd_per_million: …}}"


@dataclass(frozen=True)
class Quote:
    """A price and where it is from. `as_of`: the day on which it was the provider's; None where nobody's page was read."""

    model: str
    price: Price
    source: str
    as_of: date | None = None

    def warning(self, today: date) -> str:
        """One line where the price is old; empty where it is not."""
        if self.as_of is None or today - self.as_of <= OLD:
            return ""
        return f"the price of {self.model} is of {self.as_of}: compare it with {self.source}; teacher.price in the config wins"


class _Model(Section):
    """A line of prices.yaml."""

    name: str
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    as_of: date


class _Provider(Section):
    """A provider of prices.yaml."""

    host: str
    source: str
    batch_discount: float = Field(ge=0, lt=1)
    models: tuple[_Model, ...]


def quote(config: TeacherConfig, url: str, local: bool) -> Quote:
    """The price of the config's model at `url`. `local`: it is on this machine. Raises ConfigError where nobody says what it costs."""
    if config.price is not None:
        return Quote(config.model, config.price, "teacher.price in the config")
    if config.simulated:
        return Quote(config.model, SANDBOX_PRICE, "made up: the sandbox teacher is paid nothing")
    if local:
        return Quote(config.model, FREE, "free: an endpoint on this machine")
    host = urlsplit(url).hostname or ""
    if config.api_version or host.endswith(AZURE):
        raise ConfigError(
            f"teacher.price: not set for {config.model!r}, a deployment of Azure OpenAI, whose name does not tell the model; "
            f"write what your contract says: {IN_CONFIG}"
        )
    for provider in _providers():
        model = _find(provider, config.model) if provider.host == host else None
        if model is not None:
            price = Price(input_usd_per_million=model.input, output_usd_per_million=model.output, batch_discount=provider.batch_discount)
            return Quote(config.model, price, provider.source, model.as_of)
    raise ConfigError(
        f"teacher.price: not set for {config.model!r}, and the price file knows none {_nearest(config.model, host)}; "
        f"write it into the config (0 for a server of your own): {IN_CONFIG}"
    )


def is_hosted(url: str) -> bool:
    """Whether the models at `url` are a provider's, known to be nobody's own host."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return any(f".{host}".endswith(f".{domain}") for domain in (*HOSTED, *(provider.host for provider in _providers())))


def cost_usd(price: Price, prompt_tokens: float, completion_tokens: float, mode: str = "sync", cached_tokens: float = 0) -> float:
    """Dollars for so many tokens. `mode`: "sync", or "batch", which has the batch discount, and none for the `cached_tokens` of the prompt."""
    dollars = (prompt_tokens * price.input_usd_per_million + completion_tokens * price.output_usd_per_million) / 1e6
    if mode == "sync" and price.cached_input_usd_per_million is not None:
        dollars += min(cached_tokens, prompt_tokens) * (price.cached_input_usd_per_million - price.input_usd_per_million) / 1e6
    return dollars * (1 - price.batch_discount) if mode == "batch" else dollars


@cache
def _providers() -> tuple[_Provider, ...]:
    return tuple(_Provider.model_validate(entry) for entry in yaml.safe_load(read_text(Path(__file__).with_name("prices.yaml"))))


def _find(provider: _Provider, name: str) -> _Model | None:
    """The model of that very name, else the one that it is a dated snapshot of."""
    models = {model.name: model for model in provider.models}
    return models.get(name) or models.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name))


def _nearest(name: str, host: str) -> str:
    known = [model.name for provider in _providers() if provider.host == host for model in provider.models]
    if not known:
        return f"at {host} (it knows {', '.join(provider.host for provider in _providers())})"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"of that name at {host} (the nearest is {near[0]!r})"
