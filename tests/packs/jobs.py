"""Run the pack's task by itself, on a database of either kind, against the local services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from mainspring.app import open_database
from mainspring.clock import ManualClock
from mainspring.pack import PackContext
from mainspring.packs.market import MarketSettings
from mainspring.packs.market.contribution import pack
from mainspring.packs.market.local_services import LocalServices
from mainspring.packs.market.scraping import scrape
from mainspring.services.packs import PackDoor, make_tables
from mainspring.store.database import Database


class Attempt:
    """The context of an attempt as the task sees it; keeps the artifacts."""

    def __init__(self, run_id: str) -> None:
        self.run_id, self.attempt = run_id, 1
        self.task, self.queue, self.schedule = "market.scrape", "scraping", None
        self.log = logging.getLogger("test")
        self.artifacts: dict[str, tuple[str, str | None]] = {}
        self.cancelled = False

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Take a report."""

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Keep an artifact."""
        self.artifacts[name] = (str(data), media_type)
        return name


class Jobs:
    """The pack's tables on one database, and its task."""

    def __init__(self, url: str, services: LocalServices, now: datetime) -> None:
        self.services, self.clock = services, ManualClock(now)
        self.database: Database = open_database(url)
        make_tables(self.database, pack)
        self.door = PackDoor(self.database)
        self._runs = 0

    def context(self, **given: Any) -> PackContext:
        """Return the pack's context, with settings in *given*."""
        environment = {k: v for k, v in self.services.environment().items() if k not in given}
        settings = MarketSettings.build(environment, given)
        return PackContext("market", settings, self.door, self.clock, logging.getLogger("test"), Path())

    def scrape(self, scraper: str, ticker: str, context: PackContext | None = None, **given: Any) -> Attempt:
        """Run the task once; what it raises is raised. Return the attempt."""
        self._runs += 1
        attempt = Attempt(str(UUID(int=self._runs)))
        self.result: Any = None
        self.result = asyncio.run(scrape(scraper, ticker, attempt, context or self.context(**given)))
        return attempt

    def sql(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a statement, as a user's own client would get them."""
        return self.door.read(lambda connection: [tuple(row) for row in connection.execute(text(statement))])
