"""Set the mark of a schedule back that a clock ahead of its time has moved, so that nothing fires twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, case, func, select, update
from sqlalchemy.dialects.postgresql import insert as _insert_postgres
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from mainspring.domain.occurrences import Outcome, Position
from mainspring.domain.runs import RunKind
from mainspring.domain.spec import ScheduleSpec, spec_from_text
from mainspring.encoding import decode, encode
from mainspring.ids import ScheduleId
from mainspring.store.database import Tx
from mainspring.store.schedules import StoredSchedule, audited, write_audit
from mainspring.store.schema import meta, occurrences, runs, schedule_versions, schedules

EARLY: Final = "fired ahead of its time, by a clock that was ahead"
"""The reason of a ledger row beyond the mark: its instant has had its runs and gets no others when it comes."""
_UNTIL: Final = "clock.rewound"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A ledger row of several fire times that begins before an instant and ends after it."""

    fire_at: datetime
    until_at: datetime
    n: int
    spec: ScheduleSpec


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the ledger of a schedule holds beyond an instant."""

    fired: int
    """Fire times that had their runs."""
    unfired: int
    """Fire times of rows beyond the instant that were coalesced or skipped."""
    last_fired_at: datetime | None
    crossing: Stretch | None
    last_before: datetime | None
    """Where the last row that begins at or before the instant ends."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a crossing stretch: where it ends, and for how many fire times it stands."""

    until_at: datetime
    n: int


def fired_early(tx: Tx, positions: Sequence[Position], now: datetime) -> dict[ScheduleId, set[datetime]]:
    """Return for each schedule the instants in (mark, now] that a clock ahead of its time has fired, if any."""
    text = tx.core(select(meta.c.value).where(meta.c.key == _UNTIL)).scalar()
    if text is None:
        return {}
    until = datetime.fromisoformat(decode(text))
    marks = {p.schedule_id: p.mark for p in positions if p.mark < until}
    if not marks:
        return {}
    row = occurrences.c
    query = select(row.schedule_id, row.fire_at).where(
        row.schedule_id.in_(list(marks)), row.fire_at > min(marks.values()), row.fire_at <= now, row.reason == EARLY
    )
    found: dict[ScheduleId, set[datetime]] = {}
    for early in tx.core(query):
        if early.fire_at > marks[early.schedule_id]:
            found.setdefault(early.schedule_id, set()).add(early.fire_at)
    return found


def look_ahead(tx: Tx, schedule: StoredSchedule, to: datetime) -> Ahead:
    """Return what the ledger of *schedule* holds beyond *to*."""
    row = occurrences.c
    own = row.schedule_id == schedule.id
    fired = row.outcome == Outcome.FIRED.value
    counts = tx.core(
        select(
            func.coalesce(func.sum(case((fired, 1), else_=0)), 0).label("fired"),
            func.coalesce(func.sum(case((fired, 0), else_=row.n)), 0).label("unfired"),
        ).where(own, row.fire_at > to)
    ).one()
    last_fired_at = tx.core(select(func.max(row.fire_at)).where(own, fired, row.fire_at > to)).scalar()
    before = tx.core(
        select(row.fire_at, row.until_at, row.n, row.spec_version)
        .where(own, row.fire_at <= to).order_by(row.fire_at.desc()).limit(1)
    ).one_or_none()  # fmt: skip
    crossing = None
    if before is not None and before.until_at > to:
        spec = _spec_of(tx, schedule, before.spec_version)
        crossing = Stretch(before.fire_at, before.until_at, before.n, spec)
    last_before = None if before is None else before.until_at
    return Ahead(int(counts.fired), int(counts.unfired), last_fired_at, crossing, last_before)


def _spec_of(tx: Tx, schedule: StoredSchedule, version: int) -> ScheduleSpec:
    if version == schedule.version:
        return schedule.spec
    row = schedule_versions.c
    query = select(row.spec).where(row.schedule_id == schedule.id, row.version == version)
    return spec_from_text(tx.core(query).scalar_one())


