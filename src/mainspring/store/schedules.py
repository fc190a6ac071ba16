"""Keep schedules: add, edit, pause, resume and delete them, each compared with where the schedule stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, insert, select, update
from sqlalchemy.engine import Row

from mainspring.domain.occurrences import Pause, Position
from mainspring.domain.spec import ScheduleSpec, spec_from_text
from mainspring.encoding import encode
from mainspring.ids import ScheduleId, is_id, uuid7
from mainspring.store.database import Tx, admit
from mainspring.store.schema import audit, schedule_versions, schedules


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as the database has it."""

    id: ScheduleId
    name: str
    version: int
    spec: ScheduleSpec
    source: str
    position: Position
    next_at: datetime | None
    computed_with: str
    created_at: datetime
    updated_at: datetime
    owner_id: str = ""
    """The account that it belongs to; empty for what nobody owns, such as those of files."""

    @property
    def enabled(self) -> bool:
        """Return whether it fires at all."""
        return self.spec.enabled

    def paused_now(self, now: datetime) -> Pause | None:
        """Return the pause that is in force at *now*, if any."""
        pause = self.position.pause
        return pause if pause is not None and (pause.until is None or now < pause.until) else None


def find_schedule(tx: Tx, name: str, owner_id: str = "") -> StoredSchedule | None:
    """Return the schedule of this name, or None."""
    query = _query().where(schedules.c.name == name, schedules.c.owner_id == owner_id)
    row = tx.core(query).one_or_none()
    return None if row is None else _stored(row)


def get_schedule(tx: Tx, schedule_id: ScheduleId) -> StoredSchedule | None:
    """Return the schedule of this id unless it was deleted."""
    row = tx.core(_query().where(schedules.c.id == schedule_id)).one_or_none()
    return None if row is None else _stored(row)


def find_schedules(tx: Tx, which: str, owner_id: str | None = None) -> list[StoredSchedule]:
    """Return the schedule of this id, or those of this name; only those of an account if given."""
    columns = schedules.c
    query = _query().where(columns.id == which.lower() if is_id(which) else columns.name == which)
    if owner_id is not None:
        query = query.where(columns.owner_id == owner_id)
    return [_stored(row) for row in tx.core(query.order_by(columns.owner_id))]


def list_schedules(
    tx: Tx, source: str | None = None, owner_id: str | None = None, task: str | None = None
) -> list[StoredSchedule]:
    """Return all schedules by name, or those that came from *source*, belong to an account, or run a task."""
    query = _query().order_by(schedules.c.name, schedules.c.id)
    for column, wanted in ((schedules.c.source, source), (schedules.c.owner_id, owner_id), (schedules.c.task, task)):
        if wanted is not None:
            query = query.where(column == wanted)
    return [_stored(row) for row in tx.core(query)]


def _query() -> Select[Any]:
    return select(schedules).where(schedules.c.deleted_at.is_(None))


def _stored(row: Row[Any]) -> StoredSchedule:
    pause = None
    if row.paused_at is not None:
        pause = Pause(row.paused_at, row.paused_until, row.paused_by or "", row.pause_reason or "")
    position = Position(row.id, row.version, row.last_at, row.effective_at, row.catch_up_until, pause)
    return StoredSchedule(
        row.id, row.name, row.version, spec_from_text(row.spec), row.source, position, row.next_at,
        row.computed_with, row.created_at, row.updated_at, row.owner_id,
    )  # fmt: skip


def add_schedule(
    tx: Tx, spec: ScheduleSpec, source: str, now: datetime, actor: str, computed_with: str, owner_id: str = ""
) -> ScheduleId:
    """Add a schedule that fires from *now* on."""
    admit(tx)
    if tx.repeated and _landed(tx, now, actor, "schedule.add", spec.name):
        same = and_(schedules.c.name == spec.name, schedules.c.owner_id == owner_id)
        return ScheduleId(tx.core(_query().with_only_columns(schedules.c.id).where(same)).scalar_one())
    schedule_id = ScheduleId(uuid7())
    tx.core(
        insert(schedules).values(
            id=schedule_id,
            owner_id=owner_id,
            version=1,
            source=source,
            effective_at=now,
            created_at=now,
            updated_at=now,
            **_columns(spec, now, computed_with),
        )
    )
    _keep_version(tx, schedule_id, 1, spec, now, actor)
    write_audit(tx, now, actor, "schedule.add", spec.name, {"version": 1, "source": source})
    return schedule_id


def edit_schedule(
    tx: Tx, old: StoredSchedule, spec: ScheduleSpec, source: str, now: datetime, actor: str, computed_with: str
) -> bool:
    """Replace the spec of *old*, whose rule is settled up to *now*; False when it has moved on meanwhile."""
    admit(tx)
    version, begins = old.version + 1, old.position.begins_anew(now)
    values = {
        "version": version,
        "source": source,
        "effective_at": begins,
        "catch_up_until": None,
        "updated_at": now,
        **_columns(spec, begins, computed_with),
    }
    if not _compare_and_set(tx, old, values):
        return _landed(tx, now, actor, "schedule.edit", spec.name)
    _keep_version(tx, old.id, version, spec, begins, actor)
    write_audit(tx, now, actor, "schedule.edit", spec.name, {"version": version, "source": source})
    return True


