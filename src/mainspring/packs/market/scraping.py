"""The task of the pack: run a scraper for a ticker, and record what it gave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from mainspring import Backoff, Context, Fail, task
from mainspring.errors import InvalidInput
from mainspring.pack import HttpClient, PackContext
from mainspring.packs.market.plain_json import NotPlain, plain
from mainspring.packs.market.records import ScraperRecord, add_result
from mainspring.packs.market.schedule_file import TASK
from mainspring.packs.market.scraper import ScrapeContext, ScrapeError, ScrapeResult, failed, run_scraper
from mainspring.packs.market.scrapers import build_scraper

QUEUE: Final = "scraping"
RETRY_DELAYS: Final = Backoff(base=timedelta(seconds=2), factor=2.0, jitter="none")
"""2 s, 4 s, 8 s …"""
_KEPT: Final = "workbench"


@task(name=TASK, queue=QUEUE, backoff=RETRY_DELAYS)
async def scrape(scraper: str, ticker: str, ctx: Context, pack: PackContext) -> dict[str, Any]:
    """Run a scraper for a ticker and record what it gave in `scraper_results`."""
    async with _workbench(pack).in_use() as context:
        try:
            chosen = build_scraper(scraper, context)
        except InvalidInput as error:
            raise Fail(str(error)) from error
        result = _storable(await run_scraper(chosen, ticker, pack.clock))
    record = ScraperRecord(
        ctx.run_id, scraper, ticker, result.success, result.data, result.error, result.response_time, result.metadata,
        pack.clock.now(),
    )  # fmt: skip
    await pack.database.awrite(partial(add_result, record=record))
    if not result.success:
        reason = result.error or f"scraper {scraper!r} says of {ticker!r} that it failed, not why"
        raise Fail(reason) if result.metadata.get("permanent") is True else ScrapeError(reason)
    ctx.log.info("scraped scraper=%s ticker=%s seconds=%.3f", scraper, ticker, result.response_time)
    if name := getattr(chosen, "artifact", None):
        text = json.dumps(result.data, ensure_ascii=False, indent=2)
        await asyncio.to_thread(ctx.artifact, name.replace("{ticker}", ticker), text, "application/json")
    return {name: getattr(result, name) for name in ("data", "error", "response_time", "metadata")}


class Workbench:
    """What all scrapes of one event loop share; connections are closed when none is under way.

    So nothing is left open when a worker stops, and the limits per host still hold from one scrape to the next.
    """

    def __init__(self, pack: PackContext, loop: asyncio.AbstractEventLoop) -> None:
        settings = pack.settings
        self.loop = loop
        http = HttpClient(pack.clock, policies=settings.host_policies(), user_agent=settings.user_agent)
        self._context = ScrapeContext(http, settings, pack.clock, pack.log)
        self._users = 0

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[ScrapeContext]:
        """Give what a scraper works with."""
        self._users += 1
        try:
            yield self._context
        finally:
            self._users -= 1
            if not self._users:
                await self._context.http.aclose()


def _workbench(pack: PackContext) -> Workbench:
    loop = asyncio.get_running_loop()
    found: Workbench | None = pack.kept.get(_KEPT)
    if found is None or found.loop is not loop:
        found = pack.kept[_KEPT] = Workbench(pack, loop)
    return found


def _storable(result: ScrapeResult) -> ScrapeResult:
    """Return *result* as it can be stored; one that cannot is a failed one."""
    try:
        return replace(result, data=plain(result.data), metadata=plain(result.metadata, "metadata"))
    except NotPlain as error:
        return replace(failed(error), response_time=result.response_time)
