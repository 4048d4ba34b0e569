"""Where the teacher is, what it costs, and whether this data may go there: all checked before anything is asked."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import SecretStr

from rpdr.config import Price, TeacherConfig
from rpdr.errors import BudgetError, ConfigError, TeacherError
from rpdr.remote import refuse_more_than_an_address
from rpdr.teacher.prices import is_hosted, quote

if TYPE_CHECKING:
    import openai

NO_KEY = "none"
DEFAULT_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Endpoint:
    """A chat-completions endpoint. The key is shown by nothing that writes out what it is given: Ray's own records of a job, too."""

    base_url: str
    api_key: SecretStr
    api_key_env: str
    price: Price
    api_version: str = ""  # of Azure OpenAI's dated API
    direct: bool = False  # never through a proxy of the environment, which would be one more host that sees the data

    def client(self, timeout_s: float) -> openai.AsyncOpenAI:
        """The SDK's client of it, for the event loop at work. It retries nothing: every request passes the governor."""
        import openai  # see rpdr.teacher

        direct, key = self.direct or self.local, self.api_key.get_secret_value()
        http = openai.DefaultAsyncHttpxClient(
            trust_env=not direct,
            verify=ssl.create_default_context() if direct else True,  # which reads SSL_CERT_FILE by itself
            follow_redirects=False,  # the data goes where the config says, and nowhere else
        )
        if self.api_version:
            return openai.AsyncAzureOpenAI(
                azure_endpoint=self.base_url,
                api_version=self.api_version,
                api_key=key,
                max_retries=0,
                timeout=timeout_s,
                http_client=http,
            )
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=timeout_s, http_client=http)

    @property
    def has_key(self) -> bool:
        """Whether the key is a secret, and not what stands for none."""
        return self.api_key.get_secret_value() not in {"", NO_KEY, "sandbox"}

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return is_local(self.base_url)


def is_local(url: str) -> bool:
    """Whether a URL names this machine."""
    return (urlsplit(url).hostname or "") in {"localhost", "127.0.0.1", "::1"}


def is_allowed(url: str, hosts: Sequence[str]) -> bool:
    """Whether a URL's host is one of these, to the letter. There are no wildcards: who owns a domain can name hosts in it at will."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return urlsplit(url).scheme in {"http", "https"} and host in {name.casefold().rstrip(".") for name in hosts}


def resolve_endpoint(config: TeacherConfig, data_policy: str, sandbox_url: str | None = None, to_ask: bool = True) -> Endpoint:
    """The endpoint of a config. Raises BudgetError, TeacherError (no key) or ConfigError (no price; data that must not leave).

    `to_ask` false: only to see what it would cost, which takes neither a budget nor a key.
    """
    if to_ask and config.budget_usd == 0:
        raise BudgetError("teacher.budget_usd: 0 buys no answers; set the dollars that may be spent, e.g. budget_usd: 5.0")
    if config.simulated:
        if config.base_url:
            raise ConfigError(
                "teacher.base_url: the sandbox teacher runs on this machine; leave base_url out, or name a real teacher.model"
            )
        return Endpoint(sandbox_url or "", SecretStr("sandbox"), config.api_key_env, quote(config, "", True).price, direct=True)
    url = config.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    if not config.base_url and urlsplit(url).scheme.lower() not in {"http", "https"}:  # the config's own was looked at when it was read
        raise ConfigError(
            "the environment variable OPENAI_BASE_URL needs http:// or https:// before its host; mend it, or give teacher.base_url"
        )
    setting = "teacher.base_url" if config.base_url else "the environment variable OPENAI_BASE_URL"
    refuse_more_than_an_address(url, ConfigError, setting, config.where_the_key_goes)
    local = is_local(url)
    restricted = data_policy == "restricted"
    if restricted and not (local or is_allowed(url, config.allowed_hosts)):
        ours = "" if is_hosted(url) else f", or, if the host is yours, teacher.allowed_hosts: [{urlsplit(url).hostname or 'HOST'}]"
        raise ConfigError(
            f"data_policy: restricted data may not go to {url}; use an endpoint on this machine (teacher.base_url: http://localhost:8000/v1), or "
            f"set data_policy: deidentified{ours}"
        )
    key = os.environ.get(config.api_key_env, "").strip()  # a file that holds it ends in a newline
    if not (key.isascii() and key.isprintable()):  # no header can hold it
        raise TeacherError(
            f"the environment variable {config.api_key_env} holds no key: one is of ASCII letters, digits and signs, on one line"
        )
    if to_ask and not key and not (local or is_allowed(url, config.allowed_hosts)):  # a server of one's own may want none
        raise TeacherError(
            f"no API key: set the environment variable {config.api_key_env} (teacher.api_key_env), or teacher.model: sandbox"
        )
    return Endpoint(
        url, SecretStr(key or NO_KEY), config.api_key_env, quote(config, url, local).price, config.api_version, direct=restricted
    )


def check_endpoint(endpoint: Endpoint, timeout_s: float = 5.0) -> None:
    """Raise TeacherError unless something listens there. What is behind a proxy is left to the first request."""
    try:
        parts = urlsplit(endpoint.base_url)
        if not (endpoint.local or endpoint.direct) and parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
            return
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=timeout_s).close()
    except (OSError, ValueError) as error:  # ValueError: no URL
        why = getattr(error, "strerror", None) or error
        raise TeacherError(f"{endpoint.base_url}: does not answer ({why}); check teacher.base_url and the network") from error
