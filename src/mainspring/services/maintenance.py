"""Keep the queue moving: stage what comes due, free what waited, expire what is worthless, rescue what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from mainspring.clock import Clock
from mainspring.services.artifacts import ArtifactStore, Pruned
from mainspring.services.clock_guard import ASK_SERVER_EVERY, ClockGuard, ServerClock
from mainspring.services.clock_judge import Sight
from mainspring.store import (
    accounts,
    dependants,
    idempotency,
    keys,
    ledger,
    limiting,
    queueing,
    result_cache,
    sessions,
    tables,
    turns,
)
from mainspring.store.database import Database, Row, Tx
from mainspring.store.hints import READY
from mainspring.store.schema import worker_sessions
from mainspring.store.sessions import Rescued

FAILURES_KEPT: Final = timedelta(days=1)
"""How long a failed sign-in is remembered."""
SESSIONS_KEPT: Final = timedelta(days=30)
LEASE: Final = timedelta(seconds=12)
"""The lease of a session: for so long nobody is buried after a jump of a clock."""
JUMP: Final = timedelta(seconds=2)
"""What a clock may move against the boot clock between two looks before leases cannot be judged."""
SWEEP_EVERY: Final = timedelta(days=1)
_AGAIN_AFTER: Final = 1.0
_log = logging.getLogger("mainspring.maintenance")


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one round of staging did, and when the next scheduled run comes due."""

    staged: int = 0
    released: int = 0
    expired: int = 0
    next_due_at: datetime | None = None
    in_doubt: bool = False
    """Whether the wall clock is in doubt: nothing expired, and only what has surely come due was staged."""


@dataclass
class Stager:
    """Makes runs ready whose time has come; any number of them may do so at once."""

    database: Database
    clock: Clock
    guard: ClockGuard | None = None

    def __post_init__(self) -> None:
        self._looked_up_to = dependants.FIRST

    def run_once(self) -> StageResult:
        """Stage, release and expire all that is to be; writes nothing when there is nothing.

        While the wall clock is in doubt nothing expires, and what is staged is due by every clock there is.
        """
        verdict = None if self.guard is None else self.guard.check()
        now = self.clock.now() if verdict is None else verdict.surely
        trusted = verdict is None or verdict.trusted
        next_due = self.database.read(ledger.next_due_at)
        staged = expired = 0
        if next_due is not None and next_due <= now:
            staged = queueing.repeat(lambda: self.database.write(lambda tx: queueing.stage_due(tx, now)))
            next_due = self.database.read(ledger.next_due_at)
        released = self._release(now)
        if trusted and self._any(lambda tx: tx.rows("expired_runs", {"now": tx.at(now), "n": 1})):
            expired = queueing.repeat(lambda: self.database.write(lambda tx: queueing.expire(tx, now)))
        if staged or released or expired:
            self.database.sender.send(READY)
        return StageResult(staged, released, expired, next_due, not trusted)

    def _release(self, now: datetime) -> int:
        """Judge runs that seem to wait for nothing: whoever ended the last that they needed has not done so."""
        look = self.database.read(lambda tx: dependants.look(tx, self._looked_up_to))
        self._looked_up_to = look.after
        if not look.found:
            return 0
        done = self.database.write(lambda tx: queueing.release_waiting(tx, look.found, now))
        return len(done.released)

    def _any(self, look: Callable[[Tx], list[tuple[object, ...]]]) -> bool:
        return bool(self.database.read(look))


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """What one round of releasing did, and when time alone lets the next held run go."""

    released: int = 0
    next_at: datetime | None = None


@dataclass
class Releaser:
    """Lets held runs go for which there is room, and lets turns follow one another; any number may do so at once.

    The end of an attempt does the first as well, at once; what this finds is what time has made free, and what a
    process did not live to let go.
    """

    database: Database
    clock: Clock

    def __post_init__(self) -> None:
        self._again_at = 0.0

    def run_once(self) -> ReleaseResult:
        """Let go all that can start; writes nothing when there is nothing.

        Once a second others are let go although some that were have not begun: perhaps nobody serves their queue.
        """
        now, released = self.clock.now(), 0
        following: list[datetime] = []
        if again := self.clock.monotonic() >= self._again_at:
            self._again_at = self.clock.monotonic() + _AGAIN_AFTER
        if self.database.read(turns.served_turns):
            self.database.write(turns.advance)
        after = ""
        while found := self.database.read(lambda tx: limiting.held_limits(tx, after)):  # noqa: B023
            after = max(usage.name for usage in found)
            free = [usage.name for usage in found if usage.room(now, again=again) > 0]
            if free:
                released += self.database.write(lambda tx: limiting.let_go(tx, free, now, again=again))  # noqa: B023
            following += [moment for usage in found if (moment := usage.next_at(now)) is not None]
        if released:
            self.database.sender.send(READY)
        return ReleaseResult(released, min(following, default=None))


