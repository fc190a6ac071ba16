"""Check cron fields as the schedule file writes them: 0 is Monday, names are accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mainspring.errors import unknown_name

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "last")
_PART = re.compile(r"(?P<first>\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\w+))?", re.ASCII)
_EVERY = re.compile(r"\*(?:/(?P<step>\w+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Field:
    low: int
    high: int
    names: tuple[str, ...] = ()


FIELDS: Final[Mapping[str, _Field]] = {
    "hour": _Field(0, 23),
    "minute": _Field(0, 59),
    "second": _Field(0, 59),
    "day": _Field(1, 31),
    "month": _Field(1, 12, _MONTHS),
    "day_of_week": _Field(0, 6, _DAYS),
}
"""The fields by name, with the values that each may hold."""


def check_field(name: str, text: str) -> str | None:
    """Return what is wrong with *text* as the field *name* (a sentence's end), or None when it is right."""
    for part in text.casefold().split(","):
        problem = _check_part(name, FIELDS[name], part.strip())
        if problem is not None:
            return problem
    return None


def _check_part(name: str, rule: _Field, part: str) -> str | None:
    every = _EVERY.fullmatch(part)
    if every:
        return _check_step(every["step"], part)
    if name == "day" and (part == "last" or _is_nth_weekday(part)):
        return None
    match = _PART.fullmatch(part)
    if not match:
        return f"has {part!r}, which is no value, range (1-5), list (1,3) or step (*/2)"
    first = _value(rule, match["first"])
    last = _value(rule, match["last"]) if match["last"] else first
    for text, value in ((match["first"], first), (match["last"], last)):
        if value is None and text is not None:
            return _refusal(rule, text)
    if first is not None and last is not None and first > last:
        return f"has the range {part!r}, which runs backwards; write {match['last']}-{match['first']} or a list"
    return _check_step(match["step"], part)


def _value(rule: _Field, text: str) -> int | None:
    if text in rule.names:
        return rule.low + rule.names.index(text)
    if text.isdecimal() and len(text) <= 2 and rule.low <= int(text) <= rule.high:
        return int(text)
    return None


def _refusal(rule: _Field, text: str) -> str:
    if text.isdecimal() or not rule.names:
        days = " (0 is Monday, 6 is Sunday)" if rule.names is _DAYS else ""
        return f"has {text!r}; it goes from {rule.low} to {rule.high}{days}"
    return f"has an {unknown_name('name', text, rule.names)}"


def _check_step(step: str | None, part: str) -> str | None:
    if step is None or (step.isdecimal() and 0 < int(step) <= 9999):
        return None
    return f"has {part!r}, whose step must be a whole number from 1 on"


def _is_nth_weekday(part: str) -> bool:
    ordinal, _, day = part.partition(" ")
    return ordinal in _ORDINALS and day.strip() in _DAYS
