"""What is refused before anything is asked; and the sandbox teacher's rate of errors."""

from __future__ import annotations

import socket

import pytest

from rpdr.config import Price, SandboxConfig, TeacherConfig
from rpdr.errors import BudgetError, ConfigError, TeacherError
from rpdr.schema import NIL
from rpdr.teacher import Endpoint, Question, SandboxTeacher, build_messages, check_endpoint, parse_answer, resolve_endpoint

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
    assert (endpoint.base_url, endpoint.api_key, endpoint.price) == (FAR, "sk-secret", PRICE)
    assert "sk-secret" not in repr(endpoint)


def test_a_budget_of_zero_asks_nothing():
    with pytest.raises(BudgetError, match="budget_usd"):
        resolve_endpoint(config(budget_usd=0), "public")


def test_a_missing_key_is_named_by_its_variable():
    with pytest.raises(TeacherError, match="NO_KEY"):
        resolve_endpoint(config(api_key_env="NO_KEY"), "public")


def test_an_endpoint_on_this_machine_needs_no_key():
    assert resolve_endpoint(config(api_key_env="NO_KEY", base_url=NEAR), "public").api_key


def test_a_model_without_a_price_is_refused():
    with pytest.raises(ConfigError, match=r"teacher\.price"):
        resolve_endpoint(config(price=None), "public")


@pytest.mark.parametrize("url", [FAR, "", "http://localhost.example.org/v1", "localhost:8000/v1"])
def test_restricted_data_stays_on_this_machine(url: str):
    with pytest.raises(ConfigError, match="restricted"):
        resolve_endpoint(config(base_url=url), "restricted")


def test_restricted_data_does_not_follow_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_BASE_URL", FAR)
    with pytest.raises(ConfigError, match=FAR):
        resolve_endpoint(config(base_url=""), "restricted")


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


def test_where_nothing_listens_is_an_error_that_names_the_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(TeacherError, match=r"does not answer.*teacher\.base_url") as caught:
        check_endpoint(Endpoint(url, "sk-secret", "MY_KEY", PRICE))
    assert url in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_url_whose_port_is_no_number_is_an_error_too():
    with pytest.raises(TeacherError, match=r"http://127\.0\.0\.1:port/v1"):
        check_endpoint(Endpoint("http://127.0.0.1:port/v1", "k", "MY_KEY", PRICE))


def test_a_server_that_listens_is_taken():
    with SandboxTeacher({}, SandboxConfig(), seed=1).serve() as url:
        check_endpoint(Endpoint(url, "k", "MY_KEY", PRICE))


NAMES = ("Vomiting", "Nausea", "Dysphagia", "Fever", "Pain in limb")


def choices_of(teacher: SandboxTeacher, texts: list[str]) -> list[tuple[bool, int]]:
    found = []
    for text in texts:
        question = Question(text, text, None, None, NAMES, NAMES, ("a — definition",) * len(NAMES))
        messages, order = build_messages(question, [], seed=1)
        found.append(parse_answer(teacher.answer(messages[-1]["content"]), order))
    return found


@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_the_sandbox_answers_rightly_at_about_its_rate(rate: float):
    texts = [f"phrase number {n}" for n in range(300)]
    right = [n % 6 - 1 for n in range(300)]  # each candidate, and none of them
    answers = {text: set() if choice == NIL else {NAMES[choice]} for text, choice in zip(texts, right, strict=True)}
    chosen = choices_of(SandboxTeacher(answers, SandboxConfig(accuracy=rate, invalid_rate=0), seed=1), texts)
    assert all(valid for valid, _ in chosen)
    assert sum(c == r for (_, c), r in zip(chosen, right, strict=True)) / 300 == pytest.approx(rate, abs=0.06)


def test_the_sandbox_is_unreadable_at_about_its_rate_and_only_at_first():
    texts = [f"phrase number {n}" for n in range(300)]
    teacher = SandboxTeacher({text: {"Fever"} for text in texts}, SandboxConfig(accuracy=1, invalid_rate=0.2), seed=1)
    unreadable = [not valid for valid, _ in choices_of(teacher, texts)]
    assert sum(unreadable) / 300 == pytest.approx(0.2, abs=0.06)
    assert choices_of(teacher, texts) == [(True, NAMES.index("Fever"))] * 300
