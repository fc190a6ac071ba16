"""Decide what becomes of each fire time of a schedule: the heart of firing, without a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final

from mainspring.domain.spec import Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.zones import instant_of, local_wall
from mainspring.ids import ScheduleId

MOST_AT_ONCE: Final = 1_000
"""Fire times that one plan decides at most; a longer backlog takes several."""


class Outcome(StrEnum):
    """What became of an occurrence."""

    FIRED = "fired"
    COALESCED = "coalesced"
    SKIPPED = "skipped"


class Cause(StrEnum):
    """Why an occurrence was skipped."""

    OVERLAP = "overlap"
    CALENDAR = "calendar"
    PAUSED = "paused"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Pause:
    """A schedule's pause: from *since* until *until* (open when None), by whom and why."""

    since: datetime
    until: datetime | None = None
    by: str = ""
    reason: str = ""

    def covers(self, fire_at: datetime) -> bool:
        """Return whether *fire_at* falls into the pause; its start does not, its end neither."""
        return self.since < fire_at and (self.until is None or fire_at < self.until)

    def in_words(self) -> str:
        """Return who paused and why, in a sentence that does not change while the pause lasts."""
        who = f" by {self.by}" if self.by else ""
        return f"paused{who}: {self.reason}" if self.reason else f"paused{who}"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a schedule stands: what the plan starts from, and what the store compares before it writes."""

    schedule_id: ScheduleId
    version: int
    last_at: datetime | None
    effective_at: datetime
    catch_up_until: datetime | None = None
    pause: Pause | None = None
    unfinished: int = 0
    """Fire times of this schedule that still have unfinished runs."""

    @property
    def mark(self) -> datetime:
        """Return the instant up to which all is decided."""
        return self.effective_at if self.last_at is None else max(self.last_at, self.effective_at)

    def begins_anew(self, now: datetime) -> datetime:
        """Return from when on an edit at *now* holds: the mark never goes back, wherever a clock was set."""
        return max(now, self.mark)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One fire time, or a stretch of *n* equal ones, with what became of it."""

    fire_at: datetime
    until_at: datetime
    n: int
    outcome: Outcome
    cause: Cause | None
    reason: str
    local_key: str | None = None
    waits: bool = False
    """Fired, but its runs wait until those of the fire time before have ended."""

    def joins(self, other: Occurrence) -> bool:
        """Return whether *other*, the next one, may share this one's row."""
        alike = (self.outcome, self.cause, self.reason) == (other.outcome, other.cause, other.reason)
        return alike and self.outcome is not Outcome.FIRED


@dataclass(frozen=True, slots=True)
class FirePlan:
    """What to write for one schedule in one transaction."""

    position: Position
    occurrences: tuple[Occurrence, ...]
    last_at: datetime | None
    next_at: datetime | None
    catch_up_until: datetime | None
    cancel_unfinished: bool = False

    @property
    def fired(self) -> Iterator[Occurrence]:
        """Return the occurrences that become runs."""
        return (o for o in self.occurrences if o.outcome is Outcome.FIRED)


def plan_firing(spec: ScheduleSpec, position: Position, now: datetime, most: int = MOST_AT_ONCE) -> FirePlan:
    """Decide all fire times in (mark, now], at most *most* of them, each from the nominal time before it.

    A backlog is late as soon as its first undecided fire time is older than the grace: then the misfire policy holds
    for everything up to `catch_up_until`, however many plans that takes.
    """
    pending, next_at = _pending(spec, position.mark, now, most)
    if not pending:
        return FirePlan(position, (), position.last_at, next_at, None)
    horizon = position.catch_up_until
    first = next((f for f in pending if _barred(spec, position, f) is None), None)
    # Fire times that may not fire anyway say nothing about the first one that may: it need not be late.
    if horizon is None and first is not None and now - first > spec.misfire.grace:
        horizon = now
    decided = _decide(spec, position, pending, horizon, now)
    last = pending[-1]
    still_catching_up = horizon is not None and next_at is not None and next_at <= horizon
    return FirePlan(
        position=position,
        occurrences=tuple(_join(decided)),
        last_at=last,
        next_at=next_at,
        catch_up_until=horizon if still_catching_up else None,
        cancel_unfinished=spec.overlap is OverlapPolicy.CANCEL_RUNNING
        and position.unfinished > 0
        and any(o.outcome is Outcome.FIRED for o in decided),
    )


def _pending(spec: ScheduleSpec, mark: datetime, now: datetime, most: int) -> tuple[list[datetime], datetime | None]:
    found: list[datetime] = []
    moment: datetime | None = mark
    while moment is not None:
        moment = spec.next_after(moment)
        if moment is None or moment > now or len(found) == most:
            return found, moment
        found.append(moment)
    return found, None


def _barred(spec: ScheduleSpec, position: Position, fire_at: datetime) -> tuple[Cause, str] | None:
    if position.pause is not None and position.pause.covers(fire_at):
        return Cause.PAUSED, position.pause.in_words()
    refusal = spec.refusal(fire_at)
    return None if refusal is None else (Cause.CALENDAR, refusal)


def _decide(
    spec: ScheduleSpec, position: Position, pending: list[datetime], horizon: datetime | None, now: datetime
) -> list[Occurrence]:
    keep = None if horizon is None else _LateRule(spec, position, horizon)
    overlap = _OverlapRule(spec, position.unfinished)
    decided: list[Occurrence] = []
    for fire_at in pending:
        barred = _barred(spec, position, fire_at)
        if barred is not None:
            decided.append(_one(fire_at, Outcome.SKIPPED, *barred))
        elif keep is not None and (late := keep.verdict(fire_at)) is not None:
            decided.append(late)
        else:
            decided.append(overlap.verdict(fire_at))
    if spec.overlap is OverlapPolicy.CANCEL_RUNNING:
        return _only_last_fires(decided, latest_fire_times(spec, position, now, 1))
    return decided


