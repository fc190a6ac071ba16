"""Scrape market data of Brazil and the US on a schedule: the pack `market`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.packs.market.schedule_file import SHIPPED_FILE, ScheduleFile, load_schedule_file
    from mainspring.packs.market.scraper import (
        BaseScraper,
        MalformedAnswer,
        ScrapeContext,
        ScrapeError,
        ScrapeResult,
        run_scraper,
    )
    from mainspring.packs.market.scrapers import build_scraper, scraper_names
    from mainspring.packs.market.settings import MarketSettings

__all__ = [
    "SHIPPED_FILE",
    "BaseScraper",
    "MalformedAnswer",
    "MarketSettings",
    "ScheduleFile",
    "ScrapeContext",
    "ScrapeError",
    "ScrapeResult",
    "build_scraper",
    "load_schedule_file",
    "run_scraper",
    "scraper_names",
]

_HOMES = {
    "SHIPPED_FILE": "schedule_file",
    "ScheduleFile": "schedule_file",
    "load_schedule_file": "schedule_file",
    "MarketSettings": "settings",
    "build_scraper": "scrapers",
    "scraper_names": "scrapers",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that a command which only lists packs does not pay for pydantic and the scrapers.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'scraper')}"), name)
