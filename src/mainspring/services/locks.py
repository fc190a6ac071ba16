"""Give locks to users' code, keep their leases alive while they are held, and say when one is lost."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final

from mainspring.clock import Clock, boot_id
from mainspring.errors import InvalidInput, LockHeld, LockLost, NotFound, StoreUnavailable
from mainspring.ids import uuid7
from mainspring.store import locks as stored
from mainspring.store.database import Database
from mainspring.store.joining import join
from mainspring.store.locks import Holding

_SHORTEST: Final = timedelta(seconds=1)
_LONGEST_NAME: Final = 200
_FIRST_LOOK, _SLOWEST_LOOK = 0.02, 0.5
_NEVER: Final = threading.Event()
_log = logging.getLogger("mainspring.locks")


@dataclass(frozen=True, slots=True)
class LockView:
    """A lock that is held."""

    name: str
    holder: str
    fence: int
    acquired_at: datetime


class Lock:
    """A lock that is held; leave its ``with`` block to give it back. Its lease is renewed in the background."""

    def __init__(self, database: Database, clock: Clock, held: Holding, ttl: timedelta, since: float) -> None:
        """Begin to renew; *since* is the monotonic time before the lock was asked for."""
        self._database, self._clock, self._held, self._ttl = database, clock, held, ttl
        self._trusted_until = since + ttl.total_seconds() * 0.9
        self._gone = threading.Event()
        self._stop = threading.Event()
        name = f"mainspring-lock-{held.name}"
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Return its name."""
        return self._held.name

    @property
    def fence(self) -> int:
        """Return the number of this acquisition; it only grows, so what you write to can refuse a late one."""
        return self._held.fence

    @property
    def lost(self) -> bool:
        """Whether it can no longer be relied on: its lease ran out, or an operator freed it."""
        if self._clock.monotonic() >= self._trusted_until:
            self._gone.set()
        return self._gone.is_set()

    def check(self, connection: Any = None) -> None:
        """Raise `LockLost` unless it is held.

        With a *connection* of yours (see `Client.inside`) the database is asked, inside your transaction: nobody else
        takes the lock before that ends, so what you commit in it is written under the lock.
        """
        if self.lost:
            raise LockLost(self.name, self.fence)
        if connection is not None:
            tx = join(self._database, connection).tx
            if not stored.is_held(tx, self._held, self._database.lease_now()):
                raise LockLost(self.name, self.fence)

    def renew(self) -> bool:
        """Renew the lease now; False means that the lock is lost."""
        if self.lost:
            return False
        since, ttl = self._clock.monotonic(), self._ttl
        lease_now = self._database.lease_now()
        if self._database.write(lambda tx: stored.renew(tx, self._held, ttl, lease_now)):
            self._trusted_until = since + ttl.total_seconds() * 0.9
            return True
        self._gone.set()
        return False

    def release(self) -> None:
        """Give it back; a lock that is lost is left to whoever has it now."""
        self._stop.set()
        self._thread.join()
        self._database.write(lambda tx: stored.release(tx, self._held))
        self._gone.set()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = self.lost
        self.release()
        if lost and kind is None:
            raise LockLost(self.name, self.fence)

    def _keep(self) -> None:
        while not self._stop.wait(self._ttl.total_seconds() / 4) and not self.lost:
            try:
                if not self.renew():
                    _log.error("lock_lost name=%s fence=%d", self.name, self.fence)
            except StoreUnavailable as error:
                _log.warning("lock_not_renewed name=%s error=%s", self.name, error)


class Locking:
    """Gives and takes locks."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def acquire(self, name: str, ttl: timedelta, wait: timedelta) -> Lock:
        """Return the lock of this name, once it is free.

        Raises:
            LockHeld: it was not within *wait*.
        """
        _check(name, ttl, wait)
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid7()}"
        wanted = Holding(name, holder, boot_id())
        until, pause = self._clock.monotonic() + wait.total_seconds(), _FIRST_LOOK
        while True:
            since, now, lease_now = self._clock.monotonic(), self._clock.now(), self._database.lease_now()
            fence = self._database.write(lambda tx: stored.acquire(tx, wanted, ttl, now, lease_now))  # noqa: B023
            if fence is not None:
                return Lock(self._database, self._clock, replace(wanted, fence=fence), ttl, since)
            left = until - self._clock.monotonic()
            if left <= 0:
                found = self._database.read(lambda tx: stored.find_lock(tx, name))
                raise LockHeld(name, "somebody else" if found is None else _shown(found.holder))
            self._clock.wait(_NEVER, min(pause, left))
            pause = min(pause * 1.5, _SLOWEST_LOOK)

    def list(self) -> list[LockView]:
        """Return the locks that somebody has taken and not given back, those of the dead included."""
        rows = self._database.read(stored.list_locks)
        return [LockView(row.name, _shown(row.holder), row.fence, row.acquired_at) for row in rows]

    def take_away(self, name: str, actor: str) -> LockView:
        """Free a lock whatever its holder does: that one finds it lost at its next renewal. Return what it was.

        Raises:
            NotFound: nobody holds such a lock.
        """
        now = self._clock.now()
        found = self._database.read(lambda tx: stored.find_lock(tx, name))
        if found is None or found.holder is None:
            raise NotFound("lock that is held and called", repr(name))
        if not self._database.write(lambda tx: stored.take_away(tx, name, found.holder, now, actor)):
            raise NotFound("lock that is held and called", repr(name))
        return LockView(name, _shown(found.holder), found.fence, found.acquired_at)


def _shown(holder: str | None) -> str:
    # What makes the holder unique is of no use to people.
    return "nobody" if holder is None else f"process {holder.rpartition(':')[0]}"


def _check(name: Any, ttl: Any, wait: Any) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"lock name {name!r} is not usable; write 1 to {_LONGEST_NAME} printable characters")
    if not isinstance(ttl, timedelta) or ttl < _SHORTEST:
        raise InvalidInput(f"lock {name!r}: ttl {ttl!r} is not a timedelta of a second or more")
    if not isinstance(wait, timedelta) or wait < timedelta(0):
        raise InvalidInput(f"lock {name!r}: wait {wait!r} is not a timedelta of 0 or more")