def _one(fire_at: datetime, outcome: Outcome, cause: Cause | None, reason: str) -> Occurrence:
    return Occurrence(fire_at, fire_at, 1, outcome, cause, reason)


class _LateRule:
    """Which of a late backlog's fire times are left out, and why."""

    def __init__(self, spec: ScheduleSpec, position: Position, horizon: datetime) -> None:
        self._misfire, self._horizon = spec.misfire, horizon
        wanted = {MisfirePolicy.SKIP: 0, MisfirePolicy.LATEST: 1, MisfirePolicy.ALL: spec.misfire.cap}[
            spec.misfire.policy
        ]
        kept = latest_fire_times(spec, position, horizon, wanted)
        self._first_kept = kept[0] if kept else None

    def verdict(self, fire_at: datetime) -> Occurrence | None:
        """Return what is recorded for *fire_at* if it is left out, or None if it fires."""
        misfire = self._misfire
        if fire_at > self._horizon:
            return None
        if misfire.policy is MisfirePolicy.SKIP:
            if self._horizon - fire_at <= misfire.grace:
                return None
            return _one(fire_at, Outcome.SKIPPED, Cause.MISSED, "noticed late; the misfire policy is skip")
        if misfire.max_age is not None and self._horizon - fire_at > misfire.max_age:
            return _one(fire_at, Outcome.SKIPPED, Cause.MISSED, _too_old(misfire))
        if self._first_kept is not None and fire_at >= self._first_kept:
            return None
        if misfire.policy is MisfirePolicy.LATEST:
            return _one(fire_at, Outcome.COALESCED, None, "noticed late; only the latest of the backlog fires")
        reason = f"noticed late; only the latest {misfire.cap} of the backlog fire"
        return _one(fire_at, Outcome.SKIPPED, Cause.MISSED, reason)


def _too_old(misfire: Misfire) -> str:
    assert misfire.max_age is not None
    return f"noticed late; older than the age limit of {misfire.max_age}"


class _OverlapRule:
    """Whether a fire time fires although runs of the ones before it are unfinished."""

    def __init__(self, spec: ScheduleSpec, unfinished: int) -> None:
        self._spec, self._unfinished = spec, unfinished

    def verdict(self, fire_at: datetime) -> Occurrence:
        """Return the occurrence of *fire_at*, fired or skipped for overlap; counts it when fired."""
        policy, before = self._spec.overlap, self._unfinished
        if policy is OverlapPolicy.SKIP and before >= 1:
            return _one(fire_at, Outcome.SKIPPED, Cause.OVERLAP, "a run of the fire time before is unfinished")
        if policy is OverlapPolicy.QUEUE_ONE and before >= 2:
            return _one(fire_at, Outcome.SKIPPED, Cause.OVERLAP, "one fire time already waits for the one before it")
        self._unfinished += 1
        key = self._spec.trigger.local_key(fire_at)
        waits = policy is OverlapPolicy.QUEUE_ONE and before == 1
        return Occurrence(fire_at, fire_at, 1, Outcome.FIRED, None, "due", key, waits)


def _only_last_fires(decided: list[Occurrence], last: list[datetime]) -> list[Occurrence]:
    # The last of all that have come, which a later plan may have to decide: it would cancel those before it.
    reason = "replaced by the next fire time before it began"
    return [
        _one(o.fire_at, Outcome.SKIPPED, Cause.OVERLAP, reason)
        if o.outcome is Outcome.FIRED and o.fire_at not in last
        else o
        for o in decided
    ]


def _join(decided: list[Occurrence]) -> Iterator[Occurrence]:
    row: Occurrence | None = None
    for occurrence in decided:
        if row is not None and row.joins(occurrence):
            row = replace(row, until_at=occurrence.until_at, n=row.n + occurrence.n)
            continue
        if row is not None:
            yield row
        row = occurrence
    if row is not None:
        yield row


def latest_fire_times(spec: ScheduleSpec, position: Position, horizon: datetime, count: int) -> list[datetime]:
    """Return the last *count* fire times in (mark, horizon] that neither pause nor calendar bars, in order.

    Looks back through windows that double, so that it never walks a long backlog from its start.
    """
    window = timedelta(minutes=1)
    mark = position.mark
    while count > 0:
        start = max(mark, horizon - window)
        found = list(_free_between(spec, position, start, horizon))
        if len(found) >= count or start == mark:
            return found[-count:]
        window *= 2
    return []


def _free_between(spec: ScheduleSpec, position: Position, start: datetime, end: datetime) -> Iterator[datetime]:
    """Return the fire times in (start, end] that nothing bars; whole barred days and pauses are leapt over."""
    moment = spec.next_after(start)
    while moment is not None and moment <= end:
        barred = _barred(spec, position, moment)
        if barred is None:
            yield moment
        else:
            moment = max(moment, _end_of_bar(spec, position, barred[0], moment, end) - timedelta(microseconds=1))
        moment = spec.next_after(moment)


def _end_of_bar(spec: ScheduleSpec, position: Position, cause: Cause, fire_at: datetime, end: datetime) -> datetime:
    if cause is Cause.PAUSED:
        until = None if position.pause is None else position.pause.until
        return end if until is None else until
    next_day = local_wall(spec.zone, fire_at).date() + timedelta(days=1)
    return instant_of(spec.zone, datetime.combine(next_day, time()))
