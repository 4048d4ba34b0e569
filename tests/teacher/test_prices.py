"""The price of a model: from the config, from the price file with its source and day, or a refusal that says what to write."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from rpdr.config import Price, TeacherConfig
from rpdr.errors import ConfigError
from rpdr.teacher import Governor
from rpdr.teacher.prices import OLD, SANDBOX_PRICE, Quote, _providers, cost_usd, quote

OPENAI = "https://api.openai.com/v1"


def of(model: str, url: str = OPENAI, local: bool = False, **settings: object) -> Quote:
    return quote(TeacherConfig.model_validate({"model": model, **settings}), url, local)


def test_a_known_model_has_a_price_with_its_source_and_day():
    found = of("gpt-4.1-mini")
    assert (found.price.input_usd_per_million, found.price.output_usd_per_million, found.price.batch_discount) == (0.4, 1.6, 0.5)
    assert found.source.startswith("https://")
    assert found.as_of is not None


def test_a_dated_snapshot_costs_what_its_model_costs_unless_it_has_a_line_of_its_own():
    assert of("gpt-4o-mini-2024-07-18").price == of("gpt-4o-mini").price
    assert of("gpt-4o-2024-11-20").price == of("gpt-4o").price
    assert of("gpt-4o-2024-05-13").price.input_usd_per_million == 2 * of("gpt-4o").price.input_usd_per_million


@pytest.mark.parametrize("model", ["gpt-4o-mini-audio-preview", "gpt-4.1-mini-fast", "gpt-4", "ft:gpt-4.1-mini:me"])
def test_a_name_that_only_begins_as_a_known_one_is_not_priced_as_that(model: str):
    with pytest.raises(ConfigError):
        of(model)


def test_the_config_wins_over_the_file():
    mine = Price(input_usd_per_million=7, output_usd_per_million=8, batch_discount=0)
    found = of("gpt-4.1-mini", price=mine)
    assert (found.price, found.as_of) == (mine, None)
    assert "config" in found.source


def test_an_unknown_model_is_refused_with_the_nearest_and_what_to_write():
    with pytest.raises(ConfigError) as caught:
        of("gpt-4.1-mni")
    for words in ("teacher.price", "'gpt-4.1-mni'", "price file", "'gpt-4.1-mini'", "input_usd_per_million", "output_usd_per_million"):
        assert words in str(caught.value)


def test_a_known_name_at_another_host_is_refused():
    with pytest.raises(ConfigError, match=r"llm\.example\.org"):
        of("gpt-4.1-mini", "https://llm.example.org/v1")


@pytest.mark.parametrize(("url", "version"), [("https://me.openai.azure.com/openai/v1", ""), ("https://gateway.example.org", "2024-10-21")])
def test_a_deployment_of_azure_needs_its_price_in_the_config(url: str, version: str):
    with pytest.raises(ConfigError, match=r"Azure.*input_usd_per_million"):
        of("gpt-4.1-mini", url, api_version=version)


def test_an_endpoint_on_this_machine_is_free_unless_the_config_prices_it():
    url = "http://localhost:8000/v1"
    assert cost_usd(of("qwen", url, local=True).price, 1e6, 1e6) == 0
    assert of("qwen", url, local=True, price={"input_usd_per_million": 1, "output_usd_per_million": 1}).price.input_usd_per_million == 1


def test_the_sandbox_has_a_price_that_shows_something():
    assert of("sandbox", "", local=True).price == SANDBOX_PRICE


def test_a_batch_costs_the_price_without_its_discount():
    price = Price(input_usd_per_million=10, output_usd_per_million=20, batch_discount=0.25)
    assert cost_usd(price, 1e6, 1e6) == 30
    assert cost_usd(price, 1e6, 1e6, "batch") == 22.5


def test_what_of_a_prompt_is_cached_has_its_own_price_where_the_config_says_one():
    price = Price(input_usd_per_million=10, output_usd_per_million=20, cached_input_usd_per_million=1)
    assert cost_usd(price, 1e6, 0, cached_tokens=0.5e6) == 5.5
    assert cost_usd(price, 1e6, 0, cached_tokens=9e6) == 1
    assert cost_usd(price, 1e6, 0, "batch", 0.5e6) == 10
    assert cost_usd(price.model_copy(update={"cached_input_usd_per_million": None}), 1e6, 0, cached_tokens=0.5e6) == 10
    with pytest.raises(ValidationError, match="cached_input_usd_per_million is more"):
        Price(input_usd_per_million=1, output_usd_per_million=1, cached_input_usd_per_million=2)


def test_the_governor_counts_a_batch_at_its_price(tmp_path: Path):
    async def costs() -> tuple[float, float]:
        governor = Governor(1.0, Price(input_usd_per_million=1, output_usd_per_million=1, batch_discount=0.4), tmp_path)
        try:
            return governor.cost(500_000, 500_000), governor.cost(500_000, 500_000, "batch")
        finally:
            await governor.close()

    assert asyncio.run(costs()) == (1.0, 0.6)


def test_an_old_price_is_a_line_of_warning_and_no_error():
    found = of("gpt-4.1-mini")
    assert found.as_of
    assert found.warning(found.as_of + OLD) == ""
    old = found.warning(found.as_of + OLD + timedelta(days=1))
    assert str(found.as_of) in old
    assert found.source in old
    assert "\n" not in old


def test_each_entry_has_a_public_source_a_day_that_has_been_and_a_name_of_its_own():
    for provider in _providers():
        assert provider.source.startswith("https://")
        names = [model.name for model in provider.models]
        assert len(names) == len(set(names))
        assert all(date(2025, 1, 1) < model.as_of <= date.today() for model in provider.models)
