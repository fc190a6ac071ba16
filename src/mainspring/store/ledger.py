"""Write what became of fire times: ledger rows, runs and marks, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from mainspring.domain.occurrences import Cause, FirePlan, Outcome, Pause, Position
from mainspring.domain.runs import NewRun
from mainspring.ids import RunId, ScheduleId
from mainspring.store import keys, queueing
from mainspring.store.database import Row, Tx, admit
from mainspring.store.schema import occurrences


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule with a fire time that has come: where it stands, and its spec as text."""

    name: str
    spec_text: str
    position: Position
    next_at: datetime | None
    computed_with: str
    """Versions of the zone and calendar data that gave its next fire time."""
    owner_id: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """A plan with the runs that its fired occurrences become, and a message for the pack that asked to be told."""

    plan: FirePlan
    runs: tuple[NewRun, ...]
    messages: tuple[tuple[str, str, str], ...] = ()
    """(id, topic, body) each."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What a transaction of firing did: which schedules it advanced, and whether any run is ready at once."""

    advanced: frozenset[ScheduleId]
    ready: bool
    cancels_asked: bool


def due_schedules(tx: Tx, now: datetime, most: int) -> list[DueSchedule]:
    """Return schedules whose next fire time has come, those that have waited longest first."""
    return [_due(tx, row) for row in tx.rows("due_schedules", {"now": tx.at(now), "n": most})]


def _due(tx: Tx, row: Row) -> DueSchedule:
    (
        schedule_id,
        name,
        version,
        spec,
        last_at,
        effective_at,
        catch_up,
        paused_at,
        paused_until,
        by,
        reason,
        next_at,
        computed_with,
        owner_id,
    ) = row
    instant = _optional(tx)
    pause = None if paused_at is None else Pause(tx.instant(paused_at), instant(paused_until), by or "", reason or "")
    position = Position(schedule_id, version, instant(last_at), tx.instant(effective_at), instant(catch_up), pause)
    return DueSchedule(name, spec, position, instant(next_at), computed_with, owner_id)


def _optional(tx: Tx) -> Callable[[Any], datetime | None]:
    return lambda value: None if value is None else tx.instant(value)


def next_fire_at(tx: Tx) -> datetime | None:
    """Return the next fire time of all schedules."""
    ((value,),) = tx.rows("next_fire", {})
    return None if value is None else tx.instant(value)


def next_due_at(tx: Tx) -> datetime | None:
    """Return when the next scheduled run comes due."""
    ((value,),) = tx.rows("next_due_run", {})
    return None if value is None else tx.instant(value)


def unfinished(tx: Tx, ids: Sequence[ScheduleId]) -> Mapping[ScheduleId, Mapping[RunId, datetime | None]]:
    """Return the unfinished runs of these schedules with their fire times (None for runs started by hand)."""
    found: dict[ScheduleId, dict[RunId, datetime | None]] = defaultdict(dict)
    if ids:
        for schedule_id, run_id, fire_at in tx.rows("unfinished_runs", {"ids": tx.ids(ids)}):
            found[schedule_id][run_id] = None if fire_at is None else tx.instant(fire_at)
    return found


def fire(tx: Tx, firings: Sequence[Firing], now: datetime, computed_with: str) -> Fired:
    """Write *firings*, leaving out schedules that another scheduler has advanced or holds, or that were edited.

    The unique key of the ledger makes each occurrence happen once; the mark is compared and set, and neither is ever
    computed from the wall clock.
    """
    admit(tx)
    standing = _standing(tx, [f.plan.position.schedule_id for f in firings])
    ours = [f for f in firings if standing.get(f.plan.position.schedule_id) == _stands_at(f.plan.position)]
    if not ours:
        return Fired(frozenset(), ready=False, cancels_asked=False)
    moved = tx.many("advance_schedules", [_advance_row(tx, f.plan, computed_with) for f in ours])
    if moved != len(ours):
        raise AssertionError(f"{len(ours)} schedules were locked, yet the marks of {moved} moved")
    runs = [run for f in ours for run in f.runs]
    keys.lock(tx, runs)
    cancelled = _cancel_unfinished(tx, ours, now)
    tx.many("insert_occurrences", [row for f in ours for row in _ledger_rows(tx, f.plan, now)])
    refused = keys.settle_fired(tx, runs, now)
    ready = (queueing.insert_runs(tx, runs, now) if runs else False) or cancelled.released > 0
    for run_id, why in refused.items():
        queueing.cancel(tx, [run_id], why, now)
    tx.many("insert_outbox", [(*message, tx.at(now)) for f in ours for message in f.messages])
    return Fired(frozenset(f.plan.position.schedule_id for f in ours), ready, bool(cancelled.asked))


