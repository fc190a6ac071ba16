"""Describe a schedule: a task, a trigger, a zone and policies, as one value that is stored whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from mainspring.domain.calendars import CalendarBook, CalendarRule
from mainspring.domain.triggers import Trigger, trigger_from_json
from mainspring.domain.zones import zone as load_zone
from mainspring.encoding import canonical, decode
from mainspring.errors import MainspringError


class MisfirePolicy(StrEnum):
    """What to do with fire times noticed late."""

    SKIP = "skip"
    LATEST = "latest"
    ALL = "all"


class OverlapPolicy(StrEnum):
    """What to do at a fire time while a run of the last one is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


DEFAULT_GRACE: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Misfire:
    """The misfire policy: fire times noticed later than *grace* are late, and with them all that are pending.

    ``all`` fires the latest *cap* of them, none older than *max_age*; what is left out is recorded as missed.
    """

    policy: MisfirePolicy = MisfirePolicy.LATEST
    grace: timedelta = DEFAULT_GRACE
    cap: int = 100
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class FanOut:
    """One run for each member of a set; the member is passed as *parameter*."""

    parameter: str
    over: tuple[Any, ...]


@dataclass(frozen=True)
class ScheduleSpec:
    """Everything a schedule says. Equal specs have equal `to_text`."""

    name: str
    task: str
    trigger: Trigger
    zone: str = "UTC"
    description: str = ""
    enabled: bool = True
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: timedelta = timedelta(0)
    calendars: CalendarRule = field(default_factory=CalendarRule)
    own_calendars: Mapping[str, Mapping[date, str]] = field(default_factory=dict)
    misfire: Misfire = field(default_factory=Misfire)
    overlap: OverlapPolicy = OverlapPolicy.ALLOW
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fan_out: FanOut | None = None
    queue: str | None = None
    priority: int | None = None
    max_tries: int | None = None
    expires: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pack: str | None = None
    """The pack that is told of each firing, if any."""

    def to_text(self) -> str:
        """Return the spec as canonical JSON text, the form in which it is stored and compared."""
        return canonical(_spec_to_json(self))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time after *moment* within start and end; calendars are not asked."""
        if self.start_at is not None and moment < self.start_at:
            # A fire time equal to the start counts, and next_after is strict.
            moment = self.start_at - timedelta(microseconds=1)
        found = self.trigger.next_after(moment)
        return None if found is None or (self.end_at is not None and found > self.end_at) else found

    def refusal(self, fire_at: datetime) -> str | None:
        """Return why a calendar excludes the local day of *fire_at*, in words, or None."""
        if not self.calendars:
            return None
        return self.calendars.refusal(fire_at.astimezone(load_zone(self.zone)).date(), _book(self))

    def jitter_for(self, fire_at: datetime) -> timedelta:
        """Return how long after *fire_at* its runs come due: the same on every host, below `jitter`."""
        if not self.jitter:
            return timedelta(0)
        digest = sha256(f"{self.name}|{fire_at.isoformat()}".encode()).digest()
        return self.jitter * (int.from_bytes(digest[:8], "big") / 2**64)

    def members(self) -> tuple[Any, ...]:
        """Return the set to fan out over; one None where there is no fan-out."""
        return (None,) if self.fan_out is None else self.fan_out.over


def spec_from_text(text: str) -> ScheduleSpec:
    """Return the spec that `ScheduleSpec.to_text` wrote; the same text gives the same object."""
    return _parse(text)


class SpecUnreadable(MainspringError):
    """The stored text of a schedule is none that this release can read."""


@lru_cache(maxsize=20_000)
def _parse(text: str) -> ScheduleSpec:
    try:
        return _read(decode(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecUnreadable(f"the stored schedule cannot be read ({error!r}): {text[:200]}") from error


def _read(body: Mapping[str, Any]) -> ScheduleSpec:
    fan_out = body.get("fan_out")
    misfire = body["misfire"]
    return ScheduleSpec(
        name=body["name"],
        task=body["task"],
        trigger=trigger_from_json(body["trigger"]),
        zone=body["zone"],
        description=body["description"],
        enabled=body["enabled"],
        start_at=_instant(body["start_at"]),
        end_at=_instant(body["end_at"]),
        jitter=timedelta(seconds=body["jitter"]),
        calendars=CalendarRule(tuple(body["calendars"]["include"]), tuple(body["calendars"]["exclude"])),
        own_calendars={
            name: {date.fromisoformat(day): label for day, label in days.items()}
            for name, days in body["own_calendars"].items()
        },
        misfire=Misfire(
            MisfirePolicy(misfire["policy"]),
            timedelta(seconds=misfire["grace"]),
            misfire["cap"],
            _span(misfire["max_age"]),
        ),
        overlap=OverlapPolicy(body["overlap"]),
        parameters=body["parameters"],
        fan_out=None if fan_out is None else FanOut(fan_out["parameter"], tuple(fan_out["over"])),
        queue=body["queue"],
        priority=body["priority"],
        max_tries=body["max_tries"],
        expires=_span(body["expires"]),
        labels=body["labels"],
        pack=body["pack"],
    )


def _spec_to_json(spec: ScheduleSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "task": spec.task,
        "trigger": spec.trigger.to_json(),
        "zone": spec.zone,
        "description": spec.description,
        "enabled": spec.enabled,
        "start_at": spec.start_at,
        "end_at": spec.end_at,
        "jitter": spec.jitter,
        "calendars": {"include": spec.calendars.include, "exclude": spec.calendars.exclude},
        "own_calendars": {
            name: {day.isoformat(): label for day, label in days.items()} for name, days in spec.own_calendars.items()
        },
        "misfire": {
            "policy": spec.misfire.policy,
            "grace": spec.misfire.grace,
            "cap": spec.misfire.cap,
            "max_age": spec.misfire.max_age,
        },
        "overlap": spec.overlap,
        "parameters": dict(spec.parameters),
        "fan_out": None if spec.fan_out is None else {"parameter": spec.fan_out.parameter, "over": spec.fan_out.over},
        "queue": spec.queue,
        "priority": spec.priority,
        "max_tries": spec.max_tries,
        "expires": spec.expires,
        "labels": dict(spec.labels),
        "pack": spec.pack,
    }


def _book(spec: ScheduleSpec) -> CalendarBook:
    return CalendarBook(spec.own_calendars)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
