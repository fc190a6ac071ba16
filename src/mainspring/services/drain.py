"""Say what runs meet in the queues that they are to go to, and how long they would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from mainspring.domain.queue_order import serves
from mainspring.store import tables
from mainspring.store.database import Tx
from mainspring.store.schema import stats

_PAST: Final = timedelta(days=7)
"""How far back durations are looked at."""


@dataclass(frozen=True, slots=True)
class QueueRoom:
    """A queue that runs are to go to."""

    name: str
    coming: int
    ready: int
    """Runs that stand there already."""
    paused: bool
    workers: int
    slots: int
    """Of live workers that serve it."""


@dataclass(frozen=True, slots=True)
class Drain:
    """How long runs would take, as far as it can be known."""

    queues: tuple[QueueRoom, ...]
    arrival: timedelta
    """From the first to the last coming due."""
    work: timedelta | None
    """For all slots that serve them together, from past durations; None where a task has none or nobody works."""

    @property
    def time(self) -> timedelta | None:
        """Return the time until the last has ended; None where it cannot be known."""
        return None if self.work is None else max(self.arrival, self.work)


def drain_of(tx: Tx, coming: Mapping[tuple[str, str], int], step: timedelta, now: datetime) -> Drain:
    """Return what runs would meet that come *step* after each other; *coming* counts them by queue and task."""
    by_queue: Counter[str] = Counter()
    for (queue, _), count in coming.items():
        by_queue[queue] += count
    known = {queue.name: queue for queue in tables.list_queues(tx)}
    workers = [session for session in tables.list_sessions(tx) if session.kind == "worker"]
    rooms = []
    for name, count in sorted(by_queue.items()):
        depth = known.get(name)
        serving = [worker for worker in workers if serves(worker.queues, name)]
        paused = depth is not None and depth.paused_at is not None
        ready, slots = 0 if depth is None else depth.ready, sum(worker.slots for worker in serving)
        rooms.append(QueueRoom(name, count, ready, paused, len(serving), slots))
    arrival = max(sum(by_queue.values()) - 1, 0) * step
    return Drain(tuple(rooms), arrival, _work(tx, coming, rooms, now))


def _work(tx: Tx, coming: Mapping[tuple[str, str], int], rooms: list[QueueRoom], now: datetime) -> timedelta | None:
    """Return how long the slots need, each queue for itself; the slowest queue counts."""
    seconds = _seconds_of(tx, {task for _, task in coming}, now)
    slowest = 0.0
    for room in rooms:
        means = [(seconds.get(task), count) for (queue, task), count in coming.items() if queue == room.name]
        if room.paused or not room.slots or any(mean is None for mean, _ in means):
            return None
        slowest = max(slowest, sum((mean or 0.0) * count for mean, count in means) / room.slots)
    return timedelta(seconds=slowest)


def _seconds_of(tx: Tx, tasks: set[str], now: datetime) -> dict[str, float]:
    """Return how long an attempt of each of these tasks took on average; those without any are left out."""
    attempts = func.sum(stats.c.succeeded + stats.c.failed + stats.c.retried + stats.c.other)
    query = (
        select(stats.c.task, func.sum(stats.c.seconds).label("seconds"), attempts.label("n"))
        .where(stats.c.minute >= now - _PAST, stats.c.task.in_(tasks))
        .group_by(stats.c.task)
    )
    return {row.task: float(row.seconds) / int(row.n) for row in tx.core(query) if row.n}
