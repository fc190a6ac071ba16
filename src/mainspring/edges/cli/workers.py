"""List the processes that work on the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.screen import Cell, Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now
from mainspring.edges.cli.wording import short_id, state_cell

if TYPE_CHECKING:
    from datetime import datetime

    from mainspring.services.reading import SessionView

_COLUMNS = (
    Column("name"),
    Column("kind"),
    Column("state"),
    Column("slots", right=True, drop=3),
    Column("queues", flexible=True),
    Column("started", drop=1),
    Column("seen", drop=2),
    Column("host", drop=5),
    Column("pid", drop=4, right=True),
    Column("version", drop=6),
    Column("session", drop=7),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List workers and schedulers.")
    group.command("list")(list_)
    app.add_typer(group, name="workers")


def list_(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Also sessions that have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the sessions of workers and schedulers, newest first."""
    application = open_existing(context)
    found, now = application.reading.sessions(live_only=not all_), application.clock.now()
    if as_json:
        print_json({"sessions": [session_json(session) for session in found]})
    elif not found:
        say("no worker and no scheduler is running; `mainspring up` starts both")
    else:
        print_table(_COLUMNS, [_row(session, now) for session in found])


def session_json(session: SessionView) -> dict[str, Any]:
    """Return a session as JSON values; the keys are stable."""
    return {name: getattr(session, name) for name in session.__slots__}


def _row(session: SessionView, now: datetime) -> tuple[str | Cell, ...]:
    is_worker = session.kind == "worker"
    return (
        session.name,
        session.kind,
        state_cell(session.state),
        str(session.slots) if is_worker else "",
        session.queues.replace("*", "every queue") if is_worker else "",
        from_now(session.started_at, now),
        from_now(session.seen_at, now),
        session.host,
        str(session.pid),
        session.version,
        short_id(session.id),
    )
