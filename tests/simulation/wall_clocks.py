"""What schedules had to do over years, worked out without the code that did it: brute force on a grid of clocks.

Rules are read by `mainspring.testing.oracle`; the clocks of a zone are read every five minutes, on which all rules and
all changes of clocks of these years fall (it is checked); what becomes of a late fire time is said here once more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from mainspring.testing import oracle
from mainspring.testing.oracle import DAY, EPOCH, MARGIN, Timeline

GRID: Final = 5
"""Minutes between two looks at the clocks of a zone."""
_YEAR: Final = 366 * DAY


class Decision(NamedTuple):
    """What had to become of one fire time, in seconds since 1970."""

    fire_at: int
    outcome: str
    cause: str | None


@dataclass(frozen=True)
class Reign:
    """A stretch of real minutes in which the data of one zone held for a zone's name."""

    first: int
    end: int
    zone: str


def grid(zone: str, first: int, last: int) -> Timeline:
    """Return what clocks in *zone* show every five minutes from *first* to *last*, and the gaps in between."""
    where = oracle.tz(zone)
    by_time_of_day: dict[int, list[tuple[int, int]]] = {}
    gaps = []
    before: int | None = None
    for real in range(first - first % GRID, last + 1, GRID):
        offset = _offset(where, real)
        assert offset % GRID == 0, f"{zone} has an offset of {offset} minutes"
        wall = real + offset
        by_time_of_day.setdefault(wall % DAY, []).append((real, wall))
        if before is not None and offset != before:
            assert _offset(where, real - 1) == before, f"{zone} changes its clocks between two looks"
            if offset > before:
                gaps.append((real, real + before, wall))
        before = offset
    return Timeline({minute: tuple(pairs) for minute, pairs in by_time_of_day.items()}, tuple(gaps))


def _offset(where: Any, real: int) -> int:
    offset = (EPOCH + timedelta(minutes=real)).astimezone(where).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def fire_seconds(
    triggers: Sequence[Mapping[str, Any]], zone: str, after: int, until: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield pairs (index of a trigger, its fire times in a further part of (after, until]); seconds since 1970.

    The triggers are all of one zone; a year of its clocks is kept at a time.
    """
    first = after // 60
    while first * 60 < until:
        last = min(first + _YEAR, -(-until // 60))
        line = grid(zone, first - MARGIN, last + MARGIN)
        for index, trigger in enumerate(triggers):
            rule = oracle.rule_of(trigger)
            assert all(minute % GRID == 0 for minute in rule.minutes)
            assert rule.seconds == (0,)
            seconds = oracle.wall_fire_seconds(rule, line, **trigger["dst"])
            yield index, [s for s in seconds if max(first * 60, after) < s <= min(last * 60, until)]
        first = last


@dataclass(frozen=True)
class LateRule:
    """What a schedule says of fire times noticed late; seconds."""

    policy: str
    grace: int
    cap: int
    max_age: int | None


def decisions(fire_times: Sequence[int], looks: Sequence[int], rule: LateRule, is_barred: Any) -> Iterator[Decision]:
    """Yield what had to become of *fire_times*, when a scheduler looked at the instants *looks*, in order."""

    def look_of(fire_at: int) -> int:
        place = bisect_left(looks, fire_at)
        return looks[place] if place < len(looks) else -1

    for look, group in groupby(fire_times, key=look_of):
        if look == -1:
            return
        found = list(group)
        free = [f for f in found if not is_barred(f)]
        fires = set(free)
        if free and look - free[0] > rule.grace:
            fires = set(_kept(free, look, rule))
        for f in found:
            if is_barred(f):
                yield Decision(f, "skipped", "calendar")
            elif f in fires:
                yield Decision(f, "fired", None)
            else:
                yield Decision(f, *_left_out(look - f, rule))


def _kept(free: Sequence[int], look: int, rule: LateRule) -> Sequence[int]:
    if rule.policy == "skip":
        return [f for f in free if look - f <= rule.grace]
    kept = free[-1:] if rule.policy == "latest" else free[-rule.cap :]
    return [f for f in kept if rule.max_age is None or look - f <= rule.max_age]


def _left_out(age: int, rule: LateRule) -> tuple[str, str | None]:
    too_old = rule.max_age is not None and age > rule.max_age
    return ("coalesced", None) if rule.policy == "latest" and not too_old else ("skipped", "missed")


class Closed:
    """The days that a schedule leaves out: weekends perhaps, and a list of dates."""

    def __init__(self, zone: str, weekends: bool, days: frozenset[date]) -> None:
        self._where, self._weekends, self._days = oracle.tz(zone), weekends, days

    def __call__(self, second: int) -> bool:
        if not (self._weekends or self._days):
            return False
        day = datetime.fromtimestamp(second, UTC).astimezone(self._where).date()
        return (self._weekends and day.isoweekday() > 5) or day in self._days
