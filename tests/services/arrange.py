"""Short ways to use the services, and to write down what they did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.runs import ClaimedRun, Ended
from mainspring.domain.spec import Misfire, MisfirePolicy, ScheduleSpec
from mainspring.domain.states import RunState
from mainspring.domain.triggers import parse_cron
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.errors import StoreUnavailable
from mainspring.ids import RunId, SessionId
from mainspring.services.catalog import Catalog
from mainspring.services.enqueue import Enqueuer
from mainspring.services.fire import Firer, FireResult
from mainspring.services.maintenance import Rescuer, Stager
from mainspring.services.reading import Reading
from mainspring.services.runs import Steering
from mainspring.services.schedules import Scheduling
from mainspring.store import sessions, tables
from mainspring.store.database import Database, Tx
from mainspring.store.runs import RunFilter, StoredRun
from mainspring.store.schema import metadata
from tests.store.arrange import BOOT, NOON, claim, finish, open_session, outcome

T = TypeVar("T")
Row = tuple[str, str, int, str, str | None]


class Installation:
    """The services on one database, with one clock."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        self.firer = Firer(database, clock)
        self.scheduling, self.steering = Scheduling(database, clock), Steering(database, clock)
        self.reading, self.enqueuer = Reading(database, clock), Enqueuer(database, clock)
        self.stager, self.rescuer = Stager(database, clock), Rescuer(database, clock, BOOT)

    @cached_property
    def session(self) -> SessionId:
        """A worker session, opened when first needed; its lease lasts as long as any test."""
        session = open_session(self.database, self.clock.now())
        lease_now = self.database.lease_now()
        self.database.write(
            lambda tx: sessions.renew_session(tx, session, timedelta(days=400), self.clock.now(), lease_now)
        )
        return session

    def describe(self, *tasks: Any) -> None:
        """Write what a worker would write of its tasks."""
        self.database.write(lambda tx: tables.put_tasks(tx, Catalog(tasks).describe(), self.clock.now()))

    def put(self, spec: ScheduleSpec, source: str = "file") -> str:
        """Add or edit a schedule."""
        return self.scheduling.put(spec, source, "tester")

    def at(self, time: str) -> datetime:
        """Set the clock to a time of the first day, or of another (``4 00:30``), and return it."""
        moment = when(time)
        self.clock.advance(moment - self.clock.now())
        return moment

    def fire(self, time: str | None = None) -> FireResult:
        """Fire all that is due, at a time of the day; return the sums."""
        if time is not None:
            self.at(time)
        total = FireResult()
        while True:
            done = self.firer.run_once()
            total = replace(total, fired=total.fired + done.fired, decided=total.decided + done.decided,
                            failed=total.failed + done.failed)  # fmt: skip
            if not done.more:
                return total

    def ledger(self, name: str = "s1") -> list[Row]:
        """Return the ledger of a schedule, oldest first: (first, last, n, outcome, cause), times as ``12:01``."""
        rows = self.reading.ledger(self.scheduling.require(name).id, 10_000)
        return [
            (short(r.fire_at), short(r.until_at), r.n, r.outcome.value, None if r.cause is None else r.cause.value)
            for r in reversed(rows)
        ]

    def runs(self, schedule: str | None = None, *states: RunState) -> list[StoredRun]:
        """Return runs in the order in which they were made."""
        return list(reversed(self.reading.runs(RunFilter(states=states, schedule=schedule), 10_000)))

    def fired(self, name: str = "s1") -> list[str]:
        """Return the fire times that became runs, as ``12:01``; one for each run."""
        return [short(run.fire_at) for run in self.runs(name) if run.fire_at is not None]

    def claim(self, n: int = 10, queue: str = "default") -> list[ClaimedRun]:
        """Claim runs for a worker session."""
        return claim(self.database, self.session, n, queue, self.clock.now())

    def finish(self, *claimed: ClaimedRun, ended: Ended = Ended.SUCCEEDED) -> None:
        """End attempts, all alike."""
        now = self.clock.now()
        finish(self.database, self.session, *(outcome(run, ended, now) for run in claimed), now=now)

    def look(self, run_id: str) -> StoredRun:
        """Return a run."""
        return self.steering.require(run_id)

    def outbox(self) -> list[tuple[str, str]]:
        """Return the messages that wait: topic and body."""
        table = metadata.tables["outbox"]
        query = sqlalchemy.select(table.c.topic, table.c.body).order_by(table.c.id)
        return self.database.read(lambda tx: [(row.topic, row.body) for row in tx.core(query)])


def when(time: str) -> datetime:
    """Return a time of 2 March 2026 (``12:01``, ``12:01:30``), or of another day of that month (``4 00:30``)."""
    day, _, clock_time = time.rpartition(" ")
    parts = [int(part) for part in clock_time.split(":")]
    return datetime(2026, 3, int(day or NOON.day), *parts, tzinfo=UTC)


def short(moment: datetime) -> str:
    """Return *moment* as `when` reads it."""
    day = "" if moment.day == NOON.day else f"{moment.day} "
    text = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
    return day + (text if not moment.microsecond else f"{text}.{moment.microsecond:06}")


def minutely(name: str = "s1", **changes: Any) -> ScheduleSpec:
    """Return a schedule that fires every minute."""
    return every(timedelta(minutes=1), name, **changes)


def every(distance: timedelta, name: str = "s1", **changes: Any) -> ScheduleSpec:
    """Return a schedule of equal distances from noon on; misfire may be the name of a policy."""
    return _spec(name, IntervalTrigger(distance, NOON), changes)


def cron(text: str, name: str = "s1", zone: str = "UTC", **changes: Any) -> ScheduleSpec:
    """Return a schedule of a cron text."""
    return _spec(name, parse_cron(text, zone), {"zone": zone} | changes)


def _spec(name: str, trigger: Any, changes: dict[str, Any]) -> ScheduleSpec:
    misfire = changes.get("misfire")
    if isinstance(misfire, str):
        changes["misfire"] = Misfire(MisfirePolicy(misfire))
    return ScheduleSpec(name=name, trigger=trigger, **({"task": "demo.task"} | changes))


class Faulty:
    """A database in front of another: it counts, and fails or waits where a test says so."""

    def __init__(self, database: Database) -> None:
        self._inner = database
        self.down = False
        """While True, nothing is reached."""
        self.writes: list[str] = []
        """What began each write transaction: the name of the function that asked for it."""
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.before_read: Callable[[], None] = lambda: None
        self.hints: list[str] = []
        """The topics of all hints that were sent."""
        self.sender = self

    def send(self, topic: str) -> None:
        """Send a hint."""
        self.hints.append(topic)
        self._inner.sender.send(topic)

    def write(self, work: Callable[[Tx], T]) -> T:
        """Write, unless the database is down; `after_write` comes after the commit."""
        self._check()
        self.before_write()
        self.writes.append(getattr(work, "__qualname__", repr(work)))
        result = self._inner.write(work)
        self.after_write()
        return result

    def read(self, work: Callable[[Tx], T]) -> T:
        """Read, unless the database is down."""
        self._check()
        self.before_read()
        return self._inner.read(work)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("the database is down")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def run_ids(runs: list[StoredRun]) -> list[RunId]:
    """Return the ids of runs."""
    return [run.id for run in runs]
