"""Fire every so many days, weeks, months or years at a local time."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final, Literal

from mainspring.domain.triggers.dst import LAST_YEAR, DstRule, local_time_key, next_instant
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid
from mainspring.domain.triggers.words import MONTH_NAMES, WEEKDAY_NAMES, in_zone, ordinal, say_clock
from mainspring.domain.zones import zone as find_zone

Unit = Literal["days", "weeks", "months", "years"]
ShortMonth = Literal["last", "skip"]

UNITS: Final = {"days": 3660, "weeks": 520, "months": 1200, "years": 100}
"""The units and the largest count of each."""
SHORT_MONTHS: Final = ("last", "skip")
_DAY: Final = timedelta(days=1)
_PERIODS_TRIED: Final = 100


@dataclass(frozen=True, slots=True)
class CalendarIntervalTrigger(Trigger):
    """Fire every `count` `unit` at the local time `at`, counted from the period that holds the day `anchor`.

    Weeks fire on the anchor's weekday. Months and years fire on `day` (the anchor's by default), years in the
    anchor's month. In a month without that day they fire on its `last` day, or `skip` it.
    """

    count: int
    unit: Unit
    at: time
    anchor: date
    day: int | None = None
    short_month: ShortMonth = "last"
    zone: str = "UTC"
    dst: DstRule = field(default_factory=DstRule)

    def __post_init__(self) -> None:
        """Refuse what cannot work, and bring equal rules to equal values."""
        find_zone(self.zone)
        _check(self)
        if self.unit in ("months", "years"):
            object.__setattr__(self, "day", self.day or self.anchor.day)
        object.__setattr__(self, "anchor", self._canonical_anchor())
        if self.first_from(datetime.combine(self.anchor, time())) is None:
            raise TriggerInvalid(
                f"calendar: day {self.day} never comes every {self.count} {self.unit} from {self.anchor}; "
                "write short_month: last, or another day"
            )

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None when there is none any more."""
        return next_instant(self, self.zone, moment, fixed=True, dst=self.dst)

    def first_from(self, wall: datetime) -> datetime | None:
        """Return the first naive local time at or after *wall* that the rule names, or None."""
        period = self._period_of(wall.date())
        for tried in range(_PERIODS_TRIED):
            day = self._day_in(period + tried)
            if day is not None and (found := datetime.combine(day, self.at)) >= wall:
                return found
        return None

    def in_words(self) -> str:
        """Return the rule in English, with what happens in short months."""
        return f"{self._how_often()} at {say_clock(self.at.hour, self.at.minute, self.at.second)}{in_zone(self.zone)}"

    def local_key(self, fire_at: datetime) -> str | None:
        """Return the local wall time that *fire_at* stands for, where that time may fire only once; else None."""
        return local_time_key(self, self.zone, fire_at, fixed=True, dst=self.dst)

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values."""
        return {
            "kind": "calendar",
            "count": self.count,
            "unit": self.unit,
            "at": self.at.isoformat(),
            "anchor": self.anchor.isoformat(),
            "day": self.day,
            "short_month": self.short_month,
            "zone": self.zone,
            "dst": self.dst.to_json(),
        }

    def _canonical_anchor(self) -> date:
        """Return one day for all anchors that mean the same when every period counts."""
        if self.count > 1:
            return self.anchor
        weekday = self.anchor.weekday() - _BASE.weekday() if self.unit == "weeks" else 0
        return date(2000, self.anchor.month if self.unit == "years" else 1, 1) + weekday % 7 * _DAY

    def _period_of(self, day: date) -> int:
        """Return the number of the period, counted from the anchor's, that holds *day* or begins last before it."""
        if self.unit == "days":
            return (day - self.anchor).days // self.count
        if self.unit == "weeks":
            return (day - self.anchor).days // (7 * self.count)
        if self.unit == "months":
            return (_months(day) - _months(self.anchor)) // self.count
        return (day.year - self.anchor.year) // self.count

    def _day_in(self, period: int) -> date | None:
        """Return the day of the period, or None where it has none."""
        if self.unit in ("days", "weeks"):
            length = self.count * (7 if self.unit == "weeks" else 1)
            return self.anchor + period * length * _DAY
        months = _months(self.anchor) + period * self.count * (12 if self.unit == "years" else 1)
        year, month = 2000 + months // 12, months % 12 + 1
        if year > LAST_YEAR + 99:
            return None
        length = calendar.monthrange(year, month)[1]
        day = self.day or 1
        if day > length and self.short_month == "skip":
            return None
        return date(year, month, min(day, length))

    def _how_often(self) -> str:
        count, unit = self.count, self.unit
        every = f"every {unit[:-1]}" if count == 1 else f"every {count} {unit}"
        if unit == "days":
            return every if count == 1 else f"{every}, counted from {_day_words(self.anchor)},"
        if unit == "weeks":
            weekday = WEEKDAY_NAMES[self.anchor.weekday()]
            return (
                f"every {weekday}" if count == 1 else f"{every} on {weekday}, counted from {_day_words(self.anchor)},"
            )
        day = ordinal(self.day or 1)
        months = f" of {MONTH_NAMES[self.anchor.month - 1]}" if unit == "years" else ""
        since = ""
        if count > 1:
            month = f"{MONTH_NAMES[self.anchor.month - 1]} " if unit == "months" else ""
            since = f", counted from {month}{self.anchor.year},"
        return f"{every} on the {day}{months}{self._short_month_words()}{since}"

    def _short_month_words(self) -> str:
        shortest = calendar.monthrange(2001, self.anchor.month)[1] if self.unit == "years" else 28
        if (self.day or 1) <= shortest:
            return ""
        return (
            " (or the last day of a shorter month)" if self.short_month == "last" else " (shorter months are skipped)"
        )


_BASE: Final = date(2000, 1, 1)


def _months(day: date) -> int:
    """Return the number of months from January 2000 to the month of *day*."""
    return (day.year - 2000) * 12 + day.month - 1


def _day_words(day: date) -> str:
    return f"{day.day} {MONTH_NAMES[day.month - 1]} {day.year}"


def _check(rule: CalendarIntervalTrigger) -> None:
    if rule.unit not in UNITS:
        raise TriggerInvalid(f"calendar: unknown unit {rule.unit!r}; use days, weeks, months or years")
    if not 1 <= rule.count <= UNITS[rule.unit]:
        raise TriggerInvalid(f"calendar: {rule.unit} {rule.count} is outside 1-{UNITS[rule.unit]}")
    if rule.day is not None and rule.unit in ("days", "weeks"):
        raise TriggerInvalid(f"calendar: day {rule.day} goes with months or years, not with {rule.unit}")
    if rule.day is not None and not 1 <= rule.day <= 31:
        raise TriggerInvalid(f"calendar: day {rule.day} is outside 1-31")
    if rule.short_month not in SHORT_MONTHS:
        raise TriggerInvalid(f"calendar: short_month {rule.short_month!r} is not known; choose last or skip")
    if rule.at.microsecond or rule.at.tzinfo is not None:
        raise TriggerInvalid(f"calendar: time {rule.at.isoformat()} must be a local time in whole seconds")
