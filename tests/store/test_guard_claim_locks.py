"""A claim waits for nobody: neither for a row of its queue nor for the run behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainspring.clock import ManualClock
from mainspring.ids import RunId
from mainspring.store.database import Tx
from mainspring.store.postgres.database import PostgresDatabase
from tests.store.arrange import claim, count, open_session, put_some


@pytest.fixture
def impatient(postgres_store_url: str, clock: ManualClock) -> Iterator[PostgresDatabase]:
    """Another process on the same database, which tries nothing twice."""
    database = PostgresDatabase(postgres_store_url, lease_clock=clock.now, retry_for=0.0)
    yield database
    database.close()


def test_a_claim_leaves_a_run_where_it_is_whose_row_somebody_holds(
    postgres: PostgresDatabase, impatient: PostgresDatabase
) -> None:
    held, free = put_some(postgres, 2)
    session = open_session(postgres)

    def hold(tx: Tx) -> list[RunId]:
        tx.rows("lock_unfinished", {"ids": tx.ids([held])})
        return [run.id for run in claim(impatient, session, 2)]

    assert postgres.write(hold) == [free]
    assert count(postgres, "ready") == 1, "the other one keeps its place"
    assert [run.id for run in claim(postgres, session, 2)] == [held]
