"""The local services, and scrapers that are led to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mainspring.clock import Clock, ManualClock
from mainspring.pack import HttpClient
from mainspring.packs.market import MarketSettings, ScrapeContext, ScrapeResult, build_scraper, run_scraper
from mainspring.packs.market.local_services import LocalServices

NOON = datetime(2024, 8, 7, 15, 0, tzinfo=UTC)

Scrape = Callable[..., ScrapeResult]


@pytest.fixture
def services() -> Iterator[LocalServices]:
    """All services, on a free port of the loopback interface."""
    with LocalServices() as running:
        yield running


@pytest.fixture
def scrape(services: LocalServices) -> Scrape:
    """Run a scraper by its name against the local services; keywords are settings."""

    def run(name: str, ticker: str, clock: Clock | None = None, **settings: Any) -> ScrapeResult:
        return asyncio.run(scrape_once(services, name, ticker, clock or ManualClock(NOON), settings))

    return run


async def scrape_once(
    services: LocalServices, name: str, ticker: str, clock: Clock, given: dict[str, Any]
) -> ScrapeResult:
    environment = {key: value for key, value in services.environment().items() if key not in given}
    settings = MarketSettings.build(environment, given)
    async with HttpClient(clock, policies=settings.host_policies()) as http:
        context = ScrapeContext(http, settings, clock)
        return await run_scraper(build_scraper(name, context), ticker, clock)
