"""Hold the pack's settings: names, units and defaults, frozen once read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from mainspring.errors import ConfigurationInvalid, unknown_name
from mainspring.pack import HostPolicy

ZONE = "America/Sao_Paulo"
"""The zone in which the pack's schedules and its users' times are meant."""


def _setting(alias: str, default: Any, unit: str, description: str, **limits: Any) -> Any:
    return Field(default=default, alias=alias, description=description, json_schema_extra={"unit": unit}, **limits)


class Politeness(BaseModel):
    """How hard one host may be asked by this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(default=2.0, gt=0, description="requests per second, over time")
    burst: int = Field(default=4, ge=1, description="requests that may start at once after a quiet time")
    concurrency: int = Field(default=2, ge=1, description="requests under way at the same time")


class MarketSettings(BaseModel):
    """Settings of the market pack, named in the environment as their aliases are written."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    scraper_concurrent_jobs: int = _setting(
        "SCRAPER_CONCURRENT_JOBS", 3, "jobs", "Jobs that run at the same time in one worker.", ge=1, le=1000
    )
    scraper_max_retries: int = _setting(
        "SCRAPER_MAX_RETRIES", 3, "retries", "Retries after the first try of a job.", ge=0, le=100
    )
    redis_host: str | None = _setting(
        "REDIS_HOST", None, "host name", "Redis server; checked, and not used by this release."
    )
    redis_port: int = _setting("REDIS_PORT", 6379, "port", "Port of that server.", ge=1, le=65535)
    db_host: str | None = _setting(
        "DB_HOST", None, "host name", "PostgreSQL host; unset: the database that Mainspring is configured with."
    )
    db_port: int = _setting("DB_PORT", 5432, "port", "PostgreSQL port.", ge=1, le=65535)
    db_name: str = _setting("DB_NAME", "scrapers", "database name", "PostgreSQL database.", min_length=1)
    db_user: str = _setting("DB_USER", "postgres", "user name", "PostgreSQL user.", min_length=1)
    db_password: SecretStr | None = _setting(
        "DB_PASSWORD", None, "secret", "Password of that user; never printed or stored."
    )

    brapi_url: str = _setting(
        "MARKET_BRAPI_URL", "https://brapi.dev", "URL", "Base of the quote and fundamentals service (brapi.dev format)."
    )
    brapi_token: SecretStr | None = _setting(
        "MARKET_BRAPI_TOKEN", None, "secret", "Token of that service, sent as a Bearer key; unset: none is sent."
    )
    us_quotes_url: str = _setting(
        "MARKET_US_QUOTES_URL", "https://query1.finance.yahoo.com", "URL", "Base of the US charts (Yahoo v8 format)."
    )
    b3_url: str = _setting(
        "MARKET_B3_URL", "https://bvmf.bmfbovespa.com.br", "URL", "Base of B3's site with the daily COTAHIST files."
    )
    cotahist_day: date | None = _setting(
        "MARKET_COTAHIST_DAY", None, "date", "Trading day to read from COTAHIST; unset: the newest file there is."
    )
    crypto_url: str = _setting(
        "MARKET_CRYPTO_URL", "https://api.binance.com", "URL", "Base of the crypto exchange (Binance v3 format)."
    )
    crypto_currency: str = _setting(
        "MARKET_CRYPTO_CURRENCY", "BRL", "currency code", "Currency of a pair that is given as a coin alone.",
        pattern=r"^[A-Z]{3,5}$",
    )  # fmt: skip
    bcb_url: str = _setting(
        "MARKET_BCB_URL", "https://api.bcb.gov.br", "URL", "Base of the central bank's time series service (SGS)."
    )
    bcb_values: int = _setting(
        "MARKET_BCB_VALUES", 12, "values", "Newest values to read of each central bank series.", ge=1, le=20
    )
    news_feeds: tuple[str, ...] = _setting(
        "MARKET_NEWS_FEEDS",
        (
            "https://feeds.finance.yahoo.com/rss/2.0/headline?s={ticker}&region=US&lang=en-US",
            "https://news.google.com/rss/search?q={ticker}&hl=pt-BR&gl=BR&ceid=BR:pt-419",
        ),
        "URLs",
        "RSS or Atom feeds; {ticker} in them stands for the ticker.",
        min_length=1,
    )
    news_items: int = _setting("MARKET_NEWS_ITEMS", 30, "items", "Newest news items to keep per ticker.", ge=1, le=500)

    ai_url: str | None = _setting(
        "MARKET_AI_URL", None, "URL", "Base of an OpenAI-compatible service, before /v1; unset: AI analysis is off."
    )
    ai_key: SecretStr | None = _setting("MARKET_AI_KEY", None, "secret", "Key of that service; unset: none is sent.")
    ai_model: str = _setting("MARKET_AI_MODEL", "gpt-4o-mini", "model name", "Model to ask.", min_length=1)
    ai_max_tokens: int = _setting("MARKET_AI_MAX_TOKENS", 800, "tokens", "Length limit of one answer.", ge=1)
    ai_timeout: int = _setting("MARKET_AI_TIMEOUT", 120, "seconds", "Time limit of one answer.", ge=1, le=3600)

    user_agent: str | None = _setting(
        "MARKET_USER_AGENT", None, "text", "User agent; unset: mainspring and its version.", min_length=1
    )
    politeness: Mapping[str, Politeness] = _setting(
        "MARKET_POLITENESS",
        {"*": Politeness()},
        "host pattern to limits",
        "Rate, burst and concurrency per host; the first pattern that fits a host holds for it.",
    )
    scrapers: Mapping[str, str] = _setting(
        "MARKET_SCRAPERS", {}, "name to module:Class", "Scrapers of your own; a shipped name replaces the shipped one."
    )

    @field_validator("news_feeds", "politeness", "scrapers", mode="before")
    @classmethod
    def _from_json_text(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("brapi_url", "us_quotes_url", "b3_url", "crypto_url", "bcb_url", "ai_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("a base URL starts with http:// or https://")
        return value.rstrip("/") if value is not None else None

    @field_validator("scrapers")
    @classmethod
    def _scraper_targets(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, target in value.items():
            module, _, attribute = target.partition(":")
            if not (module and attribute):
                raise ValueError(f"scraper {name!r} is written module:Class, not {target!r}")
        return value

    @classmethod
    def names(cls) -> dict[str, str]:
        """Return the environment name of each setting, by its name here."""
        return {name: field.alias or name for name, field in cls.model_fields.items()}

    @classmethod
    def build(cls, environment: Mapping[str, str], given: Mapping[str, object] | None = None) -> Self:
        """Return the settings: *environment* (empty text is unset) over *given* (a file's mapping) over defaults.

        Raises:
            ConfigurationInvalid: with one sentence for each setting that is unknown or does not fit.
        """
        aliases = cls.names()
        values: dict[str, object] = {}
        problems: list[str] = []
        for key, value in (given or {}).items():
            alias = aliases.get(key, key)
            if alias not in aliases.values():
                problems.append(unknown_name("setting of pack market", key, [*aliases, *aliases.values()]))
            values[alias] = value
        values.update({name: environment[name] for name in aliases.values() if environment.get(name)})
        if problems:
            raise ConfigurationInvalid(problems)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationInvalid(_sentences(error)) from None

    def database_address(self) -> str | None:
        """Return the address of the PostgreSQL database that DB_HOST and its like name; None without DB_HOST."""
        if self.db_host is None:
            return None
        password = self.db_password.get_secret_value() if self.db_password else None
        user = quote(self.db_user, safe="") + (f":{quote(password, safe='')}" if password else "")
        host = f"[{self.db_host}]" if ":" in self.db_host else quote(self.db_host, safe="")
        return f"postgresql://{user}@{host}:{self.db_port}/{quote(self.db_name, safe='')}"

    def host_policies(self) -> tuple[HostPolicy, ...]:
        """Return the politeness as the HTTP client takes it, in order."""
        return tuple(
            HostPolicy(host, rate=each.rate, burst=each.burst, concurrency=each.concurrency)
            for host, each in self.politeness.items()
        )


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
