"""Scrape the official prices of a B3 paper from the day's COTAHIST file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from mainspring.pack import HttpStatusError
from mainspring.packs.market.answer import as_number
from mainspring.packs.market.cotahist import DailyQuote, open_cotahist, read_cotahist
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult
from mainspring.packs.market.settings import ZONE
from mainspring.packs.market.tickers import symbol

FILE_LIMIT = 50 * 1024 * 1024
DAYS_BACK = 7
_SHELVED = 2


class B3CotahistScraper(BaseScraper):
    """The official figures of one trading day, of every market in which the paper was traded."""

    name = "b3_cotahist"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the spot market's figures of *ticker*, and the lines of all its markets."""
        name = symbol(ticker)
        url, content = await self._newest_file()
        # A day's file has thousands of lines; other jobs of this event loop go on meanwhile.
        quotes = await asyncio.to_thread(lambda: list(read_cotahist(open_cotahist(content), name)))
        if not quotes:
            raise ScrapeError(f"{name} was not traded on the day of {url.rpartition('/')[2]}", permanent=True)
        main = min(quotes, key=lambda quote: quote.market)
        data = {**_as_json(main), "markets": [_as_json(quote) for quote in quotes]}
        return ScrapeResult(True, data, metadata={"file": url.rpartition("/")[2]})

    async def _newest_file(self) -> tuple[str, bytes]:
        """Return address and content of the configured day's file, else of the newest one that is published."""
        missing: HttpStatusError | None = None
        for day in self._days():
            url = f"{self.context.settings.b3_url}/InstDados/SerHist/COTAHIST_D{day:%d%m%Y}.ZIP"
            try:
                return url, await self._file(url)
            except HttpStatusError as error:
                if error.status not in (403, 404):
                    raise
                missing = error
        message = f"there is no COTAHIST file of the last {DAYS_BACK} days"
        if self.context.settings.cotahist_day is not None:
            message = f"there is no COTAHIST file of {self.context.settings.cotahist_day}"
        raise ScrapeError(message) from missing

    def _days(self) -> Iterator[date]:
        day = self.context.settings.cotahist_day
        if day is not None:
            yield day
            return
        today = self.context.clock.now().astimezone(ZoneInfo(ZONE)).date()
        days = (today - timedelta(days=back) for back in range(DAYS_BACK))
        yield from (day for day in days if day.weekday() < 5)

    async def _file(self, url: str) -> bytes:
        async with self.context.shelf_lock:
            shelf = self.context.shelf
            if url not in shelf:
                shelf[url] = (await self.context.http.get(url, max_bytes=FILE_LIMIT)).content
                while len(shelf) > _SHELVED:
                    del shelf[next(iter(shelf))]
            return shelf[url]


def _as_json(quote: DailyQuote) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(quote).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return as_number(value)
    return value.isoformat() if isinstance(value, date) else value
