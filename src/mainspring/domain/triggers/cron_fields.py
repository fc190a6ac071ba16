"""Fire at the times that named fields give, with APScheduler's defaults: day_of_week 0 is Monday."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from mainspring.domain.triggers.dst import DstRule, local_time_key, next_instant
from mainspring.domain.triggers.pattern import WallPattern
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid
from mainspring.domain.triggers.words import (
    MONTH_NAMES,
    WEEKDAY_NAMES,
    DayWords,
    month_days_in_words,
    nth_weekday,
    numbers_in_words,
    say,
    weekdays_in_words,
)
from mainspring.domain.zones import zone as find_zone
from mainspring.errors import unknown_name

_WEEKDAYS: Final = {name[:3].lower(): number for number, name in enumerate(WEEKDAY_NAMES)}
_MONTHS: Final = {name[:3].lower(): number for number, name in enumerate(MONTH_NAMES, 1)}
_PLACES: Final = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": 0}


class FieldsInvalid(TriggerInvalid):
    """Cron fields cannot be used."""


class _Field(NamedTuple):
    low: int
    high: int
    default: str
    names: Mapping[str, int]


_FIELDS: Final = {
    "year": _Field(1970, 9900, "*", {}),
    "month": _Field(1, 12, "1", _MONTHS),
    "day": _Field(1, 31, "1", {}),
    "week": _Field(1, 53, "*", {}),
    "day_of_week": _Field(0, 6, "*", _WEEKDAYS),
    "hour": _Field(0, 23, "0", {}),
    "minute": _Field(0, 59, "0", {}),
    "second": _Field(0, 59, "0", {}),
}


@dataclass(frozen=True, slots=True)
class FieldsTrigger(Trigger):
    """Named fields in the local time of a zone; make one with `parse_fields`.

    `fields` holds pairs of name and text, the coarsest first. A field left out is every value where a finer one is
    given, and its least value where only coarser ones are. A day must satisfy all of day, week and day_of_week.
    """

    fields: tuple[tuple[str, str], ...]
    zone: str = "UTC"
    dst: DstRule = field(default_factory=DstRule)

    def __post_init__(self) -> None:
        """Refuse fields and zones that cannot work; put the fields in order."""
        find_zone(self.zone)
        _refuse_unknown(dict(self.fields))
        given = dict(self.fields)
        object.__setattr__(self, "fields", tuple((name, given[name]) for name in _FIELDS if name in given))
        _spec(self.fields)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None when there is none any more."""
        spec = _spec(self.fields)
        return next_instant(spec.pattern, self.zone, moment, fixed=spec.fixed, dst=self.dst)

    def in_words(self) -> str:
        """Return the rule in English, weekdays by name and the zone named when it is not UTC."""
        spec = _spec(self.fields)
        return say(spec.pattern.seconds, spec.pattern.minutes, spec.pattern.hours, spec.days, self.zone)

    def local_key(self, fire_at: datetime) -> str | None:
        """Return the local wall time that *fire_at* stands for, where that time may fire only once; else None."""
        spec = _spec(self.fields)
        return local_time_key(spec.pattern, self.zone, fire_at, fixed=spec.fixed, dst=self.dst)

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values."""
        return {"kind": "fields", "fields": dict(self.fields), "zone": self.zone, "dst": self.dst.to_json()}


def parse_fields(fields: Mapping[str, object], zone: str = "UTC", dst: DstRule | None = None) -> FieldsTrigger:
    """Return the trigger that *fields* say: year, month, day, week, day_of_week, hour, minute, second.

    A value is a number or text: `*`, `*/5`, `9-17`, `9-17/2`, lists of these with commas, names of months and
    weekdays, and for the day also `last`, `1st mon` and `last fri`.

    Raises:
        FieldsInvalid: the message names the field, the value and the way out.
        UnknownName: no zone is called *zone*.
    """
    if not isinstance(fields, Mapping):
        raise FieldsInvalid(f'fields {fields!r}: write a mapping, such as {{hour: "9-17", day_of_week: "0-4"}}')
    _refuse_unknown(fields)
    pairs = tuple((name, _text(name, value)) for name, value in fields.items())
    trigger = FieldsTrigger(pairs, zone, dst or DstRule())
    if "year" not in fields and trigger.next_after(datetime(2000, 1, 1, tzinfo=find_zone(zone))) is None:
        raise FieldsInvalid(f"fields {_said(pairs)}: never fires in {zone}, where clocks always skip that time")
    return trigger


def _refuse_unknown(fields: Mapping[str, object]) -> None:
    for name in fields:
        if name not in _FIELDS:
            raise FieldsInvalid("fields: " + unknown_name("field", str(name), _FIELDS))


def _said(fields: tuple[tuple[str, str], ...]) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in fields) + "}"


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise FieldsInvalid(f"fields: {name} {value!r} is neither a number nor text")
    if isinstance(value, int) and value > 59 and name in ("hour", "minute", "second"):
        raise FieldsInvalid(
            f"fields: {name} {value} is outside {_FIELDS[name].low}-{_FIELDS[name].high}; "
            f"if you wrote {value // 60}:{value % 60:02d}, YAML read it as base 60: give hour and minute apart"
        )
    return ",".join(" ".join(term.split()) for term in str(value).lower().split(","))


@dataclass(frozen=True, slots=True)
class _Days:
    """Which days match: all of the parts that are given must."""

    days: frozenset[int]
    last: bool
    placed: frozenset[tuple[int, int]]
    weeks: frozenset[int] | None
    weekdays: frozenset[int] | None

    def match(self, day: date) -> bool:
        """Return whether *day* satisfies every part."""
        if self.weekdays is not None and day.weekday() not in self.weekdays:
            return False
        if self.weeks is not None and day.isocalendar().week not in self.weeks:
            return False
        if day.day in self.days:
            return True
        return (self.last or bool(self.placed)) and self._at_a_place(day)

    def _at_a_place(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        if self.last and day.day == length:
            return True
        places = {(day.day + 6) // 7} | ({0} if day.day + 7 > length else set())
        return any((place, day.weekday()) in self.placed for place in places)


@dataclass(frozen=True, slots=True)
class _Spec:
    pattern: WallPattern
    fixed: bool
    days: DayWords


@lru_cache(maxsize=4096)
def _spec(fields: tuple[tuple[str, str], ...]) -> _Spec:
    given = dict(fields)
    if not given:
        raise FieldsInvalid('fields: none is given; write at least one, such as {hour: "9"}')
    texts = _with_defaults(given)
    values = {name: _values(name, text) for name, text in texts.items() if name != "day"}
    days, last, placed = _month_days(texts["day"])
    rule = _Days(
        days, last, placed,
        None if texts["week"] == "*" else values["week"],
        None if texts["day_of_week"] == "*" else values["day_of_week"],
    )  # fmt: skip
    pattern = WallPattern(
        seconds=tuple(sorted(values["second"])),
        minutes=tuple(sorted(values["minute"])),
        hours=tuple(sorted(values["hour"])),
        months=values["month"],
        on_day=rule.match,
        years=None if texts["year"] == "*" else values["year"],
    )
    if not pattern.can_match():
        raise FieldsInvalid(f"fields {_said(fields)}: name a date that never comes; no year has such a day")
    fixed = not any(texts[name].startswith("*") for name in ("hour", "minute"))
    return _Spec(pattern, fixed, _words(rule, pattern))


def _with_defaults(given: Mapping[str, str]) -> dict[str, str]:
    """Return all fields: those coarser than the finest one given are every value, finer ones their least."""
    finest = max(list(_FIELDS).index(name) for name in given)
    return {
        name: given.get(name, "*" if place < finest else about.default)
        for place, (name, about) in enumerate(_FIELDS.items())
    }


def _words(rule: _Days, pattern: WallPattern) -> DayWords:
    every_day = len(rule.days) == 31
    rest = []
    if rule.weeks is not None and len(rule.weeks) < 53:
        rest.append(f"in ISO week{'' if len(rule.weeks) == 1 else 's'} {numbers_in_words(sorted(rule.weeks))}")
    if pattern.years is not None:
        rest.append(f"in {numbers_in_words(sorted(pattern.years))}")
    placed = sorted(rule.placed, key=lambda place: (place[0] or 6, place[1]))
    other = (["last day"] if rule.last else []) + [nth_weekday(nth, weekday) for nth, weekday in placed]
    return DayWords(
        of_month="" if every_day else month_days_in_words(sorted(rule.days), other),
        of_week="" if rule.weekdays is None or len(rule.weekdays) == 7 else weekdays_in_words(sorted(rule.weekdays)),
        months=() if len(pattern.months) == 12 else tuple(sorted(pattern.months)),
        rest=" ".join(rest),
    )


def _month_days(text: str) -> tuple[frozenset[int], bool, frozenset[tuple[int, int]]]:
    plain, last, placed = [], False, set()
    for term in text.split(","):
        place, _, weekday = term.partition(" ")
        if term == "last":
            last = True
        elif place in _PLACES and weekday:
            placed.add((_PLACES[place], _number("day", weekday, _WEEKDAYS, 0, 6)))
        else:
            plain.append(term)
    return _values("day", ",".join(plain)) if plain else frozenset(), last, frozenset(placed)


def _values(name: str, text: str) -> frozenset[int]:
    return frozenset(number for term in text.split(",") for number in _term(name, term))


def _term(name: str, term: str) -> range:
    about = _FIELDS[name]
    base, slash, step_text = term.partition("/")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit()) or not 0 < int(step_text) <= about.high - about.low + 1:
            raise FieldsInvalid(
                f"fields: {name} {term}: the step {step_text or '(nothing)'} is not a number "
                f"from 1 to {about.high - about.low + 1}; for longer steps use an interval (every)"
            )
        step = int(step_text)
    if base == "*":
        return range(about.low, about.high + 1, step)
    first, dash, last = base.partition("-")
    low = _number(name, first, about.names, about.low, about.high)
    if not dash:
        return range(low, about.high + 1, step) if slash else range(low, low + 1)
    high = _number(name, last, about.names, about.low, about.high)
    if low > high:
        way_out = (
            f"{first}-{about.high},{about.low}-{last}" if first.isdigit() and last.isdigit() else f"{first},{last}"
        )
        raise FieldsInvalid(f"fields: {name} {base} runs backwards; write {way_out}")
    return range(low, high + 1, step)


def _number(name: str, word: str, names: Mapping[str, int], low: int, high: int) -> int:
    if word in names:
        return names[word]
    if not re.fullmatch(r"[0-9]{1,4}", word):
        raise FieldsInvalid(f"fields: {name} {word or '(nothing)'!r} is not a number; use {_choices(names, low, high)}")
    if not low <= int(word) <= high:
        hint = "; 0 is Monday and 6 is Sunday here" if name == "day_of_week" else ""
        raise FieldsInvalid(f"fields: {name} {word} is outside {low}-{high}{hint}")
    return int(word)


def _choices(names: Mapping[str, int], low: int, high: int) -> str:
    return f"{low}-{high}" + (f" or {next(iter(names))}-{list(names)[-1]}" if names else "")
