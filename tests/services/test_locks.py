"""A lock is held by one at a time, outlives no dead holder by more than its time, and says when it is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mainspring.clock import ManualClock, boot_id
from mainspring.errors import InvalidInput, LockHeld, LockLost, NotFound, StoreUnavailable
from mainspring.services.locks import Lock, Locking
from mainspring.store import locks as stored
from mainspring.store.database import Database
from mainspring.store.locks import Holding
from tests.services.arrange import Installation
from tests.store.arrange import NOON, SECOND, count, together
from tests.store.conftest import Open

TTL, NONE = 30 * SECOND, timedelta(0)


class Sides:
    """Two processes that want the same locks."""

    def __init__(self, open_database: Open, clock: ManualClock) -> None:
        self.clock, self.databases = clock, [open_database(), open_database()]
        self.one, self.two = (Locking(database, clock) for database in self.databases)

    def take(self, side: Locking, name: str = "ledger", wait: timedelta = NONE) -> Lock:
        return side.acquire(name, TTL, wait)

    def hold(self, holder: str) -> int | None:
        """Take the lock for a holder that renews nothing."""
        held, lease_now = Holding("ledger", holder, boot_id()), self.databases[0].lease_now()
        return self.databases[0].write(lambda tx: stored.acquire(tx, held, TTL, NOON, lease_now))


@pytest.fixture
def sides(open_database: Open, clock: ManualClock) -> Sides:
    """Two processes on one empty database."""
    return Sides(open_database, clock)


def test_one_at_a_time_and_the_fence_grows(sides: Sides) -> None:
    with sides.take(sides.one) as lock:
        assert (lock.name, lock.fence, lock.lost) == ("ledger", 1, False)
        lock.check()
        with pytest.raises(LockHeld, match=r"lock 'ledger' is held by process .+:\d+; wait longer"):
            sides.take(sides.two)
        sides.take(sides.two, "other").release()
    with sides.take(sides.two) as lock:
        assert lock.fence == 2


def test_of_many_who_ask_at_once_one_gets_it(sides: Sides) -> None:
    def ask(side: Locking) -> Lock | None:
        try:
            return sides.take(side)
        except LockHeld:
            return None

    for fence in (1, 2, 3):
        got = together(*(lambda side=side: ask(side) for side in [sides.one, sides.two] * 2))  # type: ignore[misc]
        (lock,) = [found for found in got if found is not None]
        assert lock.fence == fence
        lock.release()


def test_a_dead_holders_lock_is_free_after_its_time_and_not_before(sides: Sides) -> None:
    assert sides.hold("dead") == 1
    sides.clock.advance(TTL - SECOND)
    with pytest.raises(LockHeld):
        sides.take(sides.two)
    sides.clock.advance(SECOND)
    with sides.take(sides.two) as lock:
        assert lock.fence == 2


def test_a_lease_that_is_renewed_lasts_and_one_that_ran_out_is_lost_for_ever(sides: Sides) -> None:
    lock = sides.take(sides.one)
    sides.clock.advance(20 * SECOND)
    assert lock.renew()
    sides.clock.advance(20 * SECOND)
    assert not lock.lost
    sides.clock.advance(10 * SECOND)
    assert lock.lost
    assert not lock.renew()
    with pytest.raises(LockLost, match="lock 'ledger' with fence 1 is no longer held"):
        lock.check()
    other = sides.take(sides.two)
    lock.release()
    assert other.renew()
    other.release()


def test_the_database_refuses_to_renew_what_ran_out_though_nobody_has_taken_it(sides: Sides) -> None:
    assert sides.hold("me") == 1
    held = Holding("ledger", "me", boot_id(), 1)
    for wait, renewed in ((TTL - SECOND, True), (TTL, False)):
        sides.clock.advance(wait)
        lease_now = sides.databases[0].lease_now()
        assert sides.databases[0].write(lambda tx: stored.renew(tx, held, TTL, lease_now)) is renewed  # noqa: B023


def test_a_lock_that_was_checked_in_a_transaction_is_nobody_elses_until_that_ends(sides: Sides) -> None:
    one, two = sides.databases
    if one.dialect != "postgresql":
        pytest.skip("one transaction alone may write to a file")
    assert sides.hold("me") == 1

    def work(tx: Any) -> None:
        assert stored.is_held(tx, Holding("ledger", "me", boot_id(), 1), NOON)
        late = NOON + TTL
        with two.within(0.3), pytest.raises(StoreUnavailable):
            two.write(lambda tx: stored.acquire(tx, Holding("ledger", "other", boot_id()), TTL, late, late))

    one.write(work)


def test_the_end_of_the_block_says_that_the_lock_was_lost_unless_something_worse_happened(sides: Sides) -> None:
    with pytest.raises(LockLost), sides.take(sides.one):
        sides.clock.advance(TTL)

    def work() -> None:
        with sides.take(sides.one):
            sides.clock.advance(TTL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_an_operator_frees_a_lock_and_its_holder_finds_out(sides: Sides) -> None:
    lock = sides.take(sides.one)
    (seen,) = sides.two.list()
    assert (seen.name, seen.fence, seen.acquired_at) == ("ledger", 1, NOON)
    assert sides.two.take_away("ledger", "ann").holder == seen.holder
    assert (count(sides.databases[0], "audit", "action = 'lock.release' AND actor = 'ann'"), sides.two.list()) == (
        1,
        [],
    )
    assert not lock.renew()
    assert lock.lost
    lock.release()
    with pytest.raises(NotFound, match="there is no lock that is held and called 'ledger'"):
        sides.two.take_away("ledger", "ann")


def test_a_holder_that_asks_again_after_a_lost_reply_has_the_lock_it_got(sides: Sides) -> None:
    assert sides.hold("me") == 1

    def again(tx: Any) -> int | None:
        tx.repeated = True
        try:
            return stored.acquire(tx, Holding("ledger", "me", boot_id()), TTL, NOON, NOON)
        finally:
            tx.repeated = False

    assert sides.databases[0].write(again) == 1
    assert sides.hold("another") is None


def test_a_lock_of_a_machine_that_has_been_booted_anew_is_free(installation: Installation) -> None:
    if installation.database.dialect != "sqlite":
        pytest.skip("a server's clock goes on")
    held, lease_now = Holding("ledger", "before", "boot-1"), installation.database.lease_now()
    installation.database.write(lambda tx: stored.acquire(tx, held, TTL, NOON, lease_now))
    Locking(installation.database, installation.clock).acquire("ledger", TTL, NONE).release()


def test_whoever_waits_gets_it_when_it_is_free(sides: Sides) -> None:
    lock = sides.take(sides.one)
    waited: list[float] = []

    def wait(signal: Any, timeout: float) -> bool:
        waited.append(timeout)
        sides.clock.advance(timedelta(seconds=timeout))
        if len(waited) == 3:
            lock.release()
        return False

    sides.clock.wait = wait  # type: ignore[method-assign]
    with sides.take(sides.two, wait=5 * SECOND) as other:
        assert other.fence == 2
    assert len(waited) == 3


def test_a_background_thread_renews(database: Database) -> None:
    clock = ManualClock(NOON)
    renewed: list[bool] = []
    real = Lock.renew

    class Noting(Lock):
        def renew(self) -> bool:
            done = real(self)
            renewed.append(done)
            self._stop.set()
            return done

    held, lease_now = Holding("ledger", "me", "boot-1"), database.lease_now()
    fence = database.write(lambda tx: stored.acquire(tx, held, SECOND, NOON, lease_now))
    lock = Noting(database, clock, Holding("ledger", "me", "boot-1", fence or 0), SECOND, clock.monotonic())
    lock._thread.join(30)
    assert renewed == [True]
    lock.release()


@pytest.mark.parametrize(
    ("name", "ttl", "wait", "said"),
    [
        ("", TTL, NONE, "lock name '' is not usable"),
        ("a\x00", TTL, NONE, "is not usable"),
        ("x" * 201, TTL, NONE, "is not usable"),
        ("x", timedelta(milliseconds=900), NONE, "is not a timedelta of a second or more"),
        ("x", 30, NONE, "ttl 30 is not a timedelta"),
        ("x", TTL, -SECOND, "is not a timedelta of 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    installation: Installation, name: str, ttl: Any, wait: timedelta, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        Locking(installation.database, installation.clock).acquire(name, ttl, wait)
