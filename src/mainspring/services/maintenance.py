"""Keep the queue moving: stage what comes due, free what waited, expire what is worthless, rescue what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from mainspring.clock import Clock
from mainspring.store import ledger, queueing, sessions, tables
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY
from mainspring.store.schema import worker_sessions
from mainspring.store.sessions import Rescued

SESSIONS_KEPT: Final = timedelta(days=30)
_log = logging.getLogger("mainspring.maintenance")


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one round of staging did, and when the next scheduled run comes due."""

    staged: int = 0
    released: int = 0
    expired: int = 0
    next_due_at: datetime | None = None


@dataclass
class Stager:
    """Makes runs ready whose time has come; any number of them may do so at once."""

    database: Database
    clock: Clock

    def run_once(self) -> StageResult:
        """Stage, release and expire all that is to be; writes nothing when there is nothing."""
        now = self.clock.now()
        next_due = self.database.read(ledger.next_due_at)
        staged = released = expired = 0
        if next_due is not None and next_due <= now:
            staged = queueing.repeat(lambda: self.database.write(lambda tx: queueing.stage_due(tx, now)))
            next_due = self.database.read(ledger.next_due_at)
        if self._any(lambda tx: tx.rows("free_waiting", {"n": 1})):
            released = queueing.repeat(lambda: self.database.write(queueing.release_waiting))
        if self._any(lambda tx: tx.rows("expired_runs", {"now": tx.at(now), "n": 1})):
            expired = queueing.repeat(lambda: self.database.write(lambda tx: queueing.expire(tx, now)))
        if staged or released:
            self.database.sender.send(READY)
        return StageResult(staged, released, expired, next_due)

    def _any(self, look: Callable[[Tx], list[tuple[object, ...]]]) -> bool:
        return bool(self.database.read(look))


@dataclass
class Rescuer:
    """Takes back what dead sessions held; any number of them may do so at once."""

    database: Database
    clock: Clock
    boot_id: str

    def run_once(self) -> Rescued:
        """Bury sessions whose lease has run out and take back their runs, in batches; return all that was done."""
        total = Rescued()
        while self._needed():
            now, lease_now = self.clock.now(), self.database.lease_now()
            found = self.database.write(lambda tx: sessions.rescue(tx, self.boot_id, now, lease_now))  # noqa: B023
            total = Rescued(
                total.buried + found.buried,
                total.returned + found.returned,
                total.lost + found.lost,
                total.cancelled + found.cancelled,
            )
            if found.count < sessions.BATCH:
                break
        for session_id, name, why in total.buried:
            _log.warning("session_buried session_id=%s name=%s reason=%r", session_id, name, why)
        if total.count:
            counts = (len(total.returned), len(total.lost), len(total.cancelled))
            _log.warning("runs_rescued returned=%d lost=%d cancelled=%d", *counts)
        if total.returned:
            self.database.sender.send(READY)
        return total

    def _needed(self) -> bool:
        lease_now = self.database.lease_now()

        def look(tx: Tx) -> bool:
            lease = {"lease_now": tx.at(lease_now), "boot_id": self.boot_id}
            return bool(tx.rows("expired_sessions", lease) or tx.rows("orphaned_runs", {"n": 1}))

        return self.database.read(look)


@dataclass
class Tidier:
    """Keeps the database small; any number of them may do so at once."""

    database: Database
    clock: Clock

    def run_once(self) -> int:
        """Tidy the database up and forget sessions that ended long ago; return how many."""
        self.database.tidy()
        now = self.clock.now()
        gone = (worker_sessions.c.state != "live") & (worker_sessions.c.ended_at < now - SESSIONS_KEPT)
        # A look first: nothing is written when nothing is old.
        if not self.database.read(lambda tx: tx.core(select(worker_sessions.c.id).where(gone).limit(1)).all()):
            return 0
        return self.database.write(lambda tx: tables.forget_sessions(tx, now, SESSIONS_KEPT))
