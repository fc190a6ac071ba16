"""PostgreSQL goes away, comes back, deadlocks and refuses; callers feel as little of it as can be."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

import psycopg
import pytest

from mainspring.clock import ManualClock, SystemClock
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.store import claiming, queueing
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.runs import RunFilter, list_runs
from tests.runtime.arrange import until
from tests.servers import PostgresCluster
from tests.store.arrange import (
    NOON,
    claim,
    count,
    finish,
    new_run,
    open_session,
    outcome,
    put,
    put_some,
    renew,
    together,
)


def test_a_transaction_that_loses_its_connection_is_done_again(postgres: PostgresDatabase) -> None:
    tries: list[bool] = []
    run = new_run()

    def work(tx: Any) -> None:
        tries.append(tx.repeated)
        queueing.insert_runs(tx, [run], NOON)
        if len(tries) == 1:
            tx.raw().execute("SELECT pg_terminate_backend(pg_backend_pid())")

    postgres.write(work)
    assert tries == [False, True]
    assert count(postgres, "runs") == 1


def test_a_commit_whose_reply_was_lost_is_found_to_have_landed(postgres: PostgresDatabase) -> None:
    put_some(postgres, 6)
    session = open_session(postgres)
    outcomes = [outcome(run) for run in claim(postgres, session, 3)]
    lossy = _LosesFirstReply(postgres)
    result, claimed = claiming.cycle(lossy, session, outcomes, list, ["default"], 2, NOON)  # type: ignore[arg-type]
    assert result.fenced == frozenset()
    assert len(claimed) == 2
    assert count(postgres, "runs", "state = 'succeeded'") == count(postgres, "attempts") == 3
    assert count(postgres, "runs", "state = 'running' AND attempt = 1") == 2
    assert count(postgres, "stats", "succeeded = 3") == 1
    assert count(postgres, "ready") == 1


class _LosesFirstReply:
    """Commits the first time without letting on, then does the work again as after a lost reply."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.read, self.lease_now, self._database = database.read, database.lease_now, database

    def write(self, work: Any) -> Any:
        self._database.write(work)

        def again(tx: Any) -> Any:
            tx.repeated = True
            return work(tx)

        return self._database.write(again)


def test_after_a_restart_of_the_server_many_dead_connections_cost_one_try(
    postgres_cluster: PostgresCluster,
) -> None:
    database = PostgresDatabase(postgres_cluster.url())
    upgrade(database)
    waiting = threading.Barrier(8)
    together(*[lambda: database.read(lambda tx: waiting.wait(10))] * 8)
    postgres_cluster.stop("immediate")
    postgres_cluster.start()
    tries: list[bool] = []
    database.write(lambda tx: (tries.append(tx.repeated), queueing.insert_runs(tx, [new_run()], NOON)))
    assert len(tries) == 1, "BEGIN fails on a dead connection, before the work; the next one is new"
    assert len(database._idle) == 1
    assert count(database, "runs") == 1
    database.close()


def test_a_deadlock_is_resolved_by_doing_one_of_the_two_again(postgres: PostgresDatabase) -> None:
    first, second = put_some(postgres, 2)
    both_hold = threading.Barrier(2)
    tries: list[str] = []

    def worker(name: str, order: list[str]) -> None:
        def work(tx: Any) -> None:
            tries.append(name)
            tx.raw().execute("SET LOCAL deadlock_timeout = '10ms'")
            lock = "SELECT 1 FROM mainspring.runs WHERE id = %s FOR UPDATE"
            tx.raw().execute(lock, (order[0],))
            if tries.count(name) == 1:
                both_hold.wait(10)
            tx.raw().execute(lock, (order[1],))

        postgres.write(work)

    together(lambda: worker("a", [first, second]), lambda: worker("b", [second, first]))
    assert len(tries) >= 3, "a busy machine may let a lock time out on top"


def test_a_mistake_is_not_tried_again(postgres: PostgresDatabase) -> None:
    tries: list[int] = []

    def work(tx: Any) -> None:
        tries.append(1)
        tx.raw().execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        postgres.write(work)
    assert tries == [1]
    put_some(postgres, 1)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'", "no space left on device"),
        ("RAISE EXCEPTION 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006'", "read-only"),
    ],
)
def test_a_server_that_cannot_write_is_an_outage(postgres: PostgresDatabase, sql: str, said: str) -> None:
    with pytest.raises(StoreUnavailable, match=said) as caught:
        postgres.write(lambda tx: tx.raw().execute(f"DO $$ BEGIN {sql}; END $$"))
    assert isinstance(caught.value, StoreFull) is ("53100" in sql)
    put_some(postgres, 1)


