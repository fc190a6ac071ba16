"""Look ahead: the next fire times of a rule, and those that will be skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final

import yaml

from mainspring.domain.occurrences import Pause
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import TRIGGER_KEYS, SessionTrigger, trigger_from_definition, trigger_from_text
from mainspring.errors import InvalidInput

LONGEST_LOOK: Final = 5_000
"""Fire times that are looked at to find those that are not skipped."""
MOST_DAYS_OFF: Final = 1_000
_UNSAVED: Final = "preview"


@dataclass(frozen=True, slots=True)
class Ahead:
    """A fire time to come, or a stretch of *n* that are skipped for one reason."""

    fire_at: datetime
    until_at: datetime
    n: int = 1
    skipped: str | None = None
    jitter: timedelta = timedelta(0)
    """How much later than *fire_at* its runs come due."""
    remark: str = ""
    """What is special about it, such as `half-day, closes at 13:00`."""


@dataclass(frozen=True, slots=True)
class DayOff:
    """A day on which the rule itself names nothing, although it is one like those on which it does."""

    day: date
    reason: str


def look_ahead(spec: ScheduleSpec, after: datetime, count: int, pause: Pause | None = None) -> list[Ahead]:
    """Return the next *count* fire times after *after* that will fire, and what is skipped before and between them.

    A schedule that is paused for good, or barred for very long, gives fewer: at most 5,000 fire times are looked at.
    """
    found: list[Ahead] = []
    firing = 0
    for fire_at in _fire_times(spec, after, count + LONGEST_LOOK):
        barred = pause.in_words() if pause is not None and pause.covers(fire_at) else spec.refusal(fire_at)
        if barred is None:
            jitter, remark = spec.jitter_for(fire_at), spec.trigger.remark(fire_at)
            found.append(Ahead(fire_at, fire_at, jitter=jitter, remark=remark))
            firing += 1
            if firing == count:
                break
        elif found and found[-1].skipped == barred:
            found[-1] = replace(found[-1], until_at=fire_at, n=found[-1].n + 1)
        else:
            found.append(Ahead(fire_at, fire_at, skipped=barred))
    return found


def spec_of_text(text: str, zone: str | None = None) -> ScheduleSpec:
    """Return a schedule that is saved nowhere, of the trigger that one line of text says.

    Beside what `trigger_from_text` reads, a key and its value as in the configuration: `calendar: {months: 1}`.
    Local times are in *zone*, UTC unless given; sessions are shown in the zone of their exchange unless given.

    Raises:
        InvalidInput: it cannot be made; the message says why.
    """
    key, colon, value = text.partition(":")
    if colon and key.strip() in TRIGGER_KEYS:
        trigger = trigger_from_definition({key.strip(): _value(value)}, zone or "UTC", seed=_UNSAVED)
    else:
        trigger = trigger_from_text(text, zone or "UTC", seed=_UNSAVED)
    shown = trigger.calendar.zone if zone is None and isinstance(trigger, SessionTrigger) else zone
    return ScheduleSpec(name=_UNSAVED, task=_UNSAVED, trigger=trigger, zone=shown or "UTC")


def _value(text: str) -> object:
    try:
        found = yaml.safe_load(text) if text.strip().startswith("{") else text.strip().strip("\"'")
    except yaml.YAMLError as error:
        raise InvalidInput(f"{text.strip()!r} cannot be read: {str(error).splitlines()[0]}") from None
    return found


def days_off(spec: ScheduleSpec, after: datetime, ahead: Sequence[Ahead]) -> list[DayOff]:
    """Return the days up to the last fire time of *ahead* that an exchange's calendar leaves out; at most 1,000."""
    if not ahead:
        return []
    named = spec.trigger.left_out(after, ahead[-1].until_at)
    return [DayOff(day, reason) for day, reason in islice(named, MOST_DAYS_OFF)]


def _fire_times(spec: ScheduleSpec, after: datetime, most: int) -> Iterator[datetime]:
    moment: datetime | None = after
    for _ in range(most):
        moment = spec.next_after(moment) if moment is not None else None
        if moment is None:
            return
        yield moment
