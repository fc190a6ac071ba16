"""Scrape the quote of a US share from a service in the format of Yahoo's v8 charts."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from mainspring.pack import HttpStatusError
from mainspring.packs.market.answer import Answer, first_of
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult
from mainspring.packs.market.tickers import symbol

_NUMBERS = {
    "chartPreviousClose": "previous_close",
    "regularMarketDayHigh": "high",
    "regularMarketDayLow": "low",
    "regularMarketVolume": "volume",
    "fiftyTwoWeekLow": "low_52_weeks",
    "fiftyTwoWeekHigh": "high_52_weeks",
}


class UsQuotesScraper(BaseScraper):
    """The latest quote of a US share; prices are numbers in `currency`."""

    name = "us_quotes"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the quote of *ticker*; its price and time are always there, other figures may be None."""
        # The service writes the class of a share with a hyphen: BRK-B.
        name = symbol(ticker).replace(".", "-")
        url = f"{self.context.settings.us_quotes_url}/v8/finance/chart/{quote(name, safe='^')}"
        try:
            body = await self.context.http.get_json(url, {"interval": "1d", "range": "1d"})
        except HttpStatusError as error:
            if error.status == 404:
                raise ScrapeError(f"{error.host} has no quote of {name}", permanent=True) from error
            raise
        results = Answer(urlsplit(url).hostname or "", body).at("chart").at("result")
        if not results.value:
            raise ScrapeError(f"{results.host} has no quote of {name}", permanent=True)
        meta = results.at(0).at("meta")
        data = {
            "ticker": meta.at("symbol").text(),
            "name": first_of(part.text() for key in ("longName", "shortName") if (part := meta.find(key))),
            "currency": meta.at("currency").text(),
            "price": meta.at("regularMarketPrice").number(),
            "quoted_at": meta.at("regularMarketTime").moment(),
            **meta.numbers(_NUMBERS),
        }
        return ScrapeResult(True, data, metadata={"source": meta.host})
