"""Plug the market pack in: its settings, task, queue, schedules, tables and commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.pack import OccurrenceFired, Pack, PackContext

if TYPE_CHECKING:
    import typer
    from sqlalchemy import Connection, MetaData

    from mainspring import Task
    from mainspring.packs.market.settings import MarketSettings


class MarketPack(Pack):
    """Scrapers of market data of Brazil and the US, on a schedule."""

    # Every command loads the pack, few need what is imported in these methods.
    name = "market"
    description = "Scrape market data of Brazil and the US on a schedule."

    def settings(self, variables: Mapping[str, str], given: Mapping[str, Any], folder: Path) -> MarketSettings:
        """Return the settings: environment and `.env` over the file's mapping over defaults."""
        from mainspring.packs.market.settings import MarketSettings

        return MarketSettings.build(variables, given)

    def tasks(self, settings: MarketSettings) -> Sequence[Task[..., Any]]:
        """Return the one task, which runs any scraper, with as many retries as the settings say."""
        from mainspring.packs.market.scraping import scrape

        return (replace(scrape, max_retries=settings.scraper_max_retries),)

    def schedules(self, settings: MarketSettings, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the schedules of the project's ``config/scraper_schedules.yaml``; without it, the ready-made ones."""
        from mainspring.packs.market.schedule_file import load_schedule_file, schedule_file_path
        from mainspring.packs.market.scrapers import scraper_names

        file = load_schedule_file(schedule_file_path(folder), scraper_names(settings.scrapers))
        return file.definitions(settings.scraper_max_retries)

    def queues(self) -> Mapping[str, str]:
        """Return the one queue of all jobs: in it, high comes before normal before low, first in first out."""
        return {"scraping": "Jobs of the market pack"}

    def worker(self, settings: MarketSettings) -> Mapping[str, Any]:
        """Return as many slots as jobs may run at once; a worker that stops finishes what it runs."""
        return {"slots": settings.scraper_concurrent_jobs, "drain": None}

    def tables(self) -> MetaData:
        """Return `schedule_executions` and `scraper_results`."""
        from mainspring.packs.market.records import metadata

        return metadata

    def commands(self, context: Callable[[], PackContext]) -> typer.Typer:
        """Return ``mainspring market …``."""
        from mainspring.packs.market.commands import commands

        return commands(context)

    def database(self, settings: MarketSettings) -> str | None:
        """Return the PostgreSQL database that DB_HOST and its like name, if they do."""
        return settings.database_address()

    def watched(self, folder: Path) -> Sequence[Path]:
        """Return the project's schedule file."""
        from mainspring.packs.market.schedule_file import PROJECT_FILE

        return (folder / PROJECT_FILE,)

    def starter_files(self) -> Mapping[str, str]:
        """Return the files of a new project."""
        from mainspring.packs.market.starter import starter_files

        return starter_files()

    def on_occurrence_fired(self, event: OccurrenceFired, connection: Connection) -> None:
        """Record the firing in `schedule_executions`."""
        from mainspring.packs.market.records import add_execution

        add_execution(connection, event)


pack = MarketPack()
