"""Scrape the quote of a B3 share from a service in the format of brapi.dev."""

from __future__ import annotations

from mainspring.packs.market.answer import first_of
from mainspring.packs.market.brapi import brapi_result
from mainspring.packs.market.scraper import BaseScraper, ScrapeResult

_NUMBERS = {
    "regularMarketChange": "change",
    "regularMarketChangePercent": "change_percent",
    "regularMarketOpen": "open",
    "regularMarketDayHigh": "high",
    "regularMarketDayLow": "low",
    "regularMarketPreviousClose": "previous_close",
    "regularMarketVolume": "volume",
    "marketCap": "market_cap",
    "fiftyTwoWeekLow": "low_52_weeks",
    "fiftyTwoWeekHigh": "high_52_weeks",
}


class B3QuotesScraper(BaseScraper):
    """The latest quote of a B3 share, fund or index; prices are numbers in `currency`."""

    name = "b3_quotes"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the quote of *ticker*; its price and time are always there, other figures may be None."""
        record = await brapi_result(self.context, ticker)
        names = (record.find("longName"), record.find("shortName"))
        data = {
            "ticker": record.at("symbol").text(),
            "name": first_of(part.text() for part in names if part is not None),
            "currency": record.at("currency").text(),
            "price": record.at("regularMarketPrice").number(),
            "quoted_at": record.at("regularMarketTime").moment(),
            **record.numbers(_NUMBERS),
        }
        return ScrapeResult(True, data, metadata={"source": record.host})
