"""What is refused before anything is asked; and the sandbox teacher's rate of errors."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pydantic
import pytest
from pydantic import SecretStr

from rpdr.config import Price, SandboxConfig, TeacherConfig
from rpdr.errors import BudgetError, ConfigError, TeacherError
from rpdr.teacher import Endpoint, Question, SandboxTeacher, build_messages, check_endpoint, read_answer, resolve_endpoint

PRICE = Price(input_usd_per_million=1, output_usd_per_million=1)
FAR, NEAR = "https://llm.example.org/v1", "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    monkeypatch.delenv("NO_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def config(**settings: object) -> TeacherConfig:
    return TeacherConfig.model_validate({"model": "m", "base_url": FAR, "api_key_env": "MY_KEY", "price": PRICE, **settings})


def test_key_and_price_come_from_environment_and_config():
    endpoint = resolve_endpoint(config(), "public")
    assert (endpoint.base_url, endpoint.api_key.get_secret_value(), endpoint.price) == (FAR, "sk-secret", PRICE)
    assert "sk-secret" not in repr(endpoint)


def test_a_budget_of_zero_asks_nothing():
    with pytest.raises(BudgetError, match="budget_usd"):
        resolve_endpoint(config(budget_usd=0), "public")


def test_a_missing_key_is_named_by_its_variable():
    with pytest.raises(TeacherError, match="NO_KEY"):
        resolve_endpoint(config(api_key_env="NO_KEY"), "public")


def test_an_endpoint_on_this_machine_needs_no_key():
    assert resolve_endpoint(config(api_key_env="NO_KEY", base_url=NEAR), "public").api_key.get_secret_value()


def test_a_server_of_ones_own_needs_no_key():
    assert resolve_endpoint(config(api_key_env="NO_KEY", allowed_hosts=["llm.example.org"]), "restricted").api_key.get_secret_value()
    with pytest.raises(TeacherError, match="NO_KEY"):
        resolve_endpoint(config(api_key_env="NO_KEY", allowed_hosts=["other.example.org"]), "public")


def test_a_model_without_a_price_is_refused():
    with pytest.raises(ConfigError, match=r"teacher\.price"):
        resolve_endpoint(config(price=None), "public")


def test_an_endpoint_on_this_machine_is_free_where_the_config_does_not_price_it():
    assert resolve_endpoint(config(base_url=NEAR, price=None), "restricted").price.output_usd_per_million == 0


def test_what_it_would_cost_can_be_seen_without_a_key_and_a_budget():
    assert resolve_endpoint(config(api_key_env="NO_KEY", budget_usd=0), "public", to_ask=False).price == PRICE
    with pytest.raises(ConfigError, match="restricted"):
        resolve_endpoint(config(api_key_env="NO_KEY"), "restricted", to_ask=False)


@pytest.mark.parametrize("url", [FAR, "", "http://localhost.example.org/v1", "localhost:8000/v1"])
def test_restricted_data_stays_on_this_machine(url: str):
    with pytest.raises(ConfigError, match="restricted"):
        resolve_endpoint(config().model_copy(update={"base_url": url}), "restricted")  # a config would refuse some


def test_restricted_data_does_not_follow_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_BASE_URL", FAR)
    with pytest.raises(ConfigError, match=FAR):
        resolve_endpoint(config(base_url=""), "restricted")


@pytest.mark.parametrize("url", ["llm.example.org/v1", "me:secret@llm.example.org/v1", "localhost:8000/v1"])
def test_an_url_of_the_environment_without_a_scheme_is_told_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL needs http:// or https://") as caught:
        resolve_endpoint(config(base_url=""), "public")
    assert "llm" not in str(caught.value)


def test_a_refusal_names_the_key_and_the_host_that_would_allow_it():
    with pytest.raises(ConfigError, match=r"teacher\.allowed_hosts: \[llm\.example\.org\]"):
        resolve_endpoint(config(), "restricted")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://api.deepseek.com/v1",
        "https://mine.openai.azure.com/openai/v1",
        "https://eu.api.openai.com/v1",
        "https://openrouter.ai/api/v1",
        "https://API.anthropic.com./v1",
    ],
)
def test_a_provider_s_host_is_not_offered_as_one_s_own(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="data_policy: deidentified") as caught:
        resolve_endpoint(config(base_url=url), "restricted")
    assert "allowed_hosts" not in str(caught.value)


@pytest.mark.parametrize("url", [FAR, "http://LLM.example.org:8000/v1", "https://llm.example.org./v1"])
def test_restricted_data_may_go_to_an_allowed_host(url: str):
    endpoint = resolve_endpoint(config(base_url=url, allowed_hosts=["llm.Example.org"]), "restricted")
    assert endpoint.base_url == url
    assert endpoint.direct
    assert not endpoint.local


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/v1",
        "https://x.llm.example.org/v1",
        "https://llm.example.org.evil.example/v1",
        "ftp://llm.example.org",
        "llm.example.org/v1",
    ],
)
def test_a_host_like_an_allowed_one_is_refused(url: str):
    with pytest.raises(ConfigError, match="restricted"):
        resolve_endpoint(config(allowed_hosts=["llm.example.org"]).model_copy(update={"base_url": url}), "restricted")


@pytest.mark.parametrize("host", ["*.example.org", "https://llm.example.org", "llm.example.org:8000", "llm.example.org/v1", "", "a b"])
def test_what_is_no_host_cannot_be_allowed(host: str):
    with pytest.raises(pydantic.ValidationError, match="without scheme"):
        config(allowed_hosts=[host])


def test_addresses_can_be_allowed():
    assert resolve_endpoint(config(base_url="http://10.0.0.7:8000/v1", allowed_hosts=["10.0.0.7", "fd00::7"]), "restricted").direct


class Recorder(BaseHTTPRequestHandler):
    """Keeps what it was asked, and answers with a redirect where its server has one, or else with 404."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append((self.path, body))  # type: ignore[attr-defined]
        to = self.server.redirect  # type: ignore[attr-defined]
        self.send_response(307 if to else 404)
        if to:
            self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recording(host: str, redirect: str = "") -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(the URL of a server, what it has been asked so far)."""
    server = ThreadingHTTPServer((host, 0), Recorder)
    server.seen, server.redirect = [], redirect  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}/v1", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def ask_once(endpoint: Endpoint) -> int:
    """The status of one request."""

    async def ask() -> int:
        try:
            await endpoint.client(5.0).chat.completions.create(model="m", messages=[{"role": "user", "content": "secret mention"}])
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    return asyncio.run(ask())


@pytest.mark.parametrize("policy", ["restricted", "deidentified", "public"])
def test_a_redirect_is_not_followed(policy: str):
    with recording("127.0.0.2") as (elsewhere, seen), recording("127.0.0.1", redirect=f"{elsewhere}/chat/completions") as (near, asked):
        assert ask_once(resolve_endpoint(config(base_url=near), policy)) == 307
    assert len(asked) == 1
    assert not seen


def test_what_goes_to_an_allowed_host_passes_no_proxy(monkeypatch: pytest.MonkeyPatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with recording("127.0.0.1") as (proxy, passed), recording("127.0.0.2") as (allowed, asked):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.removesuffix("/v1"))
        settings = config(base_url=allowed, allowed_hosts=["127.0.0.2"])
        endpoint = resolve_endpoint(settings, "restricted")
        check_endpoint(endpoint)
        assert ask_once(endpoint) == 404
        assert (len(asked), len(passed)) == (1, 0)
        assert ask_once(resolve_endpoint(settings, "public")) == 404
        assert (len(asked), len(passed)) == (1, 1)


@pytest.mark.parametrize("url", [NEAR, "http://localhost:1/v1", "http://[::1]:8000/v1"])
def test_restricted_data_may_go_to_this_machine(url: str):
    assert resolve_endpoint(config(base_url=url), "restricted").base_url == url


def test_the_sandbox_needs_neither_key_nor_price():
    endpoint = resolve_endpoint(config(model="sandbox", base_url="", price=None, api_key_env="NO_KEY"), "restricted", sandbox_url=NEAR)
    assert endpoint.base_url == NEAR
    assert endpoint.price.output_usd_per_million > 0


def test_the_sandbox_takes_no_url():
    with pytest.raises(ConfigError, match="base_url"):
        resolve_endpoint(config(model="sandbox", base_url=NEAR), "public", sandbox_url=NEAR)


def test_a_url_that_holds_a_password_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="MY_KEY") as caught:
        resolve_endpoint(config(base_url="https://me:hunter2@llm.example/v1", api_key_env="MY_KEY"), "public")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://llm.example/v1?key=hunter2", "https://llm.example/v1#hunter2"])
def test_a_url_that_may_hold_a_key_is_refused_wherever_it_stands_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"teacher\.base_url: the URL has a .*MY_KEY") as caught:
        resolve_endpoint(config(base_url=url), "public")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match=r"OPENAI_BASE_URL: the URL has a .*MY_KEY") as caught:
        resolve_endpoint(config(base_url=""), "restricted")
    assert "hunter2" not in str(caught.value)


def test_where_nothing_listens_is_an_error_that_names_the_url():
    with socket.socket() as held:  # so that no other process gets the port
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(TeacherError, match=r"does not answer.*teacher\.base_url") as caught:
            check_endpoint(Endpoint(url, SecretStr("sk-secret"), "MY_KEY", PRICE))
    assert url in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_url_whose_port_is_no_number_is_an_error_too():
    with pytest.raises(TeacherError, match=r"http://127\.0\.0\.1:port/v1"):
        check_endpoint(Endpoint("http://127.0.0.1:port/v1", SecretStr("k"), "MY_KEY", PRICE))


def test_a_server_that_listens_is_taken():
    with SandboxTeacher({}, SandboxConfig(), seed=1).serve() as url:
        check_endpoint(Endpoint(url, SecretStr("k"), "MY_KEY", PRICE))


NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever", "Pain in limb")


def choices_of(teacher: SandboxTeacher, texts: list[str]) -> list[list[int] | None]:
    found = []
    for text in texts:
        question = Question(text, text, None, None, NAMES, NAMES, ("a — definition",) * len(NAMES))
        messages, order = build_messages(question, [], seed=1)
        found.append(read_answer(teacher.reply(messages[-1]["content"]).text, order))
    return found


@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_the_sandbox_answers_rightly_at_about_its_rate(rate: float):
    texts = [f"phrase number {n}" for n in range(300)]
    right = [[n % 6] if n % 6 < len(NAMES) else [] for n in range(300)]  # each candidate, and none of them
    answers = {text: {NAMES[n] for n in named} for text, named in zip(texts, right, strict=True)}
    chosen = choices_of(SandboxTeacher(answers, SandboxConfig(accuracy=rate, invalid_rate=0), seed=1), texts)
    assert None not in chosen
    assert sum(c == r for c, r in zip(chosen, right, strict=True)) / 300 == pytest.approx(rate, abs=0.06)


def test_the_sandbox_is_unreadable_at_about_its_rate_and_only_at_first():
    texts = [f"phrase number {n}" for n in range(300)]
    teacher = SandboxTeacher({text: {"Fever"} for text in texts}, SandboxConfig(accuracy=1, invalid_rate=0.2), seed=1)
    unreadable = [named is None for named in choices_of(teacher, texts)]
    assert sum(unreadable) / 300 == pytest.approx(0.2, abs=0.06)
    assert choices_of(teacher, texts) == [[NAMES.index("Fever")]] * 300