def _standing(tx: Tx, ids: Sequence[ScheduleId]) -> dict[ScheduleId, tuple[Any, ...]]:
    instant = _optional(tx)
    return {
        row[0]: (row[1], *(instant(value) for value in row[2:]))
        for row in tx.rows("lock_schedules", {"ids": tx.ids(ids)})
    }


def _stands_at(position: Position) -> tuple[Any, ...]:
    pause = position.pause
    since, until = (None, None) if pause is None else (pause.since, pause.until)
    return position.version, position.last_at, position.effective_at, position.catch_up_until, since, until


def _advance_row(tx: Tx, plan: FirePlan, computed_with: str) -> Sequence[Any]:
    at, position = tx.at, plan.position
    return (
        at(plan.last_at), at(plan.next_at), at(plan.catch_up_until), computed_with,
        position.schedule_id, position.version, at(position.last_at), at(position.effective_at),
    )  # fmt: skip


def _ledger_rows(tx: Tx, plan: FirePlan, now: datetime) -> list[Sequence[Any]]:
    at, position = tx.at, plan.position
    decided = list(plan.occurrences)
    if decided and decided[0].outcome is not Outcome.FIRED and position.last_at is not None:
        first = decided[0]
        grew = tx.run(
            "extend_occurrence",
            {
                "schedule_id": position.schedule_id,
                "mark": at(position.last_at),
                "until_at": at(first.until_at),
                "n": first.n,
                "outcome": first.outcome.value,
                "cause": first.cause.value if first.cause else None,
                "reason": first.reason,
                "spec_version": position.version,
            },
        )
        if grew == 1:
            decided = decided[1:]
    return [
        (position.schedule_id, at(o.fire_at), at(o.until_at), o.n, _versioned(o.local_key, position.version),
         position.version, o.outcome.value, o.cause.value if o.cause else None, o.reason, at(now))
        for o in decided
    ]  # fmt: skip


def _versioned(local_key: str | None, version: int) -> str | None:
    # An edit may rightly fire at a local time that the old rule has fired at; newer zone data may not.
    return None if local_key is None else f"{version}|{local_key}"


def _cancel_unfinished(tx: Tx, firings: Sequence[Firing], now: datetime) -> queueing.Cancelled:
    ids = [f.plan.position.schedule_id for f in firings if f.plan.cancel_unfinished]
    running = [run_id for runs in unfinished(tx, ids).values() for run_id in runs]
    return queueing.cancel(tx, sorted(running), "replaced by the next fire time (overlap: cancel_running)", now)


def taken_local_keys(tx: Tx, position: Position, keys: Iterable[str]) -> set[str]:
    """Return those of the local *keys* at which this version of the schedule has fired already."""
    versioned = {_versioned(key, position.version): key for key in keys}
    query = select(occurrences.c.local_key).where(
        occurrences.c.schedule_id == position.schedule_id, occurrences.c.local_key.in_(list(versioned))
    )
    return {versioned[key] for (key,) in tx.core(query)}


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the ledger: one fire time, or a stretch of *n* with the same outcome."""

    fire_at: datetime
    until_at: datetime
    n: int
    outcome: Outcome
    cause: Cause | None
    reason: str
    spec_version: int
    recorded_at: datetime


def rows_of(tx: Tx, schedule_id: ScheduleId, most: int, before: datetime | None = None) -> list[LedgerRow]:
    """Return the ledger of a schedule, newest first, at most *most* rows, of fire times before *before*."""
    query = select(occurrences).where(occurrences.c.schedule_id == schedule_id)
    if before is not None:
        query = query.where(occurrences.c.fire_at < before)
    return [
        LedgerRow(
            row.fire_at, row.until_at, row.n, Outcome(row.outcome), Cause(row.cause) if row.cause else None, row.reason,
            row.spec_version, row.recorded_at,
        )
        for row in tx.core(query.order_by(occurrences.c.fire_at.desc()).limit(most))
    ]  # fmt: skip
