"""Render schedules and their ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mainspring.edges.cli import preview
from mainspring.edges.cli.screen import Cell, Column, Row, print_facts, print_table, say
from mainspring.edges.cli.times import from_now, short_weekday_stamp, span, weekday_stamp
from mainspring.edges.cli.wording import schedule_policies, state_cell

if TYPE_CHECKING:
    from mainspring.services.reading import LedgerRow, StoredSchedule

_AT_ONCE: Final = timedelta(seconds=1)


def complete_schedule(incomplete: str) -> list[str]:
    """Return the schedules of the configuration in this folder that begin with *incomplete*."""
    import os

    from mainspring.config import load
    from mainspring.errors import MainspringError

    try:
        names = load(None, os.environ).settings.schedules
    except MainspringError:
        return []
    return [name for name in names if name.startswith(incomplete)]


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the schedule.", autocompletion=complete_schedule)
]


def schedule_state(schedule: StoredSchedule, now: datetime) -> str:
    """Return whether a schedule is on, paused, disabled, or will never fire again (ended)."""
    if not schedule.enabled:
        return "disabled"
    if schedule.paused_now(now) is not None:
        return "paused"
    return "on" if schedule.next_at is not None else "ended"


def schedule_json(schedule: StoredSchedule, now: datetime) -> dict[str, Any]:
    """Return a schedule as JSON values; the keys are stable."""
    import json

    pause = schedule.paused_now(now)
    return {
        "id": schedule.id,
        "name": schedule.name,
        "task": schedule.spec.task,
        "state": schedule_state(schedule, now),
        "rule": schedule.spec.trigger.in_words(),
        "zone": schedule.spec.zone,
        "next_at": schedule.next_at,
        "description": schedule.spec.description,
        "source": schedule.source,
        "owner_id": schedule.owner_id,
        "version": schedule.version,
        "pause": None
        if pause is None
        else {"since": pause.since, "until": pause.until, "by": pause.by, "reason": pause.reason},
        "spec": json.loads(schedule.spec.to_text()),
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }


def ledger_json(row: LedgerRow) -> dict[str, Any]:
    """Return a row of the ledger as JSON values."""
    names = ("fire_at", "until_at", "n", "outcome", "cause", "reason", "spec_version", "recorded_at")
    return {name: getattr(row, name) for name in names}


def listed_row(schedule: StoredSchedule, now: datetime) -> Row:
    """Return a schedule as a row of a list."""
    return (
        schedule.name,
        state_cell(schedule_state(schedule, now)),
        schedule.spec.trigger.in_words(),
        *next_in_words(schedule, now),
        schedule.spec.task,
        schedule.spec.pack or schedule.source,
    )


def next_in_words(schedule: StoredSchedule, now: datetime) -> tuple[str, str]:
    """Return when a schedule fires next: in its zone, and from now."""
    from mainspring.domain.zones import zone

    moment, pause = schedule.next_at, schedule.paused_now(now)
    if pause is not None and pause.until is None:
        return "when resumed", ""
    if pause is not None and pause.until is not None:
        ahead = [one for one in preview.look(schedule.spec, now, 1, pause) if one.skipped is None]
        moment = ahead[0].fire_at if ahead else None
    if not schedule.enabled or moment is None:
        return "never", ""
    overdue = "overdue, " if moment < now else ""
    return short_weekday_stamp(moment, zone(schedule.spec.zone)), overdue + from_now(moment, now)


def print_schedule(schedule: StoredSchedule, rows: Sequence[LedgerRow], now: datetime) -> None:
    """Print everything about a schedule."""
    spec, pause = schedule.spec, schedule.paused_now(now)
    state: str | Cell = state_cell(schedule_state(schedule, now))
    print_facts(
        [
            ("schedule", schedule.name),
            ("about", spec.description),
            ("state", state),
            ("pause", "" if pause is None else _pause_in_words(schedule, now)),
            ("rule", spec.trigger.in_words()),
            ("zone", spec.zone),
            ("task", spec.task),
            *schedule_policies(spec),
            ("from", f"{schedule.source}, version {schedule.version}"),
        ]
    )
    say()
    preview.print_ahead(spec, preview.look(spec, now, 5, pause), now)
    say()
    if rows:
        say("last fire times", "bold")
        print_ledger(schedule, rows, indent=2)
    else:
        say("no fire time has come yet")


def print_ledger(schedule: StoredSchedule, rows: Sequence[LedgerRow], indent: int = 0) -> None:
    """Print rows of the ledger, times in the schedule's zone."""
    columns = (Column("fire time"), Column("outcome"), Column("why", flexible=True), Column("recorded", drop=1))
    print_table(columns, [_ledger_row(schedule, row) for row in rows], indent)


def _ledger_row(schedule: StoredSchedule, row: LedgerRow) -> Row:
    from mainspring.domain.zones import zone

    where = zone(schedule.spec.zone)
    fire_at = weekday_stamp(row.fire_at, where)
    if row.n > 1:
        fire_at += f" to {weekday_stamp(row.until_at, where)} ({row.n:,})"
    cause = f"{row.cause}: " if row.cause is not None else ""
    late = row.recorded_at - row.until_at
    recorded = "at once" if late < _AT_ONCE else f"{span(late)} later"
    return fire_at, state_cell(row.outcome), f"{cause}{row.reason}", recorded


def _pause_in_words(schedule: StoredSchedule, now: datetime) -> str:
    from mainspring.domain.zones import zone

    pause = schedule.paused_now(now)
    assert pause is not None
    where = zone(schedule.spec.zone)
    end = "until resumed" if pause.until is None else f"until {weekday_stamp(pause.until, where)}"
    return f"{pause.in_words()}, since {weekday_stamp(pause.since, where)}, {end}"
