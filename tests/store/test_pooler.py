"""Through PgBouncer in transaction mode everything works: each transaction may get another server connection.

The behavioural tests that matter most run here once more, through the pooler.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainspring.clock import ManualClock, SystemClock
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.runtime.scheduler import Maintenance
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services.catalog import Catalog
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.store.database import Database
from mainspring.store.hints import READY
from mainspring.store.migrate import require_current, upgrade
from mainspring.store.postgres.connecting import Address
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.runs import count_by_state
from mainspring.verify.checker import verify
from tests.runtime.arrange import until
from tests.servers import PgBouncer, PostgresCluster, ServerMissing
from tests.store import test_claiming, test_finishing, test_losses, test_rescue
from tests.store.arrange import count, put_some
from tests.store.test_hints import ear

Open = Callable[[], Database]
_BEHAVIOUR = (test_claiming, test_finishing, test_rescue, test_losses)
for _module in _BEHAVIOUR:
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and set(inspect.signature(_test).parameters) <= {
            "database",
            "clock",
            "open_database",
        }:
            globals()[_name] = _test


@pytest.fixture(scope="module")
def pooler(shared_postgres: PostgresCluster) -> Iterator[PgBouncer]:
    """A pooler with three connections to the server, which takes our options without a word."""
    pooler = _start(shared_postgres, ignore_startup_parameters="options")
    yield pooler
    pooler.close()


def _start(cluster: PostgresCluster, **settings: str) -> PgBouncer:
    try:
        return PgBouncer(cluster, **settings)
    except ServerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture
def pooled_url(pooler: PgBouncer, postgres_store_url: str) -> str:
    """The address of a migrated, empty database through the pooler."""
    return pooler.url(postgres_store_url.rpartition("/")[2])


@pytest.fixture
def open_database(pooled_url: str, clock: ManualClock) -> Iterator[Open]:
    """Open the database of this test once more, through the pooler."""
    opened: list[PostgresDatabase] = []

    def open_again() -> Database:
        opened.append(PostgresDatabase(pooled_url, lease_clock=clock.now))
        return opened[-1]

    yield open_again
    for database in opened:
        assert database._address.pooled or not database._opened
        database.close()


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[PostgresDatabase]:
    """The database through the pooler, by the server's clock."""
    database = PostgresDatabase(pooled_url)
    yield database
    database.close()


def _settings(tx: Any) -> dict[str, str]:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")
    return {name: tx.raw().execute(f"SHOW {name}").fetchone()[0] for name in names}


LIMITS = {
    "statement_timeout": "10s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s",
    "transaction_isolation": "read committed",
}  # fmt: skip


# --- finding out that there is a pooler


@pytest.mark.parametrize("ignored", ["", "options"])
def test_a_pooler_is_noticed_whether_it_refuses_our_options_or_takes_them_without_a_word(
    shared_postgres: PostgresCluster, postgres_store_url: str, ignored: str
) -> None:
    pooler = _start(shared_postgres, ignore_startup_parameters=ignored)
    database = PostgresDatabase(pooler.url(postgres_store_url.rpartition("/")[2]))
    try:
        put_some(database, 3)
        assert database._address.pooled
        assert count(database, "runs") == 3
        refused = "unsupported startup parameter: options" in pooler.log
        assert refused is (ignored == "")
    finally:
        database.close()
        pooler.close()


def test_without_a_pooler_none_is_noticed_and_the_limits_belong_to_the_connection(postgres: PostgresDatabase) -> None:
    assert postgres.read(_settings) == LIMITS
    assert not postgres._address.pooled
    assert postgres.read(lambda tx: tx.raw().prepare_threshold) == 5


def test_options_of_the_user_are_kept_and_hide_no_pooler(postgres_store_url: str) -> None:
    database = PostgresDatabase(postgres_store_url + "?options=-cstatement_timeout%3D7s")
    assert database.read(_settings) == LIMITS | {"statement_timeout": "7s"}
    assert not database._address.pooled
    database.close()


