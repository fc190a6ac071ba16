"""Look into the future: try a rule before it is saved, simulate the whole configuration, feed a calendar program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mainspring.edges.cli import preview
from mainspring.edges.cli.opening import missing_file, open_existing, project_of
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import options_of
from mainspring.edges.cli.screen import Cell, Column, Row, print_json, print_table, say
from mainspring.edges.cli.times import read_moment, short_weekday_stamp, span, weekday_stamp
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from mainspring.services.durations import Usual
    from mainspring.services.simulate import HourLoad, Planned, PredictedOverlap, Simulation

_ROWS: Final = 12
_NAMES: Final = 4
Days = Annotated[int, typer.Option("--days", min=1, max=366, help="How many days.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("preview")(preview_text)
    app.command("simulate")(simulate)
    app.command("ical")(ical)


def preview_text(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="Cron text, '15m', 'hour=9 day_of_week=0-4', '2026-12-01T09:00', 'XNYS close - 15m', or a key with "
            "its value such as 'calendar: {months: 1, day: 31}'.",
        ),
    ],
    zone: Annotated[
        str | None, typer.Option("--zone", help="Time zone; UTC, or that of the exchange, unless given.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many fire times.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show a rule that is saved nowhere in words, with its next fire times and the days that it skips."""
    from mainspring.clock import SystemClock
    from mainspring.services.preview import look_ahead, spec_of_text

    spec, now = spec_of_text(text, zone), SystemClock().now()
    ahead = look_ahead(spec, now, count)
    if as_json:
        print_json({"text": text, **preview.preview_json(spec, ahead, now)})
    else:
        preview.print_ahead(spec, ahead, now)


