"""Say what a scraper is: a name, an asynchronous `scrape(ticker)`, and a result of five attributes."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import MainspringError
from mainspring.pack import Clock, HttpClient, HttpStatusError
from mainspring.packs.market.settings import MarketSettings

TICKER_LENGTH = 64


class ScrapeError(MainspringError):
    """A source answered, but not with what was asked for; `permanent` says that asking again will not help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class MalformedAnswer(ScrapeError):
    """A source's answer does not have the form of its service; names the host and the field."""

    def __init__(self, host: str, field_name: str, problem: str) -> None:
        super().__init__(f"malformed answer of {host}: field {field_name!r} {problem}")
        self.host, self.field_name = host, field_name


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """What one scrape gave: `response_time` in seconds; `data` and `metadata` fit into JSON."""

    success: bool
    data: Any = None
    error: str | None = None
    response_time: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScrapeContext:
    """What a scraper works with; one per process is enough.

    `shelf` keeps bytes that several tickers share, such as a day's file, so that it is fetched once.
    """

    http: HttpClient
    settings: MarketSettings
    clock: Clock
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("mainspring.packs.market"))
    shelf: dict[str, bytes] = field(default_factory=dict)
    shelf_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class BaseScraper:
    """The base of a scraper: subclass it, give it a `name` and write `async def scrape(self, ticker)`.

    A subclass may leave `__init__` away, take no argument, or pass its name to `super().__init__`; `context` is set
    by whoever runs it. `scrape` returns a `ScrapeResult`, any object with its attributes, or such a mapping.
    """

    name: str = ""
    artifact: str | None = None
    """A file name, with {ticker} in it: the run keeps `data` under it as JSON."""

    def __init__(self, context: ScrapeContext | str | None = None) -> None:
        if isinstance(context, str):
            self.name = context
        elif context is not None:
            self.context = context
        self.name = self.name or type(self).__name__

    context: ScrapeContext

    async def scrape(self, ticker: str) -> Any:
        """Fetch what this scraper is for about *ticker*; a failure is returned or raised."""
        raise NotImplementedError(f"scraper {type(self).__name__} has no scrape method; write async def scrape(ticker)")


async def run_scraper(scraper: Any, ticker: str, clock: Clock) -> ScrapeResult:
    """Run *scraper* once for *ticker* and return its result in our form; a raised error becomes a failed result.

    `metadata` of a failed one may hold `permanent` (asking again will not help) and `retry_after` (seconds).
    """
    started = clock.monotonic()
    try:
        checked = checked_ticker(ticker)
        answer = scraper.scrape(checked)
        result = as_result(await answer if inspect.isawaitable(answer) else answer)
    except Exception as error:
        # A scraper is anybody's code: what it raises is the outcome of this job, never the end of the worker.
        log = logging.getLogger("mainspring.packs.market")
        log.warning("scrape_failed scraper=%s ticker=%s error=%s", scraper_name(scraper), ticker, error,
                    exc_info=not isinstance(error, MainspringError))  # fmt: skip
        result = failed(error)
    if result.response_time is None:
        result = ScrapeResult(result.success, result.data, result.error,
                              round(clock.monotonic() - started, 6), result.metadata)  # fmt: skip
    return result


def as_result(answer: Any) -> ScrapeResult:
    """Return *answer* of a scraper as a `ScrapeResult`; accepts any object or mapping with the five names.

    Raises:
        ScrapeError: when the answer does not say whether it succeeded.
    """
    if isinstance(answer, ScrapeResult):
        return answer
    read = answer.get if isinstance(answer, Mapping) else lambda name, default=None: getattr(answer, name, default)
    success = read("success")
    if success is None:
        kind = type(answer).__name__
        raise ScrapeError(f"scrape returned {kind}, which has no 'success'; return a ScrapeResult", permanent=True)
    error, spent = read("error"), read("response_time")
    seconds = spent.total_seconds() if isinstance(spent, timedelta) else spent
    return ScrapeResult(
        success=bool(success),
        data=read("data"),
        error=None if error is None else str(error),
        response_time=None if seconds is None else float(seconds),
        metadata=read("metadata") or {},
    )


def failed(error: Exception) -> ScrapeResult:
    """Return the failed result that *error* means."""
    metadata: dict[str, Any] = {"error_type": type(error).__name__}
    if isinstance(error, HttpStatusError):
        metadata["status"] = error.status
        if error.retry_after is not None:
            metadata["retry_after"] = error.retry_after.total_seconds()
    if getattr(error, "permanent", False) is True:
        metadata["permanent"] = True
    text = str(error) if isinstance(error, MainspringError) else f"{type(error).__name__}: {error}"
    return ScrapeResult(False, error=text, metadata=metadata)


def scraper_name(scraper: Any) -> str:
    """Return the name of *scraper*, whatever class it is of."""
    return str(getattr(scraper, "name", "") or type(scraper).__name__)


def checked_ticker(ticker: str) -> str:
    """Return *ticker* without blanks around it; refuse what no exchange would name.

    Raises:
        ScrapeError: for empty, long or unprintable text.
    """
    text = ticker.strip()
    if not text or len(text) > TICKER_LENGTH or not text.isprintable():
        message = f"ticker {ticker[:80]!r} is not one: give 1 to {TICKER_LENGTH} printable characters"
        raise ScrapeError(message, permanent=True)
    return text