@pytest.mark.parametrize(
    ("url", "plain", "pooled"),
    [
        ("postgresql://u:p@h/d?pgbouncer=true", "u@h/d", True),
        ("postgresql://u:p@h:1/d?pgbouncer=false", "u@h:1/d", False),
        ("postgresql://u:p@h/d?sslmode=require&pgbouncer=true", "u@h/d", True),
        ("postgresql://u:p@h/d?pgbouncer=true&sslmode=require", "u@h/d", True),
        ("host=h user=u dbname=d pgbouncer=true", "u@h/d", True),
        ("pgbouncer=true host=h user=u dbname=d", "u@h/d", True),
        ("postgresql://u:p@h/d", "u@h/d", False),
    ],
)
def test_an_address_may_say_whether_there_is_a_pooler(url: str, plain: str, pooled: bool) -> None:
    address = Address(url)
    assert (address.location, address.pooled) == (f"postgresql://{plain}", pooled)
    assert ("sslmode" in address._parts) is ("sslmode" in url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:hush@h/d?pgbouncer=maybe", "pgbouncer=maybe; write pgbouncer=true or pgbouncer=false"),
        ("postgresql://u:hush@h/d?colour=red", "colour"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        Address(url)
    assert "hush" not in str(caught.value)


def test_who_says_that_there_is_no_pooler_is_believed(shared_postgres: PostgresCluster) -> None:
    pooler = _start(shared_postgres)
    database = PostgresDatabase(pooler.url(more="?pgbouncer=false"), retry_for=0)
    try:
        with pytest.raises(StoreUnavailable, match="unsupported startup parameter"):
            database.table_names()
    finally:
        database.close()
        pooler.close()


# --- what is different behind one


def test_limits_go_into_each_transaction_and_stay_on_no_connection(
    pooled: PostgresDatabase, postgres: PostgresDatabase
) -> None:
    assert pooled.write(_settings) == LIMITS
    # Each statement by itself may get any connection of the server; none of them must remember anything.
    found = {pooled.read(lambda tx: tx.raw().execute("SHOW statement_timeout").fetchone()[0]) for _ in range(12)}
    assert found == {"0"}


def test_nothing_is_prepared_on_connections_that_others_use(pooled: PostgresDatabase, pooler: PgBouncer) -> None:
    for _ in range(12):
        put_some(pooled, 1)
        count(pooled, "runs")
    query = "SELECT count(*) FROM pg_prepared_statements"
    assert {pooled.read(lambda tx: tx.raw().execute(query).fetchone()) for _ in range(12)} == {(0,)}


def test_a_transaction_keeps_its_connection_and_statements_outside_of_one_do_not(pooled: PostgresDatabase) -> None:
    def connections(tx: Any) -> set[int]:
        return {tx.raw().execute("SELECT pg_backend_pid()").fetchone()[0] for _ in range(8)}

    assert len(pooled.write(connections)) == 1
    with psycopg.connect(pooled._url, autocommit=True) as other, other.transaction():
        other.execute("SELECT 1")
        assert pooled.read(connections)


def test_hints_are_sent_through_a_pooler_and_heard_on_a_straight_way(
    pooled: PostgresDatabase, pooled_url: str, postgres_store_url: str
) -> None:
    listening = PostgresDatabase(pooled_url, hints_url=postgres_store_url)
    try:
        with ear(listening) as heard:
            pooled.sender.send(READY)
            assert heard.hears(READY)
    finally:
        listening.close()


def test_where_hints_cannot_be_heard_the_listener_waits_quietly_and_stops_at_once(pooled: PostgresDatabase) -> None:
    put_some(pooled, 1)
    receiver, rung, stop = pooled.receiver(""), threading.Event(), threading.Event()
    thread = threading.Thread(target=receiver.listen, args=(rung, set(), stop))
    thread.start()
    pooled.sender.send(READY)
    pooled.sender.flush()
    assert not rung.is_set()
    receiver.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_schema_is_made_through_a_pooler(pooler: PgBouncer, shared_postgres: PostgresCluster) -> None:
    name = shared_postgres.create_database()
    database = PostgresDatabase(pooler.url(name))
    upgrade(database)
    require_current(database)
    database.close()


def test_a_worker_drains_some_hundred_runs_through_a_pooler(pooled: PostgresDatabase, tmp_path: Path) -> None:
    clock = SystemClock()

    @task(name="demo.sum")
    def add(a: int) -> int:
        return a + 1

    ids = Enqueuer(pooled, clock).enqueue_many([Request(add, {"a": a}) for a in range(300)])
    workers = [
        Worker(pooled, clock, Catalog([add]), WorkerOptions(f"w{n}", slots=10, artifacts=tmp_path)) for n in range(2)
    ]
    maintenance = Maintenance(pooled, clock)
    for process in (*workers, maintenance):
        process.start()
    until(lambda: pooled.read(count_by_state) == {RunState.SUCCEEDED: len(ids)}, "all runs succeed")
    for process in (*workers, maintenance):
        process.stop()
    assert count(pooled, "attempts") == len(ids)
    verdict = verify(pooled, clock.now())
    assert verdict.findings == []
