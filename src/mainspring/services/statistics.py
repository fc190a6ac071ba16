"""Count what attempts did: in sum, by task and queue, and minute by minute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select

from mainspring.errors import InvalidInput
from mainspring.store.database import Database
from mainspring.store.schema import stats

LONGEST: Final = timedelta(days=366)
MOST_STEPS: Final = 2_000
_MINUTE: Final = timedelta(minutes=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Tally:
    """How attempts ended, and how long they took."""

    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    other: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    longest: float = 0.0

    def __add__(self, more: Tally) -> Tally:
        sums = {name: getattr(self, name) + getattr(more, name) for name in self.__slots__}
        return replace(self, **{**sums, "longest": max(self.longest, more.longest)})

    @property
    def attempts(self) -> int:
        """Return how many attempts ended."""
        return self.succeeded + self.failed + self.retried + self.other

    @property
    def success_rate(self) -> float | None:
        """Return which share of the runs that came to an end succeeded; None where none did."""
        ended = self.succeeded + self.failed
        return None if not ended else self.succeeded / ended

    @property
    def mean_seconds(self) -> float | None:
        """Return how long an attempt took on average."""
        return None if not self.attempts else self.seconds / self.attempts

    @property
    def mean_wait_seconds(self) -> float | None:
        """Return how long a run waited on average from coming due to its start."""
        return None if not self.attempts else self.wait_seconds / self.attempts


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in a stretch of time."""

    since: datetime
    until: datetime
    total: Tally
    by_task: dict[str, Tally]
    by_queue: dict[str, Tally]
    steps: tuple[tuple[datetime, Tally], ...]
    """Begin of each step with what ended in it; steps without any are left out."""


def figures(
    database: Database, since: datetime, until: datetime, step: timedelta, task: str | None, queue: str | None
) -> Figures:
    """Return what happened from *since* to before *until*, whole minutes, of one task or queue if given.

    Raises:
        InvalidInput: the stretch is empty, too long, or has too many steps.
    """
    if not timedelta(0) < until - since <= LONGEST:
        raise InvalidInput("until must be later than since, by 366 days at most")
    if step < _MINUTE or step % _MINUTE:
        raise InvalidInput("a step is whole minutes, 1 at least")
    if (until - since) / step > MOST_STEPS:
        raise InvalidInput(f"{until - since} have more than {MOST_STEPS:,} steps of {step}; take longer steps")
    sums = [func.sum(stats.c[name]).label(name) for name in Tally.__slots__ if name != "longest"]
    columns = (*sums, func.max(stats.c.longest).label("longest"))
    query = (
        select(stats.c.minute, stats.c.task, stats.c.queue, *columns)
        .where(stats.c.minute >= since, stats.c.minute < until)
        .group_by(stats.c.minute, stats.c.task, stats.c.queue)
    )
    query = query if task is None else query.where(stats.c.task == task)
    query = query if queue is None else query.where(stats.c.queue == queue)
    found = Figures(since, until, Tally(), {}, {}, ())
    steps: dict[datetime, Tally] = {}
    total = Tally()
    for row in database.read(lambda tx: tx.core(query).all()):
        tally = _tally(row)
        total += tally
        begin = row.minute - (row.minute - _EPOCH) % step
        for sums_of, key in ((found.by_task, row.task), (found.by_queue, row.queue), (steps, begin)):
            sums_of[key] = sums_of.get(key, Tally()) + tally
    return replace(found, total=total, steps=tuple(sorted(steps.items())))


def _tally(row: Any) -> Tally:
    counts = {name: int(getattr(row, name)) for name in ("succeeded", "failed", "retried", "other")}
    return Tally(**counts, seconds=row.seconds, wait_seconds=row.wait_seconds, longest=row.longest)
