"""Take over a copied or restored SQLite file, which starts nothing by itself until then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import delete, insert, select

from mainspring.clock import Clock
from mainspring.domain.occurrences import Pause, plan_firing
from mainspring.domain.states import UNFINISHED
from mainspring.errors import Conflict, MainspringError
from mainspring.ids import RunId
from mainspring.services.fire import computed_with
from mainspring.store import ledger, migrate, queueing
from mainspring.store import schedules as stored
from mainspring.store.database import Database, Tx
from mainspring.store.ledger import Firing
from mainspring.store.schedules import StoredSchedule, write_audit
from mainspring.store.schema import meta, runs
from mainspring.store.sqlite.home import KEY, Home, home_of, recorded, to_text

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Adopted:
    """What taking over a copy did."""

    skipped: int = 0
    """Fire times up to now that were recorded as skipped."""
    cancelled: int = 0
    """Unfinished runs that were cancelled, or asked to where the copy says that they are under way."""


def settle(database: Database) -> None:
    """Record where a new SQLite file lives, so that a copy of it can be told from it."""
    if database.dialect == "sqlite" and database.read(_recorded) is None:
        here = home_of(_path(database))
        database.write(lambda tx: None if _recorded(tx) else _record(tx, here))


def refusal(database: Database) -> str | None:
    """Return why nothing may start in the database, such as that it is a copy, or None."""
    found = database.read(lambda tx: tx.refusal())
    return None if found is None else str(found)


def copied_from(database: Database) -> str | None:
    """Return where the original of this file lives, None where this is no copy."""
    before = None if database.dialect != "sqlite" else database.read(_recorded)
    if before is None or home_of(_path(database)).is_same(before):
        return None
    return f"{before.path} on host {before.host}"


def adopt(database: Database, clock: Clock, actor: str, *, skip: bool) -> Adopted:
    """Take over a copied file; with *skip* nothing that was due up to now happens any more.

    Otherwise it goes on where the copy stood: fire times since then follow each schedule's misfire policy, and
    unfinished runs run, those that were under way once more.

    Raises:
        Conflict: it is no copy.
    """
    if copied_from(database) is None:
        raise Conflict(f"{database.location} is no copy; there is nothing to adopt")
    now = clock.now()

    def work(tx: Tx) -> Adopted:
        before = _recorded(tx)
        here = home_of(_path(database))
        _record(tx, here)
        # Neither clears away the files of the other.
        migrate.renew_installation_id(tx)
        done = _skip(tx, now, actor) if skip else Adopted()
        body = {
            "from": None if before is None else f"{before.host}:{before.path}",
            "how": "skip" if skip else "continue",
            "skipped": done.skipped,
            "cancelled": done.cancelled,
        }
        write_audit(tx, now, actor, "database.adopt", database.location, body)
        return done

    return database.write(work)


def _skip(tx: Tx, now: datetime, actor: str) -> Adopted:
    reason = "the database was adopted from a copy"
    skipped = sum(_skip_schedule(tx, schedule, now, actor, reason) for schedule in stored.list_schedules(tx))
    ids = [
        RunId(row.id) for row in tx.core(select(runs.c.id).where(runs.c.state.in_(UNFINISHED), runs.c.due_at <= now))
    ]
    done = queueing.cancel(tx, ids, f"skipped by {actor}: {reason}", now)
    return Adopted(skipped, len(done.ended) + len(done.asked))


def _skip_schedule(tx: Tx, schedule: StoredSchedule, now: datetime, actor: str, reason: str) -> int:
    """Pause *schedule* from where it stands, record what that skips up to now, and let it go on; return how much."""
    position = schedule.position
    if not schedule.enabled or schedule.next_at is None or schedule.next_at > now:
        return 0
    ours = position.pause is None or schedule.paused_now(now) is None
    if ours:
        if not stored.pause_schedule(tx, schedule, Pause(position.mark, None, actor, reason), actor):
            raise MainspringError(
                f"schedule {schedule.name!r} moved on while the database was being adopted; try again"
            )
        schedule = _again(tx, schedule)
    done = sum(_settle(tx, schedule.id, now))
    if ours:
        stored.resume_schedule(tx, _again(tx, schedule), now, actor)
    return done


def _settle(tx: Tx, schedule_id: str, now: datetime) -> Iterator[int]:
    while True:
        schedule = stored.get_schedule(tx, schedule_id)  # type: ignore[arg-type]
        if schedule is None:
            return
        plan = plan_firing(schedule.spec, replace(schedule.position, unfinished=0), now)
        if not plan.occurrences:
            return
        ledger.fire(tx, [Firing(plan, ())], now, computed_with())
        yield sum(occurrence.n for occurrence in plan.occurrences)


def _again(tx: Tx, schedule: StoredSchedule) -> StoredSchedule:
    found = stored.get_schedule(tx, schedule.id)
    assert found is not None
    return found


def _path(database: Database) -> Path:
    return Path(database.location.removeprefix(_SQLITE))


def _recorded(tx: Tx) -> Home | None:
    return recorded(tx.core(select(meta.c.value).where(meta.c.key == KEY)).scalar())


def _record(tx: Tx, home: Home) -> None:
    tx.core(delete(meta).where(meta.c.key == KEY))
    tx.core(insert(meta).values(key=KEY, value=to_text(home)))
