"""Upgrade, check and verify the database."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.adopt import adopt
from mainspring.edges.cli.failures import Failed
from mainspring.edges.cli.opening import missing_file, open_bare, open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.screen import is_terminal, print_facts, print_json, say
from mainspring.edges.cli.times import read_moment
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from datetime import datetime

    from mainspring.app import Application
    from mainspring.verify import Verdict


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="Upgrade, check and verify the database.")
    group.command("upgrade")(upgrade)
    group.command("status")(status)
    group.command("verify")(verify)
    group.command("adopt")(adopt)
    app.add_typer(group, name="db")


def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring the database to the schema of this release; does nothing where it has it already."""
    from mainspring.services import schema

    database = open_bare(context).database
    before = schema.upgrade(database)
    if as_json:
        print_json({"database": database.location, "before": before.current, "now": before.wanted})
    elif before.is_current:
        say(f"{database.location} has schema {before.wanted} already")
    else:
        from_ = "" if before.current is None else f" from {before.current}"
        say(f"{database.location} is upgraded{from_} to schema {before.wanted}")


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Say where the database is and which schema it has; exit code 5 unless it is this release's."""
    from mainspring.errors import StoreUnavailable
    from mainspring.services import schema

    missing = missing_file(context)
    if missing is not None:
        raise StoreUnavailable(f"there is no database {missing} yet; run `mainspring db upgrade`")
    database = open_bare(context).database
    found = schema.status(database)
    if as_json:
        current = {"schema": found.current, "wanted": found.wanted, "is_current": found.is_current}
        print_json({"database": database.location, "dialect": database.dialect, **current})
    else:
        has = found.current or "none"
        print_facts(
            [
                ("database", database.location),
                ("schema", has if found.is_current else f"{has}; this release needs {found.wanted}"),
            ]
        )
    if not found.is_current:
        raise StoreUnavailable("the schema is not that of this release; run `mainspring db upgrade`")


def verify(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Leave out what was before; 2026-12-01T09:00.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the ledger with brute-force fire times and the tables with each other; exit code 1 where they differ.

    The checker shares no code with the scheduler. It only reads, and may run while everything else runs.
    """
    application = open_existing(context)
    start = None if since is None else read_moment(since, "--since", application.clock.now())
    verdict = _verify(application, start, show=is_terminal() and not as_json)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        for line in verdict.lines():
            say(line)
    if not verdict.ok:
        raise Failed(f"the database is not consistent: {many(verdict.errors, 'error')}")


def _verify(application: Application, since: datetime | None, show: bool) -> Verdict:
    from mainspring.verify import verify as check

    bar: Any = _bar() if show else nullcontext()
    with bar:
        if not show:
            return check(application.database, application.clock.now(), since=since)
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        return check(application.database, application.clock.now(), since=since, progress=progress)


def _bar() -> AbstractContextManager[Any]:
    from rich.progress import Progress

    return Progress(transient=True)


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    names = (
        "schedules", "unjudged", "expected", "fired", "coalesced", "skipped", "missing", "doubled", "unexpected",
        "pending", "runs",
        "attempts", "errors", "warnings",
    )  # fmt: skip
    findings = [
        {"kind": one.kind, "subject": one.subject, "sentence": one.sentence, "warning": one.warning}
        for one in verdict.findings
    ]
    return {"ok": verdict.ok, **{name: getattr(verdict, name) for name in names}, "findings": findings}
