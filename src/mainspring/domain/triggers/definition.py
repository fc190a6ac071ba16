"""Make triggers from what people write in a schedule: cron, fields, every, calendar, session or at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Final

from mainspring.domain.duration import parse_duration
from mainspring.domain.triggers.calendar_interval import UNITS, CalendarIntervalTrigger, ShortMonth, Unit
from mainspring.domain.triggers.cron import parse_cron
from mainspring.domain.triggers.cron_fields import parse_fields
from mainspring.domain.triggers.dst import DstRule
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.domain.triggers.once import DateTrigger
from mainspring.domain.triggers.session_text import OwnCalendars, parse_session
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid
from mainspring.domain.triggers.words import MONTH_NAMES, WEEKDAY_NAMES
from mainspring.domain.zones import instant_of, local_wall
from mainspring.errors import nearest, unknown_name

TRIGGER_KEYS: Final = ("cron", "fields", "every", "calendar", "session", "at")
_CALENDAR_KEYS: Final = (*UNITS, "day", "month", "weekday", "time", "short_month", "anchor")
_NO_ANCHOR: Final = datetime(2000, 1, 1)


def trigger_from_definition(
    definition: Mapping[str, object],
    zone: str = "UTC",
    dst: DstRule | None = None,
    seed: str = "",
    created_at: datetime | None = None,
    own_calendars: OwnCalendars | None = None,
) -> Trigger:
    """Return the trigger that a schedule's *definition* says; keys that are not about the trigger are not looked at.

    Local times are in *zone*. `H` in cron text is hashed from *seed*. Intervals written without an anchor count from
    *created_at*, or from the start of 2000 in *zone*. Sessions may leave out the days of *own_calendars*.

    Raises:
        InvalidInput: no trigger key or several are given, or the value of one cannot be used; the message says which.
    """
    rule = dst or DstRule()
    key = _only_key(definition)
    value = definition[key]
    anchor = definition.get("anchor")
    if anchor is not None and key not in ("every", "calendar"):
        raise TriggerInvalid(f"anchor goes with every or calendar, not with {key}")
    if key == "cron":
        return parse_cron(value, zone, rule, seed)  # type: ignore[arg-type]  # parse_cron refuses what is not text
    if key == "fields":
        return parse_fields(value, zone, rule)  # type: ignore[arg-type]  # parse_fields refuses what is not a mapping
    if key == "every":
        return IntervalTrigger(parse_duration(value), _interval_anchor(anchor, zone, rule, created_at))
    if key == "session":
        return parse_session(value, own_calendars)
    if key == "at":
        return DateTrigger(_instant("at", value, zone, rule), zone)
    return _calendar(value, anchor, zone, rule, created_at)


def _only_key(definition: Mapping[str, object]) -> str:
    given = [key for key in TRIGGER_KEYS if definition.get(key) is not None]
    if len(given) == 1:
        return given[0]
    choice = "write exactly one of cron, fields, every, calendar, session or at"
    if not given:
        guesses = (nearest(str(key), TRIGGER_KEYS) for key in definition)
        guess = next((f"; did you mean {name!r}?" for name in guesses if name), "")
        raise TriggerInvalid(f"no trigger is given; {choice}{guess}")
    raise TriggerInvalid(f"several triggers are given ({', '.join(given)}); {choice}")


def _interval_anchor(anchor: object, zone: str, rule: DstRule, created_at: datetime | None) -> datetime:
    if anchor is not None:
        return _instant("anchor", anchor, zone, rule)
    return created_at if created_at is not None else instant_of(zone, _NO_ANCHOR)


def _instant(key: str, value: object, zone: str, rule: DstRule) -> datetime:
    """Return the instant of a written date and time: its own offset wins, else it is local time in *zone*."""
    written = _datetime(key, value)
    if written.tzinfo is not None:
        try:
            return written.astimezone(UTC)
        except OverflowError:
            raise TriggerInvalid(f"{key} {value} lies outside the years that can be used") from None
    if not 1900 <= written.year <= 9900:
        raise TriggerInvalid(f"{key} {value}: the year {written.year} is outside 1900-9900")
    found = instant_of(zone, written, last=rule.fold == "last")
    if rule.gap == "skip" and local_wall(zone, found) != written:
        raise TriggerInvalid(
            f"{key} {value} does not exist in {zone}: clocks skip it; choose another time, or dst gap: after"
        )
    return found


def _datetime(key: str, value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            pass
    raise TriggerInvalid(f"{key} {value!r} is not a date and time; write it as 2026-12-01T09:00")


def _calendar(
    body: object, anchor: object, zone: str, rule: DstRule, created_at: datetime | None
) -> CalendarIntervalTrigger:
    if not isinstance(body, Mapping):
        raise TriggerInvalid(f'calendar {body!r}: write a mapping, such as {{months: 1, day: 31, time: "09:00"}}')
    for key in body:
        if key not in _CALENDAR_KEYS:
            raise TriggerInvalid("calendar: " + unknown_name("key", str(key), _CALENDAR_KEYS))
    units = [unit for unit in UNITS if unit in body]
    if len(units) != 1:
        said = f"several are given ({', '.join(units)})" if units else "none is given"
        raise TriggerInvalid(f"calendar: write exactly one of days, weeks, months or years; {said}")
    unit: Unit = units[0]  # type: ignore[assignment]  # it is one of UNITS
    start = _calendar_anchor(body.get("anchor", anchor), zone, created_at)
    return CalendarIntervalTrigger(
        count=_whole("calendar", unit, body[unit]),
        unit=unit,
        at=_time_of_day(body.get("time", "00:00")),
        anchor=_moved(start, unit, body),
        day=_whole("calendar", "day", body["day"]) if "day" in body else None,
        short_month=_short_month(body.get("short_month", "last")),
        zone=zone,
        dst=rule,
    )


def _calendar_anchor(anchor: object, zone: str, created_at: datetime | None) -> date:
    if anchor is not None:
        return _datetime("anchor", anchor).date()
    return (_NO_ANCHOR if created_at is None else local_wall(zone, created_at)).date()


def _moved(anchor: date, unit: str, body: Mapping[str, object]) -> date:
    """Return *anchor* moved to the weekday or month that *body* names."""
    if "weekday" in body:
        if unit != "weeks":
            raise TriggerInvalid(f"calendar: weekday goes with weeks, not with {unit}")
        wanted = _place("weekday", body["weekday"], WEEKDAY_NAMES, first=0)
        return date.fromordinal(anchor.toordinal() + (wanted - anchor.weekday()) % 7)
    if "month" in body:
        if unit != "years":
            raise TriggerInvalid(f"calendar: month goes with years, not with {unit}")
        day = anchor.day if "day" not in body else 1
        month = _place("month", body["month"], MONTH_NAMES, first=1)
        if day > 28:
            raise TriggerInvalid("calendar: month is given without a day; write day too")
        return date(anchor.year, month, day)
    return anchor


def _place(key: str, value: object, names: tuple[str, ...], first: int) -> int:
    if isinstance(value, str) and len(value) >= 3:
        found = [place for place, name in enumerate(names, first) if name.lower().startswith(value.lower())]
        if len(found) == 1:
            return found[0]
    if isinstance(value, str) and not value.isdigit():
        raise TriggerInvalid("calendar: " + unknown_name(key, value, names))
    number = _whole("calendar", key, value)
    if not first <= number < first + len(names):
        raise TriggerInvalid(f"calendar: {key} {number} is outside {first}-{first + len(names) - 1}; write its name")
    return number


def _whole(where: str, key: str, value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TriggerInvalid(f"{where}: {key} {value!r} is not a whole number")
    return value


def _short_month(value: object) -> ShortMonth:
    if value == "last":
        return "last"
    if value == "skip":
        return "skip"
    raise TriggerInvalid(f"calendar: short_month {value!r} is not known; choose last or skip")


def _time_of_day(value: object) -> time:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1440:
        meant = f"{value // 60:02d}:{value % 60:02d}"
        raise TriggerInvalid(
            f'calendar: time {value} is a number; YAML reads {meant} without quotes as base 60: write "{meant}"'
        )
    if isinstance(value, time):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            return time.fromisoformat(f"0{text}" if text[1:2] == ":" else text)
        except ValueError:
            pass
    raise TriggerInvalid(f'calendar: time {value!r} is not a time of day; write it as "09:00"')
