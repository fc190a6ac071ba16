"""Preview fire times: in the schedule's zone, by weekday, with what is skipped and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import missing_file, open_existing, project_of
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.screen import Cell, Column, Row, print_json, print_table, say
from mainspring.edges.cli.times import from_now, offset_of, weekday_stamp
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from mainspring.domain.occurrences import Pause
    from mainspring.domain.spec import ScheduleSpec
    from mainspring.services.preview import Ahead, DayOff

Found = tuple["ScheduleSpec", "Pause | None"]


def preview(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of a schedule.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Preview every schedule.")] = False,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="TEXT", help="Preview cron text; 0 and 7 are Sunday.")
    ] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="With --cron: the time zone; UTC unless given.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="How many fire times.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the next fire times of a schedule, of all, or of cron text: in its zone, by weekday, with what is skipped.

    Schedules are looked up in the database, and in the configuration file where the database has none of that name.
    """
    from mainspring.clock import SystemClock

    found = list(_wanted(context, name, all_, cron, zone))
    now = SystemClock().now()
    if as_json:
        print_json({"schedules": [preview_json(spec, look(spec, now, count, pause), now) for spec, pause in found]})
        return
    if not found:
        say("no schedules yet; write some into mainspring.yaml, or try --cron '0 9 * * 1-5' --zone America/Sao_Paulo")
    for place, (spec, pause) in enumerate(found):
        if place:
            say()
        if cron is None:
            say(spec.name, "bold")
        print_ahead(spec, look(spec, now, count, pause), now)


def look(spec: ScheduleSpec, now: datetime, count: int, pause: Pause | None) -> list[Ahead]:
    """Return the next fire times of a schedule; none where it is disabled."""
    from mainspring.services.preview import look_ahead

    return look_ahead(spec, now, count, pause) if spec.enabled else []


def print_ahead(spec: ScheduleSpec, ahead: Sequence[Ahead], now: datetime) -> None:
    """Print a rule in words and its next fire times."""
    from mainspring.domain.duration import duration_in_words
    from mainspring.domain.zones import zone

    where = zone(spec.zone)
    offsets = {offset_of(one.fire_at, where) for one in ahead}
    fixed = f", {offsets.pop()}" if len(offsets) == 1 and offsets != {spec.zone} else ""
    say(spec.trigger.in_words())
    if not ahead:
        say("  disabled: it fires never" if not spec.enabled else "  it fires never again")
        return
    jitter = f"; runs come due up to {duration_in_words(spec.jitter)} later" if spec.jitter else ""
    say(f"  next fire times ({spec.zone}{fixed}){jitter}", "dim")
    print_table((Column(""), Column("", flexible=True)), list(_rows(spec, ahead, now, len(offsets) > 1)), indent=2)
    if all(one.skipped is not None for one in ahead):
        say("  all of these are skipped; no other was looked for", "yellow")


def _rows(spec: ScheduleSpec, ahead: Sequence[Ahead], now: datetime, show_offset: bool) -> Iterator[Row]:
    """Yield fire times and the days that the rule leaves out between them, in order."""
    from mainspring.domain.zones import zone
    from mainspring.services.preview import days_off

    where = zone(spec.zone)
    off = days_off(spec, now, ahead)
    for one in ahead:
        while off and off[0].day < one.fire_at.astimezone(where).date():
            yield _row_of_day(off.pop(0))
        yield _row(spec, one, now, show_offset)
    yield from map(_row_of_day, off)


def _row_of_day(off: DayOff) -> Row:
    return Cell(f"{off.day:%A %Y-%m-%d}", "yellow"), Cell(f"skipped: {off.reason}", "yellow")


def ahead_json(ahead: Sequence[Ahead], spec: ScheduleSpec) -> list[dict[str, Any]]:
    """Return fire times as JSON values: in UTC, and local with the offset."""
    from mainspring.domain.zones import zone

    where = zone(spec.zone)
    return [
        {
            "fire_at": one.fire_at,
            "local": one.fire_at.astimezone(where).isoformat(),
            "weekday": f"{one.fire_at.astimezone(where):%A}",
            "until_at": one.until_at,
            "n": one.n,
            "skipped": one.skipped,
            "jitter": one.jitter,
            "remark": one.remark,
        }
        for one in ahead
    ]


