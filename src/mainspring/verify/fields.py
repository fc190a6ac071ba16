"""Read stored cron fields, with APScheduler's defaults, into the minutes, seconds and days that they name."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Final

from mainspring.verify.walls import WallRule

_ORDER: Final = ("year", "month", "day", "week", "day_of_week", "hour", "minute", "second")
_BOUNDS: Final = {
    "year": (1970, 9900),
    "month": (1, 12),
    "day": (1, 31),
    "week": (1, 53),
    "day_of_week": (0, 6),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
_WORDS: Final = {
    "month": ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day_of_week": ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
}


def fields_rule(given: Mapping[str, str]) -> WallRule:
    """Return the rule that the fields say; `day_of_week` 0 is Monday and a day must satisfy all that is said of it."""
    unknown = sorted(set(given) - set(_ORDER))
    if unknown or not given:
        raise ValueError(f"fields {dict(given)!r} cannot be read")
    texts = {name: given[name] if name in given else _default(name, given) for name in _ORDER}
    hours, minutes, seconds = (_numbers(name, texts[name]) for name in ("hour", "minute", "second"))
    fixed = not (texts["hour"].startswith("*") or texts["minute"].startswith("*"))
    of_day = tuple(sorted(h * 60 + m for h in hours for m in minutes))
    return WallRule(of_day, tuple(sorted(seconds)), _days(texts), fixed)


def _default(name: str, given: Mapping[str, str]) -> str:
    """Return what a field left out means: anything if a finer one is given, else its least value."""
    place = _ORDER.index(name)
    if name in ("year", "week", "day_of_week") or any(finer in given for finer in _ORDER[place + 1 :]):
        return "*"
    return str(_BOUNDS[name][0])


def _days(texts: Mapping[str, str]) -> Callable[[date], bool]:
    years, months, weeks, weekdays = (_numbers(name, texts[name]) for name in ("year", "month", "week", "day_of_week"))

    @lru_cache(maxsize=64)
    def sheet(year: int, month: int) -> frozenset[int]:
        """Return the days of one month that match, as on a sheet of a calendar."""
        if year not in years or month not in months:
            return frozenset()
        dates = [date(year, month, n) for n in range(1, calendar.monthrange(year, month)[1] + 1)]
        named = {d.day for term in texts["day"].split(",") for d in _in_month(term, dates)}
        return frozenset(
            d.day for d in dates if d.day in named and d.weekday() in weekdays and d.isocalendar()[1] in weeks
        )

    return lambda day: day.day in sheet(day.year, day.month)


def _in_month(term: str, dates: list[date]) -> list[date]:
    place, _, weekday = term.partition(" ")
    if weekday:
        same = [d for d in dates if d.weekday() == _WORDS["day_of_week"].index(weekday)]
        return same[-1:] if place == "last" else same[int(place[0]) - 1 : int(place[0])]
    if term == "last":
        return dates[-1:]
    days = _term("day", term)
    return [d for d in dates if d.day in days]


def _numbers(name: str, text: str) -> frozenset[int]:
    return frozenset(number for term in text.split(",") for number in _term(name, term))


def _term(name: str, term: str) -> range:
    least, greatest = _BOUNDS[name]
    base, slash, step = term.partition("/")
    if base == "*":
        low, high = least, greatest
    elif "-" in base:
        low, high = (_number(name, word) for word in base.split("-"))
    else:
        low = _number(name, base)
        high = greatest if slash else low
    return range(low, high + 1, int(step) if slash else 1)


def _number(name: str, word: str) -> int:
    words = _WORDS.get(name, ())
    return words.index(word) if word in words else int(word)
