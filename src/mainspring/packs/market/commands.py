"""List the pack's scrapers, results and executions on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mainspring.errors import UnknownName
from mainspring.pack import PackContext
from mainspring.packs.market.records import list_executions, list_results
from mainspring.packs.market.scrapers import scraper_names, scraper_summary
from mainspring.packs.market.settings import ZONE, MarketSettings

_PIPE_WIDTH: Final = 2000
_Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many, the newest.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Scraper = Annotated[str | None, typer.Option("--scraper", help="Only those of this scraper.")]
_Schedule = Annotated[str | None, typer.Option("--schedule", help="Only those of this schedule.")]


def commands(context: Callable[[], PackContext]) -> typer.Typer:
    """Return the commands; *context* is called when one of them runs."""
    app = typer.Typer(help="Scrapers, their results and what schedules started.", no_args_is_help=True)

    @app.command()
    def scrapers(as_json: _AsJson = False) -> None:
        """List the scrapers that schedules may name."""
        settings: MarketSettings = context().settings
        found = [
            {"name": name, "description": scraper_summary(name, settings.scrapers)}
            for name in scraper_names(settings.scrapers)
        ]
        _show("scrapers", found, {"name": "scraper", "description": "what it does"}, as_json)

    @app.command()
    def results(scraper: _Scraper = None, limit: _Most = 20, as_json: _AsJson = False) -> None:
        """List what scrapes gave, newest first (table scraper_results)."""
        pack = context()
        _check(scraper, pack.settings)
        rows = pack.database.read(lambda connection: list_results(connection, limit, scraper))
        columns = {"executed_at": "executed", "scraper_name": "scraper", "ticker": "ticker", "success": "success",
                   "response_time": "seconds", "error": "error", "job_id": "job"}  # fmt: skip
        _show("results", rows, columns, as_json)

    @app.command()
    def executions(schedule: _Schedule = None, limit: _Most = 20, as_json: _AsJson = False) -> None:
        """List what schedules started, newest first (table schedule_executions)."""
        rows = context().database.read(lambda connection: list_executions(connection, limit, schedule))
        columns = {"executed_at": "executed", "schedule_name": "schedule", "scraper_name": "scraper",
                   "tickers": "tickers"}  # fmt: skip
        _show("executions", rows, columns, as_json)

    return app


def _check(scraper: str | None, settings: MarketSettings) -> None:
    known = scraper_names(settings.scrapers)
    if scraper is not None and scraper not in known:
        raise UnknownName("scraper", scraper, known)


def _show(what: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        listed = [{name: _as_json(value) for name, value in row.items()} for row in rows]
        typer.echo(json.dumps({what: listed}, ensure_ascii=False, indent=2))
        return
    if not rows:
        typer.echo(f"no {what} yet")
        return
    table = Table(*columns.values(), box=None, header_style="bold", show_edge=False)
    for row in rows:
        table.add_row(*(Text(_printable(cell)) for cell in _cells(row[name] for name in columns)))
    # Into a pipe, lines go whole.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _cells(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, datetime):
            yield value.astimezone(ZoneInfo(ZONE)).strftime("%a %Y-%m-%d %H:%M:%S")
        elif isinstance(value, bool):
            yield "yes" if value else "no"
        elif isinstance(value, list):
            yield ", ".join(map(str, value))
        else:
            yield "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    # What a service answered must not steer a terminal.
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
