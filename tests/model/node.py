"""Make up the processes on a store, each behind a gate where things may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mainspring.services.enqueue import Enqueuer
from mainspring.services.fire import Firer
from mainspring.services.maintenance import Rescuer, Stager, Tidier
from mainspring.services.queues import Queueing
from mainspring.services.reading import Reading
from mainspring.services.runs import Steering
from mainspring.services.schedules import Scheduling
from tests.model.expected import LEASE, SECOND
from tests.model.store import Store
from tests.promises.faults import FaultLayer, Point, Repeat

T = TypeVar("T")


class Gate:
    """A database in front of the real one: lets somebody else go first before a write, or loses a reply after it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.overtaken_by: Callable[[], None] | None = None
        self.loses_reply = False

    def write(self, work: Callable[[Any], T]) -> T:
        """Write, perhaps twice: with a lost reply the second try is told that there was a first."""
        first, self.overtaken_by = self.overtaken_by, None
        if first is not None:
            first()
        if not self.loses_reply:
            return self._store.database.write(work)
        self.loses_reply = False
        return FaultLayer(self._store.database, _lose_the_first_reply()).write(work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.database, name)


def _lose_the_first_reply() -> Callable[[Point], None]:
    lost: list[Point] = []

    def strike(point: Point) -> None:
        if point.moment == "committed" and not lost:
            lost.append(point)
            raise Repeat

    return strike


class Node:
    """A process with all services on a gate of its own."""

    def __init__(self, store: Store, boot_id: str) -> None:
        self.gate = gate = Gate(store)
        database: Any = gate
        clock = store.clock
        self.enqueuer, self.steering = Enqueuer(database, clock), Steering(database, clock)
        self.firer, self.scheduling = Firer(database, clock), Scheduling(database, clock)
        self.stager, self.tidier = Stager(database, clock), Tidier(database, clock)
        self.queueing, self.reading = Queueing(database, clock), Reading(database, clock)
        self.rescuer = Rescuer(database, clock, boot_id)
        self.seen_off: int | None = None
        """How far off the wall clock was when it looked last for somebody to rescue."""
        self.waits_until = 0

    def waits(self, off: int, now: int) -> bool:
        """Return whether it rescues nobody, for a lease after a jump of more than 2 s; *now* is true time."""
        if self.seen_off is not None and abs(off - self.seen_off) > 2 * SECOND:
            self.waits_until = now + LEASE
        self.seen_off = off
        return now < self.waits_until
