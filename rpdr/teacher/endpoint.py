"""Where the teacher is, what it costs, and whether this data may go there: all checked before anything is asked."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rpdr.config import Price, TeacherConfig
from rpdr.errors import BudgetError, ConfigError, TeacherError

DEFAULT_URL = "https://api.openai.com/v1"
# nobody is paid: what a small priced LLM would take, so that budgets and reports show something real
SANDBOX_PRICE = Price(input_usd_per_million=0.15, output_usd_per_million=0.60)


@dataclass(frozen=True)
class Endpoint:
    """A chat-completions endpoint. The key is never shown in a repr."""

    base_url: str
    api_key: str = field(repr=False)
    api_key_env: str
    price: Price

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return is_local(self.base_url)


def is_local(url: str) -> bool:
    """Whether a URL names this machine."""
    return (urlsplit(url).hostname or "") in {"localhost", "127.0.0.1", "::1"}


def resolve_endpoint(config: TeacherConfig, data_policy: str, sandbox_url: str | None = None) -> Endpoint:
    """The endpoint of a config. Raises BudgetError, TeacherError (no key) or ConfigError (no price; data that must not leave)."""
    if config.budget_usd == 0:
        raise BudgetError("teacher.budget_usd: 0 buys no answers; set the dollars that may be spent, e.g. budget_usd: 5.0")
    if config.model == "sandbox":
        if config.base_url:
            raise ConfigError(
                "teacher.base_url: the sandbox teacher runs on this machine; leave base_url out, or name a real teacher.model"
            )
        return Endpoint(sandbox_url or "", "sandbox", config.api_key_env, config.price or SANDBOX_PRICE)
    url = config.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    if "@" in urlsplit(url).netloc:  # it would be written to the ledger and the report
        raise ConfigError(f"teacher.base_url: holds a user or password; put the key into the environment variable {config.api_key_env}")
    local = is_local(url)
    if data_policy == "restricted" and not local:
        raise ConfigError(
            f"data_policy: restricted data may not go to {url}; use an endpoint on this machine, or set data_policy: deidentified"
        )
    key = os.environ.get(config.api_key_env, "")
    if not key and not local:
        raise TeacherError(
            f"no API key: set the environment variable {config.api_key_env} (teacher.api_key_env), or teacher.model: sandbox"
        )
    if config.price is None:
        raise ConfigError(f"teacher.price: not set for {config.model}; a budget needs input_usd_per_million and output_usd_per_million")
    return Endpoint(url, key or "none", config.api_key_env, config.price)


def check_endpoint(endpoint: Endpoint, timeout_s: float = 5.0) -> None:
    """Raise TeacherError unless something listens there. What is behind a proxy is left to the first request."""
    try:
        parts = urlsplit(endpoint.base_url)
        if not endpoint.local and parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
            return
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=timeout_s).close()
    except (OSError, ValueError) as error:  # ValueError: no URL
        why = getattr(error, "strerror", None) or error
        raise TeacherError(f"{endpoint.base_url}: does not answer ({why}); check teacher.base_url and the network") from error
