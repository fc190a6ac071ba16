"""Steer queues: pause, resume and limit them."""

from __future__ import annotations

from mainspring.clock import Clock
from mainspring.domain.needs import QueueLimits
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.errors import Conflict, UnknownName
from mainspring.store import tables
from mainspring.store.database import Database
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.tables import QueueDepth


class Queueing:
    """Acts on queues, each action audited."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def require(self, name: str) -> QueueDepth:
        """Return the queue of this name, or raise `UnknownName` with the nearest one."""
        known = {queue.name: queue for queue in self._database.read(tables.list_queues)}
        if name not in known or QUEUE_NAME.fullmatch(name) is None:
            raise UnknownName("queue", name, known)
        return known[name]

    def pause(self, name: str, actor: str, reason: str = "") -> QueueDepth:
        """Pause a queue: its runs stay where they are, and what runs already goes on.

        Raises:
            Conflict: it is paused already.
        """
        self._set(name, actor, reason, paused=True)
        return self.require(name)

    def resume(self, name: str, actor: str) -> QueueDepth:
        """End the pause of a queue; workers claim from it at once.

        Raises:
            Conflict: it is not paused.
        """
        self._set(name, actor, "", paused=False)
        self._database.sender.send(READY)
        return self.require(name)

    def limit(self, name: str, actor: str, *, running: int | None, per_key: int | None) -> QueueDepth:
        """Limit a queue from now on: how many of its runs run at the same time, and how many with one key.

        What runs already counts, and goes on. None lifts a limit. The configuration wins at the next start, where it
        says anything of the queue's limits.

        Raises:
            InvalidInput: a number is out of range.
        """
        self.require(name)
        limits, now = QueueLimits(running, per_key, actor), self._clock.now()
        self._database.write(lambda tx: tables.limit_queue(tx, name, limits, now, actor))
        self._database.sender.send(SCHEDULES)
        return self.require(name)

    def _set(self, name: str, actor: str, reason: str, *, paused: bool) -> None:
        self.require(name)
        now = self._clock.now()
        if not self._database.write(lambda tx: tables.set_queue_paused(tx, name, paused, reason, now, actor)):
            raise Conflict(f"queue {name!r} is {'paused already' if paused else 'not paused'}")
