"""Know which fire times of a schedule have been made up for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from mainspring.domain.occurrences import Outcome
from mainspring.domain.runs import RunKind
from mainspring.ids import RunId, ScheduleId
from mainspring.store.database import Tx
from mainspring.store.schema import occurrences, runs, schedules


def lock(tx: Tx, schedule_id: ScheduleId) -> None:
    """Keep others from making up for fire times of this schedule until the end of *tx*."""
    tx.core(select(schedules.c.id).where(schedules.c.id == schedule_id).with_for_update())


def made(tx: Tx, schedule_id: ScheduleId, since: datetime, until: datetime) -> dict[tuple[datetime | None, str], RunId]:
    """Return the runs that backfills have made of fire times from *since* to before *until*, by time and member."""
    ours = (runs.c.schedule_id == schedule_id, runs.c.kind == RunKind.BACKFILL.value)
    query = select(runs.c.fire_at, runs.c.member, runs.c.id).where(
        *ours, runs.c.fire_at >= since, runs.c.fire_at < until
    )
    return {(row.fire_at, row.member): RunId(row.id) for row in tx.core(query)}


def backfilled(tx: Tx, schedule_id: ScheduleId, since: datetime, until: datetime) -> set[datetime]:
    """Return the fire times that backfills have made runs of."""
    return {fire_at for fire_at, _ in made(tx, schedule_id, since, until) if fire_at is not None}


def fired(tx: Tx, schedule_id: ScheduleId, since: datetime, until: datetime) -> set[datetime]:
    """Return the fire times that the ledger says have fired."""
    query = select(occurrences.c.fire_at).where(
        occurrences.c.schedule_id == schedule_id, occurrences.c.outcome == Outcome.FIRED.value,
        occurrences.c.fire_at >= since, occurrences.c.fire_at < until,
    )  # fmt: skip
    return {row.fire_at for row in tx.core(query)}