def test_a_server_that_has_become_a_standby_is_left_for_whoever_answers_now(postgres: PostgresDatabase) -> None:
    def connection(tx: Any) -> int:
        return int(tx.raw().info.backend_pid)

    before = postgres.read(connection)
    assert postgres.read(connection) == before
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        postgres.write(lambda tx: (tx.raw().execute("SET LOCAL transaction_read_only = on"), put_outside(tx)))
    assert postgres.read(connection) != before


def put_outside(tx: Any) -> None:
    tx.raw().execute("INSERT INTO mainspring.meta (key, value) VALUES ('x', 'y')")


def test_an_error_that_the_work_keeps_to_itself_does_not_look_like_a_commit(postgres: PostgresDatabase) -> None:
    def work(tx: Any) -> None:
        put_outside(tx)
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            tx.raw().execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="its error was not passed on"):
        postgres.write(work)
    assert count(postgres, "meta", "key = 'x'") == 0


def test_too_many_connections_are_waited_for(shared_postgres: PostgresCluster, postgres_store_url: str) -> None:
    name = postgres_store_url.rpartition("/")[2]
    with shared_postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS crowded")
        admin.execute("CREATE ROLE crowded LOGIN SUPERUSER PASSWORD 'hush'")
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        admin.execute("ALTER ROLE crowded NOSUPERUSER")
        admin.execute(f"GRANT CREATE ON DATABASE {name} TO crowded")
        url = postgres_store_url.replace(f"{shared_postgres.user}:{shared_postgres.password}@", "crowded:hush@")
        tries: list[float] = []

        class Waits(ManualClock):
            def wait(self, signal: threading.Event, timeout: float) -> bool:
                tries.append(timeout)
                if len(tries) == 3:
                    admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
                return False

        database = PostgresDatabase(url, clock=Waits())
        try:
            assert database.read(lambda tx: tx.raw().execute("SELECT 1").fetchone()) == (1,)
            assert len(tries) == 3
            database._drop_idle()
            admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
            impatient = PostgresDatabase(url, retry_for=0)
            with pytest.raises(StoreUnavailable, match="too many connections") as caught:
                impatient.table_names()
            assert "hush" not in str(caught.value)
        finally:
            database.close()
            admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
            admin.execute(f"REVOKE ALL ON DATABASE {name} FROM crowded")
            admin.execute("DROP ROLE crowded")


# --- what must be quick is quick


def test_what_must_be_quick_does_not_wait_long_for_a_lock(postgres: PostgresDatabase) -> None:
    session = open_session(postgres)
    clock = SystemClock()
    with psycopg.connect(postgres._url) as other:
        other.execute("SELECT 1 FROM mainspring.worker_sessions FOR UPDATE")
        began = clock.monotonic()
        with pytest.raises(StoreUnavailable, match=r"(lock|statement) timeout|did not answer"), postgres.within(0.3):
            renew(postgres, session)
        assert clock.monotonic() - began < 2.0
    with postgres.within(5.0):
        assert renew(postgres, session) is True
    assert postgres.read(lambda tx: tx.raw().execute("SHOW statement_timeout").fetchone()) == ("10s",)


def test_what_must_be_quick_ends_within_the_shorter_time_of_two(postgres: PostgresDatabase) -> None:
    with postgres.within(0.2):
        with postgres.within(20.0), pytest.raises(StoreUnavailable, match=r"statement timeout|did not answer"):
            postgres.write(lambda tx: tx.raw().execute("SELECT pg_sleep(20)"))
        with pytest.raises(StoreUnavailable, match="did not answer"):
            postgres.read(lambda tx: tx.raw().execute("SELECT pg_sleep(20)"))


def test_a_server_that_stands_still_holds_nobody_up_for_long_and_is_used_again(
    postgres_cluster: PostgresCluster,
) -> None:
    database, clock = PostgresDatabase(postgres_cluster.url()), SystemClock()
    upgrade(database)
    session = open_session(database)
    with postgres_cluster.frozen():
        for _ in range(2):  # with a connection that was open, and with a new one
            began = clock.monotonic()
            with pytest.raises(StoreUnavailable, match=r"did not answer|timeout"), database.within(1.0):
                renew(database, session)
            assert clock.monotonic() - began < 5.0
    assert renew(database, session) is True
    database.close()


