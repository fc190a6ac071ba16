"""What is judged is judged again under the lock: statements of two connections, stopped in their middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import update

from mainspring.domain.runs import ClaimedRun
from mainspring.domain.states import RunState
from mainspring.ids import ClaimId, uuid7
from mainspring.store import claiming, sessions
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import worker_sessions
from mainspring.store.tables import list_sessions
from tests.store.arrange import NOON, TTL, claim_one, finish, look, open_session, outcome, put_some, rescue

T = TypeVar("T")

# The statements read this schema's clock and sessions where a connection looks into it first; both wait for us.
_PAUSED = """
CREATE SCHEMA paused;
CREATE FUNCTION paused.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(42);
    PERFORM pg_advisory_unlock_shared(42);
    RETURN pg_catalog.clock_timestamp();
END $$;
CREATE VIEW paused.worker_sessions AS
    SELECT s.* FROM (SELECT paused.clock_timestamp() AS at OFFSET 0) p, mainspring.worker_sessions s
     WHERE p.at IS NOT NULL;
CREATE VIEW paused.runs AS SELECT * FROM mainspring.runs;
"""
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


class Middle:
    """Starts work that stops inside a statement until `go_on`."""

    def __init__(self, gate: psycopg.Connection[Any], pool: ThreadPoolExecutor) -> None:
        self._gate, self._pool = gate, pool

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Start *work* and return when it has stopped in the middle."""
        promise = self._pool.submit(work)
        while self._gate.execute(_WAITING).fetchone() == (0,):
            assert not promise.done(), promise.exception() or "it did not stop"
        return promise

    def go_on(self) -> None:
        """Let it go on."""
        self._gate.execute("SELECT pg_advisory_unlock_all()")


@pytest.fixture
def middle(postgres: PostgresDatabase) -> Iterator[Middle]:
    """A way to stop the statements of connections that look into the schema `paused` first."""
    with psycopg.connect(postgres._url, autocommit=True) as gate, ThreadPoolExecutor(1) as pool:
        gate.execute(_PAUSED)
        gate.execute("SELECT pg_advisory_lock(42)")
        yield Middle(gate, pool)
        gate.execute("SELECT pg_advisory_unlock_all()")
        pool.shutdown()
        gate.execute("DROP SCHEMA paused CASCADE")


@pytest.fixture
def other(postgres: PostgresDatabase) -> Iterator[PostgresDatabase]:
    """Another process on the same database; leases are judged by the server's clock."""
    database = PostgresDatabase(postgres._url)
    yield database
    database.close()


def _set_lease(database: PostgresDatabase, year: int) -> None:
    database.write(lambda tx: tx.core(update(worker_sessions).values(lease_until=NOON.replace(year=year))))


def _paused_rescue(database: PostgresDatabase) -> sessions.Rescued:
    def work(tx: Any) -> sessions.Rescued:
        tx.raw().execute("SET LOCAL search_path = paused, pg_catalog")
        return sessions.rescue(tx, "boot-1", NOON, None)

    return database.write(work)


def test_a_renewal_that_commits_while_a_rescuer_reads_keeps_its_session(
    postgres: PostgresDatabase, other: PostgresDatabase, middle: Middle
) -> None:
    put_some(postgres, 1)
    session = open_session(postgres)
    run = claim_one(postgres, session)
    _set_lease(postgres, 2020)
    rescued = middle.start(lambda: _paused_rescue(other))
    # It has read the old lease and finds it expired; the lease is renewed before its row is locked.
    _set_lease(postgres, 2099)
    middle.go_on()
    assert rescued.result(20) == sessions.Rescued()
    assert [row.id for row in postgres.read(list_sessions)] == [session]
    assert finish(postgres, session, outcome(run)).fenced == frozenset()


def test_a_burial_that_commits_while_a_renewal_reads_stands(
    postgres: PostgresDatabase, other: PostgresDatabase, middle: Middle
) -> None:
    session = open_session(postgres)
    _set_lease(postgres, 2099)

    def renew(tx: Any) -> bool:
        tx.raw().execute("SET LOCAL search_path = paused, pg_catalog")
        return sessions.renew_session(tx, session, TTL, NOON, None)

    renewed = middle.start(lambda: other.write(renew))
    postgres.write(lambda tx: sessions.end_session(tx, session, "dead", "buried", NOON))
    middle.go_on()
    assert renewed.result(20) is False


def test_a_claim_of_a_session_that_is_buried_meanwhile_takes_nothing(
    postgres: PostgresDatabase, other: PostgresDatabase, middle: Middle
) -> None:
    (run_id,) = put_some(postgres, 1)
    session = open_session(postgres)
    _set_lease(postgres, 2099)
    mark = ClaimId(uuid7())

    def claim(tx: Any) -> list[ClaimedRun]:
        tx.raw().execute("SET LOCAL search_path = paused, pg_catalog")
        return claiming.claim(tx, session, "default", 1, NOON, None, mark)

    claimed = middle.start(lambda: other.write(claim))
    postgres.write(lambda tx: sessions.end_session(tx, session, "dead", "buried", NOON))
    middle.go_on()
    assert claimed.result(20) == []
    assert look(postgres, run_id).state is RunState.READY


def test_a_run_that_a_live_session_claims_while_a_rescuer_reads_is_not_taken_from_it(
    postgres: PostgresDatabase, other: PostgresDatabase, middle: Middle
) -> None:
    (run_id,) = put_some(postgres, 1)
    dead = open_session(postgres)
    claim_one(postgres, dead)
    postgres.write(lambda tx: sessions.end_session(tx, dead, "dead", "killed", NOON))
    text = other._texts["orphaned_runs"]
    assert '"mainspring".worker_sessions' in text
    slow = text.replace('"mainspring".worker_sessions', "paused.worker_sessions")
    other._texts = {**other._texts, "orphaned_runs": slow}
    rescued = middle.start(lambda: rescue(other))
    # It sees the dead session's run. Before it locks the row, another rescues the run and a new session claims it.
    assert rescue(postgres).returned == (run_id,)
    live = open_session(postgres)
    run = claim_one(postgres, live)
    assert run.attempt == 2
    middle.go_on()
    assert rescued.result(20) == sessions.Rescued()
    assert finish(postgres, live, outcome(run)).fenced == frozenset()
    assert look(postgres, run_id).state is RunState.SUCCEEDED
