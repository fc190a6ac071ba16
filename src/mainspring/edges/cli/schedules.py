"""List, show, preview, pause, resume, trigger, backfill and rewind schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli import preview
from mainspring.edges.cli.backfill import backfill
from mainspring.edges.cli.clock import rewind
from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason, Timeout, Wait
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.schedule_view import (
    NameArgument,
    ledger_json,
    listed_row,
    print_ledger,
    print_schedule,
    schedule_json,
)
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import read_moment, weekday_stamp
from mainspring.edges.cli.waiting import read_timeout, wait_for
from mainspring.edges.cli.wording import many, zones_in_words

if TYPE_CHECKING:
    from mainspring.services.reading import StoredSchedule

_COLUMNS = (
    Column("schedule"),
    Column("state", drop=2),
    Column("rule", flexible=True),
    Column("next"),
    Column("", drop=1),
    Column("task", drop=3),
    Column("from", drop=4),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(
        no_args_is_help=True, help="List, show, preview, pause, resume, trigger, backfill and rewind schedules."
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("preview")(preview.preview)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("trigger")(trigger)
    group.command("ledger")(ledger)
    group.command("backfill")(backfill)
    group.command("rewind")(rewind)
    app.add_typer(group, name="schedules")


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List all schedules with their rules in words and their next fire times."""
    application = open_existing(context)
    found, now = application.scheduling.all(), application.clock.now()
    if as_json:
        print_json({"schedules": [schedule_json(schedule, now) for schedule in found]})
    elif not found:
        say("no schedules yet; write some into mainspring.yaml, then run `mainspring apply`")
    else:
        print_table(_COLUMNS, [listed_row(schedule, now) for schedule in found])
        say(zones_in_words(schedule.spec for schedule in found), "dim")


def show(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Show a schedule: its rule in words, policies, next fire times, and what became of the last ones."""
    application = open_existing(context)
    schedule = application.scheduling.require(name)
    now, rows = application.clock.now(), application.reading.ledger(schedule.id, 10)
    if as_json:
        ahead = preview.ahead_json(preview.look(schedule.spec, now, 5, schedule.paused_now(now)), schedule.spec)
        ledger_rows = [ledger_json(row) for row in rows]
        print_json({**schedule_json(schedule, now), "fire_times": ahead, "ledger": ledger_rows})
    else:
        print_schedule(schedule, rows, now)


def pause(
    context: typer.Context,
    name: NameArgument,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End it then: 2026-12-01T09:00, or after 2h.")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Pause a schedule; its fire times are recorded as skipped until it is resumed."""
    application = open_existing(context)
    now = application.clock.now()
    end = None if until is None else read_moment(until, "--until", now)
    schedule = application.scheduling.pause(name, actor(), reason, end)
    _say_changed(schedule, now, as_json, f"schedule {name!r} is paused" + _until(schedule))


def resume(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """End the pause of a schedule; it fires again from its next fire time on."""
    application = open_existing(context)
    schedule = application.scheduling.resume(name, actor())
    following = "" if schedule.next_at is None else f"; it fires next on {_local(schedule, schedule.next_at)}"
    _say_changed(schedule, application.clock.now(), as_json, f"schedule {name!r} is resumed{following}")


def trigger(
    context: typer.Context, name: NameArgument, wait: Wait = False, timeout: Timeout = None, as_json: AsJson = False
) -> None:
    """Start the runs of a schedule now, by hand; prints their ids. The ledger is not touched."""
    from mainspring.edges.cli.runs import run_json

    longest = read_timeout(timeout, wait)
    application = open_existing(context)
    ids = application.scheduling.trigger(name, actor())
    if not as_json:
        for run_id in ids:
            say(run_id)
    if wait:
        wait_for(application, ids, longest, as_json)
    elif as_json:
        print_json({"runs": [run_json(application.steering.require(run_id)) for run_id in ids]})


def ledger(
    context: typer.Context,
    name: NameArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what became of a schedule's fire times, newest first, each with its reason."""
    application = open_existing(context)
    schedule = application.scheduling.require(name)
    rows = application.reading.ledger(schedule.id, limit)
    if as_json:
        print_json({"schedule": name, "ledger": [ledger_json(row) for row in rows]})
    elif not rows:
        due = "" if schedule.next_at is None else f"; the next one is on {_local(schedule, schedule.next_at)}"
        say(f"no fire time of {name!r} has come yet{due}")
    else:
        print_ledger(schedule, rows)
        say(f"{many(len(rows), 'row')}; times: {schedule.spec.zone}", "dim")


def _say_changed(schedule: StoredSchedule, now: Any, as_json: bool, said: str) -> None:
    if as_json:
        print_json(schedule_json(schedule, now))
    else:
        say(said)


def _until(schedule: StoredSchedule) -> str:
    pause = schedule.position.pause
    return "" if pause is None or pause.until is None else f" until {_local(schedule, pause.until)}"


def _local(schedule: StoredSchedule, moment: Any) -> str:
    from mainspring.domain.zones import zone

    return f"{weekday_stamp(moment, zone(schedule.spec.zone))} ({schedule.spec.zone})"
