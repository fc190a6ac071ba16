"""Scrape everything about one ticker: quote, fundamentals and news."""

from __future__ import annotations

import asyncio
from typing import Any

from mainspring.packs.market.scraper import BaseScraper, ScrapeResult, run_scraper
from mainspring.packs.market.scrapers import build_scraper
from mainspring.packs.market.tickers import is_b3


class CompleteScanScraper(BaseScraper):
    """Quote, fundamentals and news of a ticker in one result; parts that fail are named, the others count."""

    name = "complete_scan"
    artifact = "scan-{ticker}.json"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return what the parts brought; it fails when all of them do."""
        quotes = "b3_quotes" if is_b3(ticker) else "us_quotes"
        parts = {"quote": quotes, "fundamentals": "fundamentals", "news": "news"}
        results = await asyncio.gather(*(self._part(name, ticker) for name in parts.values()))
        found = dict(zip(parts, results, strict=True))
        failed = {part: result for part, result in found.items() if not result.success}
        data = {"ticker": ticker, **{part: result.data for part, result in found.items()}}
        metadata: dict[str, Any] = {"parts": {part: _outcome(result) for part, result in found.items()}}
        if len(failed) == len(found) and all(result.metadata.get("permanent") for result in failed.values()):
            metadata["permanent"] = True
        errors = "; ".join(f"{part}: {result.error}" for part, result in failed.items())
        return ScrapeResult(len(failed) < len(found), data, errors or None, metadata=metadata)

    async def _part(self, name: str, ticker: str) -> ScrapeResult:
        return await run_scraper(build_scraper(name, self.context), ticker, self.context.clock)


def _outcome(result: ScrapeResult) -> str:
    if not result.success:
        return "failed"
    return "partial" if result.error else "ok"
