"""Describe a schedule as it stands in a file, and check it completely."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from mainspring.config.kinds import (
    Duration,
    Flag,
    Moment,
    Priority,
    QueueName,
    Span,
    TaskName,
    Text,
    Zone,
    choice,
    integer,
    problem,
    shown,
    whole_number,
)
from mainspring.config.place import Place
from mainspring.config.section import Section, setting
from mainspring.domain.calendars import CalendarBook, CalendarRule
from mainspring.domain.duration import format_duration
from mainspring.domain.exchanges import zone_of
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.triggers import TRIGGER_KEYS, DstRule, OwnCalendars, Trigger, trigger_from_definition
from mainspring.domain.triggers.session_text import split_session
from mainspring.domain.zones import instant_of
from mainspring.errors import InvalidInput

_POLICIES: Final = ("skip", "latest", "all")
_OVERLAPS: Final = ("allow", "skip", "queue_one", "cancel_running")
_A_MICROSECOND: Final = timedelta(microseconds=1)

_Count = Annotated[int, BeforeValidator(whole_number(1, 10_000)), integer(1, 10_000)]
_Retries = Annotated[int, BeforeValidator(whole_number(0, 1_000)), integer(0, 1_000)]
_DayOfMonth = Annotated[int, BeforeValidator(whole_number(1, 31)), integer(1, 31)]
_NameOrNumber = Annotated[Any, WithJsonSchema({"type": ["string", "integer"]})]
_Overlap = Annotated[
    Literal["allow", "skip", "queue_one", "cancel_running"],
    BeforeValidator(choice(*_OVERLAPS)),
]

_MEMBER_LIMIT: Final = 400


def _named(member: object) -> str:
    """Return the text by which a run of *member* is told from the others: 1 and "1" have the same."""
    return member if isinstance(member, str) else json.dumps(member)


class DstConfig(Section):
    """What fixed local times do when clocks change."""

    gap: Annotated[Literal["after", "skip"], BeforeValidator(choice("after", "skip"))] = setting(
        "after", "A time that the clocks skip fires once after the gap, or not at all (skip)."
    )
    fold: Annotated[Literal["first", "both", "last"], BeforeValidator(choice("first", "both", "last"))] = setting(
        "first", "A time that occurs twice fires the first time, both times or the last time."
    )


class CalendarInterval(Section):
    """Every so many days, weeks, months or years, at a time of day."""

    days: _Count | None = setting(None, "Every this many days.", "days")
    weeks: _Count | None = setting(None, "Every this many weeks.", "weeks")
    months: _Count | None = setting(None, "Every this many months.", "months")
    years: _Count | None = setting(None, "Every this many years.", "years")
    day: _DayOfMonth | None = setting(None, "Day of the month, for months and years.", "day")
    month: _NameOrNumber = setting(None, "Month by name or number (1 is January), for years.")
    weekday: _NameOrNumber = setting(None, "Weekday by name or number (0 is Monday), for weeks.")
    time: Text = setting("00:00", "Local time of day.")
    short_month: Annotated[Literal["last", "skip"], BeforeValidator(choice("last", "skip"))] = setting(
        "last", "In a month without that day: its last day, or skip the month."
    )
    anchor: Moment | None = setting(None, "A day from which the intervals are counted.")


class SessionConfig(Section):
    """By the sessions of an exchange; may be written as one text, such as `XNYS close - 15m`."""

    exchange: Text = Field(description="Code of the exchange, such as XNYS, B3 or 24/7.")
    at: Text = Field(
        description="When: open + 5m, close - 15m, every 5m while open, every 30m from open + 10m to close - 10m; "
        "with 'on the last session of the month' (first or last of week, month, quarter or year) on that one alone."
    )
    closed: tuple[Text, ...] = setting((), "Calendars of your own whose days are no sessions.")
    hours: Mapping[str, Text] = setting({}, "Days with hours of your own, such as 2026-12-24: 09:30-12:00.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return split_session(value) if isinstance(value, str) else value


class CalendarsConfig(Section):
    """The days a schedule keeps to."""

    include: tuple[Text, ...] = setting((), "Fire only on days in one of these calendars.")
    exclude: tuple[Text, ...] = setting((), "Never fire on days in one of these calendars.")


class MisfireConfig(Section):
    """What becomes of fire times noticed late, after downtime for example."""

    policy: Annotated[Literal["skip", "latest", "all"], BeforeValidator(choice(*_POLICIES))] = setting(
        "latest", "Leave late fire times out (skip), fire the latest one, or fire all of them."
    )
    cap: Annotated[int, BeforeValidator(whole_number(1, 100_000)), integer(1, 100_000)] = setting(
        100, "With all: fire at most this many, the latest ones.", "fire times"
    )
    max_age: Duration | None = setting(None, "Fire nothing older than this.", "duration")
    grace: Span = setting(timedelta(seconds=30), "A fire time is late when noticed this long after it.", "duration")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"policy": choice(*_POLICIES)(value)} if isinstance(value, str) else value

    def rule(self) -> Misfire:
        """Return the policy as the domain knows it."""
        return Misfire(MisfirePolicy(self.policy), self.grace, self.cap, self.max_age)


class FanOutConfig(Section):
    """One run for each member of a set."""

    parameter: Text = Field(description="Parameter of the task that receives the member.")
    over: tuple[Any, ...] = Field(description="The members: text, numbers or true and false, each once.")

    @field_validator("over")
    @classmethod
    def _members(cls, members: tuple[Any, ...]) -> tuple[Any, ...]:
        if not members:
            raise problem("must name at least one member")
        for member in members:
            if not isinstance(member, (str, int, float, bool)):
                raise problem(f"members are text, numbers, true or false, not {shown(member)}")
            if len(str(member)) > _MEMBER_LIMIT:
                raise problem(f"member {shown(member)} is longer than {_MEMBER_LIMIT} characters")
            if sum(1 for other in members if _named(other) == _named(member)) > 1:
                raise problem(f"names {shown(member)} twice")
        return members


class ScheduleConfig(Section):
    """A schedule: a task, exactly one trigger (cron, fields, every, calendar, session or at) and policies."""

    task: TaskName = Field(description="Name of the task to run.")
    description: Text = setting("", "What it is for, in words.")
    enabled: Flag = setting(True, "Whether it fires at all.")
    cron: Text | None = setting(None, "Cron text of 5 fields, or 6 with seconds first; here 0 and 7 are Sunday.")
    fields: Mapping[str, Any] | None = setting(None, "Cron fields by name; here day_of_week 0 is Monday.")
    every: Duration | None = setting(None, "Time between two fire times.", "duration")
    anchor: Moment | None = setting(None, "With every: a moment from which the intervals are counted.")
    calendar: CalendarInterval | None = setting(None, "Every so many days, weeks, months or years.")
    session: SessionConfig | None = setting(None, "By the sessions of an exchange, such as XNYS close - 15m.")
    at: Moment | None = setting(None, "Fire once, at this date and time.")
    zone: Zone | None = setting(
        None, "Time zone of all its local times; default: that of the exchange with session, else the setting zone."
    )
    dst: DstConfig = setting(DstConfig(), "What fixed times do when clocks change.")
    start: Moment | None = setting(None, "No fire time before this day or moment.")
    end: Moment | None = setting(None, "No fire time after this day or moment; a day counts whole.")
    jitter: Span = setting(timedelta(0), "Runs come due up to this much later, by a fixed share of it.", "duration")
    calendars: CalendarsConfig = setting(CalendarsConfig(), "Days to keep to or to leave out.")
    misfire: MisfireConfig | None = setting(None, "What becomes of late fire times; default: scheduler.misfire.")
    overlap: _Overlap | None = setting(
        None, "What to do while a run of the last fire time is unfinished; default: scheduler.overlap."
    )
    parameters: Mapping[str, Any] = setting({}, "Parameters of the task.")
    fan_out: FanOutConfig | None = setting(None, "One run for each member of a set.")
    queue: QueueName | None = setting(None, "Queue of its runs; default: that of a route or the task.")
    priority: Priority | None = setting(
        None, "high (8), normal (5), low (2) or 0 to 9; default: of a route or the task."
    )
    max_retries: _Retries | None = setting(None, "Tries after the first; default: that of the task.", "tries")
    expires: Duration | None = setting(None, "A run that has not started by then is cancelled.", "duration")
    labels: Mapping[str, Text] = setting({}, "Labels of its runs, for filters.")

    @field_validator("fields")
    @classmethod
    def _field_values(cls, fields: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        for name, value in (fields or {}).items():
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise problem(f"{name} must be text or a number, not {shown(value)}")
        return fields

    @property
    def trigger_key(self) -> str | None:
        """Return which trigger is written, or None for none or several."""
        given = [key for key in TRIGGER_KEYS if getattr(self, key) is not None]
        return given[0] if len(given) == 1 else None

    def zone_or(self, default: str) -> str:
        """Return the zone of its local times; *default* is the zone of schedules that name none."""
        if self.zone is not None or self.session is None:
            return self.zone or default
        try:
            return zone_of(self.session.exchange)
        except InvalidInput:
            return default

    def trigger(self, name: str, zone: str, own_calendars: OwnCalendars | None = None) -> Trigger:
        """Return the trigger; *zone* is the default zone, *name* seeds `H` in cron text.

        Raises:
            InvalidInput: it cannot be made; the message says why.
        """
        written: dict[str, object] = {}
        for key in (*TRIGGER_KEYS, "anchor"):
            value = getattr(self, key)
            if value is None:
                continue
            if isinstance(value, (CalendarInterval, SessionConfig)):
                value = value.model_dump(exclude_none=True)
            written[key] = format_duration(value) if isinstance(value, timedelta) else value
        dst = DstRule(self.dst.gap, self.dst.fold)
        return trigger_from_definition(written, self.zone_or(zone), dst, name, own_calendars=own_calendars)

    def start_at(self, zone: str) -> datetime | None:
        """Return the instant of `start`; a day begins at its local midnight."""
        return None if self.start is None else _instant(self.start, self.zone_or(zone))

    def end_at(self, zone: str) -> datetime | None:
        """Return the last instant of `end`; a day ends just before the next local midnight."""
        if self.end is None or isinstance(self.end, datetime):
            return None if self.end is None else _instant(self.end, self.zone_or(zone))
        return _instant(self.end + timedelta(days=1), self.zone_or(zone)) - _A_MICROSECOND


class ScheduleDefaults(Section):
    """Defaults of schedules."""

    misfire: MisfireConfig = setting(MisfireConfig(), "What becomes of late fire times.")
    overlap: _Overlap = setting("allow", "What to do while a run of the last fire time is unfinished.")


def schedule_problems(
    name: str, schedule: ScheduleConfig, zone: str, own_calendars: OwnCalendars
) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with a schedule although each of its values is fine: place within it, and message."""
    yield from _unknown_calendars(schedule, CalendarBook(own_calendars))
    if schedule.fan_out is not None and schedule.fan_out.parameter in schedule.parameters:
        parameter = schedule.fan_out.parameter
        yield ("fan_out", "parameter"), f"{parameter!r} also stands in parameters; leave it out there"
    try:
        start, end = schedule.start_at(zone), schedule.end_at(zone)
    except (InvalidInput, ValueError, OverflowError):
        yield (), "start or end lies outside the years that can be used (1900 to 9900)"
        return
    if start is not None and end is not None and start >= end:
        yield ("end",), f"ends ({schedule.end}) before it starts ({schedule.start})"
        return
    key = schedule.trigger_key
    try:
        trigger = schedule.trigger(name, zone, own_calendars)
    except InvalidInput as error:
        said = str(error)
        at = ("anchor",) if said.startswith("anchor ") else (key,) if key else ()
        yield at, said.removeprefix(f"{key}: ")
        return
    if start is not None or end is not None:
        yield from _never_fires(trigger, start, end)


