"""Speak to a quote service in the format of brapi.dev."""

from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

from mainspring.pack import HttpStatusError
from mainspring.packs.market.answer import Answer
from mainspring.packs.market.scraper import ScrapeContext, ScrapeError
from mainspring.packs.market.tickers import symbol


async def brapi_result(context: ScrapeContext, ticker: str, modules: str | None = None) -> Answer:
    """Return the service's record of *ticker*, with the *modules* asked for (their names, with commas between).

    Raises:
        ScrapeError: when the service does not know the ticker, with what it says about it.
    """
    settings = context.settings
    name = symbol(ticker)
    token = settings.brapi_token.get_secret_value() if settings.brapi_token else None
    # In the header, so that no log of URLs ever holds it.
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{settings.brapi_url}/api/quote/{quote(name, safe='^')}"
    try:
        body = await context.http.get_json(url, {"modules": modules}, headers)
    except HttpStatusError as error:
        if error.status in (400, 402, 404):
            raise ScrapeError(f"{error.host} refuses {name}: {_message(error)}", permanent=True) from error
        raise
    answer = Answer(urlsplit(url).hostname or "", body)
    results = answer.at("results").items()
    if not results:
        raise ScrapeError(f"{answer.host} has no quote of {name}", permanent=True)
    wanted = [result for result in results if result.at("symbol").text().upper() == name]
    if not wanted:
        raise results[0].at("symbol").malformed(f"is {results[0].value['symbol']!r}, but {name!r} was asked for")
    return wanted[0]


def _message(error: HttpStatusError) -> str:
    try:
        return str(json.loads(error.body)["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return f"status {error.status}"
