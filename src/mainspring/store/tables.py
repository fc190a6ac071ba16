"""Read and write the small tables: tasks, queues, sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Row

from mainspring.domain.needs import QueueLimits
from mainspring.domain.routes import Route
from mainspring.encoding import decode, encode
from mainspring.store.database import Tx
from mainspring.store.limiting import held_by_queue, set_queue_limits
from mainspring.store.schedules import audited, write_audit
from mainspring.store.schema import meta, queues, ready, runs, tasks, worker_sessions


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as a worker last described it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    defaults: Mapping[str, Any]
    policies: Mapping[str, Any]
    code_version: str


def put_tasks(tx: Tx, described: Iterable[StoredTask], now: datetime) -> None:
    """Write what a worker knows of its tasks; the latest description stands."""
    for task in sorted(described, key=lambda t: t.name):
        values = {
            "description": task.description,
            "schema": encode(task.schema),
            "defaults": encode(task.defaults),
            "policies": encode(task.policies),
            "code_version": task.code_version,
            "seen_at": now,
        }
        if tx.core(update(tasks).where(tasks.c.name == task.name).values(**values)).rowcount == 0:
            tx.core(insert_ignoring(tx, tasks).values(name=task.name, **values))


def list_tasks(tx: Tx) -> dict[str, StoredTask]:
    """Return all tasks that any worker has described, by name."""
    return {
        row.name: StoredTask(
            row.name, row.description, decode(row.schema), decode(row.defaults), decode(row.policies), row.code_version
        )
        for row in tx.core(select(tasks).order_by(tasks.c.name))
    }


def put_routes(tx: Tx, routes: Sequence[Route]) -> bool:
    """Make these the routes of the installation; return whether that changed them."""
    text = encode([[route.task, route.queue, route.priority] for route in routes])
    if tx.core(select(meta.c.value).where(meta.c.key == "routes")).scalar() == text:
        return False
    tx.core(meta.delete().where(meta.c.key == "routes"))
    tx.core(insert_ignoring(tx, meta).values(key="routes", value=text))
    return True


def put_first_routes(tx: Tx, routes: Sequence[Route]) -> None:
    """Make these the routes of an installation that has never been given any."""
    if tx.core(select(meta.c.value).where(meta.c.key == "routes")).scalar() is None:
        put_routes(tx, routes)


def list_routes(tx: Tx) -> tuple[Route, ...]:
    """Return the routes of the installation, in the order in which they are tried."""
    text = tx.core(select(meta.c.value).where(meta.c.key == "routes")).scalar()
    return tuple(Route(*fields) for fields in decode(text) or ())


def put_queues(tx: Tx, described: Mapping[str, str]) -> None:
    """Make sure that these queues exist, and write their descriptions."""
    for name, description in sorted(described.items()):
        if tx.core(update(queues).where(queues.c.name == name).values(description=description)).rowcount == 0:
            tx.core(insert_ignoring(tx, queues).values(name=name, description=description))


def insert_ignoring(tx: Tx, table: Any) -> Any:
    """Return an insert into *table* that leaves a row alone whose key is there already."""
    if tx.dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        return insert_sqlite(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as insert_postgres

    return insert_postgres(table).on_conflict_do_nothing()


def set_queue_paused(tx: Tx, name: str, paused: bool, reason: str, now: datetime, actor: str) -> bool:
    """Pause or resume a queue; return whether that changed anything."""
    action = "queue.pause" if paused else "queue.resume"
    put = insert_ignoring(tx, queues).values(name=name)
    tx.core(put)
    before = queues.c.paused_at.is_(None) if paused else queues.c.paused_at.is_not(None)
    values = {
        "paused_at": now if paused else None,
        "paused_by": actor if paused else None,
        "pause_reason": reason if paused else None,
    }
    changed = tx.core(update(queues).where(queues.c.name == name, before).values(**values)).rowcount == 1
    if changed:
        write_audit(tx, now, actor, action, name, {"reason": reason})
    return changed or (tx.repeated and audited(tx, now, actor, action, name))


def limit_queue(tx: Tx, name: str, limits: QueueLimits, now: datetime, actor: str) -> None:
    """Limit a queue in the name of a person; nothing of *limits* lifts what there was."""
    tx.core(insert_ignoring(tx, queues).values(name=name))
    set_queue_limits(tx, name, limits)
    write_audit(tx, now, actor, "queue.limit", name, {"running": limits.running, "per_key": limits.per_key})


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue with what waits in it."""

    name: str
    description: str
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    ready_by_priority: Mapping[int, int]
    running: int
    held: int
    """Runs that limits hold back."""
    limits: QueueLimits

    @property
    def ready(self) -> int:
        """Return how many runs are ready."""
        return sum(self.ready_by_priority.values())


def list_queues(tx: Tx) -> list[QueueDepth]:
    """Return all queues that are described or have runs, by name."""
    depth: dict[str, dict[int, int]] = {}
    by_rank = select(ready.c.queue, ready.c.rank, func.count().label("n")).group_by(ready.c.queue, ready.c.rank)
    for row in tx.core(by_rank):
        depth.setdefault(row.queue, {})[9 - row.rank] = row.n
    under_way = select(runs.c.queue, func.count().label("n")).where(runs.c.state == "running").group_by(runs.c.queue)
    running, held = {row.queue: row.n for row in tx.core(under_way)}, held_by_queue(tx)
    described = {row.name: row for row in tx.core(select(queues))}
    found = []
    for name in sorted({*depth, *running, *held, *described}):
        known = described.get(name)
        found.append(
            QueueDepth(
                name=name,
                description="" if known is None else known.description,
                paused_at=None if known is None else known.paused_at,
                paused_by=None if known is None else known.paused_by,
                pause_reason=None if known is None else known.pause_reason,
                ready_by_priority=depth.get(name, {}),
                running=running.get(name, 0),
                held=held.get(name, 0),
                limits=QueueLimits.from_json(None if known is None else known.limits),
            )
        )
    return found


def list_sessions(tx: Tx, *, live_only: bool = True, most: int = 200) -> Sequence[Row[Any]]:
    """Return worker and scheduler sessions, newest first."""
    query = select(worker_sessions).order_by(worker_sessions.c.id.desc()).limit(most)
    return tx.core(query.where(worker_sessions.c.state == "live") if live_only else query).all()


def forget_sessions(tx: Tx, now: datetime, older_than: timedelta) -> int:
    """Delete sessions that ended long ago and hold nothing; attempts keep their ids. Return how many there were."""
    held = select(runs.c.id).where(runs.c.state == "running", runs.c.session_id == worker_sessions.c.id).exists()
    gone = (worker_sessions.c.state != "live") & (worker_sessions.c.ended_at < now - older_than) & ~held
    # Locked by ascending id, and what another process is deleting is left to it.
    ids = select(worker_sessions.c.id).where(gone).order_by(worker_sessions.c.id).with_for_update(skip_locked=True)
    found = [row.id for row in tx.core(ids)]
    return tx.core(worker_sessions.delete().where(worker_sessions.c.id.in_(found))).rowcount if found else 0


def end_process(tx: Tx, host: str, pid: int, boot_id: str, now: datetime) -> int:
    """End the sessions of a process that was seen to die; return how many there were."""
    dead = (
        (worker_sessions.c.state == "live")
        & (worker_sessions.c.host == host)
        & (worker_sessions.c.pid == pid)
        & (worker_sessions.c.boot_id == boot_id)
    )
    values = {"state": "dead", "state_reason": "its process died", "ended_at": now}
    return tx.core(update(worker_sessions).where(dead).values(**values)).rowcount