def _unknown_calendars(schedule: ScheduleConfig, book: CalendarBook) -> Iterator[tuple[Place, str]]:
    for side in ("include", "exclude"):
        for index, calendar in enumerate(getattr(schedule.calendars, side)):
            try:
                book.require(calendar)
            except InvalidInput as error:
                known = "write weekdays, weekends, B3, NYSE, a country such as BR, or a calendar of your own"
                guessed = "did you mean" in str(error)
                message = str(error) if guessed else f"unknown calendar {calendar!r}; {known}"
                yield ("calendars", side, index), message


def _never_fires(trigger: Trigger, start: datetime | None, end: datetime | None) -> Iterator[tuple[Place, str]]:
    earliest = _instant(date(1970, 1, 1), "UTC") if start is None else start
    first = trigger.next_after(earliest - _A_MICROSECOND)
    if first is None or (end is not None and first > end):
        yield (), "never fires between its start and its end; check the trigger, start and end"


def to_spec(
    name: str,
    schedule: ScheduleConfig,
    zone: str,
    defaults: ScheduleDefaults,
    own_calendars: OwnCalendars,
    pack: str | None = None,
) -> ScheduleSpec:
    """Return the schedule as the domain knows it, with every default filled in.

    Raises:
        InvalidInput: for a schedule in which `schedule_problems` finds something.
    """
    rule = CalendarRule(schedule.calendars.include, schedule.calendars.exclude)
    named = (*rule.include, *rule.exclude)
    fan_out = schedule.fan_out
    return ScheduleSpec(
        name=name,
        task=schedule.task,
        trigger=schedule.trigger(name, zone, own_calendars),
        zone=schedule.zone_or(zone),
        description=schedule.description,
        enabled=schedule.enabled,
        start_at=schedule.start_at(zone),
        end_at=schedule.end_at(zone),
        jitter=schedule.jitter,
        calendars=rule,
        own_calendars={calendar: days for calendar, days in own_calendars.items() if calendar in named},
        misfire=(schedule.misfire or defaults.misfire).rule(),
        overlap=OverlapPolicy(schedule.overlap or defaults.overlap),
        parameters=dict(schedule.parameters),
        fan_out=None if fan_out is None else FanOut(fan_out.parameter, fan_out.over),
        queue=schedule.queue,
        priority=schedule.priority,
        max_tries=None if schedule.max_retries is None else schedule.max_retries + 1,
        expires=schedule.expires,
        labels=dict(schedule.labels),
        pack=pack,
    )


def _instant(written: date | datetime, zone: str) -> datetime:
    if not isinstance(written, datetime):
        written = datetime.combine(written, time())
    return instant_of(zone, written) if written.tzinfo is None else written.astimezone(UTC)
