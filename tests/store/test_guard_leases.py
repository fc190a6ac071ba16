"""A lease that is over cannot be had back, whoever noticed that it is over."""

from __future__ import annotations

import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.store.database import Database
from mainspring.store.schema import worker_sessions
from tests.store.arrange import NOON, SECOND, TTL, open_session, renew


def test_a_lease_that_has_run_out_is_not_renewed_though_nobody_noticed(database: Database, clock: ManualClock) -> None:
    session = open_session(database)
    clock.advance(TTL - SECOND)
    assert renew(database, session)

    clock.advance(TTL)

    assert not renew(database, session)


def test_a_session_that_was_buried_does_not_renew_whatever_its_lease_says(database: Database) -> None:
    session = open_session(database)
    bury = sqlalchemy.update(worker_sessions).values(state="dead", ended_at=NOON, state_reason="its lease ran out")
    database.write(lambda tx: tx.core(bury))

    assert not renew(database, session)
