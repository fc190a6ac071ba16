"""Read the stored spec of a version of a schedule: what it says about fire times, runs and policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from mainspring.verify.look import micros
from mainspring.verify.rules import Rule, rule_of
from mainspring.verify.walls import wall_date

Barred = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a schedule's spec: it names the fire times after `effective_at`, until the next one takes over."""

    number: int
    enabled: bool
    effective_at: int
    task: str
    rule: Rule | None
    """None where only data about exchanges could say which instants the rule names: its rows are taken as recorded."""
    start_at: int | None
    end_at: int | None
    members: tuple[str, ...]
    """The texts that tell the runs of one fire time apart, sorted."""
    misfire: str
    overlap: str
    has_calendars: bool
    barred: Barred | None
    """Whether a calendar bars the local day of an instant; None where none can or data about holidays decides."""

    def fire_times(self, after: int, until: int) -> Iterator[int]:
        """Yield the fire times in (after, until]; none while the schedule is disabled."""
        if not self.enabled or self.rule is None:
            return iter(())
        if self.start_at is not None:
            after = max(after, self.start_at - 1)
        if self.end_at is not None:
            until = min(until, self.end_at)
        return self.rule(after, until) if after < until else iter(())


def read_version(number: int, text: str, enabled: bool, effective_at: int) -> Version:
    """Return the version whose stored spec is *text*.

    Raises:
        ValueError, KeyError, TypeError: the spec cannot be read.
    """
    body = json.loads(text)
    return Version(
        number=number,
        enabled=enabled,
        effective_at=effective_at,
        task=body["task"],
        rule=rule_of(body["trigger"]),
        start_at=_instant(body["start_at"]),
        end_at=_instant(body["end_at"]),
        members=_members(body["fan_out"]),
        misfire=body["misfire"]["policy"],
        overlap=body["overlap"],
        has_calendars=bool(body["calendars"]["include"] or body["calendars"]["exclude"]),
        barred=_barred(body),
    )


def _instant(text: str | None) -> int | None:
    return None if text is None else micros(datetime.fromisoformat(text))


def _members(fan_out: Mapping[str, Any] | None) -> tuple[str, ...]:
    if fan_out is None:
        return ("",)
    return tuple(sorted(_member(member) for member in fan_out["over"]))


def _member(member: Any) -> str:
    if member is None:
        return ""
    if isinstance(member, str):
        return member
    return json.dumps(member, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _barred(body: Mapping[str, Any]) -> Barred | None:
    include, exclude = body["calendars"]["include"], body["calendars"]["exclude"]
    lists: Mapping[str, Mapping[str, str]] = body["own_calendars"]
    named = (*include, *exclude)
    if not named or not all(name in lists or name in ("weekdays", "weekends") for name in named):
        return None
    zone = body["zone"]

    def holds(name: str, day: date) -> bool:
        if name in lists:
            return day.isoformat() in lists[name]
        return (day.isoweekday() >= 6) == (name == "weekends")

    def barred(moment: int) -> bool:
        day = wall_date(zone, moment)
        shut = any(holds(name, day) for name in exclude)
        return shut or (bool(include) and not any(holds(name, day) for name in include))

    return barred
