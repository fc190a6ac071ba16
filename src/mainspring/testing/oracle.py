"""Compute fire times by brute force, minute by minute from zoneinfo: the second opinion on every trigger.

It reads the stored form of a trigger and shares no code with `mainspring.domain.triggers`, so that a mistake in one
is not a mistake in both. Plain and slow on purpose; whole minutes of offset are assumed, as in all zones since 1973.
"""

from __future__ import annotations

import calendar
import hashlib
import importlib.resources
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 1440
MARGIN = 25 * 60
"""Minutes looked at on both sides of a window, because the other half of a fold may lie outside."""


def fire_times(
    trigger: Mapping[str, Any], after: datetime, until: datetime, sessions: Sequence[SessionHours] = ()
) -> list[datetime]:
    """Return the fire times in (after, until] of the trigger whose stored form is *trigger*, in order, in UTC.

    A trigger by exchange sessions needs the *sessions* of the exchange, from a source of the caller's.
    """
    kind = trigger["kind"]
    if kind == "date":
        found = [datetime.fromisoformat(trigger["at"])]
    elif kind == "interval":
        found = _interval(trigger, after, until)
    elif kind == "session":
        margin = timedelta(days=5)
        near = [one for one in _placed(trigger, sessions) if after - margin < one.opens < until + margin]
        found = sorted({moment for one in near for moment in _in_session(trigger, one)})
    else:
        first, last = _minute(after) - MARGIN, _minute(until) + MARGIN
        seconds = wall_fire_seconds(rule_of(trigger), timeline(trigger["zone"], first, last), **trigger["dst"])
        found = [EPOCH + timedelta(seconds=second) for second in seconds]
    return [moment.astimezone(UTC) for moment in found if after < moment <= until]


class SessionHours(NamedTuple):
    """One trading day: its day, open and close, and the pause in the middle of it if any; instants in UTC."""

    day: date
    opens: datetime
    closes: datetime
    pause: tuple[datetime, datetime] | None = None


@dataclass(frozen=True)
class WallRule:
    """A rule in wall time: minutes of the day, seconds of the minute, days; whether its times are fixed."""

    minutes: frozenset[int]
    seconds: tuple[int, ...]
    on_day: Callable[[date], bool]
    fixed: bool


@dataclass(frozen=True)
class Timeline:
    """Every minute of a stretch of real time with its wall minute, and the gaps; all in minutes since 1970."""

    by_time_of_day: Mapping[int, tuple[tuple[int, int], ...]]
    """Minute of the day to pairs (real minute, wall minute)."""
    gaps: tuple[tuple[int, int, int], ...]
    """Triples (real minute at the end of the gap, first wall minute skipped, first wall minute not skipped)."""


@lru_cache(maxsize=64)
def timeline(zone: str, first: int, last: int) -> Timeline:
    """Return what clocks in *zone* show in each real minute from *first* to *last*."""
    where = tz(zone)
    by_time_of_day: dict[int, list[tuple[int, int]]] = {}
    gaps = []
    before = None
    for real in range(first, last + 1):
        offset = (EPOCH + timedelta(minutes=real)).astimezone(where).utcoffset()
        assert offset is not None
        seconds = int(offset.total_seconds())
        assert seconds % 60 == 0, f"{zone} has an offset with seconds"
        wall = real + seconds // 60
        by_time_of_day.setdefault(wall % DAY, []).append((real, wall))
        if before is not None and wall > before + 1:
            gaps.append((real, before + 1, wall))
        before = wall
    return Timeline({minute: tuple(pairs) for minute, pairs in by_time_of_day.items()}, tuple(gaps))


