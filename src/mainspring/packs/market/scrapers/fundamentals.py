"""Scrape a company's fundamentals from a service in the format of brapi.dev."""

from __future__ import annotations

from typing import Any

from mainspring.packs.market.answer import Answer
from mainspring.packs.market.brapi import brapi_result
from mainspring.packs.market.scraper import BaseScraper, ScrapeError, ScrapeResult

_MODULES = ("summaryProfile", "defaultKeyStatistics", "financialData")
_PROFILE = {"sector": "sector", "industry": "industry", "website": "website", "country": "country"}
_STATISTICS = {
    "enterpriseValue": "enterprise_value",
    "sharesOutstanding": "shares_outstanding",
    "bookValue": "book_value_per_share",
    "priceToBook": "price_to_book",
    "trailingEps": "earnings_per_share",
    "forwardPE": "forward_price_to_earnings",
    "trailingPE": "price_to_earnings",
    "netIncomeToCommon": "net_income",
    "dividendYield": "dividend_yield",
    "beta": "beta",
}
_FINANCIALS = {
    "totalRevenue": "revenue",
    "ebitda": "ebitda",
    "totalCash": "cash",
    "totalDebt": "debt",
    "debtToEquity": "debt_to_equity",
    "currentRatio": "current_ratio",
    "returnOnEquity": "return_on_equity",
    "returnOnAssets": "return_on_assets",
    "grossMargins": "gross_margin",
    "operatingMargins": "operating_margin",
    "profitMargins": "profit_margin",
    "revenueGrowth": "revenue_growth",
    "freeCashflow": "free_cash_flow",
}


class FundamentalsScraper(BaseScraper):
    """Profile, valuation and financial figures of a company; shares and margins are fractions of 1."""

    name = "fundamentals"

    async def scrape(self, ticker: str) -> ScrapeResult:
        """Return the fundamentals of *ticker*; figures that the service does not have are None."""
        record = await brapi_result(self.context, ticker, ",".join(_MODULES))
        parts = {module: record.find(module) for module in _MODULES}
        missing = [module for module, part in parts.items() if part is None]
        if len(missing) == len(_MODULES):
            message = f"{record.host} has no fundamentals of {record.at('symbol').text()}"
            raise ScrapeError(message, permanent=True)
        data = {
            "ticker": record.at("symbol").text(),
            "currency": record.at("currency").text(),
            "market_cap": record.numbers({"marketCap": "market_cap"})["market_cap"],
            **record.numbers({"priceEarnings": "price_to_earnings", "earningsPerShare": "earnings_per_share"}),
            "profile": _profile(parts["summaryProfile"]),
            "statistics": parts["defaultKeyStatistics"].numbers(_STATISTICS) if parts["defaultKeyStatistics"] else None,
            "financials": parts["financialData"].numbers(_FINANCIALS) if parts["financialData"] else None,
        }
        return ScrapeResult(True, data, metadata={"source": record.host, "missing": missing})


def _profile(part: Answer | None) -> dict[str, Any] | None:
    if part is None:
        return None
    found = {name: part.find(key) for key, name in _PROFILE.items()}
    employees = part.numbers({"fullTimeEmployees": "employees"})
    return {name: None if value is None else value.text() for name, value in found.items()} | employees