def rewind(
    tx: Tx, old: StoredSchedule, ahead: Ahead, cut: Cut | None, to: datetime, now: datetime, actor: str,
    computed_with: str, *, again: bool,
) -> bool:  # fmt: skip
    """Set the mark of *old* back to *to*; False when it has moved on since *ahead* was looked up.

    Fire times beyond *to* that had no run are undecided again. Those that had keep their rows, labelled; with *again*
    they are undecided too, and their runs count as started by hand.
    """
    if not _set_mark(tx, old, ahead, cut, to, now, computed_with):
        # A repeat after a lost reply finds its own work.
        return tx.repeated and audited(tx, now, actor, "schedule.rewind", old.name)
    row = occurrences.c
    own = row.schedule_id == old.id
    gone = and_(own, row.fire_at > to)
    if not again:
        gone = and_(gone, row.outcome != Outcome.FIRED.value)
    tx.core(occurrences.delete().where(gone))
    if cut is not None and ahead.crossing is not None:
        crossing = and_(own, row.fire_at == ahead.crossing.fire_at)
        tx.core(update(occurrences).where(crossing).values(until_at=cut.until_at, n=cut.n))
    if again:
        own_runs = and_(runs.c.schedule_id == old.id, runs.c.fire_at > to, runs.c.kind == RunKind.SCHEDULED.value)
        tx.core(update(runs).where(own_runs).values(kind=RunKind.MANUAL.value))
    elif ahead.last_fired_at is not None:
        tx.core(update(occurrences).where(own, row.fire_at > to).values(reason=EARLY))
        _reach(tx, ahead.last_fired_at)
    body: Mapping[str, Any] = {
        "from": old.position.mark, "to": to, "fired": ahead.fired, "undecided": undecided(ahead, cut), "again": again,
    }  # fmt: skip
    write_audit(tx, now, actor, "schedule.rewind", old.name, dict(body))
    return True


def undecided(ahead: Ahead, cut: Cut | None) -> int:
    """Return how many fire times without a run a rewind makes undecided again."""
    cut_off = 0 if cut is None or ahead.crossing is None else ahead.crossing.n - cut.n
    return ahead.unfired + cut_off


def _set_mark(
    tx: Tx, old: StoredSchedule, ahead: Ahead, cut: Cut | None, to: datetime, now: datetime, computed_with: str
) -> bool:
    position, row = old.position, schedules.c
    paused_at = None if position.pause is None else position.pause.since
    unchanged = and_(
        row.id == old.id, row.version == position.version, row.last_at.is_not_distinct_from(position.last_at),
        row.effective_at == position.effective_at, row.paused_at.is_not_distinct_from(paused_at),
        row.deleted_at.is_(None),
    )  # fmt: skip
    values = {
        "last_at": ahead.last_before if cut is None else cut.until_at,
        "effective_at": min(position.effective_at, to),
        "catch_up_until": None,
        "paused_at": None if paused_at is None else min(paused_at, to),
        "next_at": old.spec.next_after(to) if old.enabled else None,
        "computed_with": computed_with,
        "updated_at": now,
    }
    if tx.core(update(schedules).where(unchanged).values(**values)).rowcount != 1:
        return False
    later = and_(schedule_versions.c.schedule_id == old.id, schedule_versions.c.effective_at > to)
    tx.core(update(schedule_versions).where(later).values(effective_at=to))
    return True


def _reach(tx: Tx, until: datetime) -> None:
    text = tx.core(select(meta.c.value).where(meta.c.key == _UNTIL)).scalar()
    furthest = until if text is None else max(until, datetime.fromisoformat(decode(text)))
    insert = _insert_sqlite if tx.dialect == "sqlite" else _insert_postgres
    put: Any = insert(meta).values(key=_UNTIL, value=encode(furthest))
    tx.core(put.on_conflict_do_update(index_elements=[meta.c.key], set_={"value": put.excluded.value}))