@pytest.mark.parametrize("end", ["immediate", "kill -9", "smart"])
def test_work_goes_on_after_the_server_has_ended_in_any_way_and_come_back(
    postgres_cluster: PostgresCluster, end: str
) -> None:
    database = PostgresDatabase(postgres_cluster.url())
    upgrade(database)
    (run_id,) = put_some(database, 1)
    impatient = PostgresDatabase(postgres_cluster.url(), retry_for=0)
    if end == "smart":
        # It takes no new clients and waits for those that it has.
        assert postgres_cluster.pid is not None
        os.kill(postgres_cluster.pid, signal.SIGTERM)
        until(lambda: "smart shutdown request" in postgres_cluster.log or _refused(impatient))
        assert count(database, "runs") == 1
        postgres_cluster.stop("fast")
    elif end == "immediate":
        postgres_cluster.stop("immediate")
    else:
        postgres_cluster.kill9()
    with pytest.raises(StoreUnavailable) as caught:
        count(impatient, "runs")
    assert postgres_cluster.password not in str(caught.value)
    postgres_cluster.start()
    assert [run.id for run in database.read(lambda tx: list_runs(tx, RunFilter()))] == [run_id]
    put_some(database, 1)
    assert count(impatient, "runs") == 2
    impatient.close()
    database.close()


def _refused(database: PostgresDatabase) -> bool:
    try:
        database.table_names()
    except StoreUnavailable:
        return True
    return False


def test_a_server_that_is_down_is_tried_for_the_time_allowed_and_no_longer() -> None:
    clock = ManualClock()
    tries: list[float] = []

    class Impatient(ManualClock):
        def wait(self, signal: threading.Event, timeout: float) -> bool:
            tries.append(timeout)
            clock._monotonic += 1.0
            return False

        def monotonic(self) -> float:
            return clock._monotonic

    database = PostgresDatabase("postgresql://ann:hush@127.0.0.1:1/db", clock=Impatient(), retry_for=5)
    with pytest.raises(StoreUnavailable, match=r"postgresql://ann@127\.0\.0\.1:1/db") as caught:
        put(database, new_run())
    assert len(tries) == 6
    assert all(0 <= pause <= 2.0 for pause in tries)
    assert "hush" not in str(caught.value)
    database.close()


def test_a_wrong_password_and_a_missing_database_are_said_at_once(shared_postgres: PostgresCluster) -> None:
    good = shared_postgres.url()
    for bad, said in (
        (good.replace(shared_postgres.password, "hush"), "password authentication failed"),
        (shared_postgres.url("nowhere"), 'database "nowhere" does not exist'),
    ):
        database = PostgresDatabase(bad)
        with pytest.raises(StoreUnavailable, match=said) as caught:
            count(database, "runs")
        assert "hush" not in str(caught.value)
        assert shared_postgres.password not in str(caught.value)
        database.close()


def test_closing_or_losing_connections_says_nothing_on_standard_error(
    postgres: PostgresDatabase, capfd: pytest.CaptureFixture[str]
) -> None:
    import gc

    count(postgres, "runs")

    def work(tx: Any) -> None:
        tx.core(__import__("sqlalchemy").text("SELECT 1"))
        tx.raw().execute("SELECT pg_terminate_backend(pg_backend_pid())")

    impatient = PostgresDatabase(postgres._url, retry_for=0)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            impatient.write(work)
    impatient.close()
    postgres.close()
    gc.collect()
    assert capfd.readouterr().err == ""


def test_two_lanes_of_one_worker_finish_and_claim_at_once_without_harm(postgres: PostgresDatabase) -> None:
    put_some(postgres, 400)
    session = open_session(postgres)

    def lane() -> int:
        done, running = 0, claim(postgres, session, 10)
        while running:
            outcomes = [outcome(run) for run in running]
            result, running = claiming.cycle(postgres, session, outcomes, list, ["default"], 10, NOON)
            assert result.fenced == frozenset()
            done += len(outcomes)
        return done

    assert sum(together(lane, lane, lane)) == 400
    assert count(postgres, "runs", "state = 'succeeded'") == count(postgres, "attempts") == 400


def test_cancels_and_finishes_of_the_same_runs_at_once_leave_nothing_between(postgres: PostgresDatabase) -> None:
    put_some(postgres, 60)
    session = open_session(postgres)
    runs = claim(postgres, session, 60)
    backwards = [run.id for run in reversed(runs)]
    together(
        lambda: finish(postgres, session, *(outcome(run) for run in runs)),
        lambda: postgres.write(lambda tx: queueing.cancel(tx, backwards, "x", NOON)),
        lambda: postgres.write(lambda tx: queueing.cancel(tx, backwards[::2], "y", NOON)),
    )
    assert count(postgres, "runs", "state = 'succeeded'") == 60
