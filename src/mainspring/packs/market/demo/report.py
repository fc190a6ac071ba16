"""Say what ran, what was retried and what failed, when everything fires next, and where things lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mainspring.packs.market.demo.figures import Job, by_scraper
from mainspring.packs.market.demo.folder import DemoFolder
from mainspring.packs.market.demo.program import Program

Json = Mapping[str, Any]
_NUMBERS: Final = ("runs", "succeeded", "retried", "failed", "tries")


class Report:
    """Prints the summary."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def ran(self, found: Sequence[Job]) -> None:
        """Say what ran, by scraper."""
        self._title("What ran")
        table = _table("scraper", *_NUMBERS)
        for name, figures in by_scraper(found).items():
            counts = (figures.runs, figures.succeeded, figures.retried, figures.failed, figures.tries)
            table.add_row(name, *(str(count or "") for count in counts))
        total = (len(found), *(sum(job.state == state for job in found) for state in ("succeeded",)))
        retried, failed = sum(job.tries > 1 for job in found), sum(job.state == "failed" for job in found)
        table.add_row("all", *map(str, (*total, retried, failed, sum(job.tries for job in found))), style="bold")
        self._console.print(table)

    def troubled(self, found: Sequence[Job]) -> None:
        """Say what was retried and what failed, and why."""
        retried = [job for job in found if job.tries > 1 and job.state == "succeeded"]
        self._jobs("What was retried and recovered, and why", retried, "green")
        self._jobs("What failed, and why", [job for job in found if job.state == "failed"], "red")

    def next_times(self, schedules: Sequence[Json]) -> None:
        """Say when each schedule fires, in words, and its next time there."""
        self._title("What fires next")
        table = _table("schedule", "when", "next time")
        for schedule in schedules:
            following = schedule["fire_times"][0]
            at = f"{following['weekday']} {following['local'][:16].replace('T', ' ')}"
            table.add_row(schedule["name"], Text(schedule["rule"]), at)
        self._console.print(table)

    def places(self, folder: DemoFolder, program: Program, run_id: str, artifacts: Sequence[Json]) -> None:
        """Say where everything lies, and what to try next."""
        self._title("Where things lie")
        table = _table("what", "where")
        table.add_row("project", str(folder.settings))
        table.add_row("database", str(folder.database))
        table.add_row("log of the processes", str(folder.log))
        for artifact in artifacts[-1:]:
            table.add_row(f"artifacts ({len(artifacts)})", str(folder.artifacts))
            table.add_row(f"  {artifact['name']}", f"{artifact['location']} ({artifact['size']} bytes)")
        table.add_row("requests that were counted", str(folder.requests))
        self._console.print(table)
        self._title("To try next:")
        for words in (("runs", "show", run_id[-12:]), ("market", "results"), ("schedules", "preview", "--all")):
            self._console.print(Text(f"  {program.line(*words)}"), soft_wrap=True)

    def _title(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold")

    def _jobs(self, title: str, found: Sequence[Job], style: str) -> None:
        self._title(title)
        for job in found:
            self._console.print(Text(f"  {job.scraper} {job.ticker}", style), Text(_history(job)))
        if not found:
            self._console.print("  nothing")


def _history(job: Job) -> str:
    causes = "; ".join(f"{job.errors.count(error)} times: {error}" for error in dict.fromkeys(job.errors))
    end = "then it succeeded" if job.state == "succeeded" else "then it was given up"
    return f"- tried {job.tries} times. {causes}; {end}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    return table
