"""Fire schedules: turn each fire time that has come into one recorded outcome, and the fired ones into runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import func, select

from mainspring.clock import Clock
from mainspring.domain.calendars import calendar_versions
from mainspring.domain.occurrences import MOST_AT_ONCE, Cause, FirePlan, Occurrence, Outcome, Position, plan_firing
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.spec import OverlapPolicy, ScheduleSpec, spec_from_text
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.ids import RunId, ScheduleId
from mainspring.services.clock_guard import ClockGuard
from mainspring.services.directory import Directory
from mainspring.services.schedule_runs import pack_message, runs_of
from mainspring.store import ledger, rewinding
from mainspring.store.database import Database
from mainspring.store.hints import CANCEL, READY
from mainspring.store.ledger import DueSchedule, Fired, Firing
from mainspring.store.schema import schedules

_log = logging.getLogger("mainspring.fire")
SCHEDULES_AT_ONCE: Final = 500
_RUNS_AT_ONCE: Final = 2_000
_SET_ASIDE = 60.0


def computed_with() -> str:
    """Return which zone and calendar data this process computes fire times with."""
    return " ".join(f"{name}={version}" for name, version in sorted(calendar_versions().items()))


def has_newer_zones(theirs: str, ours: str) -> bool:
    """Return whether *theirs*, a text of `computed_with`, names newer time zone data than *ours*."""
    return _zone_data(theirs) > _zone_data(ours)


def _zone_data(text: str) -> str:
    return next((part.partition("=")[2] for part in text.split() if part.startswith("tzdata=")), "")


class ZoneDataOutdated(MainspringError):
    """A schedule was computed with newer time zone data than this process has."""


@dataclass(frozen=True, slots=True)
class FireResult:
    """What one look at the due schedules did."""

    fired: int = 0
    """Runs made."""
    decided: int = 0
    """Fire times decided, fired or not."""
    more: bool = False
    """Whether there is more to do at once."""
    failed: tuple[str, ...] = field(default=())
    """Names of schedules that could not be fired; they are set aside for a minute and logged."""
    refused: bool = False
    """Whether the wall clock is in doubt, so that nothing was looked at."""


class Firer:
    """Fires due schedules; any number of them may do so at once."""

    def __init__(self, database: Database, clock: Clock, guard: ClockGuard | None = None) -> None:
        """Prepare; without a *guard* the clock is believed whatever it says."""
        self._database, self._clock, self._guard = database, clock, guard
        self._directory = Directory(database, clock)
        self._computed_with = computed_with()
        self._aside: dict[ScheduleId, float] = {}

    def run_once(self) -> FireResult:
        """Decide fire times of up to 500 due schedules; none while the wall clock is in doubt."""
        now = self._clock.now()
        if self._guard is not None:
            verdict = self._guard.check()
            if not verdict.trusted:
                return FireResult(refused=True)
            # The instant that was judged: the clock may jump between two looks at it.
            now = verdict.now
        due = self._database.read(lambda tx: ledger.due_schedules(tx, now, SCHEDULES_AT_ONCE + len(self._aside)))
        wanted = [schedule for schedule in due if not self._is_aside(schedule)]
        if not wanted:
            return FireResult()
        result = self._fire(wanted, now)
        return replace(result, more=result.more or (len(due) >= SCHEDULES_AT_ONCE and result.decided > 0))

    def settle(self, schedule: DueSchedule, now: datetime) -> bool:
        """Decide what is pending of one schedule up to *now*, at most 1,000 fire times; return whether it moved."""
        return self._fire([schedule], now).decided > 0

    def next_fire_at(self, after: datetime) -> datetime | None:
        """Return the first fire time of all schedules that is later than *after*."""
        query = select(func.min(schedules.c.next_at)).where(schedules.c.next_at > after)
        found: datetime | None = self._database.read(lambda tx: tx.core(query).scalar())
        return found

    def _is_aside(self, schedule: DueSchedule) -> bool:
        until = self._aside.get(schedule.position.schedule_id)
        return until is not None and self._clock.monotonic() < until

    def _fire(self, due: Sequence[DueSchedule], now: datetime) -> FireResult:
        # After the positions were read: a rewind in between changes them, and what was planned is not written.
        early = self._database.read(lambda tx: rewinding.fired_early(tx, [d.position for d in due], now))
        firings, failed = self._plan(due, now, early)
        result = FireResult(failed=tuple(failed))
        for batch in _batches(firings):
            result = _add(result, self._write(batch, now))
        still_due = any(f.plan.next_at is not None and f.plan.next_at <= now for f in firings)
        return replace(result, more=still_due and result.decided > 0)

    def _plan(
        self, due: Sequence[DueSchedule], now: datetime, early: Mapping[ScheduleId, Set[datetime]]
    ) -> tuple[list[Firing], list[str]]:
        specs = self._parse(due)
        overlapping = [i for i, spec in specs.items() if spec.overlap is not OverlapPolicy.ALLOW]
        busy = self._database.read(lambda tx: ledger.unfinished(tx, overlapping)) if overlapping else {}
        firings, failed = [], []
        for schedule in due:
            spec = specs.get(schedule.position.schedule_id)
            if spec is None:
                failed.append(schedule.name)
                continue
            runs = busy.get(schedule.position.schedule_id, {})
            position = replace(schedule.position, unfinished=_fire_times(runs))
            try:
                self._require_zones(schedule)
                plan = _plan_around(spec, position, now, early.get(position.schedule_id, frozenset()))
                firings.append(self._firing(spec, plan, now, sorted(runs), schedule.owner_id))
            except StoreUnavailable:
                raise
            except (MainspringError, ValueError, OverflowError) as error:
                self._set_aside(schedule, error)
                failed.append(schedule.name)
        return firings, failed

    def _require_zones(self, schedule: DueSchedule) -> None:
        # Older data would name other fire times than those that newer data has promised already.
        if has_newer_zones(schedule.computed_with, self._computed_with):
            theirs, ours = _zone_data(schedule.computed_with), _zone_data(self._computed_with)
            raise ZoneDataOutdated(
                f"its fire times were computed with time zone data {theirs}, newer than the {ours} here; "
                "update the package tzdata on this host"
            )

    def _parse(self, due: Sequence[DueSchedule]) -> dict[ScheduleId, ScheduleSpec]:
        specs = {}
        for schedule in due:
            try:
                specs[schedule.position.schedule_id] = spec_from_text(schedule.spec_text)
            except (MainspringError, ValueError, KeyError, TypeError) as error:
                self._set_aside(schedule, error)
        return specs

    def _set_aside(self, schedule: DueSchedule, error: Exception) -> None:
        # One schedule that cannot be fired must not stop the others.
        self._aside[schedule.position.schedule_id] = self._clock.monotonic() + _SET_ASIDE
        _log.error("schedule_not_fired schedule=%s error=%r; it is tried again in a minute", schedule.name, error)

    def _firing(
        self, spec: ScheduleSpec, plan: FirePlan, now: datetime, unfinished: Sequence[RunId], owner_id: str
    ) -> Firing:
        runs: list[NewRun] = []
        messages = []
        before = tuple(unfinished)
        for occurrence in plan.fired:
            made = self._runs(spec, plan, occurrence, before if occurrence.waits else (), owner_id)
            runs += made
            before = tuple(run.id for run in made)
            if spec.pack is not None:
                messages.append(pack_message(spec, occurrence.fire_at, made, now))
        return Firing(plan, tuple(runs), tuple(messages))

    def _runs(
        self, spec: ScheduleSpec, plan: FirePlan, occurrence: Occurrence, needs: tuple[RunId, ...], owner_id: str
    ) -> list[NewRun]:
        position, fire_at = plan.position, occurrence.fire_at
        due_at = fire_at + spec.jitter_for(fire_at)
        kind, reason = RunKind.SCHEDULED, occurrence.reason
        origin = (position.schedule_id, position.version)
        return runs_of(self._directory, spec, *origin, kind, due_at, reason, fire_at, needs, owner_id)

    def _write(self, batch: Sequence[Firing], now: datetime) -> FireResult:
        try:
            fired = self._database.write(lambda tx: ledger.fire(tx, batch, now, self._computed_with))
        except Exception as error:
            if not is_conflict(error):
                raise
            if len(batch) > 1:
                result = FireResult()
                for firing in batch:
                    result = _add(result, self._write([firing], now))
                return result
            return self._resolve(batch[0], now, error)
        self._tell(fired)
        ours = [f for f in batch if f.plan.position.schedule_id in fired.advanced]
        return FireResult(
            fired=sum(len(f.runs) for f in ours),
            decided=sum(sum(o.n for o in f.plan.occurrences) or _passed(f.plan) for f in ours),
        )

    def _resolve(self, firing: Firing, now: datetime, error: Exception) -> FireResult:
        """Record fire times as missed whose local time has fired before: newer zone data moved them."""
        plan = firing.plan
        keys = {o.local_key: o for o in plan.fired if o.local_key is not None}
        taken = self._database.read(lambda tx: ledger.taken_local_keys(tx, plan.position, keys))
        if not taken:
            # The ledger or the runs hold a fire time beyond the mark: that must never happen.
            name = plan.position.schedule_id
            self._aside[name] = self._clock.monotonic() + _SET_ASIDE
            _log.critical("ledger_conflict schedule_id=%s mark=%s error=%s", name, plan.position.mark, error)
            return FireResult(failed=(name,))
        gone = {keys[key].fire_at for key in taken}
        occurrences = tuple(_missed(o) if o.fire_at in gone else o for o in plan.occurrences)
        runs = tuple(run for run in firing.runs if run.fire_at not in gone)
        told = zip(plan.fired, firing.messages, strict=False)  # one message for each, or none at all
        messages = tuple(message for occurrence, message in told if occurrence.fire_at not in gone)
        return self._write([Firing(replace(plan, occurrences=occurrences), runs, messages)], now)

    def _tell(self, fired: Fired) -> None:
        if fired.ready:
            self._database.sender.send(READY)
        if fired.cancels_asked:
            self._database.sender.send(CANCEL)


def _plan_around(spec: ScheduleSpec, position: Position, now: datetime, early: Set[datetime]) -> FirePlan:
    """Plan up to the first fire time that a clock ahead of its time has fired already; pass over that one alone."""
    before = 0
    if not early:
        return plan_firing(spec, position, now)
    moment = spec.next_after(position.mark)
    while moment is not None and moment not in early and moment <= now and before < MOST_AT_ONCE:
        before, moment = before + 1, spec.next_after(moment)
    if before > 0 or moment not in early:
        return plan_firing(spec, position, now, max(before, 1))
    return replace(plan_firing(spec, position, now, 1), occurrences=(), cancel_unfinished=False)


def _passed(plan: FirePlan) -> int:
    return int(plan.last_at != plan.position.last_at)


def _fire_times(runs: Mapping[RunId, datetime | None]) -> int:
    """Return how many fire times have unfinished runs; a run started by hand counts as one of its own."""
    return len({fire_at or run_id for run_id, fire_at in runs.items()})


def _missed(occurrence: Occurrence) -> Occurrence:
    reason = "its local time has fired before; the time zone data has changed since"
    return replace(occurrence, outcome=Outcome.SKIPPED, cause=Cause.MISSED, reason=reason, local_key=None)


def is_conflict(error: Exception) -> bool:
    """Return whether *error* says that a row with this key exists already."""
    return any(kind.__name__ in ("IntegrityError", "UniqueViolation") for kind in type(error).__mro__)


def _batches(firings: Iterable[Firing]) -> Iterable[list[Firing]]:
    batch: list[Firing] = []
    size = 0
    for firing in firings:
        if batch and size + len(firing.runs) > _RUNS_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(firing)
        size += len(firing.runs)
    if batch:
        yield batch


def _add(one: FireResult, other: FireResult) -> FireResult:
    return FireResult(
        one.fired + other.fired, one.decided + other.decided, one.more or other.more, one.failed + other.failed
    )
