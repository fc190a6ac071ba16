"""Write upcoming runs as an iCalendar feed (RFC 5545), for the calendar programs of people."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from mainspring.domain.occurrences import Pause
from mainspring.domain.spec import ScheduleSpec

PER_SCHEDULE: Final = 200
"""Events of one schedule at most, the next ones: a schedule of every minute would bury all others."""
MOST_EVENTS: Final = 2_000
LONGEST_LOOK: Final = 5_000
_OCTETS: Final = 75


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A run to come: the fire time of a schedule that nothing bars."""

    fire_at: datetime
    spec: ScheduleSpec


def upcoming(
    schedules: Iterable[tuple[ScheduleSpec, Pause | None]], after: datetime, until: datetime
) -> list[Upcoming]:
    """Return the runs to come in (after, until], in order: at most 200 of each schedule, 2,000 in all."""
    each = [islice(_free(spec, pause, after, until), PER_SCHEDULE) for spec, pause in schedules if spec.enabled]
    return list(islice(heapq.merge(*each, key=lambda one: (one.fire_at, one.spec.name)), MOST_EVENTS))


def calendar_text(events: Iterable[Upcoming], now: datetime) -> str:
    """Return *events* as an iCalendar document; the same fire time of the same schedule always has the same UID."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Mainspring//Upcoming runs//EN", "CALSCALE:GREGORIAN"]
    lines += ["METHOD:PUBLISH", "X-WR-CALNAME:Mainspring"]
    for event in events:
        lines += _event(event, now)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _folded(line))


def _free(spec: ScheduleSpec, pause: Pause | None, after: datetime, until: datetime) -> Iterator[Upcoming]:
    moment: datetime | None = after
    for _ in range(LONGEST_LOOK):
        moment = spec.next_after(moment) if moment is not None else None
        if moment is None or moment > until:
            return
        if (pause is None or not pause.covers(moment)) and spec.refusal(moment) is None:
            yield Upcoming(moment, spec)


def _event(event: Upcoming, now: datetime) -> Iterator[str]:
    spec, at = event.spec, _utc(event.fire_at)
    remark = spec.trigger.remark(event.fire_at)
    said = [spec.description, spec.trigger.in_words(), remark, f"Task: {spec.task}"]
    yield "BEGIN:VEVENT"
    yield f"UID:{_escaped(spec.name)}-{at}@mainspring"
    yield f"DTSTAMP:{_utc(now)}"
    yield f"DTSTART:{at}"
    yield "DURATION:PT1M"
    yield f"SUMMARY:{_escaped(spec.name)}"
    yield f"DESCRIPTION:{_escaped(chr(10).join(part for part in said if part))}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _utc(moment: datetime) -> str:
    # Events are in whole seconds; one that begins within a second begins with it.
    return f"{moment.astimezone(UTC) - timedelta(microseconds=moment.microsecond):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for sign in ("\\", ";", ","):
        text = text.replace(sign, f"\\{sign}")
    return "".join(sign for sign in text.replace("\r\n", "\n").replace("\n", "\\n") if sign >= " " and sign != "\x7f")


def _folded(line: str) -> Iterator[str]:
    """Yield *line* in parts of at most 75 octets; all but the first begin with a space, and no character is cut."""
    part, size = "", 0
    for sign in line:
        octets = len(sign.encode())
        if size + octets > _OCTETS:
            yield part
            part, size = " ", 1
        part, size = part + sign, size + octets
    yield part
