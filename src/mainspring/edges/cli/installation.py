"""What concerns the whole installation: who did what, and maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now, local_zone, read_moment, stamp

if TYPE_CHECKING:
    from mainspring.services.standstill import Standstill

_AUDIT = (Column("when"), Column("who"), Column("did"), Column("to", flexible=True), Column("details", flexible=True))


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    audit = typer.Typer(no_args_is_help=True, help="Look at every change and every refusal.")
    audit.command("list")(list_audit)
    maintenance = typer.Typer(no_args_is_help=True, help="Stop firing and claiming everywhere, and begin again.")
    maintenance.command("on")(on)
    maintenance.command("off")(off)
    maintenance.command("show")(show)
    app.add_typer(audit, name="audit")
    app.add_typer(maintenance, name="maintenance")


def list_audit(
    context: typer.Context,
    who: Annotated[str | None, typer.Option("--actor", help="Only what this one did.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="Only this, such as schedule.edit, or schedule for all of them.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only what was done to this thing.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Then or later, or 2h for ago.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many.")] = 50,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Show entries older than this one: the next page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who did what to which thing, newest first."""
    from mainspring.encoding import decode
    from mainspring.errors import InvalidInput
    from mainspring.ids import is_id
    from mainspring.services.auditing import AuditFilter

    application = open_existing(context)
    now = application.clock.now()
    if before is not None and not is_id(before):
        raise InvalidInput(f"--before {before!r} is not the id of an entry; --json shows ids")
    begin = None if since is None else read_moment(since, "--since", now, ago=True)
    end = None if until is None else read_moment(until, "--until", now, ago=True)
    found = application.auditing.entries(AuditFilter(who, action, subject, begin, end), limit, before)
    entries = [{**{name: getattr(row, name) for name in _KEYS}, "details": decode(row.body)} for row in found]
    if as_json:
        print_json({"audit": entries, "next_before": entries[-1]["id"] if len(entries) == limit else None})
    elif not entries:
        say("nothing is recorded that fits")
    else:
        print_table(_AUDIT, [_row(entry) for entry in entries])


_KEYS = ("id", "at", "actor", "action", "subject")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    details = ", ".join(f"{name}: {value}" for name, value in entry["details"].items() if value not in ("", None))
    return stamp(entry["at"], local_zone()[0]), entry["actor"], entry["action"], entry["subject"], details


def on(
    context: typer.Context,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End it then: 2026-12-01T09:00, or after 2h.")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let nothing fire and nothing be claimed, within about a second; what runs goes on."""
    application = open_existing(context)
    now = application.clock.now()
    end = None if until is None else read_moment(until, "--until", now)
    found = application.maintenance_mode.begin(actor(), reason, end)
    print_json(_json(found)) if as_json else say(f"nothing fires and nothing is claimed{_until(found, now)}")


def off(context: typer.Context, as_json: AsJson = False) -> None:
    """Let everything fire and be claimed again; fire times that came meanwhile are late."""
    open_existing(context).maintenance_mode.end(actor())
    print_json(_json(None)) if as_json else say("everything fires and is claimed again")


def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show whether there is maintenance, since when, by whom and why."""
    application = open_existing(context)
    found, now = application.maintenance_mode.current(), application.clock.now()
    if as_json:
        print_json(_json(found))
    elif found is None:
        say("no maintenance; everything fires and is claimed")
    else:
        why = f": {found.reason}" if found.reason else ""
        say(f"nothing fires and nothing is claimed{_until(found, now)}, by {found.by}{why}")


def _json(found: Standstill | None) -> dict[str, Any]:
    if found is None:
        return {"active": False, "since": None, "until": None, "by": None, "reason": None}
    return {"active": True, "since": found.since, "until": found.until, "by": found.by, "reason": found.reason}


def _until(found: Standstill, now: Any) -> str:
    if found.until is None:
        return " until `mainspring maintenance off`"
    return f" until {stamp(found.until, local_zone()[0])}, {from_now(found.until, now)}"
