"""Stand still: nothing fires and nothing is claimed anywhere until a time, or until somebody ends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select

from mainspring.clock import Clock
from mainspring.encoding import decode, encode
from mainspring.errors import Conflict, InvalidInput
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.schedules import audited, write_audit
from mainspring.store.schema import meta
from mainspring.store.tables import insert_ignoring

_KEY: Final = "standstill"
_FRESH: Final = 1.0


@dataclass(frozen=True, slots=True)
class Standstill:
    """A standstill that is in force."""

    since: datetime
    until: datetime | None
    """When it ends by itself; None means that somebody ends it."""
    by: str
    reason: str


class MaintenanceMode:
    """Begins and ends a standstill of the whole installation, each audited."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def current(self) -> Standstill | None:
        """Return the standstill that is in force, if any."""
        now = self._clock.now()
        found = self._database.read(_look)
        return found if found is not None and (found.until is None or now < found.until) else None

    def begin(self, actor: str, reason: str = "", until: datetime | None = None) -> Standstill:
        """Let nothing fire and nothing be claimed from now on; what runs goes on, and runs may be enqueued.

        Fire times that come meanwhile are late afterwards: each schedule's misfire policy decides on them.

        Raises:
            Conflict: there is one already.
            InvalidInput: *until* is not in the future.
        """
        now = self._clock.now()
        if until is not None and until <= now:
            raise InvalidInput(f"until {until.isoformat()} is not in the future")
        if (found := self.current()) is not None:
            raise Conflict(f"{found.by} has begun maintenance already; end it first to change that")
        wanted = Standstill(now, until, actor, reason)

        def work(tx: Tx) -> None:
            tx.core(delete(meta).where(meta.c.key == _KEY))
            tx.core(insert_ignoring(tx, meta).values(key=_KEY, value=encode(wanted)))
            write_audit(tx, now, actor, "maintenance.begin", "installation", {"until": until, "reason": reason})

        self._database.write(work)
        return wanted

    def end(self, actor: str) -> None:
        """End the standstill: everything fires and is claimed again.

        Raises:
            Conflict: there is none.
        """
        now, found = self._clock.now(), self.current()

        def work(tx: Tx) -> bool:
            done = tx.core(delete(meta).where(meta.c.key == _KEY)).rowcount == 1
            if done:
                write_audit(tx, now, actor, "maintenance.end", "installation", {})
            return done or (tx.repeated and audited(tx, now, actor, "maintenance.end", "installation"))

        if found is None or not self._database.write(work):
            raise Conflict("there is no maintenance to end")
        self._database.sender.send(SCHEDULES)
        self._database.sender.send(READY)


class StandstillWatch:
    """Knows, fresh to a second, whether this process must stand still: one small read a second at most."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._mode, self._clock = MaintenanceMode(database, clock), clock
        self._looked_at = float("-inf")
        self.seen = False
        """What was found at the last look."""

    def in_force(self) -> bool:
        """Return whether there is a standstill.

        Raises:
            StoreUnavailable: the database had to be asked and did not answer.
        """
        now = self._clock.monotonic()
        if now - self._looked_at >= _FRESH:
            self.seen = self._mode.current() is not None
            self._looked_at = now
        return self.seen


def _look(tx: Tx) -> Standstill | None:
    text = tx.core(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    if text is None:
        return None
    body: dict[str, Any] = decode(text)
    until = body["until"]
    return Standstill(
        datetime.fromisoformat(body["since"]),
        None if until is None else datetime.fromisoformat(until),
        body["by"],
        body["reason"],
    )
