"""Keep locks for users' code: each with a lease, and a fence that grows with each acquisition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Row

from mainspring.store.database import Tx, admit
from mainspring.store.schedules import audited, write_audit
from mainspring.store.schema import locks

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Holding:
    """A lock as one who wants or has it says it."""

    name: str
    holder: str
    """A text that nobody else uses, not even the same process a second time."""
    boot_id: str
    fence: int = 0


def acquire(tx: Tx, wanted: Holding, ttl: timedelta, now: datetime, lease_now: datetime | None) -> int | None:
    """Take the lock if it is free or its lease has run out; return its fence, or None."""
    admit(tx)
    if tx.repeated and (found := find_lock(tx, wanted.name)) is not None and found.holder == wanted.holder:
        return int(found.fence)
    given = {"name": wanted.name, "holder": wanted.holder, "boot_id": wanted.boot_id, "now": tx.at(now)}
    rows = tx.rows("acquire_lock", {**given, **_lease(tx, ttl, lease_now)})
    return int(rows[0][0]) if rows else None


def renew(tx: Tx, held: Holding, ttl: timedelta, lease_now: datetime | None) -> bool:
    """Renew the lease; False means that the lock is lost for ever."""
    return tx.run("renew_lock", {**_named(held), **_lease(tx, ttl, lease_now)}) == 1


def release(tx: Tx, held: Holding) -> None:
    """Give the lock back, if it is still held."""
    tx.run("release_lock", {"name": held.name, "holder": held.holder, "fence": held.fence})


def is_held(tx: Tx, held: Holding, lease_now: datetime | None) -> bool:
    """Return whether the lock is still held; nobody else takes it before this transaction ends."""
    return bool(tx.rows("check_lock", {**_named(held), "lease_now": tx.at(lease_now)}))


def find_lock(tx: Tx, name: str) -> Row[Any] | None:
    """Return the lock of this name, held or not, or None."""
    return tx.core(select(locks).where(locks.c.name == name)).one_or_none()


def list_locks(tx: Tx) -> Sequence[Row[Any]]:
    """Return the locks that somebody has taken and not given back, by name."""
    return tx.core(select(locks).where(locks.c.holder.is_not(None)).order_by(locks.c.name)).all()


def take_away(tx: Tx, name: str, holder: str, now: datetime, actor: str) -> bool:
    """Free a lock whatever its holder does; return whether that one held it."""
    held = (locks.c.name == name) & (locks.c.holder == holder)
    done = tx.core(update(locks).where(held).values(holder=None, lease_until=None)).rowcount == 1
    if done:
        write_audit(tx, now, actor, "lock.release", name, {"holder": holder})
    return done or (tx.repeated and audited(tx, now, actor, "lock.release", name))


def _named(held: Holding) -> dict[str, Any]:
    return {"name": held.name, "holder": held.holder, "fence": held.fence, "boot_id": held.boot_id}


def _lease(tx: Tx, ttl: timedelta, lease_now: datetime | None) -> dict[str, Any]:
    return {"ttl_us": ttl // _MICROSECOND, "lease_now": tx.at(lease_now)}
