"""PostgreSQL goes away, comes back, deadlocks and refuses; callers feel as little of it as can be."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from mainspring.clock import ManualClock
from mainspring.errors import StoreUnavailable
from mainspring.store import claiming, queueing
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
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
    assert len(tries) == 3


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
    with pytest.raises(StoreUnavailable, match=said):
        postgres.write(lambda tx: tx.raw().execute(f"DO $$ BEGIN {sql}; END $$"))
    put_some(postgres, 1)


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

    impatient = PostgresDatabase(postgres._conninfo, retry_for=0)
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
