"""A session knows when it must not be trusted any more, whatever its database and its own threads are doing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mainspring.runtime.session import LEASE, TRUST_MARGIN, Session
from mainspring.runtime.watchdog import Watchdog
from mainspring.store.database import Database
from mainspring.store.tables import list_sessions
from tests.runtime.arrange import PatientClock, going_on, happens, until
from tests.services.arrange import Faulty
from tests.store.arrange import NOON, SECOND

TRUST = LEASE.total_seconds() - TRUST_MARGIN


@dataclass
class Life:
    """A session on a database that a test can stop, with what it was told."""

    database: Database
    clock: PatientClock
    faulty: Faulty = field(init=False)
    lost: list[float] = field(default_factory=list)
    on_lost: Any = None

    def __post_init__(self) -> None:
        self.faulty = Faulty(self.database)
        self.session = Session(
            self.faulty, self.clock, "worker", "w1", on_lost=self._on_lost
        )  # fmt: skip
        self.session.open()
        until(lambda: self.clock.waiting == 2, "heartbeat and watchdog wait")

    def _on_lost(self) -> None:
        self.lost.append(self.clock.monotonic())
        if self.on_lost is not None:
            self.on_lost()

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds * SECOND)

    def states(self) -> list[tuple[str, str | None]]:
        """Return the state of each session and why, oldest first."""
        rows = self.database.read(lambda tx: list_sessions(tx, live_only=False))
        return [(row.state, row.state_reason) for row in reversed(rows)]


@pytest.fixture
def life(sqlite: Database, clock: PatientClock) -> Iterator[Life]:
    """A session that is open; closed afterwards."""
    life = Life(sqlite, clock)
    yield life
    with going_on(life.session.close):
        pass


def test_a_session_is_trusted_for_a_lease_less_a_margin_from_the_beginning_of_its_last_renewal(life: Life) -> None:
    began = life.clock.monotonic()
    assert life.session.trusted_until == began + 10.0
    life.passes(3)
    until(lambda: life.session.trusted_until == began + 13.0)
    assert life.session.trusted
    assert life.lost == []


def test_a_renewal_that_hangs_does_not_keep_the_session_from_being_lost_in_time(life: Life) -> None:
    began, first = life.clock.monotonic(), life.session.id
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        if not go_on.is_set():
            hangs.set()
            go_on.wait(20)

    life.faulty.before_write = hang
    life.passes(3)
    happens(hangs)
    life.passes(6)
    assert life.lost == []
    assert life.session.trusted
    life.passes(1)
    until(lambda: life.lost == [began + TRUST], "on_lost is called while the renewal hangs")
    assert (life.session.trusted, life.session.trusted_until, life.session.id) == (False, 0.0, first)
    # The renewal gets through at last, and the database says yes: the session stays lost, for everything was dropped.
    go_on.set()
    until(lambda: life.session.id != first)
    assert life.session.trusted
    assert life.lost == [began + TRUST]
    # Its lease was renewed by that, so nobody would rescue its runs for long: the worker ends it, after the margin.
    assert life.states() == [("live", None), ("live", None)]
    life.passes(4)
    until(lambda: life.states() == [("dead", "its worker could not renew it in time"), ("live", None)])


def test_no_new_session_begins_before_the_old_one_has_dropped_everything(life: Life) -> None:
    dropping, dropped = threading.Event(), threading.Event()

    def drop() -> None:
        dropping.set()
        dropped.wait(20)

    life.on_lost, life.faulty.down = drop, True
    life.passes(10)
    happens(dropping)
    first = life.session.id
    life.faulty.down = False
    life.passes(5)
    assert life.session.id == first
    assert not life.session.trusted
    assert len(life.states()) == 1
    dropped.set()
    life.passes(2)
    until(lambda: life.session.id != first)
    assert len(life.lost) == 1


def test_a_user_that_fails_to_drop_what_it_held_does_not_keep_a_new_session_from_beginning(life: Life) -> None:
    def fail() -> None:
        raise RuntimeError("a mistake")

    life.on_lost, life.faulty.down = fail, True
    first = life.session.id
    life.passes(12)
    life.faulty.down = False
    life.passes(3)
    until(lambda: life.session.id != first)
    assert life.session.trusted


def test_an_outage_that_lasts_ends_the_session_once(life: Life) -> None:
    life.faulty.down = True
    life.passes(60)
    assert len(life.lost) == 1
    life.faulty.down = False
    life.passes(3)
    until(lambda: life.session.trusted)
    assert len(life.states()) == 2


def test_a_session_that_was_buried_is_lost_at_its_next_renewal(life: Life) -> None:
    from mainspring.store import sessions

    first = life.session.id
    life.database.write(lambda tx: sessions.end_session(tx, first, "dead", "by hand", NOON))
    life.passes(3)
    until(lambda: life.session.id != first)
    assert life.lost == [life.clock.monotonic()]


def test_a_heartbeat_that_comes_late_says_so(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.faulty.down = True
    life.passes(7)
    life.faulty.down = False
    life.passes(2)
    until(lambda: any("heartbeat_late" in record.getMessage() for record in caplog.records))
    assert life.lost == []


def test_a_session_that_is_closing_does_not_begin_anew(life: Life) -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        stuck.set()
        go_on.wait(20)

    life.faulty.before_write = hang
    life.passes(10)
    happens(stuck)
    life.session._closing = True
    until(lambda: len(life.lost) == 1)
    go_on.set()
    life.passes(4)
    assert len(life.states()) == 1


# --- the watchdog by itself


def test_a_watchdog_looks_again_when_its_deadline_was_moved_and_barks_once_for_each(clock: PatientClock) -> None:
    deadline, barks = [clock.monotonic() + 5.0], threading.Semaphore(0)
    dog = Watchdog("dog", clock, lambda: deadline[0], lambda: barks.release())
    dog.start()
    until(lambda: clock.waiting == 1)
    clock.advance(4 * SECOND)
    deadline[0] += 5.0
    clock.advance(5 * SECOND)
    assert not barks.acquire(blocking=False)
    clock.advance(1 * SECOND)
    assert barks.acquire(timeout=20)
    clock.advance(5 * SECOND)
    assert not barks.acquire(blocking=False)
    deadline[0] = clock.monotonic() + 2.0
    dog.feed()
    until(lambda: clock.waiting == 1)
    clock.advance(2 * SECOND)
    assert barks.acquire(timeout=20)
    dog.stop()


def test_a_watchdog_that_was_never_started_can_be_stopped(clock: PatientClock) -> None:
    Watchdog("dog", clock, lambda: 0.0, lambda: None).stop()
