from __future__ import annotations

import pytest
from pydantic import ValidationError

from mainspring.errors import ConfigurationInvalid
from mainspring.pack import HostPolicy
from mainspring.packs.market import MarketSettings


def refused(environment: dict[str, str], given: dict[str, object] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigurationInvalid) as caught:
        MarketSettings.build(environment, given)
    return caught.value.problems


def test_the_contract_names_and_defaults_hold() -> None:
    settings = MarketSettings.build({})
    assert (settings.scraper_concurrent_jobs, settings.scraper_max_retries) == (3, 3)
    contract = ["SCRAPER_CONCURRENT_JOBS", "SCRAPER_MAX_RETRIES", "REDIS_HOST", "REDIS_PORT"]
    contract += ["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"]
    assert list(MarketSettings.names().values())[:9] == contract


def test_every_setting_says_what_it_is_and_in_which_unit() -> None:
    for name, field in MarketSettings.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert not field.is_required(), name


def test_the_environment_goes_before_the_file_and_empty_text_counts_as_unset() -> None:
    settings = MarketSettings.build(
        {"SCRAPER_CONCURRENT_JOBS": "7", "DB_HOST": "", "PATH": "/bin"},
        {"scraper_concurrent_jobs": 5, "DB_HOST": "db", "SCRAPER_MAX_RETRIES": 1},
    )
    assert (settings.scraper_concurrent_jobs, settings.db_host, settings.scraper_max_retries) == (7, "db", 1)


def test_lists_and_mappings_are_json_in_the_environment() -> None:
    environment = {
        "MARKET_NEWS_FEEDS": '["https://a.example/{ticker}"]',
        "MARKET_POLITENESS": '{"api.example": {"rate": 0.5, "burst": 1, "concurrency": 1}, "*": {}}',
    }
    settings = MarketSettings.build(environment)
    assert settings.news_feeds == ("https://a.example/{ticker}",)
    assert settings.host_policies() == (
        HostPolicy("api.example", rate=0.5, burst=1, concurrency=1),
        HostPolicy("*", rate=2.0, burst=4, concurrency=2),
    )


def test_what_does_not_fit_is_named_without_its_value() -> None:
    assert refused({"SCRAPER_CONCURRENT_JOBS": "many", "DB_PORT": "99999"}) == (
        "SCRAPER_CONCURRENT_JOBS: Input should be a valid integer, unable to parse string as an integer",
        "DB_PORT: Input should be less than or equal to 65535",
    )
    assert refused({"MARKET_BRAPI_URL": "brapi.dev"}) == (
        "MARKET_BRAPI_URL: a base URL starts with http:// or https://",
    )
    assert refused({}, {"brapi_urls": "x"}) == (
        "unknown setting of pack market 'brapi_urls'; did you mean 'brapi_url'?",
    )
    assert refused({}, {"scrapers": {"mine": "module"}}) == (
        "MARKET_SCRAPERS: scraper 'mine' is written module:Class, not 'module'",
    )
    assert "MARKET_POLITENESS" in refused({"MARKET_POLITENESS": "{"})[0]


def test_settings_are_frozen_and_secrets_are_not_shown() -> None:
    settings = MarketSettings.build({"DB_PASSWORD": "hunter2", "MARKET_AI_KEY": "sk-1", "MARKET_BRAPI_TOKEN": "t0k"})
    with pytest.raises(ValidationError):
        settings.db_port = 1
    for secret in ("hunter2", "sk-1", "t0k"):
        assert secret not in repr(settings)
        assert secret not in settings.model_dump_json()


def test_a_base_url_loses_its_last_slash() -> None:
    assert MarketSettings.build({"MARKET_BCB_URL": "http://localhost:1/"}).bcb_url == "http://localhost:1"