def preview_json(spec: ScheduleSpec, ahead: Sequence[Ahead], now: datetime) -> dict[str, Any]:
    """Return a rule in words and its fire times as JSON values; the keys are stable."""
    from mainspring.services.preview import days_off

    return {
        "name": spec.name,
        "rule": spec.trigger.in_words(),
        "zone": spec.zone,
        "fire_times": ahead_json(ahead, spec),
        "days_off": [{"day": off.day.isoformat(), "reason": off.reason} for off in days_off(spec, now, ahead)],
    }


def _row(spec: ScheduleSpec, one: Ahead, now: datetime, show_offset: bool) -> Row:
    from mainspring.domain.zones import zone

    where = zone(spec.zone)
    said = weekday_stamp(one.fire_at, where)
    if show_offset:
        said += f" {offset_of(one.fire_at, where)}"
    if one.n > 1:
        said += f" to {weekday_stamp(one.until_at, where)}"
    if one.skipped is None:
        meant = _stands_for(spec, one.fire_at)
        moved = "" if meant is None else f", for {meant:%H:%M}, which clocks skip that day"
        special = f", {one.remark}" if one.remark else ""
        return said, from_now(one.fire_at, now) + moved + special
    several = f"{many(one.n, 'fire time')} " if one.n > 1 else ""
    return Cell(said, "yellow"), Cell(f"{several}skipped: {one.skipped}", "yellow")


def _stands_for(spec: ScheduleSpec, fire_at: datetime) -> datetime | None:
    """Return the local time that a fire time after a gap stands for; None where it is itself what the rule names."""
    from mainspring.domain.triggers import SessionTrigger
    from mainspring.domain.zones import local_wall

    key = None if isinstance(spec.trigger, SessionTrigger) else spec.trigger.local_key(fire_at)
    if key is None or datetime.fromisoformat(key) == local_wall(spec.zone, fire_at):
        return None
    return datetime.fromisoformat(key)


def _wanted(
    context: typer.Context, name: str | None, all_: bool, cron: str | None, zone: str | None
) -> Iterator[Found]:
    from mainspring.errors import InvalidInput, UnknownName

    if sum((name is not None, all_, cron is not None)) != 1:
        raise InvalidInput("say what to preview: the NAME of a schedule, --all, or --cron TEXT")
    if cron is not None:
        yield _cron_spec(cron, zone or "UTC"), None
        return
    if zone is not None:
        raise InvalidInput("--zone goes with --cron; a schedule has its own zone")
    known = _known(context, name)
    if name is None:
        yield from (known[key] for key in sorted(known))
    elif name in known:
        yield known[name]
    else:
        raise UnknownName("schedule", name, known)


def _cron_spec(text: str, zone: str) -> ScheduleSpec:
    from mainspring.domain.spec import ScheduleSpec
    from mainspring.domain.triggers import parse_cron

    return ScheduleSpec(name="preview", task="preview", trigger=parse_cron(text, zone, seed="preview"), zone=zone)


def _known(context: typer.Context, name: str | None) -> dict[str, Found]:
    """Return schedules by name: of the database, and of the project where the database has not got what is wanted."""
    from mainspring.errors import ConfigurationInvalid, StoreUnavailable

    trouble: StoreUnavailable | None = None
    stored: dict[str, Found] = {}
    try:
        if missing_file(context) is None:
            application = open_existing(context)
            now = application.clock.now()
            stored = {one.name: (one.spec, one.paused_now(now)) for one in application.scheduling.all()}
    except StoreUnavailable as error:
        trouble = error
    if stored and (name is None or name in stored):
        return stored
    try:
        written: dict[str, Found] = {spec.name: (spec, None) for spec in project_of(context).specs}
    except ConfigurationInvalid:
        if stored:
            return stored
        if trouble is not None:
            raise trouble from None
        raise
    return written | stored
