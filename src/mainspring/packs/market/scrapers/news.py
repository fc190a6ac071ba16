"""Scrape news about a ticker from RSS and Atom feeds."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote

from mainspring.packs.market.feed import read_feed
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult
from mainspring.packs.market.tickers import symbol


class NewsScraper(BaseScraper):
    """News about a ticker from all configured feeds, newest first; a feed that fails is named, the others count."""

    name = "news"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the newest items about *ticker* as plain text, each headline once.

        Raises:
            The error of the first feed when none of them can be read.
        """
        name = symbol(ticker)
        urls = [url.replace("{ticker}", quote(name, safe="")) for url in self.context.settings.news_feeds]
        answers = await asyncio.gather(*(self._items(url) for url in urls), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0]
        if others := [error for error in failures if not isinstance(error, Exception)]:
            raise others[0]
        items = _newest_first([item for answer in answers if isinstance(answer, list) for item in answer])
        kept = items[: self.context.settings.news_items]
        data = {"ticker": name, "count": len(kept), "items": kept}
        problems = [str(error) for error in failures]
        metadata = {"feeds": len(urls), "failed_feeds": problems, "left_out": len(items) - len(kept)}
        return ScrapeResult(True, data, "; ".join(problems) or None, metadata=metadata)

    async def _items(self, url: str) -> list[dict[str, Any]]:
        wanted = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9"
        response = await self.context.http.get(url, headers={"accept": wanted})
        try:
            # Parsing is slow enough to hold up the other jobs of this event loop.
            return await asyncio.to_thread(read_feed, response.content, response.host, response.headers)
        except ImportError as error:
            message = f"reading feeds needs {error.name}; install mainspring[market]"
            raise ScrapeError(message, permanent=True) from error


def _newest_first(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    unique: dict[str, dict[str, Any]] = {}
    for item in items:
        unique.setdefault(re.sub(r"\W+", " ", item["title"]).casefold() or item["url"], item)
    return sorted(unique.values(), key=lambda item: item["published_at"] or "", reverse=True)
