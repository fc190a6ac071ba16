"""Answer requests as the real services would, from the samples."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_DAY_FIGURES = {
    "openPrice": "open",
    "highPrice": "high",
    "lowPrice": "low",
    "volume": "volume",
    "quoteVolume": "quote_volume",
}
_SAMPLES = Path(__file__).with_name("samples")


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """One answer of the local services."""

    status: int
    content: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_for(target: str, body: bytes = b"") -> LocalAnswer:
    """Return the answer to a request of *target* (path and query), with *body* when it is a POST."""
    parts = urlsplit(target)
    path = unquote(parts.path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    for prefix, answer in _SERVICES.items():
        if path.startswith(prefix):
            return answer(path.removeprefix(prefix), query, body)
    return _json(404, {"error": f"there is no service at {path}"})


def cotahist_day() -> date:
    """Return the trading day of which there is a COTAHIST file."""
    return date.fromisoformat(_sample("b3.json")["date"])


def _brapi(ticker: str, query: Mapping[str, str], _: bytes) -> LocalAnswer:
    sample = _sample("b3.json")
    quote = sample["quotes"].get(ticker)
    if quote is None:
        return _json(404, {"error": True, "message": f"Não encontramos a ação {ticker}"})
    close, before = quote["close"], quote["previous_close"]
    result = {
        "symbol": ticker,
        "currency": "BRL",
        "shortName": quote["short"],
        "longName": quote["name"],
        "regularMarketPrice": close,
        "regularMarketPreviousClose": before,
        "regularMarketChange": round(close - before, 2),
        "regularMarketChangePercent": round(100 * (close - before) / before, 3),
        "regularMarketTime": f"{sample['date']}T20:07:00.000Z",
    }
    wanted = query.get("modules", "").split(",")
    found = sample["fundamentals"].get(ticker, {})
    modules = {name: values for name, values in found.items() if name in wanted}
    return _json(200, {"results": [result | modules], "requestedAt": f"{sample['date']}T20:30:00.000Z", "took": "0ms"})


def _charts(ticker: str, _: Mapping[str, str], __: bytes) -> LocalAnswer:
    sample = _sample("us.json")
    quote = sample["quotes"].get(ticker)
    if quote is None:
        error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
        return _json(404, {"chart": {"result": None, "error": error}})
    closed_at = int(datetime.fromisoformat(f"{sample['date']}T21:00:00+00:00").timestamp())
    meta = {
        "symbol": ticker,
        "currency": "USD",
        "longName": quote["name"],
        "regularMarketPrice": quote["close"],
        "chartPreviousClose": quote["previous_close"],
        "regularMarketTime": closed_at,
        "exchangeTimezoneName": "America/New_York",
    }
    prices = {"quote": [{"close": [quote["close"]]}]}
    return _json(
        200, {"chart": {"result": [{"meta": meta, "timestamp": [closed_at], "indicators": prices}], "error": None}}
    )


def _cotahist(name: str, _: Mapping[str, str], __: bytes) -> LocalAnswer:
    day = cotahist_day()
    if name != f"{day:%d%m%Y}.ZIP":
        return LocalAnswer(404, b"<html><body>404</body></html>", "text/html")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"COTAHIST_D{day:%d%m%Y}.TXT", _cotahist_text(day).encode("latin-1"))
    return LocalAnswer(200, packed.getvalue(), "application/zip")


def _cotahist_text(day: date) -> str:
    quotes = _sample("b3.json")["quotes"]
    head = f"COTAHIST.{day:%Y}BOVESPA {day:%Y%m%d}"
    lines = [f"00{head}".ljust(245)]
    for ticker, quote in sorted(quotes.items()):
        company, kind = quote["short"][:12], quote["short"][12:]
        prices = "0" * 13 * 4 + f"{round(quote['close'] * 100):013}" + "0" * 13 * 2
        counts = "0" * 5 + "0" * 18 + "0" * 18
        tail = "0" * 13 + "0" + "99991231" + f"{1:07}" + "0" * 13 + " " * 12 + f"{100:03}"
        lines.append(f"01{day:%Y%m%d}02{ticker:<12}010{company:<12}{kind:<10}   R$  {prices}{counts}{tail}")
    lines.append(f"99{head}{len(lines) + 1:011}".ljust(245))
    return "\r\n".join([*lines, ""])


def _exchange(call: str, query: Mapping[str, str], _: bytes) -> LocalAnswer:
    pair = query.get("symbol", "")
    coin = _sample("crypto.json").get(pair)
    if coin is None:
        return _json(400, {"code": -1121, "msg": "Invalid symbol."})
    opened = datetime.fromisoformat(f"{coin['date']}T00:00:00+00:00")
    opened_ms, closed_ms = _millis(opened), _millis(opened + timedelta(days=1)) - 1
    if call == "ticker/24hr":
        figures = {name: coin[key] for name, key in _DAY_FIGURES.items() if key in coin}
        times = {"openTime": opened_ms, "closeTime": closed_ms}
        return _json(200, {"symbol": pair, "lastPrice": coin["last"], **figures, **times})
    if call == "klines" and "open" in coin:
        prices = [coin[key] for key in ("open", "high", "low", "last", "volume")]
        return _json(200, [[opened_ms, *prices, closed_ms, coin["quote_volume"], 0, "0", "0", "0"]])
    return _json(200, []) if call == "klines" else _json(404, {"code": -1, "msg": "unknown call"})


def _bcb(rest: str, query: Mapping[str, str], body: bytes) -> LocalAnswer:
    code, _, count = rest.partition("/dados/ultimos/")
    values = _sample("bcb.json").get(code)
    if values is None or not count.isdecimal():
        return _json(404, {"error": f"Value(s) not found: {code}"})
    newest = values[-int(count) :]
    return _json(200, [{"data": f"{date.fromisoformat(day):%d/%m/%Y}", "valor": value} for day, value in newest])


def _rss(_: str, query: Mapping[str, str], __: bytes) -> LocalAnswer:
    ticker = query.get("s", "")
    items = "".join(
        f"<item><title>{escape(title)}</title><link>{escape(link)}</link><guid>{ticker}-{number}</guid>"
        f"<pubDate>{format_datetime(datetime.fromisoformat(at))}</pubDate></item>"
        for number, (at, title, link) in enumerate(_news(ticker, 0))
    )
    head = f"<title>Announcements: {escape(ticker)}</title><link>http://127.0.0.1/</link><description/>"
    text = f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel>{head}{items}</channel></rss>'
    return LocalAnswer(200, text.encode(), "application/rss+xml; charset=utf-8")


def _atom(_: str, query: Mapping[str, str], __: bytes) -> LocalAnswer:
    ticker = query.get("s", "")
    entries = "".join(
        f"<entry><title>{escape(title)}</title><link href='{escape(link)}'/><id>urn:x-sample:{ticker}:{number}</id>"
        f"<updated>{at}</updated></entry>"
        for number, (at, title, link) in enumerate(_news(ticker, 1))
    )
    head = f"<title>Events: {escape(ticker)}</title><id>urn:x-sample:{escape(ticker)}</id>"
    head += "<updated>2024-12-31T00:00:00Z</updated>"
    text = f'<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom">{head}{entries}</feed>'
    return LocalAnswer(200, text.encode(), "application/atom+xml; charset=utf-8")


def _news(ticker: str, turn: int) -> list[list[str]]:
    """Return every other item about *ticker*: one feed has the even ones, the other feed the odd ones."""
    items: list[list[str]] = _sample("news.json").get(ticker, [])
    return items[turn::2]


def _completion(_: str, __: Mapping[str, str], body: bytes) -> LocalAnswer:
    try:
        question = json.loads(body)
        facts = json.loads(question["messages"][-1]["content"])
        price, model = facts["quote"]["price"], question["model"]
    except (ValueError, KeyError, TypeError, IndexError):
        message = "the question has no messages with a quote"
        return _json(400, {"error": {"message": message, "type": "invalid_request_error"}})
    text = f"Sample answer of the local service, not an analysis: {facts['ticker']} was last quoted at {price}; "
    text += f"{len(facts.get('news', []))} news items were given."
    usage = {"prompt_tokens": len(body) // 4, "completion_tokens": len(text) // 4}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    total = {"total_tokens": sum(usage.values())}
    return _json(
        200, {"id": "sample", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage | total}
    )


_SERVICES: Mapping[str, Callable[[str, Mapping[str, str], bytes], LocalAnswer]] = {
    "/api/quote/": _brapi,
    "/v8/finance/chart/": _charts,
    "/InstDados/SerHist/COTAHIST_D": _cotahist,
    "/api/v3/": _exchange,
    "/dados/serie/bcdata.sgs.": _bcb,
    "/feeds/rss": _rss,
    "/feeds/atom": _atom,
    "/v1/chat/completions": _completion,
}


@cache
def _sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_SAMPLES / name).read_text(encoding="utf-8"))
    return found


def _json(status: int, body: Any) -> LocalAnswer:
    return LocalAnswer(status, json.dumps(body, ensure_ascii=False).encode(), "application/json; charset=utf-8")


def _millis(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
