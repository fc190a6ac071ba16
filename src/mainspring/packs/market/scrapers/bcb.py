"""Scrape series of Brazil's central bank (SGS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from mainspring.errors import unknown_name
from mainspring.pack import HttpStatusError
from mainspring.packs.market.answer import Answer
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult


@dataclass(frozen=True, slots=True)
class Series:
    """A series of the central bank, by its number."""

    code: int
    title: str
    unit: str


SERIES: Final[Mapping[str, Series]] = MappingProxyType(
    {
        "selic_target": Series(432, "Selic rate, target", "% a year"),
        "selic": Series(11, "Selic rate of the day", "% a day"),
        "selic_annual": Series(1178, "Selic rate of the day, annualised", "% a year"),
        "cdi": Series(12, "CDI rate of the day", "% a day"),
        "cdi_annual": Series(4389, "CDI rate of the day, annualised", "% a year"),
        "ipca": Series(433, "IPCA inflation of the month", "% a month"),
        "inpc": Series(188, "INPC inflation of the month", "% a month"),
        "igpm": Series(189, "IGP-M inflation of the month", "% a month"),
        "usd_sale": Series(1, "US dollar, PTAX, selling rate", "BRL"),
        "usd_purchase": Series(10813, "US dollar, PTAX, buying rate", "BRL"),
        "eur_sale": Series(21619, "Euro, PTAX, selling rate", "BRL"),
        "ibc_br": Series(24364, "IBC-Br activity index, seasonally adjusted", "index"),
    }
)
"""Names that may stand for the number of a series."""


class BcbScraper(BaseScraper):
    """The newest values of a central bank series, given by a name such as `ipca` or by its number."""

    name = "bcb"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the newest values of the series, oldest first; days are ISO dates."""
        series = _series(ticker)
        settings = self.context.settings
        url = f"{settings.bcb_url}/dados/serie/bcdata.sgs.{series.code}/dados/ultimos/{settings.bcb_values}"
        try:
            body = await self.context.http.get_json(url, {"formato": "json"})
        except HttpStatusError as error:
            if error.status == 404:
                raise ScrapeError(f"{error.host} has no series {series.code}", permanent=True) from error
            raise
        answer = Answer(urlsplit(url).hostname or "", body)
        values = [_value(item) for item in answer.items()]
        if not values:
            raise ScrapeError(f"{answer.host} has no values of series {series.code}")
        data = {
            "series": series.code,
            "title": series.title,
            "unit": series.unit,
            "latest": values[-1],
            "values": values,
        }
        return ScrapeResult(True, data, metadata={"source": answer.host})


def _series(ticker: str) -> Series:
    if ticker.isascii() and ticker.isdecimal() and len(ticker) <= 6:
        known = {series.code: series for series in SERIES.values()}
        return known.get(int(ticker), Series(int(ticker), f"series {int(ticker)}", ""))
    if ticker.casefold() not in SERIES:
        raise ScrapeError(f"{unknown_name('series', ticker, SERIES)} (or give its number)", permanent=True)
    return SERIES[ticker.casefold()]


def _value(item: Answer) -> dict[str, Any]:
    day = item.at("data")
    try:
        date = datetime.strptime(day.text(), "%d/%m/%Y").replace(tzinfo=UTC).date()
    except ValueError:
        raise day.malformed(f"should be a date dd/mm/yyyy, not {day.text()[:40]!r}") from None
    return {"date": date.isoformat(), "value": item.at("valor").number()}
