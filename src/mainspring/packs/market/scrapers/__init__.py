"""Find scrapers by name: the shipped ones and those of the project."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from mainspring.errors import ConfigurationInvalid, UnknownName
from mainspring.packs.market.scraper import BaseScraper, ScrapeContext

_HERE = "mainspring.packs.market.scrapers"

SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        "b3_quotes": f"{_HERE}.b3_quotes:B3QuotesScraper",
        "b3_cotahist": f"{_HERE}.b3_cotahist:B3CotahistScraper",
        "us_quotes": f"{_HERE}.us_quotes:UsQuotesScraper",
        "fundamentals": f"{_HERE}.fundamentals:FundamentalsScraper",
        "crypto": f"{_HERE}.crypto:CryptoScraper",
        "news": f"{_HERE}.news:NewsScraper",
        "bcb": f"{_HERE}.bcb:BcbScraper",
        "complete_scan": f"{_HERE}.complete_scan:CompleteScanScraper",
        "ai_analysis": f"{_HERE}.ai_analysis:AiAnalysisScraper",
    }
)
"""Name of each shipped scraper to the class that does it; imported when it is first asked for."""


def scraper_names(own: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names that a schedule may use: the shipped scrapers and those in *own*."""
    return tuple(sorted({*SHIPPED, *(own or {})}))


def scraper_summary(name: str, own: Mapping[str, str] | None = None) -> str:
    """Return the first line of what the scraper called *name* says of itself.

    Raises:
        ConfigurationInvalid: when a scraper of the project cannot be imported.
    """
    found = _found(name, (own or {}).get(name) or SHIPPED[name])
    return (inspect.getdoc(found) or "").partition("\n")[0]


def build_scraper(name: str, context: ScrapeContext) -> Any:
    """Return a new scraper called *name*, ready to scrape.

    Raises:
        UnknownName: when there is none of that name.
        ConfigurationInvalid: when a scraper of the project cannot be imported or made.
    """
    own = context.settings.scrapers
    target = own.get(name) or SHIPPED.get(name)
    if target is None:
        raise UnknownName("scraper", name, scraper_names(own))
    return _made(name, _found(name, target), context)


def _found(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationInvalid([f"scraper {name!r} cannot be loaded from {target!r}: {error}"]) from error
    if not callable(getattr(found, "scrape", None)):
        raise ConfigurationInvalid([f"scraper {name!r} ({target}) has no method scrape(ticker)"])
    return found


def _made(name: str, found: Any, context: ScrapeContext) -> Any:
    if not isinstance(found, type):
        return found
    takes_context = "context" in inspect.signature(found).parameters
    make: Callable[..., Any] = found
    try:
        scraper = make(context) if takes_context else make()
    except TypeError as error:
        message = f"scraper {name!r} cannot be made: {error}; its __init__ takes no argument, or one named context"
        raise ConfigurationInvalid([message]) from error
    if isinstance(scraper, BaseScraper):
        scraper.context = context
    return scraper
