"""Turn the stored form of a trigger into its fire times, by brute force."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import partial
from typing import Any

from mainspring.verify import walls
from mainspring.verify.cron import cron_rule
from mainspring.verify.fields import fields_rule
from mainspring.verify.look import micros
from mainspring.verify.walls import WallRule

Rule = Callable[[int, int], Iterator[int]]
"""Yields the fire times in (after, until], in order; all in microseconds since 1970."""


def rule_of(trigger: Mapping[str, Any]) -> Rule | None:
    """Return the rule whose stored form is *trigger*; None for exchange sessions, which this judge has no data about.

    Raises:
        ValueError, KeyError, TypeError: the stored form cannot be read.
    """
    kind = trigger["kind"]
    if kind == "interval":
        return partial(_interval, int(trigger["every_us"]), micros(datetime.fromisoformat(trigger["anchor"])))
    if kind == "date":
        return partial(_once, micros(datetime.fromisoformat(trigger["at"])))
    if kind == "session":
        return None
    walls.zone_info(trigger["zone"])
    dst = trigger["dst"]
    return partial(walls.fire_times, _wall_rule(trigger), trigger["zone"], dst["gap"], dst["fold"])


def _wall_rule(trigger: Mapping[str, Any]) -> WallRule:
    if trigger["kind"] == "cron":
        return cron_rule(trigger["text"], trigger.get("seed", ""))
    if trigger["kind"] == "fields":
        return fields_rule(trigger["fields"])
    if trigger["kind"] == "calendar":
        return _calendar_rule(trigger)
    raise ValueError(f"there is no kind of trigger {trigger['kind']!r}")


def _interval(every: int, anchor: int, after: int, until: int) -> Iterator[int]:
    if every <= 0:
        raise ValueError(f"an interval of {every} µs never ends")
    yield from range(anchor + ((after - anchor) // every + 1) * every, until + 1, every)


def _once(at: int, after: int, until: int) -> Iterator[int]:
    if after < at <= until:
        yield at


def _calendar_rule(trigger: Mapping[str, Any]) -> WallRule:
    hour, minute, *rest = (int(part) for part in trigger["at"].split(":"))
    on_day = _every(
        int(trigger["count"]), trigger["unit"], date.fromisoformat(trigger["anchor"]), trigger["day"],
        trigger["short_month"],
    )  # fmt: skip
    return WallRule((hour * 60 + minute,), tuple(rest) or (0,), on_day, fixed=True)


def _every(count: int, unit: str, anchor: date, wanted: int | None, short_month: str) -> Callable[[date], bool]:
    def by_days(day: date) -> bool:
        return (day - anchor).days % (count * (7 if unit == "weeks" else 1)) == 0

    def by_months(day: date) -> bool:
        passed = 12 * (day.year - anchor.year) + day.month - anchor.month
        if passed % (count * (12 if unit == "years" else 1)):
            return False
        length = calendar.monthrange(day.year, day.month)[1]
        on = anchor.day if wanted is None else wanted
        return day.day == (min(on, length) if short_month == "last" else on)

    if unit not in ("days", "weeks", "months", "years") or count < 1:
        raise ValueError(f"a calendar interval of {count} {unit} cannot be read")
    return by_days if unit in ("days", "weeks") else by_months
