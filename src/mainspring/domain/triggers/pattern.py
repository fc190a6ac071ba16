"""Find the next local time that matches sets of seconds, minutes and hours and a rule for days."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

_DAY = timedelta(days=1)
YEARS_SEARCHED = 50
"""The rarest day that exists, a 29 February on a given weekday, comes back within 40 years."""


@dataclass(frozen=True, slots=True)
class WallPattern:
    """Local times given by sets; each set is sorted and not empty."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    on_day: Callable[[date], bool]
    years: frozenset[int] | None = None

    def first_from(self, wall: datetime) -> datetime | None:
        """Return the first matching naive local time at or after *wall* (whole seconds), or None within 50 years."""
        day = wall.date()
        if self._on(day):
            time = self._time_from(wall.hour, wall.minute, wall.second)
            if time is not None:
                return datetime(day.year, day.month, day.day, *time)
        next_day = self._day_from(day + _DAY)
        if next_day is None:
            return None
        return datetime(next_day.year, next_day.month, next_day.day, self.hours[0], self.minutes[0], self.seconds[0])

    def can_match(self) -> bool:
        """Return whether any day matches. 28 years hold every kind of year: each first weekday, leap or not."""
        if self.years is not None:
            return any(self._day_from(date(year, 1, 1), 1) is not None for year in self.years)
        return self._day_from(date(2000, 1, 1), 28) is not None

    def _on(self, day: date) -> bool:
        return day.month in self.months and (self.years is None or day.year in self.years) and self.on_day(day)

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        at_hour = bisect_left(hours, hour)
        if at_hour < len(hours) and hours[at_hour] == hour:
            at_minute = bisect_left(minutes, minute)
            if at_minute < len(minutes) and minutes[at_minute] == minute:
                at_second = bisect_left(seconds, second)
                if at_second < len(seconds):
                    return hour, minute, seconds[at_second]
                at_minute += 1
            if at_minute < len(minutes):
                return hour, minutes[at_minute], seconds[0]
            at_hour += 1
        return (hours[at_hour], minutes[0], seconds[0]) if at_hour < len(hours) else None

    def _day_from(self, day: date, years: int = YEARS_SEARCHED) -> date | None:
        months, on_day = self.months, self.on_day
        last_year = day.year + years - 1 if years < YEARS_SEARCHED else day.year + years
        while day.year <= last_year:
            if self.years is not None and day.year not in self.years:
                later = [year for year in self.years if day.year < year <= last_year]
                if not later:
                    return None
                day = date(min(later), 1, 1)
            elif day.month not in months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            elif on_day(day):
                return day
            else:
                day += _DAY
        return None
