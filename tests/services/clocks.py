"""A machine with a wall clock, a boot clock and a database whose server has a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from mainspring.clock import EPOCH, ManualClock
from mainspring.encoding import decode
from mainspring.services import clock_guard
from mainspring.services.clock_guard import ClockGuard
from mainspring.services.clock_state import ClockState, clock_state
from mainspring.services.fire import Firer, FireResult
from mainspring.services.maintenance import Rescuer, Stager
from mainspring.services.rewind import Rewinding
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import audit
from mainspring.store.sqlite.database import SqliteDatabase
from tests.services.arrange import Faulty, Installation
from tests.store.arrange import BOOT, NOON, SECOND

Sentence = tuple[str, str]


class Machine:
    """A machine on which a scheduler runs that ticks once a second; `clock.step_wall` sets its wall clock alone."""

    def __init__(self, kind: str, place: Any, clock: ManualClock) -> None:
        self.kind, self.clock = kind, clock
        self.server_jump = timedelta(0)
        """What has been added to the server's clock by hand."""
        self.boot_id, self._booted = BOOT, clock.monotonic()
        self._place, self._opened = place, list[Database]()
        self.database = self.open()
        self.world = Installation(self.database, clock)
        self.restart()

    def open(self) -> Database:
        """Open the database as a process of this machine does."""
        database: Database
        if self.kind == "sqlite":
            database = SqliteDatabase(self._place, lease_clock=self._boot_clock)
        else:
            database = PostgresDatabase(self._place, lease_clock=self.server_now)
        self._opened.append(database)
        return database

    def close(self) -> None:
        """Close all that was opened."""
        for database in self._opened:
            database.close()

    def _boot_clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock.monotonic())

    def server_now(self) -> datetime:
        """Return what the server's clock says: it goes on by itself."""
        return NOON + timedelta(seconds=self.clock.monotonic() - self._booted) + self.server_jump

    def restart(self) -> None:
        """End the scheduler and start another: what it had in memory is gone."""
        self.faulty = Faulty(self.database)
        self.guard = ClockGuard(self.faulty, self.clock, "scheduler s1", self.boot_id)
        self.firer = Firer(self.faulty, self.clock, self.guard)
        self.stager = Stager(self.faulty, self.clock, self.guard)
        self.rescuer = Rescuer(self.faulty, self.clock, self.boot_id)

    def boot(self) -> None:
        """Boot the machine anew, and start the scheduler."""
        self.boot_id = f"{self.boot_id}+"
        self.restart()

    def step(self, by: timedelta, *, server: bool = False) -> None:
        """Set the wall clock; with *server* that of the database's server by as much, as when they share a machine."""
        self.clock.step_wall(self.clock.now() + by)
        if server:
            self.server_jump += by

    def tick(self, times: int = 1) -> FireResult:
        """Let a second pass and the scheduler do its duties, *times* times; return the sums."""
        total = FireResult()
        for _ in range(times):
            self.clock.advance(SECOND)
            done = self.look()
            total = replace(
                done, fired=total.fired + done.fired, decided=total.decided + done.decided, failed=done.failed
            )
        return total

    def look(self) -> FireResult:
        """Let the scheduler do its duties without time passing."""
        total = FireResult(more=True)
        while total.more:
            done = self.firer.run_once()
            total = replace(done, fired=total.fired + done.fired, decided=total.decided + done.decided)
        self.stager.run_once()
        return total

    def pass_by(self, duration: timedelta) -> None:
        """Let time pass in which the scheduler ticks; every second would take long."""
        self.clock.advance(duration)
        self.look()

    def confirm(self) -> None:
        """Say as an operator that the wall clock is right."""
        clock_guard.confirm(self.database, self.clock, "ann", self.boot_id)

    def state(self) -> ClockState:
        """Return what people are shown."""
        return clock_state(self.database, self.clock, self.boot_id)

    @property
    def rewinding(self) -> Rewinding:
        """What rewinds."""
        return Rewinding(self.database, self.clock, self.boot_id)

    def audit(self, start: str = "clock.") -> list[tuple[str, str]]:
        """Return who did what, of actions that begin so."""
        query = sqlalchemy.select(audit).where(audit.c.action.startswith(start)).order_by(audit.c.id)
        return self.database.read(lambda tx: [(row.actor, row.action) for row in tx.core(query)])

    def audit_bodies(self, action: str) -> list[dict[str, Any]]:
        """Return the bodies of an action's rows."""
        query = sqlalchemy.select(audit.c.body).where(audit.c.action == action).order_by(audit.c.id)
        return self.database.read(lambda tx: [decode(body) for (body,) in tx.core(query)])

    def mark(self, name: str = "s1") -> datetime:
        """Return the mark of a schedule."""
        return self.world.scheduling.require(name).position.mark


@pytest.fixture(params=["sqlite", "postgres"])
def machine(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Machine]:
    """A machine on each kind of database; on PostgreSQL the server is another machine."""
    place: Path | str = request.getfixturevalue("sqlite_file" if request.param == "sqlite" else "postgres_store_url")
    machine = Machine(request.param, place, clock)
    yield machine
    machine.close()


@pytest.fixture
def small_machine(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Machine]:
    """A machine with SQLite, which has no clock of its own."""
    machine = Machine("sqlite", request.getfixturevalue("sqlite_file"), clock)
    yield machine
    machine.close()


@pytest.fixture
def client_machine(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Machine]:
    """A machine whose database is on a PostgreSQL server."""
    machine = Machine("postgres", request.getfixturevalue("postgres_store_url"), clock)
    yield machine
    machine.close()
