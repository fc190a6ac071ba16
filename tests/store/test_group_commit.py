"""Many callers share a commit, and none of them feels another's failure."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pysqlite3 import dbapi2 as driver
from sqlalchemy import insert, select

from mainspring.errors import StoreUnavailable
from mainspring.ids import RunId
from mainspring.store import queueing
from mainspring.store.database import Database, Tx
from mainspring.store.schema import queues, runs
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.writer import GroupCommit
from tests.store.arrange import NOON, count, new_run, put, put_some, together


class Held:
    """Keeps the writer busy, so that callers gather behind it and share the next commit."""

    def __init__(self, database: Database, waiting: int) -> None:
        self._database, self._waiting = database, waiting
        self._begun, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: database.write(self._work))

    def _work(self, tx: Tx) -> None:
        self._begun.set()
        assert self._go_on.wait(20)

    def __enter__(self) -> Held:
        self._thread.start()
        assert self._begun.wait(5)
        return self

    def until_all_wait(self) -> None:
        """Return as soon as all callers queue behind."""
        group: Any = self._database._group  # type: ignore[attr-defined]
        for _ in range(10_000):
            if len(group._queue) == self._waiting:
                return
            threading.Event().wait(0.001)
        raise AssertionError("the callers do not come")

    def let_go_when_all_wait(self) -> None:
        """Go on as soon as all callers queue behind."""
        self.until_all_wait()
        self._go_on.set()

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._thread.join(20)


def test_sixteen_callers_share_commits_and_all_of_them_stand(database: Database) -> None:
    def caller() -> list[RunId]:
        return [put(database, new_run())[0] for _ in range(20)]

    ids = [run_id for mine in together(*[caller] * 16) for run_id in mine]
    assert len(set(ids)) == 320
    assert count(database, "runs") == count(database, "ready") == 320


def test_one_failing_caller_of_sixteen_fails_alone(sqlite: SqliteDatabase) -> None:
    def fails(tx: Tx) -> None:
        queueing.insert_runs(tx, [new_run()], NOON)
        raise LookupError("mine alone")

    def caller(place: int) -> str:
        try:
            if place == 7:
                sqlite.write(fails)
            put(sqlite, new_run())
        except LookupError as error:
            return str(error)
        return "stands"

    with Held(sqlite, waiting=16) as held:
        ready = threading.Thread(target=held.let_go_when_all_wait)
        ready.start()
        said = together(*(lambda place=place: caller(place) for place in range(16)))  # type: ignore[misc]
        ready.join()
    assert said.count("stands") == 15
    assert said[7] == "mine alone"
    assert count(sqlite, "runs") == 15


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("a value that cannot be written", {"name": "q", "paused_at": NOON.replace(tzinfo=None)}),
        ("a broken constraint", {"name": "taken"}),
    ],
)
def test_a_mistake_in_the_first_statement_of_a_connection_is_the_callers_alone(
    sqlite: SqliteDatabase, statement: str, values: dict[str, Any]
) -> None:
    sqlite.write(lambda tx: tx.core(insert(queues).values(name="taken")))
    fresh = SqliteDatabase(sqlite.path, lease_clock=sqlite.lease_now)
    errors: list[Exception] = []

    def mistaken() -> None:
        try:
            fresh.write(lambda tx: tx.core(insert(queues).values(**values)))
        except Exception as error:
            errors.append(error)

    with Held(fresh, waiting=3) as held:
        ready = threading.Thread(target=held.let_go_when_all_wait)
        ready.start()
        together(mistaken, lambda: put(fresh, new_run()), lambda: put(fresh, new_run()))
        ready.join()
    fresh.close()
    assert len(errors) == 1, statement
    assert count(sqlite, "runs") == 2


def test_a_caller_whose_failure_ends_the_whole_transaction_fails_all_that_shared_it(sqlite: SqliteDatabase) -> None:
    # A full disk can make SQLite do this by itself; what followed would be committed piece by piece.
    def ends_it(tx: Any) -> None:
        tx.raw().execute("ROLLBACK")
        raise LookupError("the transaction is gone")

    def caller(place: int) -> str:
        try:
            if place == 2:
                sqlite.write(ends_it)
            put(sqlite, new_run())
        except LookupError:
            return "told"
        return "stands"

    with Held(sqlite, waiting=5) as held:
        ready = threading.Thread(target=held.let_go_when_all_wait)
        ready.start()
        said = together(*(lambda place=place: caller(place) for place in range(5)))  # type: ignore[misc]
        ready.join()
    assert said == ["told"] * 5
    assert count(sqlite, "runs") == 0
    put_some(sqlite, 1)
    assert count(sqlite, "runs") == 1


def test_a_savepoint_keeps_its_callers_apart_on_both_databases(database: Database) -> None:
    def caller(place: int) -> None:
        def fails(tx: Tx) -> None:
            queueing.insert_runs(tx, [new_run()], NOON)
            raise LookupError

        def work(tx: Tx) -> None:
            queueing.insert_runs(tx, [new_run()], NOON)
            if place % 2:
                with pytest.raises(LookupError):
                    tx.savepoint(lambda: fails(tx))

        for _ in range(5):
            database.write(work)

    together(*(lambda place=place: caller(place) for place in range(8)))  # type: ignore[misc]
    assert count(database, "runs") == 40


def test_a_database_that_fills_up_fails_all_that_shared_the_transaction_and_writes_nothing(
    sqlite: SqliteDatabase,
) -> None:
    put_some(sqlite, 1)
    _limit_pages(sqlite, more=4)
    big = '"' + "x" * 60_000 + '"'

    def caller() -> str:
        try:
            put(sqlite, new_run(parameters=big))
        except StoreUnavailable as error:
            return str(error)
        return "stands"

    said = together(*[caller] * 6)
    assert all(text == "stands" or "full" in text for text in said)
    assert any("full" in text for text in said)
    assert count(sqlite, "runs") == 1 + said.count("stands")
    assert count(sqlite, "run_payloads") == count(sqlite, "runs")
    _limit_pages(sqlite, more=10_000)
    put_some(sqlite, 3)
    assert count(sqlite, "runs") == 4 + said.count("stands")


def test_a_full_disk_is_store_unavailable_whichever_way_the_statement_came(sqlite: SqliteDatabase) -> None:
    _limit_pages(sqlite, more=2)
    from mainspring.store.tables import put_queues

    with pytest.raises(StoreUnavailable, match="database or disk is full"):
        sqlite.write(lambda tx: put_queues(tx, {f"q{n}": "d" * 5_000 for n in range(50)}))
    assert count(sqlite, "queues") == 0


def _limit_pages(database: SqliteDatabase, more: int) -> None:
    def work(tx: Any) -> None:
        pages = tx.raw().execute("PRAGMA page_count").fetchone()[0]
        tx.raw().execute(f"PRAGMA max_page_count = {pages + more}")

    database.write(work)


def test_a_mistake_in_a_statement_is_not_called_an_outage(sqlite: SqliteDatabase) -> None:
    with pytest.raises(driver.ProgrammingError):
        sqlite.write(lambda tx: tx.rows("session_state", {}))
    with pytest.raises(driver.IntegrityError):
        sqlite.write(lambda tx: tx.many("insert_attempts", [("r", 1, "s", 0, 0, "nonsense", 0, *[None] * 5)]))


def test_a_closed_database_refuses_instead_of_hanging(database: Database) -> None:
    put_some(database, 1)
    database.close()
    for attempt in (lambda: put_some(database, 1), lambda: count(database, "runs")):
        with pytest.raises(StoreUnavailable, match="has been closed"):
            attempt()
    database.close()


def test_a_database_may_be_closed_while_somebody_reads(database: Database) -> None:
    put_some(database, 1)
    reading, go_on = threading.Event(), threading.Event()
    found: list[int] = []

    def work(tx: Tx) -> None:
        reading.set()
        assert go_on.wait(10)
        found.append(len(tx.core(select(runs)).all()))

    thread = threading.Thread(target=lambda: database.read(work))
    thread.start()
    assert reading.wait(10)
    database.close()
    go_on.set()
    thread.join(10)
    assert found == [1]


def test_what_waits_when_the_database_is_closed_is_still_written(sqlite: SqliteDatabase, sqlite_file: object) -> None:
    done: list[RunId] = []
    with Held(sqlite, waiting=1) as held:
        caller = threading.Thread(target=lambda: done.extend(put(sqlite, new_run())))
        caller.start()
        held.until_all_wait()
        closing = threading.Thread(target=sqlite.close)
        closing.start()
    caller.join(10)
    closing.join(10)
    again = SqliteDatabase(sqlite.path)
    assert len(done) == count(again, "runs") == 1
    again.close()


def test_a_begin_that_fails_is_told_to_everybody_and_the_next_one_works() -> None:
    broken = threading.Event()
    began = threading.Event()
    go_on = threading.Event()

    def begin() -> str:
        if broken.is_set():
            raise StoreUnavailable("no turn")
        return "tx"

    group: GroupCommit[str] = GroupCommit(
        begin, lambda: None, _never_rolled_back, lambda tx, work: work(), lambda tx: True
    )

    def first(tx: str) -> None:
        began.set()
        assert go_on.wait(5)
        broken.set()

    def caller() -> str:
        try:
            return group.submit(lambda tx: "done")
        except StoreUnavailable as error:
            return str(error)

    thread = threading.Thread(target=lambda: group.submit(first))
    thread.start()
    assert began.wait(5)
    said: list[list[str]] = []
    callers = threading.Thread(target=lambda: said.append(together(caller, caller)))
    callers.start()
    go_on.set()
    thread.join(5)
    callers.join(5)
    assert said == [["no turn", "no turn"]]
    broken.clear()
    assert together(caller, caller) == ["done", "done"]
    group.close()


def _never_rolled_back() -> None:
    raise AssertionError("nothing had begun")