def pause_schedule(tx: Tx, old: StoredSchedule, pause: Pause, actor: str) -> bool:
    """Pause *old*, which is settled up to the pause's start; False when it has moved on meanwhile."""
    values = {
        "paused_at": pause.since,
        "paused_until": pause.until,
        "paused_by": pause.by,
        "pause_reason": pause.reason,
        "effective_at": pause.since,
        "catch_up_until": None,
        "updated_at": pause.since,
    }
    done = _compare_and_set(tx, old, values)
    if done:
        body = {"until": pause.until, "reason": pause.reason}
        write_audit(tx, pause.since, actor, "schedule.pause", old.name, body)
    return done or _landed(tx, pause.since, actor, "schedule.pause", old.name)


def resume_schedule(tx: Tx, old: StoredSchedule, now: datetime, actor: str) -> bool:
    """End the pause of *old*, which is settled up to *now*; False when it has moved on meanwhile."""
    begins = old.position.begins_anew(now)
    values = {
        "paused_at": None,
        "paused_until": None,
        "paused_by": None,
        "pause_reason": None,
        "effective_at": begins,
        "catch_up_until": None,
        "next_at": old.spec.next_after(begins) if old.spec.enabled else None,
        "updated_at": now,
    }
    done = _compare_and_set(tx, old, values)
    if done:
        write_audit(tx, now, actor, "schedule.resume", old.name, {})
    return done or _landed(tx, now, actor, "schedule.resume", old.name)


def delete_schedule(tx: Tx, old: StoredSchedule, now: datetime, actor: str) -> bool:
    """Delete *old*, which is settled up to *now*; its ledger stays. False when it has moved on meanwhile."""
    done = _compare_and_set(tx, old, {"deleted_at": old.position.begins_anew(now), "next_at": None, "updated_at": now})
    if done:
        write_audit(tx, now, actor, "schedule.delete", old.name, {})
    return done or _landed(tx, now, actor, "schedule.delete", old.name)


def next_of(schedule: StoredSchedule) -> datetime | None:
    """Return the next fire time after all that is decided, by the zone and calendar data of this process."""
    return schedule.spec.next_after(schedule.position.mark) if schedule.spec.enabled else None


def set_next(tx: Tx, old: StoredSchedule, next_at: datetime | None, computed_with: str) -> bool:
    """Set the next fire time of *old*, which the data *computed_with* gives."""
    return _compare_and_set(tx, old, {"next_at": next_at, "computed_with": computed_with})


def _compare_and_set(tx: Tx, old: StoredSchedule, values: dict[str, Any]) -> bool:
    position, columns = old.position, schedules.c
    paused_at = None if position.pause is None else position.pause.since
    unchanged = and_(
        columns.id == old.id,
        columns.version == position.version,
        columns.last_at.is_not_distinct_from(position.last_at),
        columns.effective_at == position.effective_at,
        columns.paused_at.is_not_distinct_from(paused_at),
        columns.deleted_at.is_(None),
    )
    return tx.core(update(schedules).where(unchanged).values(**values)).rowcount == 1


def _columns(spec: ScheduleSpec, now: datetime, computed_with: str) -> dict[str, Any]:
    return {
        "name": spec.name,
        "task": spec.task,
        "spec": spec.to_text(),
        "enabled": spec.enabled,
        "zone": spec.zone,
        "next_at": spec.next_after(now) if spec.enabled else None,
        "computed_with": computed_with,
        "labels": encode(dict(spec.labels)),
    }


def _keep_version(tx: Tx, schedule_id: ScheduleId, version: int, spec: ScheduleSpec, now: datetime, actor: str) -> None:
    tx.core(
        insert(schedule_versions).values(
            schedule_id=schedule_id,
            version=version,
            spec=spec.to_text(),
            enabled=spec.enabled,
            effective_at=now,
            actor=actor,
        )
    )


def write_audit(tx: Tx, now: datetime, actor: str, action: str, subject: str, body: dict[str, Any]) -> None:
    """Record who did what to which thing, once for a transaction that is done again after a lost reply."""
    if _landed(tx, now, actor, action, subject):
        return
    row = {"id": uuid7(), "at": now, "actor": actor, "action": action, "subject": subject, "body": encode(body)}
    tx.core(insert(audit).values(**row))


def _landed(tx: Tx, now: datetime, actor: str, action: str, subject: str) -> bool:
    """Return whether an earlier try of this transaction was committed without our hearing of it."""
    return tx.repeated and audited(tx, now, actor, action, subject)


def audited(tx: Tx, now: datetime, actor: str, action: str, subject: str) -> bool:
    """Return whether *actor* is recorded to have done this to *subject* at this very moment."""
    same = and_(audit.c.subject == subject, audit.c.at == now, audit.c.actor == actor, audit.c.action == action)
    return tx.core(select(audit.c.id).where(same).limit(1)).scalar() is not None


def versions_of(tx: Tx, ids: Sequence[ScheduleId]) -> dict[ScheduleId, list[Row[Any]]]:
    """Return the kept versions of these schedules, oldest first."""
    found: dict[ScheduleId, list[Row[Any]]] = {schedule_id: [] for schedule_id in ids}
    query = (
        select(schedule_versions).where(schedule_versions.c.schedule_id.in_(ids)).order_by(schedule_versions.c.version)
    )
    for row in tx.core(query):
        found[row.schedule_id].append(row)
    return found