def simulate(
    context: typer.Context,
    days: Days = 30,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Begin then: 2026-12-01T00:00, or after 2d. Now if not."),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", help="Zone of the hours that are shown; the setting zone unless given.")
    ] = None,
    duration: Annotated[
        str, typer.Option("--duration", help="How long runs of tasks take of which none has succeeded yet.")
    ] = "30s",
    hours: Annotated[bool, typer.Option("--hours", help="Show every hour of the day, not the busiest alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run all schedules on a virtual clock: load by queue and hour, collisions, skipped days, overlaps, a free slot.

    The schedules are those of the configuration; with --database those of that database. Runs take as long as past
    ones did on average; none waits for another.
    """
    from mainspring.clock import SystemClock
    from mainspring.domain.duration import parse_duration
    from mainspring.services import simulate as service

    now = SystemClock().now()
    start = now if begin is None else read_moment(begin, "--from", now)
    planned, slots, own_zone = _planned(context, parse_duration(duration))
    found = service.simulate(planned, start, days, zone or own_zone)
    if as_json:
        print_json(_json(found, slots))
    else:
        _print(found, planned, slots, parse_duration(duration), hours)


def ical(
    context: typer.Context,
    days: Days = 30,
) -> None:
    """Print the runs of the coming days as an iCalendar feed: `mainspring ical > runs.ics`.

    At most 200 events of each schedule and 2,000 in all. The schedules are those of the configuration; with --database
    those of that database.
    """
    import sys

    from mainspring.clock import SystemClock
    from mainspring.services.ical import calendar_text, upcoming

    now = SystemClock().now()
    planned, _, _ = _planned(context, timedelta(seconds=30))
    events = upcoming([(one.spec, one.pause) for one in planned], now, now + timedelta(days=days))
    sys.stdout.write(calendar_text(events, now))


def _planned(context: typer.Context, default: timedelta) -> tuple[list[Planned], int | None, str]:
    """Return the schedules with what is known of them, the slots that work them off, and the zone to show."""
    from mainspring.services.forecast import live_slots, planned_in_database, planned_in_files

    if options_of(context).database is not None:
        application = open_existing(context)
        planned = planned_in_database(application.database, application.clock, default)
        return planned, live_slots(application.database) or None, "UTC"
    project = project_of(context)
    project.check()
    settings = project.loaded.settings
    planned = planned_in_files(project.specs, project.catalog, project.routes, _known(context), default)
    return planned, settings.worker.slots, settings.zone


def _known(context: typer.Context) -> Mapping[str, Usual]:
    """Return past durations, where the configuration's database exists and answers."""
    from mainspring.errors import StoreUnavailable
    from mainspring.services.durations import usual_durations

    try:
        return {} if missing_file(context) is not None else usual_durations(open_existing(context).database)
    except StoreUnavailable as error:
        say(f"past durations are not known: {error}", "yellow")
        return {}


def _print(
    found: Simulation, planned: Sequence[Planned], slots: int | None, default: timedelta, every_hour: bool
) -> None:
    from mainspring.domain.zones import zone

    where = zone(found.zone)
    begin, end = weekday_stamp(found.begin, where), weekday_stamp(found.end, where)
    say(f"{many(found.schedules, 'schedule')} from {begin} to {end} ({found.zone})", "bold")
    say(f"{many(found.fire_times, 'fire time')}, {many(found.runs, 'run')}{_peak(found, slots)}")
    if found.unknown_tasks:
        say(
            f"{many(len(found.unknown_tasks), 'task')} without a succeeded run yet: {span(default)} taken for "
            f"{_names(found.unknown_tasks)}",
            "yellow",
        )
    _section("load", (Column("queue"), Column("hour"), *_figures(slots)), _load_rows(found, slots, every_hour))
    _section(
        "fire in the same minute",
        (Column("at"), Column("schedules", right=True), Column("days", right=True, drop=1), Column("", flexible=True)),
        [
            (f"{one.fire_at.astimezone(where):%H:%M}", str(len(one.schedules)), str(one.days), _names(one.schedules))
            for one in found.collisions[:_ROWS]
        ],
    )
    _section(
        "skipped days",
        (Column("day"), Column("reason", flexible=True), Column("schedules", flexible=True)),
        [(f"{off.day:%a %Y-%m-%d}", off.reason, _names(off.schedules)) for off in found.skipped],
    )
    _section(
        "still running at the next fire time",
        (Column("schedule", flexible=True), Column("takes"), Column("gap"), Column("how often"), Column("overlap")),
        [_overlap_row(one) for one in found.overlaps],
    )
    slot = found.free_slot
    say()
    say(
        f"free for a new daily job: {slot.hour:02d}:{slot.minute:02d} ({found.zone}), the least loaded half hour from "
        f"02:00 to 06:00, with {_work(slot.busy_a_day)} a day"
    )


def _peak(found: Simulation, slots: int | None) -> str:
    from mainspring.domain.zones import zone

    if found.peak_at is None:
        return ""
    said = f"; at most {found.peak:,} at one moment, {short_weekday_stamp(found.peak_at, zone(found.zone))}"
    if slots is None:
        return f"{said} (no worker is running)"
    return f"{said} ({many(slots, 'slot')}{': some will wait' if found.peak > slots else ''})"


def _figures(slots: int | None) -> tuple[Column, ...]:
    peak = "peak" if slots is None else f"peak of {slots}"
    return Column("runs a day", right=True), Column("busy a day", right=True), Column(peak, right=True)


def _load_rows(found: Simulation, slots: int | None, every_hour: bool) -> list[Row]:
    from mainspring.services.simulate import hours_of_day

    days = (found.end - found.begin) / timedelta(days=1)
    hours = hours_of_day(found.load, found.zone)
    shown = sorted(hours)
    if not every_hour and len(hours) > _ROWS:
        shown = sorted(sorted(hours, key=lambda key: (-hours[key].busy, key))[:_ROWS])
    return [_load_row(queue, hour, hours[queue, hour], days, slots) for queue, hour in shown]


def _load_row(queue: str, hour: int, load: HourLoad, days: float, slots: int | None) -> Row:
    crowded = slots is not None and load.peak > slots
    peak = Cell(f"{load.peak:,}", "yellow" if crowded else "")
    return queue, f"{hour:02d}:00", f"{load.runs / days:,.1f}", span(load.busy / days) or "0 s", peak


def _overlap_row(one: PredictedOverlap) -> Row:
    takes = f"{span(one.usual.average)}, 5 % over {span(one.usual.p95)}"
    often = f"{one.average:,} of {one.fire_times:,}" if one.average else f"at times ({one.p95:,} of {one.fire_times:,})"
    return one.schedule, takes, span(one.shortest_gap), often, str(one.policy)


def _work(busy: timedelta) -> str:
    return f"{span(busy)} of work" if busy else "no work"


def _section(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    if rows:
        say()
        say(title, "bold")
        print_table(columns, rows, indent=2)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _json(found: Simulation, slots: int | None) -> dict[str, Any]:
    return {"slots": slots, **dict(_values(found))}


def _values(record: Any) -> Iterator[tuple[str, Any]]:
    for name in record.__slots__:
        value = getattr(record, name)
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        return dict(_values(value))
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value
