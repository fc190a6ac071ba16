"""Walk through real time and read the clocks on the wall: when rules in local time fire, gaps and folds included."""

from __future__ import annotations

import importlib.resources
import io
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Final
from zoneinfo import ZoneInfo

from mainspring.clock import EPOCH

DAY: Final = 24 * 60
"""Minutes; times here are minutes since 1970, real ones in UTC, those of the wall as the zone's clocks show them."""
SECOND_US: Final = 1_000_000
DAY_US: Final = DAY * 60 * SECOND_US
_AROUND: Final = 2
"""Days looked at before and after one: no clock was ever moved by more than a day."""
_FIRST_DAY: Final = 719_163
"""The ordinal of 1970-01-01."""


class ZoneUnknown(ValueError):
    """A stored zone is not among those of the `tzdata` package."""


@dataclass(frozen=True, slots=True)
class WallRule:
    """A rule in local time: minutes of the day, seconds of the minute, days, and whether its times are fixed.

    Fixed times obey the rule for gaps and folds; any other rule fires whenever the clock shows a matching time.
    """

    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    on_day: Callable[[date], bool]
    fixed: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """Real minutes from *first* to before *end* in which the clocks of a zone are *offset* minutes ahead of UTC."""

    first: int
    end: int
    offset: int


def fire_times(rule: WallRule, zone: str, gap: str, fold: str, after: int, until: int) -> Iterator[int]:
    """Yield the fire times in (after, until], in order; all in microseconds since 1970."""
    for day in range(after // DAY_US, until // DAY_US + 1):
        found = [second * SECOND_US for second in fire_seconds(rule, zone, gap, fold, day)]
        if day * DAY_US <= after or until < (day + 1) * DAY_US:
            found = [moment for moment in found if after < moment <= until]
        yield from found


def fire_seconds(rule: WallRule, zone: str, gap: str, fold: str, day: int) -> list[int]:
    """Return the fire times of one UTC day, in order, in seconds since 1970."""
    window = stretches(zone, day)
    minutes = [minute for stretch in window for minute in _matching(rule, stretch, day)]
    if rule.fixed and fold != "both" and len(window) > 1:
        pick = min if fold == "first" else max
        minutes = [minute for minute in minutes if pick(_showing_the_same(minute, window)) == minute]
    seconds = [minute * 60 + second for minute in minutes for second in rule.seconds]
    if rule.fixed and gap == "after":
        ends = [after.first for before, after in pairwise(window) if _skips(rule, before, after)]
        seconds = sorted({*seconds, *(end * 60 for end in ends if end // DAY == day)}) if ends else seconds
    return seconds


def _matching(rule: WallRule, stretch: Stretch, day: int) -> Iterator[int]:
    """Yield the real minutes of the UTC day *day* inside *stretch* at which the wall shows a time that matches."""
    first = max(stretch.first, day * DAY) + stretch.offset
    end = min(stretch.end, (day + 1) * DAY) + stretch.offset
    for minute in _named(rule, first, end):
        yield minute - stretch.offset


def _named(rule: WallRule, first: int, end: int) -> Iterator[int]:
    """Yield the wall minutes from *first* to before *end* that the rule names."""
    for day in range(first // DAY, (end - 1) // DAY + 1):
        if first < end and rule.on_day(date.fromordinal(_FIRST_DAY + day)):
            low, high = (bisect_left(rule.minutes, minute - day * DAY) for minute in (first, end))
            for minute in rule.minutes[low:high]:
                yield day * DAY + minute


def _showing_the_same(real: int, window: tuple[Stretch, ...]) -> list[int]:
    """Return all real minutes of *window* at which the wall shows what it shows at *real*."""
    wall = next(real + stretch.offset for stretch in window if stretch.first <= real < stretch.end)
    return [wall - s.offset for s in window if s.first <= wall - s.offset < s.end]


def _skips(rule: WallRule, before: Stretch, after: Stretch) -> bool:
    """Return whether clocks that went on from *before* to *after* left out a time that the rule names."""
    return any(True for _ in _named(rule, before.end + before.offset, after.first + after.offset))


@lru_cache(maxsize=65_536)
def stretches(zone: str, day: int) -> tuple[Stretch, ...]:
    """Return how the clocks of *zone* stand in the UTC day *day* and two days on both sides of it."""
    days = range(day - _AROUND, day + _AROUND + 1)
    found: list[Stretch] = []
    for stretch in (stretch for each in days for stretch in _stretches_of(zone, each)):
        if found and found[-1].offset == stretch.offset:
            found[-1] = Stretch(found[-1].first, stretch.end, stretch.offset)
        else:
            found.append(stretch)
    return tuple(found)


@lru_cache(maxsize=65_536)
def _stretches_of(zone: str, day: int) -> tuple[Stretch, ...]:
    """Return how the clocks stand in one UTC day: minute by minute, if they do not show the same offset each hour."""
    where = zone_info(zone)
    first, end = day * DAY, (day + 1) * DAY
    offsets = {_offset(where, minute) for minute in range(first, end + 1, 60)}
    if len(offsets) == 1:
        return (Stretch(first, end, offsets.pop()),)
    by_minute = [(_offset(where, minute), minute) for minute in range(first, end)]
    grouped = [(offset, [minute for _, minute in pairs]) for offset, pairs in groupby(by_minute, key=itemgetter(0))]
    return tuple(Stretch(minutes[0], minutes[-1] + 1, offset) for offset, minutes in grouped)


def _offset(where: ZoneInfo, minute: int) -> int:
    offset = (EPOCH + timedelta(minutes=minute)).astimezone(where).utcoffset()
    assert offset is not None
    # Whole minutes in all zones since 1972, long before any ledger.
    return int(offset.total_seconds()) // 60


def wall_minute(zone: str, moment: int) -> int:
    """Return what the wall shows at *moment* (microseconds), in whole minutes since 1970."""
    minute = moment // (60 * SECOND_US)
    return minute + _offset(zone_info(zone), minute)


def wall_date(zone: str, moment: int) -> date:
    """Return the local date in *zone* at *moment* (microseconds)."""
    return date.fromordinal(_FIRST_DAY + wall_minute(zone, moment) // DAY)


@lru_cache(maxsize=1024)
def zone_info(name: str) -> ZoneInfo:
    """Return the zone *name* as the `tzdata` package has it.

    Raises:
        ZoneUnknown: it has none of that name.
    """
    parts = name.split("/")
    source = importlib.resources.files("tzdata").joinpath("zoneinfo", *parts)
    if not name or ".." in parts or not source.is_file():
        raise ZoneUnknown(f"there is no time zone {name!r}")
    return ZoneInfo.from_file(io.BytesIO(source.read_bytes()), key=name)