def wall_fire_seconds(rule: WallRule, line: Timeline, gap: str, fold: str) -> list[int]:
    """Return the seconds since 1970 at which *rule* fires on *line*, in order."""
    known: dict[int, bool] = {}

    def matches(wall: int) -> bool:
        if wall // DAY not in known:
            known[wall // DAY] = rule.on_day(EPOCH.date() + timedelta(days=wall // DAY))
        return known[wall // DAY]

    real = [pair for minute in rule.minutes for pair in line.by_time_of_day.get(minute, ()) if matches(pair[1])]
    minutes = {minute for minute, _ in real}
    if rule.fixed and fold != "both":
        pick = min if fold == "first" else max
        chosen: dict[int, int] = {}
        for minute, wall in real:
            chosen[wall] = pick(minute, chosen.get(wall, minute))
        minutes = set(chosen.values())
    seconds = {minute * 60 + second for minute in minutes for second in rule.seconds}
    if rule.fixed and gap == "after":
        for end, low, high in line.gaps:
            if any(wall % DAY in rule.minutes and matches(wall) for wall in range(low, high)):
                seconds.add(end * 60)
    return sorted(seconds)


def rule_of(trigger: Mapping[str, Any]) -> WallRule:
    """Return the rule in wall time that the stored form of a cron, fields or calendar trigger says."""
    if trigger["kind"] == "cron":
        return _cron(trigger["text"], trigger.get("seed", ""))
    if trigger["kind"] == "fields":
        return _fields(trigger["fields"])
    return _calendar(trigger)


@lru_cache(maxsize=256)
def tz(name: str) -> ZoneInfo:
    """Return the zone *name* of the `tzdata` package."""
    data = importlib.resources.files("tzdata") / "zoneinfo" / name
    return ZoneInfo.from_file(io.BytesIO(data.read_bytes()), key=name)


def _minute(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds()) // 60


def _interval(trigger: Mapping[str, Any], after: datetime, until: datetime) -> list[datetime]:
    step = timedelta(microseconds=trigger["every_us"])
    moment = datetime.fromisoformat(trigger["anchor"])
    moment += (after - moment) // step * step
    found = []
    while moment <= until:
        found.append(moment)
        moment += step
    return found


def _placed(trigger: Mapping[str, Any], sessions: Sequence[SessionHours]) -> list[SessionHours]:
    place = trigger["place"]
    if place is None:
        return list(sessions)
    groups: dict[tuple[int, ...], list[SessionHours]] = {}
    for one in sessions:
        month = one.day.month
        key = {
            "week": tuple(one.day.isocalendar()[:2]),
            "month": (one.day.year, month),
            "quarter": (one.day.year, math.ceil(month / 3)),
            "year": (one.day.year,),
        }[place["period"]]
        groups.setdefault(key, []).append(one)
    pick = min if place["which"] == "first" else max
    return [pick(group, key=lambda one: one.day) for group in groups.values()]


def _in_session(trigger: Mapping[str, Any], one: SessionHours) -> list[datetime]:
    def at(point: Mapping[str, Any]) -> datetime:
        return {"open": one.opens, "close": one.closes}[point["edge"]] + timedelta(microseconds=point["offset_us"])

    start, stop = trigger["start"], trigger["stop"]
    first = at(start)
    if trigger["every_us"] is None:
        beyond = first > one.closes if start["edge"] == "open" else first < one.opens
        return [] if beyond else [first]
    if start["edge"] == "close" and first < one.opens:
        first = one.opens
    last = one.closes if stop is None else at(stop)
    if stop is not None and stop["edge"] == "open" and last > one.closes:
        last = one.closes
    found = []
    while first < last or (stop is not None and first == last):
        if one.pause is None or not one.pause[0] <= first < one.pause[1]:
            found.append(first)
        first += timedelta(microseconds=trigger["every_us"])
    return found


_SHORT = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
          "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}  # fmt: skip
_LIMITS = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
_NAMES = {
    "month": "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(),
    "weekday": "SUN MON TUE WED THU FRI SAT".split(),
}


@lru_cache(maxsize=1024)
def _cron(text: str, seed: str) -> WallRule:
    parts = _SHORT.get(text.lower(), text).upper().split()
    parts = ["0", *parts] if len(parts) == 5 else parts
    named = dict(zip(_LIMITS, parts, strict=True))
    second, minute, hour, month = (_numbers(name, named[name], seed) for name in ("second", "minute", "hour", "month"))
    star = named["day"].startswith("*") or named["weekday"].startswith("*")

    def on_day(day: date) -> bool:
        if day.month not in month:
            return False
        in_month = any(_day_of_month(term, day, seed) for term in named["day"].split(","))
        in_week = any(_day_of_week(term, day, seed) for term in named["weekday"].split(","))
        return (in_month and in_week) if star else (in_month or in_week)

    fixed = not any(named[name].startswith("*") or named[name].startswith("H/") for name in ("minute", "hour"))
    return WallRule(frozenset(h * 60 + m for h in hour for m in minute), tuple(sorted(second)), on_day, fixed)


def _numbers(name: str, text: str, seed: str) -> set[int]:
    return {number for term in text.split(",") for number in _numbers_of_term(name, term, seed)}


def _numbers_of_term(name: str, term: str, seed: str) -> range:
    low, high = _LIMITS[name]
    base, _, step = term.partition("/")
    by = int(step or 1)
    if base.startswith("H"):
        low, high = {"day": (1, 28), "weekday": (0, 6)}.get(name, (low, high))
        if "(" in base:
            low, high = (_number(name, word) for word in base[2:-1].split("-"))
        draw = int(hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()[:16], 16)
        if step:
            return range(low + draw % min(by, high - low + 1), high + 1, by)
        chosen = low + draw % (high - low + 1)
        return range(chosen, chosen + 1)
    if base == "*":
        return range(low, high + 1, by)
    first, dash, last = base.partition("-")
    start = _number(name, first)
    end = _number(name, last) if dash else (high if step else start)
    if name == "weekday" and dash and end == 0 and start > 0:
        end = 7
    return range(start, end + 1, by)


def _number(name: str, word: str) -> int:
    names = _NAMES.get(name, [])
    return names.index(word) + (name == "month") if word in names else int(word)


def _day_of_month(term: str, day: date, seed: str) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    if term == "L":
        return day.day == length
    if term == "LW":
        working = [n for n in range(1, length + 1) if day.replace(day=n).weekday() < 5]
        return day.day == working[-1]
    return day.day in _numbers_of_term("day", term, seed)


def _day_of_week(term: str, day: date, seed: str) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    if "#" in term:
        name, nth = term.split("#")
        return day.isoweekday() % 7 == _number("weekday", name) % 7 and (day.day - 1) // 7 + 1 == int(nth)
    if term.endswith("L"):
        return day.isoweekday() % 7 == _number("weekday", term[:-1]) % 7 and day.day + 7 > length
    return day.isoweekday() % 7 in {number % 7 for number in _numbers_of_term("weekday", term, seed)}


_FIELD_LIMITS = {"year": (1970, 9900), "month": (1, 12), "day": (1, 31), "week": (1, 53), "day_of_week": (0, 6),
                 "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}  # fmt: skip
_FIELD_LEAST = {"month": "1", "day": "1", "hour": "0", "minute": "0", "second": "0"}
_FIELD_NAMES = {"month": ["", *calendar.month_abbr[1:]], "day_of_week": list(calendar.day_abbr)}


def _fields(given: Mapping[str, str]) -> WallRule:
    texts = {}
    seen_finer = False
    for name in reversed(_FIELD_LIMITS):
        seen_finer = seen_finer or name in given
        texts[name] = given.get(name, "*" if seen_finer else _FIELD_LEAST.get(name, "*"))
    sets = {
        name: {n for term in text.split(",") for n in _field_term(name, term)}
        for name, text in texts.items()
        if name not in ("year", "day")
    }

    def on_day(day: date) -> bool:
        return (
            any(term == "*" or day.year in _field_term("year", term) for term in texts["year"].split(","))
            and day.month in sets["month"]
            and any(_field_day(term, day) for term in texts["day"].split(","))
            and day.isocalendar()[1] in sets["week"]
            and day.weekday() in sets["day_of_week"]
        )

    minutes = frozenset(h * 60 + m for h in sets["hour"] for m in sets["minute"])
    fixed = not (texts["hour"].startswith("*") or texts["minute"].startswith("*"))
    return WallRule(minutes, tuple(sorted(sets["second"])), on_day, fixed)


def _field_term(name: str, term: str) -> range:
    low, high = _FIELD_LIMITS[name]
    base, _, step = term.partition("/")
    if base == "*":
        return range(low, high + 1, int(step or 1))
    names = [word.lower() for word in _FIELD_NAMES.get(name, [])]
    ends = [names.index(word) if word in names else int(word) for word in base.split("-")]
    end = ends[1] if len(ends) == 2 else (high if step else ends[0])
    return range(ends[0], end + 1, int(step or 1))


def _field_day(term: str, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    place, _, weekday = term.partition(" ")
    if term == "last":
        return day.day == length
    if weekday:
        same = [n for n in range(1, length + 1) if day.replace(day=n).strftime("%a").lower() == weekday]
        index = -1 if place == "last" else int(place[0]) - 1
        return index < len(same) and day.day == same[index]
    return day.day in _field_term("day", term)


def _calendar(trigger: Mapping[str, Any]) -> WallRule:
    hour, minute, *second = (int(part) for part in trigger["at"].split(":"))
    anchor = date.fromisoformat(trigger["anchor"])
    count, wanted = int(trigger["count"]), int(trigger["day"] or 0)
    unit, falls_on_last = trigger["unit"], trigger["short_month"] == "last"

    def on_day(day: date) -> bool:
        if unit in ("days", "weeks"):
            return (day - anchor).days % (count * (7 if unit == "weeks" else 1)) == 0
        months = (day.year * 12 + day.month) - (anchor.year * 12 + anchor.month)
        if months % (count * (12 if unit == "years" else 1)):
            return False
        length = calendar.monthrange(day.year, day.month)[1]
        return day.day == (min(wanted, length) if falls_on_last else wanted)

    return WallRule(frozenset({hour * 60 + minute}), tuple(second) or (0,), on_day, fixed=True)
