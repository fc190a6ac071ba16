"""Scrape the price of a coin from an exchange in the format of Binance's v3 API."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from mainspring.pack import HttpStatusError
from mainspring.packs.market.answer import Answer
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult

_QUOTES = ("BRL", "USDT", "USDC", "FDUSD", "USD", "EUR", "BTC", "ETH", "BNB")
_NUMBERS = {
    "priceChange": "change",
    "priceChangePercent": "change_percent",
    "weightedAvgPrice": "average_price",
    "openPrice": "open",
    "highPrice": "high",
    "lowPrice": "low",
    "bidPrice": "bid",
    "askPrice": "ask",
    "volume": "volume",
    "quoteVolume": "quote_volume",
}
_CANDLE = ("open", "high", "low", "close", "volume")
_UNKNOWN_SYMBOL = -1121


class CryptoScraper(BaseScraper):
    """Price of the last 24 hours and hourly candles of a pair such as BTCBRL, BTC-BRL, or BTC alone."""

    name = "crypto"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the 24-hour figures of *ticker* and its newest 24 hourly candles; times are UTC."""
        pair = self._pair(ticker)
        base = f"{self.context.settings.crypto_url}/api/v3"
        day = await self._ask(f"{base}/ticker/24hr", {"symbol": pair})
        candles = await self._ask(f"{base}/klines", {"symbol": pair, "interval": "1h", "limit": 24})
        symbol = day.at("symbol")
        if symbol.text() != pair:
            raise symbol.malformed(f"is {symbol.value!r}, but {pair!r} was asked for")
        data = {
            "ticker": pair,
            "price": day.at("lastPrice").number(),
            "quoted_at": day.at("closeTime").moment(),
            **day.numbers(_NUMBERS),
            "candles": [_candle(candle) for candle in candles.items()],
        }
        return ScrapeResult(True, data, metadata={"source": day.host, "interval": "1h"})

    def _pair(self, ticker: str) -> str:
        pair = re.sub(r"[-/_]", "", ticker.upper())
        if not re.fullmatch(r"[A-Z0-9]{2,20}", pair):
            raise ScrapeError(f"ticker {ticker!r} is no pair of coins; write BTCBRL, BTC-BRL or BTC", permanent=True)
        whole = any(pair.endswith(quote) and pair != quote for quote in _QUOTES)
        return pair if whole else pair + self.context.settings.crypto_currency

    async def _ask(self, url: str, params: dict[str, str | int]) -> Answer:
        try:
            return Answer(urlsplit(url).hostname or "", await self.context.http.get_json(url, params))
        except HttpStatusError as error:
            if _code(error.body) == _UNKNOWN_SYMBOL:
                raise ScrapeError(f"{error.host} does not trade {params['symbol']}", permanent=True) from error
            raise


def _candle(candle: Answer) -> dict[str, Any]:
    figures = {name: candle.at(index).number() for index, name in enumerate(_CANDLE, start=1)}
    return {"opened_at": candle.at(0).moment(), **figures}


def _code(body: bytes) -> Any:
    try:
        return json.loads(body)["code"]
    except (ValueError, KeyError, TypeError):
        return None
