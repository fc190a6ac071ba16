"""Say why a schedule does not fire on a day, as far as the schedule itself decides it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Final

from mainspring.domain.exchanges import say_day
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import CalendarIntervalTrigger, CronTrigger, FieldsTrigger, Trigger
from mainspring.domain.triggers.words import say_clock
from mainspring.domain.zones import instant_of, local_wall, shifts_around

_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)


def why_not(spec: ScheduleSpec, day: date) -> str | None:
    """Return why nothing fires on the local *day*, in a sentence, or None where something does.

    It looks at what the schedule says: rule, exchange sessions, calendars, start and end, changes of clocks. A pause,
    overlaps and downtime are not its business.

    Raises:
        UnknownName, ExchangeUnknown: a calendar or an exchange is not known here.
    """
    begin, end = (instant_of(spec.zone, datetime.combine(each, time())) for each in (day, day + _DAY))
    if not spec.enabled:
        return "it is disabled"
    if spec.start_at is not None and spec.start_at >= end:
        return f"it starts on {_say(spec.start_at, spec.zone)}"
    if spec.end_at is not None and spec.end_at < begin:
        return f"it ended on {_say(spec.end_at, spec.zone)}"
    first = _first_between(spec.trigger, begin, end)
    if first is None:
        return spec.trigger.why_not(day) or _skipped_by_clocks(spec, day, begin, end) or _not_its_day(spec, day)
    barred = spec.refusal(first)
    if barred is not None:
        return f"{say_day(day)} is left out: {barred}"
    within = spec.next_after(begin - _MICROSECOND)
    if within is None or within >= end:
        return f"what its rule names on {say_day(day)} lies before its start or after its end"
    return None


def _first_between(trigger: Trigger, begin: datetime, end: datetime) -> datetime | None:
    found = trigger.next_after(begin - _MICROSECOND)
    return found if found is not None and found < end else None


def _not_its_day(spec: ScheduleSpec, day: date) -> str:
    return f"{say_day(day)} is none of its days: it fires {spec.trigger.in_words()}"


def _skipped_by_clocks(spec: ScheduleSpec, day: date, begin: datetime, end: datetime) -> str | None:
    trigger = spec.trigger
    if not isinstance(trigger, (CronTrigger, FieldsTrigger, CalendarIntervalTrigger)) or trigger.dst.gap != "skip":
        return None
    kept = replace(trigger, dst=replace(trigger.dst, gap="after"))
    if _first_between(kept, begin, end) is None:
        return None
    for shift in shifts_around(spec.zone, day.year):
        first, last = shift.at + shift.before, shift.at + shift.after
        if first.date() == day and last > first:
            span = f"from {say_clock(first.hour, first.minute)} to {say_clock(last.hour, last.minute)}"
            return f"clocks in {spec.zone} skip {span} on {say_day(day)}, and its time with them (dst gap: skip)"
    return None


def _say(moment: datetime, zone: str) -> str:
    local = local_wall(zone, moment)
    return f"{say_day(local.date())} at {say_clock(local.hour, local.minute, local.second)}"