@dataclass
class Rescuer:
    """Takes back what dead sessions held; any number of them may do so at once."""

    database: Database
    clock: Clock
    boot_id: str
    ttl: timedelta = LEASE
    on_overdue: Callable[[], None] | None = None
    """Told, at each look, that a session has missed renewals and may be about to be buried."""

    def __post_init__(self) -> None:
        self._jumps = JumpWatch(self.database, self.clock, self.ttl)
        self._left: float | None = None

    @property
    def next_in(self) -> float | None:
        """Return in how many seconds, at the last look, the first lease was to run out that had missed renewals."""
        return self._left

    def run_once(self) -> Rescued:
        """Bury sessions whose lease has run out and take back their runs, in batches; return all that was done.

        After a jump of a clock nobody is buried for the length of a lease.
        """
        total = Rescued()
        if self._jumps.look():
            return total
        while self._needed() and not self._jumps.look(ask=True):
            now, lease_now = self.clock.now(), self.database.lease_now()
            found = self.database.write(lambda tx: sessions.rescue(tx, self.boot_id, now, lease_now))  # noqa: B023
            total += found
            if found.count < sessions.BATCH:
                break
        for session_id, name, why in total.buried:
            _log.warning("session_buried session_id=%s name=%s reason=%r", session_id, name, why)
        if total.count:
            counts = (len(total.returned), len(total.lost), len(total.cancelled), len(total.poisoned))
            _log.warning("runs_rescued returned=%d lost=%d cancelled=%d poisoned=%d", *counts)
        if total.returned or total.released:
            self.database.sender.send(READY)
        return total

    def _needed(self) -> bool:
        lease_now = self.database.lease_now()

        def look(tx: Tx) -> tuple[list[Row], bool]:
            ahead_us = self.ttl // 3 // timedelta(microseconds=1)
            lease = {"lease_now": tx.at(lease_now), "boot_id": self.boot_id, "ahead_us": ahead_us}
            return tx.rows("expired_sessions", lease), bool(tx.rows("orphaned_runs", {"n": 1}))

        overdue, orphaned = self.database.read(look)
        self._left = overdue[0][1] / 1e6 if overdue else None
        if overdue and self.on_overdue is not None:
            self.on_overdue()
        return orphaned or (self._left is not None and self._left <= 0)


class JumpWatch:
    """Knows whether a clock has jumped within the last lease: those that judge leases, and those that show that."""

    def __init__(self, database: Database, clock: Clock, ttl: timedelta) -> None:
        self._server, self._clock, self._ttl = ServerClock(database, clock), clock, ttl
        self._last: Sight | None = None
        self._until = 0.0

    def look(self, *, ask: bool = False) -> bool:
        """Return whether leases cannot be judged now; *ask* the server even if it was asked a moment ago."""
        last, sight = self._last, self._server.sight(0.0 if ask else ASK_SERVER_EVERY)
        self._last = sight
        if last is not None and (by := _jump(last, sight)) > JUMP:
            self._until = sight.monotonic + self._ttl.total_seconds()
            _log.warning("rescue_waits seconds=%g: a clock has jumped by %s", self._ttl.total_seconds(), by)
        return sight.monotonic < self._until


def _jump(last: Sight, sight: Sight) -> timedelta:
    """Return by how much wall clock or server's clock moved against the boot clock, at most by what is sure."""
    own = abs(sight.booted_at - last.booted_at)
    if last.server is None or sight.server is None:
        return own
    passed = timedelta(seconds=sight.monotonic - last.monotonic)
    return max(own, abs(sight.server - last.server - passed) - last.slack - sight.slack)


@dataclass
class Tidier:
    """Keeps the database small; any number of them may do so at once. What is kept of results goes when it expires."""

    database: Database
    clock: Clock
    guard: ClockGuard | None = None

    def run_once(self) -> int:
        """Tidy the database up, forget free unique keys and sessions that ended long ago; return how many sessions."""
        self.database.tidy()
        if self.database.read(turns.any_kept):
            self.database.write(turns.forget)
        if self.database.read(limiting.any_stale):
            self.database.write(limiting.forget_stale)
        now = self.clock.now()
        if self.guard is not None:
            now = self.guard.check().surely
        if self.database.read(lambda tx: result_cache.has_expired(tx, now)):
            queueing.repeat(lambda: self.database.write(lambda tx: result_cache.forget_expired(tx, now)))
        if self.database.read(lambda tx: keys.any_stale(tx, now)):
            queueing.repeat(lambda: self.database.write(lambda tx: keys.forget(tx, now)), keys.BATCH)
        self._forget_requests(now)
        gone = (worker_sessions.c.state != "live") & (worker_sessions.c.ended_at < now - SESSIONS_KEPT)
        # A look first: nothing is written when nothing is old.
        if not self.database.read(lambda tx: tx.core(select(worker_sessions.c.id).where(gone).limit(1)).all()):
            return 0
        return self.database.write(lambda tx: tables.forget_sessions(tx, now, SESSIONS_KEPT))

    def _forget_requests(self, now: datetime) -> None:
        """Forget logins, links and failed sign-ins whose time is over, and answers that nobody asks for again."""
        if self.database.read(lambda tx: accounts.has_old(tx, now, now - FAILURES_KEPT)):
            self.database.write(lambda tx: accounts.forget_old(tx, now, now - FAILURES_KEPT))
        if self.database.read(lambda tx: idempotency.has_old(tx, now - idempotency.LASTS)):
            self.database.write(lambda tx: idempotency.forget_old(tx, now - idempotency.LASTS))


@dataclass
class Retention:
    """Deletes artifacts whose time is over, and once a day what saves that were killed have left."""

    artifacts: ArtifactStore
    guard: ClockGuard
    _swept_at: datetime | None = None
    _stopping: bool = False

    def run_once(self) -> Pruned:
        """Clear away; while the wall clock is in doubt, only what is over by every clock there is."""
        now = self.guard.check().surely
        done = self.artifacts.delete_expired(now, lambda: self._stopping)
        if self._swept_at is None or now - self._swept_at >= SWEEP_EVERY:
            done = replace(done, orphans=self.artifacts.delete_orphans(now, lambda: self._stopping))
            self._swept_at = now
        if done.expired or done.orphans:
            _log.info("artifacts_cleared expired=%d bytes=%d orphans=%d", done.expired, done.size, done.orphans)
        return done

    def stop(self) -> None:
        """Let a round that is under way end early."""
        self._stopping = True
