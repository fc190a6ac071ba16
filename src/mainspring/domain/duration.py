"""Read and write durations such as `15m`, `1h30m` and `2 days`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from mainspring.errors import InvalidInput, nearest

_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_WORDS: Final = {
    "w": ("week", "weeks"),
    "d": ("day", "days"),
    "h": ("hour", "hours", "hr", "hrs"),
    "m": ("minute", "minutes", "min", "mins"),
    "s": ("second", "seconds", "sec", "secs"),
    "ms": ("millisecond", "milliseconds"),
    "us": ("microsecond", "microseconds"),
}
_UNIT_OF: Final = {name: unit for unit, names in _WORDS.items() for name in (unit, *names)}
_PART: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([^\W\d_]+)\s*,?")
_WAY_OUT: Final = 'write a number and a unit, such as "30s", "15m", "1h30m" or "2 days"'


class DurationInvalid(InvalidInput):
    """A text does not say a duration."""


def parse_duration(value: object) -> timedelta:
    """Return the duration that the text *value* says: weeks, days, hours, minutes, seconds, ms or us, in that order.

    Raises:
        DurationInvalid: for anything else; a bare number is refused because it does not say its unit.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise DurationInvalid(f'duration {value!r} has no unit; write "{value}s" for seconds or "{value}m" for minutes')
    if not isinstance(value, str):
        raise DurationInvalid(f"duration {value!r} is not text; {_WAY_OUT}")
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        raise DurationInvalid(f'duration {value!r} has no unit; write "{text}s" for seconds or "{text}m" for minutes')
    return _sum_of_parts(text, value)


def _sum_of_parts(text: str, value: str) -> timedelta:
    total, place, last = timedelta(), 0, -1
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            raise DurationInvalid(f"duration {value!r} cannot be read; {_WAY_OUT}")
        unit = _unit(part[2], value)
        order = list(_UNITS).index(unit)
        if order <= last:
            raise DurationInvalid(f"duration {value!r}: write each unit once, the longest first, such as 1h30m")
        last, place = order, part.end()
        total = _added(total, part[1], unit, value)
    if not text:
        raise DurationInvalid(f"duration {value!r} is empty; {_WAY_OUT}")
    return total


def _added(total: timedelta, number: str, unit: str, value: str) -> timedelta:
    whole, _, fraction = number.partition(".")
    try:
        total += int(whole) * _UNITS[unit]
        return total + (int(fraction) * _UNITS[unit]) / 10 ** len(fraction) if fraction else total
    except OverflowError:
        raise DurationInvalid(f"duration {value!r} is too long; the longest is 999999999 days") from None


def _unit(word: str, value: str) -> str:
    folded = word if word in _UNIT_OF else word.lower()
    if folded in _UNIT_OF:
        return _UNIT_OF[folded]
    if folded in {"month", "months", "mo", "year", "years", "y", "yr", "yrs"}:
        raise DurationInvalid(
            f"duration {value!r}: months and years have no fixed length; use days, or a calendar trigger"
        )
    guess = nearest(folded, [name for name in _UNIT_OF if len(name) > 2])
    hint = f"did you mean {guess!r}?" if guess else "units are w, d, h, m, s, ms and us"
    raise DurationInvalid(f"duration {value!r}: unknown unit {word!r}; {hint}")


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back as *duration*; a minus sign in front if negative."""
    parts = [f"{count}{unit}" for count, unit in _parts(abs(duration))]
    return ("-" if duration < timedelta() else "") + ("".join(parts) or "0s")


def duration_in_words(duration: timedelta) -> str:
    """Return *duration* as people say it, such as `1 hour 30 minutes`."""
    parts = [f"{count} {_WORDS[unit][0 if count == 1 else 1]}" for count, unit in _parts(abs(duration))]
    return ("minus " if duration < timedelta() else "") + (" ".join(parts) or "0 seconds")


def every_in_words(duration: timedelta) -> str:
    """Return *duration* as it stands after `every`: `5 minutes`, but `hour` for an hour."""
    said = duration_in_words(duration)
    return said.removeprefix("1 ") if said.count(" ") == 1 else said


def _parts(duration: timedelta) -> list[tuple[int, str]]:
    found = []
    rest = duration
    for unit, length in _UNITS.items():
        if unit == "w" and duration % length:
            continue
        count, rest = divmod(rest, length)
        if count:
            found.append((count, unit))
    return found
