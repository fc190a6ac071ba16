"""Read stored cron text into the minutes, seconds and days that it names."""

from __future__ import annotations

import calendar
import hashlib
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

from mainspring.verify.walls import WallRule


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    hash_high: int
    """The greatest value that `H` may draw."""
    names: tuple[str, ...] = ()
    """Names of the values from `low` on."""


_FIELDS: Final = (
    _Field("second", 0, 59, 59),
    _Field("minute", 0, 59, 59),
    _Field("hour", 0, 23, 23),
    _Field("day", 1, 31, 28),
    _Field("month", 1, 12, 12, tuple("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split())),
    _Field("weekday", 0, 7, 6, tuple("SUN MON TUE WED THU FRI SAT".split())),
)
_SHORT: Final = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}


def cron_rule(text: str, seed: str) -> WallRule:
    """Return the rule that *text* says: five fields, or six with seconds first; 0 and 7 are Sunday."""
    upper = text.strip().upper()
    parts = _SHORT.get(upper, upper).split()
    if len(parts) == 5:
        parts = ["0", *parts]
    if len(parts) != 6:
        raise ValueError(f"cron text {text!r} has not five or six fields")
    second, minute, hour, _, month, _ = (
        frozenset().union(*(_values(field, term, seed) for term in part.split(",")))
        if field.name not in ("day", "weekday")
        else frozenset()
        for field, part in zip(_FIELDS, parts, strict=True)
    )
    # Debian's rule: with a star in front, hours and minutes follow real time. `H/15` is a star that begins later.
    fixed = not any(part.startswith("*") or part.startswith("H/") for part in (parts[1], parts[2]))
    minutes = tuple(sorted(h * 60 + m for h in hour for m in minute))
    return WallRule(minutes, tuple(sorted(second)), _days(parts[3], parts[5], month, seed), fixed)


def _days(of_month: str, of_week: str, months: frozenset[int], seed: str) -> Callable[[date], bool]:
    both = of_month.startswith("*") or of_week.startswith("*")

    @lru_cache(maxsize=64)
    def sheet(year: int, month: int) -> frozenset[int]:
        """Return the days of one month that match, as on a sheet of a calendar."""
        if month not in months:
            return frozenset()
        dates = [date(year, month, n) for n in range(1, calendar.monthrange(year, month)[1] + 1)]
        by_month = {d.day for term in of_month.split(",") for d in _in_month(term, dates, seed)}
        by_week = {d.day for term in of_week.split(",") for d in _in_week(term, dates, seed)}
        return frozenset(by_month & by_week if both else by_month | by_week)

    return lambda day: day.day in sheet(day.year, day.month)


def _in_month(term: str, dates: list[date], seed: str) -> list[date]:
    if term == "L":
        return dates[-1:]
    if term == "LW":
        return [d for d in dates if d.isoweekday() <= 5][-1:]
    values = _values(_FIELDS[3], term, seed)
    return [d for d in dates if d.day in values]


def _in_week(term: str, dates: list[date], seed: str) -> list[date]:
    field = _FIELDS[5]
    name, hash_mark, nth = term.partition("#")
    if hash_mark:
        return _on(_number(field, name), dates)[int(nth) - 1 : int(nth)]
    if len(term) > 1 and term.endswith("L"):
        return _on(_number(field, term[:-1]), dates)[-1:]
    weekdays = {value % 7 for value in _values(field, term, seed)}
    return [d for d in dates if d.isoweekday() % 7 in weekdays]


def _on(weekday: int, dates: list[date]) -> list[date]:
    return [d for d in dates if d.isoweekday() % 7 == weekday % 7]


def _values(field: _Field, term: str, seed: str) -> frozenset[int]:
    base, slash, step_text = term.partition("/")
    step = int(step_text) if slash else 1
    if base == "H" or base.startswith("H("):
        return _hashed(field, base, step if slash else None, seed)
    if base == "*":
        return frozenset(range(field.low, field.high + 1, step))
    first, dash, last = base.partition("-")
    low = _number(field, first)
    if not dash:
        return frozenset(range(low, field.high + 1, step) if slash else (low,))
    high = _number(field, last)
    if field.name == "weekday" and high == 0 and low > 0:
        high = 7
    return frozenset(range(low, high + 1, step))


def _hashed(field: _Field, base: str, step: int | None, seed: str) -> frozenset[int]:
    low, high, top = field.low, field.hash_high, field.hash_high
    if "(" in base:
        low, high = (_number(field, word) for word in base[2:-1].split("-"))
        top = high
    drawn = int.from_bytes(hashlib.sha256(f"{seed}\0{field.name}".encode()).digest()[:8], "big")
    if step is None:
        return frozenset({low + drawn % (high - low + 1)})
    return frozenset(range(low + drawn % min(step, high - low + 1), top + 1, step))


def _number(field: _Field, word: str) -> int:
    return field.low + field.names.index(word) if word in field.names else int(word)
